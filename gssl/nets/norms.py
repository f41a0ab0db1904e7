"""Normalisation: one name per kind for every backbone and head, and batch statistics computed afresh."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gssl.errors import UsageError

KINDS = ("batch", "group", "none")


class Shift(nn.Module):
    """What is left of a norm layer without normalisation: a learned offset per channel (Fixup, 1901.09321).

    Convolutions that stand before a norm layer have no bias, so without it they could not shift at all.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.view(1, -1, *[1] * (x.ndim - 2))


def groups(channels: int) -> int:
    """Groups of GroupNorm: at most 32 (1803.08494), of at least 4 channels, and a divisor of `channels`."""
    return gcd(channels, min(32, max(1, channels // 4)))


def norm2d(kind: str, channels: int) -> nn.Module:
    """The norm layer `kind` for maps (B, channels, h, w). Raises UsageError for an unknown kind."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "group":
        return nn.GroupNorm(groups(channels), channels)
    if kind == "none":
        return Shift(channels)
    raise UsageError(f"backbone.norm={kind}: expected one of {', '.join(KINDS)}")


def _norms(module: nn.Module) -> list[_BatchNorm]:
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]


def keep_statistics(module: nn.Module) -> None:
    """Every batch norm of `module` uses its running statistics from now on and keeps them, through training, too."""
    for norm in _norms(module):
        norm.eval()
        norm.kept = True  # type: ignore[assignment]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every part of `module` has its former mode back."""
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def recompute_batch_norm(module: nn.Module, batches: Iterable[Tensor], training_only: bool = False) -> None:
    """Replace the running statistics of every batch norm by those of `batches` (precise BN, 2105.07576).

    `batches`: images (B, 3, S, S), float in [0, 1], B > 1. Each mean and unbiased variance is the average
    over the batches, weighted by their number of images. Everything but the batch norms is in eval mode
    meanwhile; modes are restored. Nothing is drawn from `batches` where `module` has no batch norm;
    ValueError where there are statistics to compute and no batch to compute them from. `training_only`: what is in
    evaluation mode, because it is frozen, keeps its statistics. So do those of `keep_statistics`, always.
    """
    norms = [m for m in _norms(module) if not getattr(m, "kept", False)]
    norms = [m for m in norms if m.training or not training_only]
    if not norms:
        return
    training = {m: m.training for m in module.modules()}
    momentum = [norm.momentum for norm in norms]
    module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    counted = 0
    try:
        with torch.no_grad():
            for batch in batches:
                counted += len(batch)
                for norm in norms:
                    norm.momentum = len(batch) / counted  # running += momentum · (batch's − running): a running average
                module(batch)
    finally:
        for norm, value in zip(norms, momentum, strict=True):
            norm.momentum = value
        for child, mode in training.items():
            child.training = mode
    if not counted:
        raise ValueError("no batch to compute batch-norm statistics from")
