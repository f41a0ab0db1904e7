"""What happens to an image before the first layer: its colours are shifted and scaled as the weights expect."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError

SIGNED = ([0.5] * 3, [0.5] * 3)  # [0, 1] becomes [-1, 1]
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


class Inputs(nn.Module):
    """(B, 3, S, S) in [0, 1] → (x - mean) / std, in one pass over the memory.

    `mean`, `std`: of the three channels, relative to [0, 1]. No weights: nothing of it is in a state dict.
    Measured (one thread of an AMD EPYC, torch 2.14, 256 channels-last images of 32 px, lower quartile of 60): one
    number for all channels .10 ms (`x * 2 - 1` .23), three .9 ms (subtracting and dividing 8).
    Raises UsageError for what is no mean or no standard deviation.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean, self.std = _three("mean", mean), _three("std", std)
        if min(self.std) <= 0:
            raise UsageError(f"input.std={self.std}: expected numbers above 0")
        scale = [1 / s for s in self.std]
        shift = [-m / s for m, s in zip(self.mean, self.std, strict=True)]
        self.same = len(set(self.mean)) == len(set(self.std)) == 1
        if self.same:
            # a number on the CPU goes with images on any device
            self.factor, self.shift = scale[0], torch.tensor(shift[0])
        else:
            self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1), persistent=False)
            self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1), persistent=False)

    def pictured(self, x: Tensor) -> Tensor:
        """What has a height and a width: of pixels `x` itself."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            return torch.add(self.shift, x, alpha=self.factor)
        return torch.addcmul(self.shift, x, self.scale)

    def record(self) -> dict[str, list[float]]:
        """For descriptions of weights; `Inputs(**record)` is the same again."""
        return {"mean": self.mean, "std": self.std}


def adjusted(
    own: Inputs,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    span: Sequence[float] | None = None,
) -> Inputs:
    """`own`, but for what is given in its place.

    `span` [low, high]: the pixels that the network learned from, such as [0, 255]; `mean` and `std` are in its units,
    and where one is absent nothing is subtracted or divided by. Without `span` they are relative to [0, 1], and one
    that is absent stays as it is. Raises UsageError.
    """
    if mean is None and std is None and span is None:
        return own
    if span is None:
        return Inputs(own.mean if mean is None else mean, own.std if std is None else std)
    if len(span) != 2 or not all(map(math.isfinite, span)) or span[0] >= span[1]:
        raise UsageError(f"input.range={list(span)}: expected two numbers, the smaller first, such as [0,255]")
    low, width = span[0], span[1] - span[0]
    means = [0.0] * 3 if mean is None else _three("mean", mean)
    stds = [1.0] * 3 if std is None else _three("std", std)
    return Inputs([(m - low) / width for m in means], [s / width for s in stds])


def of_three(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str | None]:
    """`state` with a first convolution that reads three channels, and a line where it read another number of them.

    `own`: the network's tensors. Each colour gets a third of the sum over the file's channels, so that grey images give
    what images with that grey in every channel gave: one channel is repeated, several are averaged, for which is red
    nobody says.
    """
    key = next((key for key, value in own.items() if value.ndim == 4), None)
    if key is None or key not in state or own[key].shape[1] != 3:
        return dict(state), None
    weight, wanted = state[key], own[key].shape
    channels = weight.shape[1] if weight.ndim == 4 else 0
    if channels in (0, 3) or (weight.shape[0], *weight.shape[2:]) != (wanted[0], *wanted[2:]):
        return dict(state), None
    how = "repeated for the three colours" if channels == 1 else "averaged, and read grey"
    text = f"the first layer ({key}) was trained on images of {channels} channel{'s' * (channels > 1)}: {how}"
    mean = weight.sum(dim=1, keepdim=True) / 3
    return dict(state) | {key: mean.expand(wanted).clone()}, text


def resized(x: Tensor, size: int | tuple[int, ...], how: str) -> Tensor:
    """(B, 3, H, W) in [0, 1] to `size` (h, w) or a square of `size` pixels, antialiased; `how`: bilinear or bicubic."""
    goal = (size, size) if isinstance(size, int) else size
    if x.shape[-2:] != goal:
        x = F.interpolate(x, size=goal, mode=how, align_corners=False, antialias=True)
    return x.clamp(0, 1)


def _three(key: str, values: Sequence[float]) -> list[float]:
    found = [float(value) for value in values]
    if len(found) != 3 or not all(map(math.isfinite, found)):
        raise UsageError(f"input.{key}={found}: expected three numbers, one per channel")
    return found
