"""Photographs of any size to what a network reads, as a part of the network: for exported graphs.

Sides are counted by tensors, not by Python, so that torch.export and ONNX keep them open. The same resampling as
`gssl.data.views.centre` and `gssl.data.preprocessing.Preprocessing` up to a level in 255, where rounding falls to the
other side.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from gssl.errors import UsageError

CUBIC = -0.5  # Keys's a, as Pillow and torch with antialiasing have it
SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}


class Photographs(nn.Module):
    """(B, H, W, 3) uint8 → (B, 3, size, size) float32 in [0, 1].

    fit: centre and short: the shorter side is resized to floor(size / crop), then the central square is cut out;
    squash: both sides are resized to that first. Raises UsageError for an interpolation that it has not.
    """

    def __init__(self, size: int, fit: str = "centre", crop: float = 1.0, interpolation: str = "bilinear") -> None:
        super().__init__()
        if interpolation not in SUPPORT:
            raise UsageError(f"--part model: no interpolation {interpolation}; use --part classifier")
        self.size, self.squash, self.how = size, fit == "squash", interpolation
        self.need = size if fit == "centre" else math.floor(size / crop)

    def forward(self, x: Tensor) -> Tensor:
        height = torch.ones_like(x[0, :, 0, 0], dtype=torch.int64).sum()
        width = torch.ones_like(x[0, 0, :, 0], dtype=torch.int64).sum()
        short = torch.minimum(height, width)
        down = self._weights(x[0, :, 0, 0], height, height if self.squash else short)
        across = self._weights(x[0, 0, :, 0], width, width if self.squash else short)
        planes = x.permute(0, 3, 1, 2).float()
        # whole levels after each pass and halves upwards, as resampling of bytes has it
        rows = (planes @ across.t() + 0.5).floor().clamp(0, 255)
        return (down @ rows + 0.5).floor().clamp(0, 255) / 255

    def _weights(self, line: Tensor, side: Tensor, short: Tensor) -> Tensor:
        """(size, side): with what weight each pixel of a line goes into each pixel of the result."""
        resized = torch.div(side * self.need, short, rounding_mode="floor").float()
        start = torch.round((resized - self.size) / 2)
        step = side.float() / resized
        at = (start + torch.arange(self.size, device=line.device, dtype=torch.float32) + 0.5) * step
        pixels = torch.ones_like(line, dtype=torch.float32).cumsum(0) - 0.5
        distance = (pixels - at[:, None]).abs() / step.clamp(min=1.0)
        weight = (1 - distance).clamp(min=0) if self.how == "bilinear" else cubic(distance)
        return weight / weight.sum(1, keepdim=True)


def cubic(d: Tensor) -> Tensor:
    """Keys's kernel of distances d >= 0."""
    near = (CUBIC + 2) * d**3 - (CUBIC + 3) * d**2 + 1
    far = CUBIC * d**3 - 5 * CUBIC * d**2 + 8 * CUBIC * d - 4 * CUBIC
    return torch.where(d < 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


class Answering(nn.Module):
    """Photographs (B, H, W, 3) uint8 → probabilities (B, classes) of a network that gives logits."""

    def __init__(self, network: Any, temperature: float, **view: Any) -> None:
        super().__init__()
        self.photographs, self.network, self.temperature = Photographs(**view), network, temperature

    def forward(self, x: Tensor) -> Tensor:
        return (self.network(self.photographs(x)) / self.temperature).softmax(dim=1)
