"""A network that names the action in a clip: a backbone of images, its features pooled over time, a linear head."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def motion(x: Tensor) -> Tensor:
    """(B, T, d) → (B, 3 d): mean, standard deviation, mean absolute difference of neighbours."""
    return torch.cat([x.mean(1), x.std(1, unbiased=False), x.diff(dim=1).abs().mean(1)], dim=1)


# as `gssl.probe.clips.POOLINGS` of arrays: the function, and how many times d features it gives of T frames
POOLINGS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[int], int]]] = {
    "frame": (lambda x: x[:, x.shape[1] // 2], lambda frames: 1),
    "mean": (lambda x: x.mean(1), lambda frames: 1),
    "motion": (motion, lambda frames: 3),
    "order": (lambda x: x.flatten(1), lambda frames: frames),
}


class ClipClassifier(nn.Module):
    """Clips (B, T, 3, S, S) in [0, 1] → logits (B, n_classes)."""

    def __init__(self, backbone: Any, n_classes: int, frames: int, pooling: str) -> None:
        super().__init__()
        self.backbone, self.frames = backbone, frames
        self.pool, times = POOLINGS[pooling]
        self.head = nn.Linear(times(frames) * backbone.dim, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x.flatten(0, 1)).unflatten(0, (-1, self.frames))
        out: Tensor = self.head(self.pool(features.float()))
        return out
