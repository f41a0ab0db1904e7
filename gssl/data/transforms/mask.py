"""Boxes of masks by the nearest pixel, so that no class id is invented: pure functions."""

import torch
from torch import Tensor


@torch.no_grad()
def crop(mask: Tensor, box: Tensor, flip: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (B, H, W) class ids → uint8 (B, h, w).

    box: (B, 4) top, left, height, width in whole pixels; flip: bool (B,), left to right; size: (h, w).
    """
    rows, columns = _nearest(box[:, 0], box[:, 2], size[0]), _nearest(box[:, 1], box[:, 3], size[1])
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    batch = torch.arange(len(mask), device=mask.device)
    return mask[batch[:, None, None], rows[:, :, None], columns[:, None, :]]


def resized(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """The whole mask (B, H, W) at `size` (h, w)."""
    height, width = mask.shape[-2:]
    box = torch.tensor([0.0, 0.0, height, width], device=mask.device).expand(len(mask), 4)
    return crop(mask, box, torch.zeros(len(mask), dtype=torch.bool, device=mask.device), size)


def _nearest(start: Tensor, length: Tensor, size: int) -> Tensor:
    """int64 (B, size): the pixel of the source in which the centre of each pixel of the result lies."""
    step = (length / size)[:, None]
    at = (start[:, None] + (torch.arange(size, device=start.device) + 0.5) * step).long()
    return torch.minimum(at, (start + length - 1).long()[:, None])


def centre(mask: Tensor, size: int, extent: Tensor | None = None) -> Tensor:
    """uint8 (B, H, W) → (B, size, size): the square that `gssl.data.centre` takes of images, by the nearest pixel.

    extent: int64 (B, 2), true height and width at the top left of the canvas.
    """
    if extent is None:
        extent = torch.tensor(mask.shape[-2:], device=mask.device).expand(len(mask), 2)
    short = extent.amin(1)
    rows, columns = (_central(side, short, size) for side in extent.unbind(1))
    batch = torch.arange(len(mask), device=mask.device)
    return mask[batch[:, None, None], rows[:, :, None], columns[:, None, :]]


def _central(side: Tensor, short: Tensor, size: int) -> Tensor:
    """int64 (B, size): pixels of a side (B,) when the short one becomes `size`, of the square in the middle."""
    resized = size * side // short  # whole pixels, as of images
    start = torch.round((resized - size) / 2)
    at = (start[:, None] + torch.arange(size, device=side.device) + 0.5) * (side / resized)[:, None]
    return torch.minimum(at.long(), (side - 1)[:, None])
