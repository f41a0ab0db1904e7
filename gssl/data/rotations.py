"""Rotations by multiples of 90°, one per image."""

import torch
from torch import Tensor

TURNS = 4  # a full circle in quarters


def rotated(images: Tensor, turns: Tensor) -> Tensor:
    """Each of `images` (N, C, S, S) rotated counter-clockwise by its own of `turns` (N,) in {0, 1, 2, 3}, times 90°.

    Pixels are moved, never resampled: a rotated image has no interpolation that could be recognised.
    """
    turns = turns.view(-1, 1, 1, 1)
    half = torch.where(turns >= 2, images.flip(2, 3), images)
    return torch.where(turns % 2 == 1, half.rot90(1, (2, 3)), half).contiguous(memory_format=torch.channels_last)
