"""Exponential moving average of a network's weights."""

import math
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn


class EMA(nn.Module):
    """A copy of `module`, without gradients, that follows it: `.module` ← d · `.module` + (1 − d) · source.

    d = min(decay, (1 + n) / (10 + n)) with n = updates so far, so that the random start is soon
    forgotten (as in TensorFlow's ExponentialMovingAverage). Buffers (batch statistics, counters) are copied;
    `updates` is a buffer: a resumed run goes on with the same d. The copy starts in eval mode.
    """

    updates: Tensor

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.module = deepcopy(module).requires_grad_(False).eval()
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, source: nn.Module, decay: float | None = None) -> None:
        """Follow `source`, which has the same parameters and buffers; call once per update of it.

        `decay`: take this d, as the target networks of self-supervised methods do (see `momentum`).
        """
        if decay is None:
            # 1 − d, computed on the device: reading the counter would wait for it
            weight = (9 / (10 + self.updates.float())).clamp_min(1 - self.decay)
        else:
            weight = torch.full((), 1 - decay, device=self.updates.device)
        follow(list(self.module.parameters()), list(source.parameters()), weight)
        copy(list(self.module.buffers()), list(source.buffers()))
        self.updates += 1

    def forward(self, *args: Tensor) -> Tensor:
        return cast(Tensor, self.module(*args))


def follow(mine: list[Tensor], theirs: list[Tensor], weight: Tensor, together: bool | None = None) -> None:
    """mine ← mine + weight · (theirs − mine), in place; `weight` is a scalar on their device.

    `together`: by three kernels for all of them, as on a GPU, where starting one for each takes longer than its work.
    """
    assert len(mine) == len(theirs)
    if weight.is_cuda if together is None else together:
        step: Any = torch._foreach_sub(theirs, mine)
        torch._foreach_mul_(step, weight)
        torch._foreach_add_(mine, step)
        return
    for own, other in zip(mine, theirs, strict=True):
        own.lerp_(other, weight.to(own.dtype))


def copy(mine: list[Tensor], theirs: list[Tensor], together: bool | None = None) -> None:
    """mine ← theirs, in place; `together` as in `follow`: by one kernel for all that have a type in common."""
    assert len(mine) == len(theirs)
    if any(own.is_cuda for own in mine) if together is None else together:
        for dtype in {own.dtype for own in mine}:
            some = [(own, other) for own, other in zip(mine, theirs, strict=True) if own.dtype == dtype]
            torch._foreach_copy_([own for own, _ in some], [other for _, other in some])
        return
    for own, other in zip(mine, theirs, strict=True):
        own.copy_(other)


def momentum(base: float, progress: float, end: float = 1.0) -> float:
    """A target network's decay: from `base` to `end` along a cosine of `progress` in [0, 1] (BYOL, 2006.07733)."""
    return end - (end - base) * (math.cos(math.pi * progress) + 1) / 2
