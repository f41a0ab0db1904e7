"""Patches of an image as rows of features on one grid, and a few of them that stand for many.

Roth et al.: Towards Total Recall in Industrial Anomaly Detection (PatchCore), CVPR 2022, arXiv:2106.08265: maps of the
middle stages, each averaged over 3×3 neighbours, brought to one grid; a greedy k-centre set in a random projection.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data import Draws, Images, sequential
from gssl.data.transforms.image import whole
from gssl.probe.dense import Maps, NetworkMaps, brought

BATCH = 16  # images
AROUND = 3  # cells, across and down, over which a map is averaged
LEAST = 1e-6  # standard deviation of a channel below which it is taken for constant


class PatchMaps:
    """Features of patches of `stride` pixels: (B, 3, H, W) in [0, 1] → (B, d, ⌈H/stride⌉, ⌈W/stride⌉) float32.

    Of a network: its maps whose cells are `reductions` (low, high) pixels wide. Of rules without a network: what these
    give.
    """

    def __init__(self, maps: Maps, stride: int, reductions: Sequence[float]) -> None:
        self.source: Any = maps
        self.stride, self.reductions = stride, (float(reductions[0]), float(reductions[1]))

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal where the same features come of the same images."""
        own = getattr(self.source, "network", self.source)
        return id(own), self.stride, self.reductions

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        if not isinstance(self.source, NetworkMaps):
            return gathered([self.source(x)], x, self.stride, (0.0, math.inf))
        return gathered(self.source.network.dense(x), x, self.stride, self.reductions)


def gathered(maps: Sequence[Tensor], x: Tensor, stride: int, reductions: tuple[float, float]) -> Tensor:
    """Maps (B, ·, ·, ·) of images x (B, 3, H, W), each averaged over 3×3 cells, on one grid and side by side.

    Of those that `kept` names.
    """
    grid = -(-x.shape[-2] // stride), -(-x.shape[-1] // stride)
    return torch.cat([brought(smoothed(maps[i].float(), AROUND), grid) for i in kept(maps, x, reductions)], dim=1)


def kept(maps: Sequence[Tensor], x: Tensor, reductions: Sequence[float]) -> list[int]:
    """Which maps have cells of `reductions` (low, high) pixels; all where none has, as of a network with one scale.

    Cells are counted in powers of two: 85 pixels in 43 cells are 2 pixels per cell, as 84 in 42 are.
    """
    cells = [2.0 ** round(math.log2(x.shape[-1] / m.shape[-1])) for m in maps]
    own = [i for i, cell in enumerate(cells) if reductions[0] <= cell <= reductions[1]]
    return own or list(range(len(maps)))


def smoothed(maps: Tensor, size: int) -> Tensor:
    """(B, C, h, w): each value the mean of `size`×`size` (odd) around it, as far as they lie inside."""
    return F.avg_pool2d(maps, size, stride=1, padding=size // 2, count_include_pad=False)


def views(images: Images, device: torch.device, batch: int = BATCH) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole images (B, 3, H, W) float32 in [0, 1] and their column `anomaly` (B, H, W) uint8 on the CPU, in order.

    Images of unlike sizes come one by one, without the canvas around them.
    """
    for part in sequential(images, batch, device):
        pixels, kinds = whole(part["image"]), part["anomaly"].cpu()
        if "extent" not in part:
            yield pixels, kinds
            continue
        for i, (h, w) in enumerate(part["extent"].tolist()):
            yield pixels[i : i + 1, :, :h, :w], kinds[i : i + 1, :h, :w]


def sampled(images: Images, maps: PatchMaps, count: int, draws: Draws, device: torch.device) -> Tensor:
    """Features (n, d) of at most `count` patches, as many of each image; of many images only some. Which ones is a
    function of `draws` and an image's index alone."""
    quota, found, first = max(1, count // len(images)), [], 0
    if len(images) > count:
        chosen = np.sort(draws.generator("anomaly/images").choice(len(images), count, replace=False))
        images = images.subset(chosen)
    for x, _ in views(images, device):
        rows = maps(x).flatten(2).transpose(1, 2)
        cells = rows.shape[1]
        for i in range(len(rows)):
            random = draws.generator("anomaly/patches", first + i)
            at = random.choice(cells, min(quota, cells), replace=False)
            found.append(rows[i, torch.from_numpy(np.sort(at)).to(device)])
        first += len(rows)
    return torch.cat(found)


def scale_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (d,) of each channel of rows (n, d); 1 for one that is constant."""
    std = x.std(dim=0, unbiased=False)
    return x.mean(dim=0), torch.where(std > LEAST, std, 1.0)


def projected(x: Tensor, dims: int, draws: Draws) -> Tensor:
    """Rows (n, d) → (n, dims) by a random matrix that keeps distances on average; as they are where d is no larger."""
    if x.shape[1] <= dims:
        return x
    matrix = draws.generator("anomaly/projection").standard_normal((x.shape[1], dims), dtype=np.float32)
    return x @ torch.from_numpy(matrix / dims**0.5).to(x.device)


def k_centre(x: Tensor, count: int, first: int = 0) -> Tensor:
    """int64 (count,): rows of x (n, d), each the farthest from those before it (Gonzalez 1985); all where n ≤ count.

    It leaves no row farther from its nearest chosen one than twice what the best choice of `count` rows would.
    """
    if len(x) <= count:
        return torch.arange(len(x), device=x.device)
    found = torch.empty(count, dtype=torch.int64, device=x.device)
    nearest = torch.full((len(x),), torch.inf, device=x.device)
    current = torch.tensor(first, device=x.device)
    for i in range(count):
        found[i] = current
        nearest = torch.minimum(nearest, (x - x[current]).square().sum(dim=1))
        current = nearest.argmax()
    return found
