"""Dense features: what a probe reads at a quarter of the image's side, from a network or from simple rules.

All maps of an encoder (`dense`) are brought to one grid, larger ones by averaging, smaller ones bilinearly, and stand
side by side. Features are made batch by batch and never held for all images.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.data import Draws, Images, sequential
from gssl.data.transforms.image import whole
from gssl.probe.setting import Setting

STRIDE = 4  # pixels of the image per cell of the grid, down and across
DEGREE = 5  # of the polynomials in x and y: 20 without the constant
BATCH = 16  # images

Maps = Callable[..., Tensor]  # (B, 3, H, W) in [0, 1], stride=4 → (B, d, ⌈H/stride⌉, ⌈W/stride⌉) float32


@dataclass(frozen=True)
class DenseSetting:
    """What a probe on dense features is given beside its labelled images: the same for every source.

    maps: features of a batch of images. seed: of the folds. draws: of everything that is drawn in fitting.
    training: what a head that is trained step by step is given; its `build` is asked for nothing.
    """

    maps: Maps
    n_classes: int
    device: torch.device
    seed: int
    draws: Draws
    training: Setting | None = None


def grid_of(x: Tensor, stride: int = STRIDE) -> tuple[int, int]:
    """Rows and columns of the grid of images (B, 3, H, W)."""
    return -(-x.shape[-2] // stride), -(-x.shape[-1] // stride)


def brought(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, C, h, w) → (B, C, *grid): averaged where it is finer, bilinear where it is coarser."""
    h, w = maps.shape[-2:]
    if (h, w) == grid:
        return maps
    if h >= grid[0] and w >= grid[1]:
        return F.adaptive_avg_pool2d(maps, grid)
    return F.interpolate(maps, size=grid, mode="bilinear", align_corners=False)


class NetworkMaps:
    """All maps of an encoder, which is in evaluation mode."""

    def __init__(self, network: nn.Module) -> None:
        self.network: Any = network.eval()

    @torch.no_grad()
    def __call__(self, x: Tensor, stride: int = STRIDE) -> Tensor:
        grid = grid_of(x, stride)
        return torch.cat([brought(m.float(), grid) for m in self.network.dense(x)], dim=1)


def position(x: Tensor, stride: int = STRIDE) -> Tensor:
    """Where a cell lies and nothing of the image: polynomials of x and y in [-1, 1], up to degree 5."""
    rows, columns = grid_of(x, stride)
    y, across = (torch.linspace(-1, 1, n, device=x.device) if n > 1 else x.new_zeros(1) for n in (rows, columns))
    parts = [y[:, None] ** i * across[None] ** j for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i) if i + j > 0]
    return torch.stack(parts).expand(len(x), -1, -1, -1)


def pixels(x: Tensor, stride: int = STRIDE) -> Tensor:
    """Colours of a cell and its eight neighbours in the image at a quarter of its side: 27 numbers."""
    rows, columns = grid_of(x, stride)
    small = F.pad(F.adaptive_avg_pool2d(x, (rows, columns)), (1, 1, 1, 1), mode="replicate")
    return F.unfold(small, 3).unflatten(2, (rows, columns))


def constant(x: Tensor, stride: int = STRIDE) -> Tensor:
    """Nothing: one number that is 0 everywhere."""
    return x.new_zeros((len(x), 1, *grid_of(x, stride)))


RULES: dict[str, Maps] = {"position": position, "pixels": pixels, "majority": constant}  # by name of `weights`


def pictures(images: Images, device: torch.device, batch: int = BATCH) -> Iterator[Tensor]:
    """Whole images (B, 3, H, W) float32 in [0, 1], in order; images of unlike sizes come one by one."""
    for part in sequential(images, batch, device):
        pixels = whole(part["image"])
        if "extent" not in part:
            yield pixels
            continue
        for i, (h, w) in enumerate(part["extent"].tolist()):
            yield pixels[i : i + 1, :, :h, :w]


def views(images: Images, device: torch.device, batch: int = BATCH) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole images (B, 3, H, W) float32 in [0, 1] and their masks (B, H, W) uint8 on the CPU, in order.

    Images of unlike sizes come one by one, without the canvas around them.
    """
    for part in sequential(images, batch, device):
        pixels, masks = whole(part["image"]), part["mask"].cpu()
        if "extent" not in part:
            yield pixels, masks
            continue
        for i, (h, w) in enumerate(part["extent"].tolist()):
            yield pixels[i : i + 1, :, :h, :w], masks[i : i + 1, :h, :w]
