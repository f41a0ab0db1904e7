"""k-means on frozen features, with as many clusters as classes and without any label.

Clusters have no names; `gssl.metrics.clustering` finds the best ones, when the answers are compared with labels.
scikit-learn is imported where it fits: that takes over a second, and most processes never do.
"""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from gssl.data import Draws
from gssl.errors import JobError
from gssl.schemas import probes as schema

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

BLOCK = 1 << 22  # numbers per temporary array


class TooAlike(Exception):
    """Fewer different rows than means were asked for."""


@dataclass
class FittedCluster:
    """The centres, among features of unit length."""

    centres: np.ndarray  # (n_classes, d) float64
    chosen: dict[str, Any]  # n_init; inertia: mean squared distance to the nearest centre, in [0, 1]
    val_accuracy: float | None = None  # no labels, nothing to measure

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(m, d) features to (m,) int64 numbers of clusters; of equally near ones the first."""
        half = np.square(self.centres).sum(axis=1) / 2
        step = max(1, BLOCK // x.shape[1])
        parts = [x[i : i + step] for i in range(0, len(x), step)]
        return np.concatenate([(_unit(part, np.float64) @ self.centres.T - half).argmax(axis=1) for part in parts])


class Cluster:
    """The probe by its configuration."""

    def __init__(self, cfg: schema.Cluster) -> None:
        self.n_init, self.max_iter = cfg.n_init, cfg.max_iter

    def fit(self, x: np.ndarray, n_classes: int, seed: int) -> FittedCluster:
        """The best of n_init k-means from k-means++ starts, on features x (n, d) float32 scaled to unit length.

        The same arguments give the same centres; n is at least n_classes. Raises JobError where fewer features than
        that are different.
        """
        start = int(Draws(seed).generator("cluster").integers(2**31))
        try:
            means = kmeans(_unit(x, np.float32), n_classes, self.n_init, self.max_iter, start)
        except TooAlike:
            raise JobError(
                f"probe.cluster: {n_classes} classes need as many different features, and there are fewer: the"
                " backbone has collapsed; leave the probe out"
            ) from None
        chosen = {"n_init": self.n_init, "inertia": float(means.inertia_) / len(x)}
        return FittedCluster(means.cluster_centers_.astype(np.float64), chosen)


def kmeans(rows: np.ndarray, count: int, n_init: int, max_iter: int, start: int) -> "KMeans":
    """`count` means of `rows` (n, d), which it may change: the best of `n_init` starts, a function of `start`.

    Raises TooAlike where fewer rows than `count` are different.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    means = KMeans(count, n_init=n_init, max_iter=max_iter, random_state=start, copy_x=False)
    # One thread: more of them would add up the centres in an order that changes from run to run.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return means.fit(rows)
        except ConvergenceWarning as e:
            raise TooAlike from e


def _unit(x: np.ndarray, dtype: type) -> np.ndarray:
    """A copy (n, d) of rows of unit length; rows of zeros stay zero."""
    rows: np.ndarray = np.array(x, dtype=dtype)
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    rows /= np.maximum(length, 1e-300)[:, None].astype(np.float64)
    return rows
