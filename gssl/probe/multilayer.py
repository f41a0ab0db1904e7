"""Linear probe on every stage: pooled maps side by side, rotated to main axes, of which all sources have equally many.

Radford et al. 2016 (DCGAN, arXiv:1511.06434, 5.1) evaluate a discriminator by all of its layers. To one dimension,
because a probe on more numbers has an advantage of its own: without that, a wide network would seem the better one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gssl.probe.folds import Labelled
from gssl.probe.linear import FittedLinear, Linear
from gssl.schemas import probes as schema

BLOCK = 4096  # rows rotated at once


class PooledStages(nn.Module):
    """A backbone whose features are the averages of every stage's maps, (B, Σ dims)."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B, Σ dims), the finest stage first."""
        return torch.cat([stage.mean((2, 3)) for stage in self.backbone.dense(x)], dim=1)


@dataclass(frozen=True)
class Axes:
    """Standardised features rotated to their main axes."""

    mean: np.ndarray  # (d,)
    scale: np.ndarray  # (d,), standard deviations; 1 where a feature is constant
    basis: np.ndarray  # (d, r), orthonormal columns, by falling variance

    @classmethod
    def of(cls, x: np.ndarray, dim: int) -> "Axes":
        """The `dim` main axes of `x` (n, d) float32; fewer where d or n - 1 is smaller. No label is read."""
        n, d = x.shape
        mean = x.mean(axis=0, dtype=np.float64)
        scale = x.std(axis=0, dtype=np.float64)
        # a constant feature has a rounding error for a deviation; dividing by it would make noise of it
        scale[scale <= 10 * np.finfo(np.float32).eps * np.abs(mean)] = 1.0
        scale[scale == 0] = 1.0
        gram = np.zeros((d, d))
        for i in range(0, n, BLOCK):
            rows = (x[i : i + BLOCK] - mean) / scale
            gram += rows.T @ rows
        basis = np.linalg.eigh(gram)[1][:, ::-1][:, : min(dim, d, max(n - 1, 1))]
        # a sign of its own for each axis, so that equal features give equal axes on every machine
        signs = np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
        return cls(mean, scale, basis * signs)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(n, d) → (n, r) float32."""
        parts = [((x[i : i + BLOCK] - self.mean) / self.scale) @ self.basis for i in range(0, len(x), BLOCK)]
        return np.concatenate(parts).astype(np.float32)


@dataclass
class FittedMultilayer:
    """The axes, and the linear probe on them."""

    axes: Axes
    linear: FittedLinear
    chosen: dict[str, float]

    @property
    def val_accuracy(self) -> float | None:
        return self.linear.val_accuracy

    @property
    def unselected(self) -> list[np.ndarray]:
        return self.linear.unselected

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, Σ dims) features to (n,) int64 classes."""
        return self.linear.predict(self.axes(x))

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """(n, Σ dims) features to (n, classes) float64."""
        return self.linear.probabilities(self.axes(x))


class LinearMultilayer:
    """The probe by its configuration; `linear` says how λ is chosen."""

    def __init__(self, cfg: schema.LinearMultilayer, linear: schema.Linear) -> None:
        self.dim, self.linear = cfg.dim, Linear(linear)
        self.axes: Axes | None = None

    def see(self, x: np.ndarray) -> None:
        """Choose the axes on all training images' features (n, Σ dims), without labels, once for all draws."""
        self.axes = Axes.of(x, self.dim)

    def fit(
        self, x: np.ndarray, y: np.ndarray, n_classes: int, seed: int, extra: Labelled | None = None
    ) -> FittedMultilayer:
        """As `Linear.fit`, on x (n, Σ dims) float32 in the axes that `see` has chosen."""
        assert self.axes is not None, "see() comes first"
        more = None if extra is None else Labelled(self.axes(extra.x), extra.y)
        fitted = self.linear.fit(self.axes(x), y, n_classes, seed, more)
        return FittedMultilayer(self.axes, fitted, fitted.chosen | {"dim": self.axes.basis.shape[1]})
