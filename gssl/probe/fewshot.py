"""Few labels: the nearest class centroid of centred features of unit length (SimpleShot's CL2N, Wang et al. 2019,
arXiv:1911.04623). Nothing is trained, nothing chosen; rotating, scaling or shifting all features changes nothing.

The paper centres by the mean of its many base classes. Here there are none: the mean is that of the labelled features.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from gssl.probe.folds import Labelled, clip_folds, joined
from gssl.probe.knn import unit_rows
from gssl.schemas import probes as schema

BLOCK = 1 << 22  # numbers per temporary array


@dataclass
class FittedFewShot:
    """A centroid for each class."""

    mean: np.ndarray  # (d,) float64, of all labelled features
    centroids: np.ndarray  # (n_classes, d) float64, nan for classes without a label
    scale: float
    chosen: dict[str, float] = field(default_factory=dict)  # there is nothing to choose
    val_accuracy: float | None = None  # over the folds; None where there was nothing to measure it on
    unselected: list[np.ndarray] = field(default_factory=list)  # per fold, bool (m,): which were right

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(m, d) features to (m,) int64 classes; of equally near ones the first."""
        return self.probabilities(x).argmax(axis=1)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """(m, d) features to (m, n_classes) float64: softmax of -scale times squared distances to the centroids.

        Classes without a label have 0. `scale` is not fitted: no calibrated probabilities are promised.
        """
        known = np.flatnonzero(~np.isnan(self.centroids[:, 0]))
        centroids = torch.from_numpy(self.centroids[known])
        half = centroids.square().sum(dim=1) / 2
        found = np.zeros((len(x), len(self.centroids)))
        for part in _blocks(x):
            logits = 2 * self.scale * (unit_rows(x[part] - self.mean) @ centroids.T - half)  # |x|² is the same for all
            found[part, known] = logits.softmax(dim=1).numpy()
        return found


class FewShot:
    """The probe by its configuration."""

    def __init__(self, cfg: schema.FewShot) -> None:
        self.scale = cfg.scale

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        n_classes: int,
        seed: int,
        extra: Labelled | None = None,
        groups: np.ndarray | None = None,
    ) -> FittedFewShot:
        """Average features x (n, d) float32 with labels y (n,) in 0..n_classes-1 by class.

        `val_accuracy` is measured on `clip_folds(y, groups, seed)`, as for the other probes. `extra` images count in
        the mean and the centroids, in the folds too; they are never among those that are validated there.
        """
        y = np.asarray(y, dtype=np.int64)
        right: list[np.ndarray] = []
        for fit, val in clip_folds(y, groups, seed):
            predicted = self._centroids(*joined(x[fit], y[fit], extra), n_classes).predict(x[val])
            right.append(predicted == y[val])
        fitted = self._centroids(*joined(x, y, extra), n_classes)
        fitted.val_accuracy = float(np.concatenate(right).mean()) if right else None
        fitted.unselected = right
        return fitted

    def _centroids(self, x: np.ndarray, y: np.ndarray, n_classes: int) -> FittedFewShot:
        mean = x.mean(axis=0, dtype=np.float64)
        total = torch.zeros(n_classes, x.shape[1], dtype=torch.float64)
        for part in _blocks(x):
            total.index_add_(0, torch.from_numpy(y[part]), unit_rows(x[part] - mean))
        counts = np.bincount(y, minlength=n_classes).astype(np.float64)
        centroids = total.numpy() / np.where(counts > 0, counts, np.nan)[:, None]
        return FittedFewShot(mean, centroids, self.scale)


def _blocks(x: np.ndarray) -> list[slice]:
    step = max(1, BLOCK // x.shape[1])
    return [slice(i, i + step) for i in range(0, len(x), step)]
