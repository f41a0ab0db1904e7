"""Boxes of stored images, resampled on the CPU one image after another.

What a batch of images of different sizes needs: every image has its own box, and its canvas is as large as the largest
of the batch. Here only the box of an image is read, on as many threads as torch has.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TASK = 8  # images per task: enough to hide the hand-over
Box = Sequence[int]  # top, left, height, width in pixels


def shrunk(image: Tensor, resized: Sequence[tuple[int, int]], inside: Sequence[Box], size: tuple[int, int]) -> Tensor:
    """Boxes of uint8 images (B, C, H, W) at `size`: uint8 (B, C, *size), channels_last.

    inside: the box of each image. resized: height and width that it becomes, by torch's bilinear kernel for uint8 with
    antialiasing, which rounds to 8 bits after each axis; `size` is cut from the centre of that.
    """
    pixels = image.permute(0, 2, 3, 1).numpy()
    out = np.empty((len(pixels), *size, pixels.shape[3]), dtype=np.uint8)

    def work(i: int) -> None:
        top, left, h, w = inside[i]
        part = np.ascontiguousarray(pixels[i, top : top + h, left : left + w])  # NumPy's copies start no threads
        x = torch.from_numpy(part).permute(2, 0, 1)[None]
        x = F.interpolate(x, size=resized[i], mode="bilinear", align_corners=False, antialias=True)[0]
        # as torchvision rounds it
        y0, x0 = (round((side - goal) / 2) for side, goal in zip(resized[i], size, strict=True))
        out[i] = x[:, y0 : y0 + size[0], x0 : x0 + size[1]].permute(1, 2, 0).numpy()

    each(work, len(out))
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def sampled(image: Tensor, inside: Sequence[Box], grid: Tensor, mode: str) -> Tensor:
    """Boxes of uint8 images (B, C, H, W), looked at where `grid` says: float32 (B, C, *size), on the scale of `image`.

    grid: (B, *size, 2) in `grid_sample`'s coordinates of each box; mode: bilinear or nearest. Beyond the box its border
    is repeated.
    """
    pixels = image.permute(0, 2, 3, 1).numpy()
    out = torch.empty((len(pixels), pixels.shape[3], *grid.shape[1:3]))

    def work(i: int) -> None:
        top, left, h, w = inside[i]
        part = torch.from_numpy(pixels[i, top : top + h, left : left + w].astype(np.float32)).permute(2, 0, 1)[None]
        out[i] = F.grid_sample(part, grid[i : i + 1], mode=mode, padding_mode="border", align_corners=False)[0]

    each(work, len(out))
    return out


def each(work: Callable[[int], None], count: int) -> None:
    """`work(0)` … `work(count - 1)`, on as many threads as torch has."""
    threads = torch.get_num_threads()
    if threads == 1 or count <= TASK:
        for i in range(count):
            work(i)
        return

    def some(start: int) -> None:
        for i in range(start, min(start + TASK, count)):
            work(i)

    for _ in _pool(threads).map(some, range(0, count, TASK)):
        pass


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="resampling")
