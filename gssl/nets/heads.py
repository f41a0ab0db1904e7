"""Heads on top of a backbone's features."""

from torch import nn

from gssl.errors import UsageError
from gssl.nets.norms import KINDS, groups


def _norm1d(kind: str, features: int, affine: bool = True) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm1d(features, affine=affine)
    return nn.GroupNorm(groups(features), features, affine=affine)


def mlp(sizes: list[int], norm: str = "batch", last_norm: bool = False) -> nn.Sequential:
    """Linear layers of `sizes` [in, hidden, …, out], each but the last followed by a norm and ReLU.

    (B, in) → (B, out). `norm` is batch, group or none; `last_norm` adds a norm without scale and offset to
    the output, as in SimSiam (2011.10566) and MoCo v3 (2104.02057). A linear layer before a norm has no bias.
    `sizes` of length one is the identity.
    """
    if norm not in KINDS:
        raise UsageError(f"norm={norm}: expected one of {', '.join(KINDS)}")
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        last = i == len(sizes) - 2
        normed = norm != "none" and (last_norm or not last)
        layers.append(nn.Linear(before, after, bias=not normed))
        if normed:
            layers.append(_norm1d(norm, after, affine=not last))
        if not last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
