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
    if image.device.type == "cpu":
        found = resampling.shrunk(image, [size] * len(image), box.long().tolist(), size)
        found = torch.where(flip[:, None, None, None], found.flip(-1), found)
        return _coloured(found.float().div_(255))
    height, width = image.shape[-2:]
    with torch.autocast(image.device.type, enabled=False):  # half precision would show in the pixels
        down, across = _weights(box[:, 0], box[:, 2], size[0], height), _weights(box[:, 1], box[:, 3], size[1], width)
        across = torch.where(flip[:, None, None], across.flip(1), across)
        x = down[:, None] @ (image.float() @ across[:, None].transpose(2, 3))
    return _coloured(x.round_().div_(255))  # to 8 bits, as on the CPU


@torch.no_grad()
def whole(image: Tensor) -> Tensor:
    """The view for dense evaluation: uint8 (B, C, H, W) → float32 (B, 3, H, W) in [0, 1], channels_last."""
    return _coloured(image.float().div_(255))


def _coloured(x: Tensor) -> Tensor:
    return x.clamp_(0, 1).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


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
