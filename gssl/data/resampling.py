"""Boxes of stored images, resampled: on the CPU one image after another.

What a batch of images of different sizes needs: every image has its own box, and its canvas is as large as the largest
of the batch. On the CPU only the box of an image is read, on as many threads as torch has. On a GPU, where boxes cannot
be read without waiting for it, two products per batch do the same.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data.ragged import pictures

TASK = 8  # images per task: enough to hide the hand-over
Box = Sequence[int]  # top, left, height, width in pixels


def by_image(image: Tensor) -> bool:
    """Whether each image is resampled by itself, which a GPU would be slow at."""
    return image.device.type == "cpu"


def antialiased(
    image: Tensor, box: Tensor, flip: Tensor | None, size: tuple[int, int], rows: Sequence[int] | None = None
) -> Tensor:
    """Boxes of uint8 images (B, C, H, W) at `size`, antialiased: float32 (B, C, *size) in whole levels of `image`.

    box: (B, 4) top, left, height, width in pixels; flip: bool (B,), left to right; rows: on the CPU, the images that
    the boxes are of. Equals a crop and then torchvision's `resize(antialias=True)` of uint8 images: nothing outside
    the box has an influence. On a GPU a level may be rounded to the other side.
    """
    if by_image(image):
        found = shrunk(image, [size] * len(box), box.long().tolist(), size, rows)
        return (found if flip is None else torch.where(flip[:, None, None, None], found.flip(-1), found)).float()
    height, width = image.shape[-2:]
    with torch.autocast(image.device.type, enabled=False):  # half precision would show in the pixels
        down, across = _weights(box[:, 0], box[:, 2], size[0], height), _weights(box[:, 1], box[:, 3], size[1], width)
        if flip is not None:
            across = torch.where(flip[:, None, None], across.flip(1), across)
        x = down[:, None] @ (image.float() @ across[:, None].transpose(2, 3))
    return x.round_()  # to 8 bits, as on the CPU


def _weights(start: Tensor, length: Tensor, size: int, canvas: int) -> Tensor:
    """(B, size, canvas): what each pixel of a line of `canvas` gives to the `size` pixels that its box becomes.

    A triangle as wide as a pixel of the result, at least as one of the source. start, length: (B,) pixels.
    """
    step = (length / size)[:, None]
    at = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * step
    line = torch.arange(canvas, device=start.device)
    distance = (line + 0.5 - at[:, :, None]).abs() / step.clamp(min=1)[:, :, None]
    inside = (line >= start[:, None]) & (line < (start + length)[:, None])
    weight = (1 - distance).clamp_(min=0) * inside[:, None]
    return weight / weight.sum(2, keepdim=True)


def shrunk(
    image: Tensor,
    resized: Sequence[tuple[int, int]],
    inside: Sequence[Box],
    size: tuple[int, int],
    rows: Sequence[int] | None = None,
) -> Tensor:
    """Boxes of uint8 images (B, C, H, W) at `size`: uint8 (B, C, *size), channels_last.

    inside: the box of each image. resized: height and width that it becomes, by torch's bilinear kernel for uint8 with
    antialiasing, which rounds to 8 bits after each axis; `size` is cut from the centre of that. rows: the images that
    the boxes are of; None: all of them.
    """
    pixels = pictures(image)
    rows = range(len(pixels)) if rows is None else rows
    out = np.empty((len(rows), *size, image.shape[1]), dtype=np.uint8)

    def work(some: range) -> None:
        # NumPy's copies start no threads
        boxes = [(rows[i], inside[i]) for i in some]
        part = np.stack([pixels[row][top : top + h, left : left + w] for row, (top, left, h, w) in boxes])
        x = torch.from_numpy(part).permute(0, 3, 1, 2)
        goal = resized[some.start]
        x = F.interpolate(x, size=goal, mode="bilinear", align_corners=False, antialias=True)
        # as torchvision rounds it
        y0, x0 = (round((side - cut) / 2) for side, cut in zip(goal, size, strict=True))
        out[some.start : some.stop] = x[:, :, y0 : y0 + size[0], x0 : x0 + size[1]].permute(0, 2, 3, 1).numpy()

    alike = len({(*box[2:], *goal) for box, goal in zip(inside, resized, strict=True)}) == 1
    each(work, len(out), together=alike)  # of small images a call takes longer than what it does
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def sampled(
    image: Tensor, inside: Sequence[Box], grid: Tensor, mode: str, times: int = 1, rows: Sequence[int] | None = None
) -> Tensor:
    """Boxes of uint8 images (B, C, H, W), looked at where `grid` says: float32 (B, C, *size), on the scale of `image`.

    grid: (B, *size, 2) in `grid_sample`'s coordinates of each box; mode: bilinear or nearest. Beyond the box its border
    is repeated. times: squares of `times` × `times` samples become one, their mean. rows: as in `shrunk`.
    """
    pixels = pictures(image)
    rows = range(len(pixels)) if rows is None else rows
    out = torch.empty((len(rows), image.shape[1], *(side // times for side in grid.shape[1:3])))

    def work(one: range) -> None:
        i = one.start
        top, left, h, w = inside[i]
        part = torch.from_numpy(pixels[rows[i]][top : top + h, left : left + w].astype(np.float32))
        part = part.permute(2, 0, 1)[None]
        x = F.grid_sample(part, grid[i : i + 1], mode=mode, padding_mode="border", align_corners=False)
        out[i] = (x if times == 1 else F.avg_pool2d(x, times))[0]

    each(work, len(out))
    return out


def each(work: Callable[[range], None], count: int, together: bool = False) -> None:
    """`work` of each of `range(count)`, a range of one, or of a few `together`; on as many threads as torch has."""
    threads = torch.get_num_threads()
    tasks = [range(start, min(start + TASK, count)) for start in range(0, count, TASK)]

    def some(task: range) -> None:
        for part in [task] if together else [range(i, i + 1) for i in task]:
            work(part)

    if threads == 1 or len(tasks) <= 1:
        for task in tasks:
            some(task)
        return
    for _ in _pool(threads).map(some, tasks):
        pass


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="resampling")
