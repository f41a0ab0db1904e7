"""Boxes of images, resampled with antialiasing: pure functions."""

import torch
from torch import Tensor

from gssl.data import resampling


@torch.no_grad()
def crop(image: Tensor, box: Tensor, flip: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (B, C, H, W), C in {1, 3} → float32 (B, 3, h, w) in [0, 1], channels_last.

    box: (B, 4) top, left, height, width in pixels; flip: bool (B,), left to right; size: (h, w). Equals a crop and then
    torchvision's `resize(antialias=True)` of uint8 images: nothing outside the box has an influence.
    """
    return _coloured(resampling.antialiased(image, box, flip, size).div_(255))


@torch.no_grad()
def whole(image: Tensor) -> Tensor:
    """The view for dense evaluation: uint8 (B, C, H, W) → float32 (B, 3, H, W) in [0, 1], channels_last."""
    return _coloured(image.float().div_(255))


def _coloured(x: Tensor) -> Tensor:
    return x.clamp_(0, 1).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
