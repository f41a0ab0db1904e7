"""What an image is to be made from, where it follows from the image or from its mask: pure functions.

Results have 256 levels, as the files have of which a finished run is given others.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601, as image libraries make grey of colours


def levels(images: Tensor) -> Tensor:
    """Images clamped to [0, 1], of 256 levels."""
    return (images.clamp(0, 1) * 255).round() / 255


def shrunk(images: Tensor, factor: int) -> Tensor:
    """(B, C, H, W) in [0, 1] → (B, C, H/factor, W/factor): the mean of each square of factor² pixels."""
    return levels(F.avg_pool2d(images, factor))


def enlarged(images: Tensor, factor: int) -> Tensor:
    """(B, C, h, w) in [0, 1] → (B, C, h·factor, w·factor), bicubic (Keys 1981, a = −0.75)."""
    return levels(F.interpolate(images, scale_factor=float(factor), mode="bicubic", align_corners=False))


def grey(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] → the same shape, three equal channels of luma."""
    red, green, blue = images.split(1, dim=1)
    return levels(LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).expand(-1, 3, -1, -1)


def one_hot(ids: Tensor, classes: int) -> Tensor:
    """Class ids (B, H, W) uint8 → (B, classes, H, W) float32; where an id is none of them all channels are 0."""
    known = torch.arange(classes, device=ids.device, dtype=ids.dtype)
    return (ids[:, None] == known[:, None, None]).float()
