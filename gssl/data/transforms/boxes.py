"""Boxes of objects under the crops and flips of their images: pure functions.

Boxes (B, M, 6) are left, top, right, bottom in pixels, class (-1: no box) and crowd, as a batch has them.
"""

import torch
from torch import Tensor

from gssl.data.columns import NOTHING

KEPT = 0.25  # of a box's area that a crop must show; of what is shown less there is no box, as its class is a guess


@torch.no_grad()
def crop(boxes: Tensor, box: Tensor, flip: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, M, 6) → (B, M, 6) in pixels of the result: clipped at its edges, without those that are cut off (`KEPT`).

    box: (B, 4) top, left, height, width in pixels; flip: bool (B,), left to right; size: (h, w).
    """
    top, left, height, width = (part[:, None] for part in box.to(boxes.dtype).unbind(1))
    x, y = boxes[..., [0, 2]] - left[..., None], boxes[..., [1, 3]] - top[..., None]
    whole = (x[..., 1] - x[..., 0]) * (y[..., 1] - y[..., 0])
    x = torch.minimum(x.clamp(min=0), width[..., None])
    y = torch.minimum(y.clamp(min=0), height[..., None])
    there = (x[..., 1] - x[..., 0]) * (y[..., 1] - y[..., 0]) >= KEPT * whole
    x, y = x * (size[1] / width)[..., None], y * (size[0] / height)[..., None]
    found = _of(boxes, torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1))
    return flipped(_without(found, there & (whole > 0)), size, flip, torch.zeros_like(flip))


@torch.no_grad()
def flipped(boxes: Tensor, size: tuple[int, int], across: Tensor, down: Tensor) -> Tensor:
    """Left to right where `across` (B,) is true, upside down where `down` is; size: (h, w) of the image."""
    left, top, right, bottom = boxes[..., :4].unbind(-1)
    across, down = across[:, None], down[:, None]
    left, right = torch.where(across, size[1] - right, left), torch.where(across, size[1] - left, right)
    top, bottom = torch.where(down, size[0] - bottom, top), torch.where(down, size[0] - top, bottom)
    return _of(boxes, torch.stack([left, top, right, bottom], dim=-1))


def _of(boxes: Tensor, edges: Tensor) -> Tensor:
    """With other edges, but where there is no box."""
    return torch.cat([torch.where(boxes[..., 4:5] == NOTHING, boxes[..., :4], edges), boxes[..., 4:]], dim=-1)


def _without(boxes: Tensor, there: Tensor) -> Tensor:
    """Only boxes of which `there` (B, M) is true."""
    none = torch.zeros_like(boxes)
    none[..., 4] = NOTHING
    return torch.where(there[..., None], boxes, none)
