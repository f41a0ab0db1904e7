"""Kernel inception distance (Bińkowski et al. 2018, arXiv:1801.01401) on the features of any evaluator.

The squared maximum mean discrepancy with the kernel (x·y/d + 1)³, by its unbiased estimate: 0 on average
where the two sides have one distribution, so it can be negative. Print the evaluator, d, n and the
subsets beside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gssl.metrics import pairs
from gssl.metrics.pairs import Features

REPLICATES = 1000  # of the bootstrap


class Kid(NamedTuple):
    """`mean` and `std` are over subsets, the customary numbers; the headline is `mmd2` with its interval."""

    mean: float
    std: float  # over subsets; 0 where one subset holds everything or none is drawn. It is no standard error
    mmd2: float  # the same estimate from all features at once
    low: float  # bootstrap 95% interval of mmd2, over images of both sides
    high: float
    subsets: int
    subset_size: int


def kid(
    x: np.ndarray,
    y: np.ndarray,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
    indices: Sequence[tuple[np.ndarray, np.ndarray]] | None = None,
) -> Kid:
    """Distance between features x (n, d) and y (m, d), n and m at least 2, in float64.

    `subset_size` is cut to the smaller side; `subsets=0` leaves them out (mean = mmd2), which is quick.
    `indices` gives the subsets explicitly, one pair of index arrays of one length each; they are drawn without
    replacement from `seed` otherwise.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    size = min(subset_size, len(x), len(y))
    full, influence_x, influence_y = _mmd2(x, y)
    rng = np.random.Generator(np.random.Philox(seed))
    if indices is None and not subsets:
        return Kid(full, 0.0, full, *interval(full, influence_x, influence_y, rng), 0, 0)
    if indices is not None:
        size = len(indices[0][0])
        values = [_mmd2(x[i], y[j])[0] for i, j in indices]
    elif size == len(x) == len(y):
        values = [full]  # every subset would be this one
    else:
        values = [
            _mmd2(x[rng.permutation(len(x))[:size]], y[rng.permutation(len(y))[:size]])[0] for _ in range(subsets)
        ]
    low, high = interval(full, influence_x, influence_y, rng)
    return Kid(float(np.mean(values)), float(np.std(values)), full, low, high, len(values), size)


def interval(value: float, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Bootstrap 95% interval of an estimate from the influences (n,) and (m,) of each image on it.

    Resampling images with replacement would put pairs of equal images into the sums. What an image adds to
    the estimate (to first order) is resampled instead; where both sides agree this errs on the wide side.
    """
    low, high = np.quantile(value + _resampled(x, rng) + _resampled(y, rng), [0.025, 0.975])
    return float(low), float(high)


def estimate(
    own_x: np.ndarray, own_y: np.ndarray, cross_x: np.ndarray, cross_y: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """The unbiased estimate, and the influence of each row of x (n,) and of y (m,) on it, each of mean 0.

    From sums of the kernel: over the others of the same side (`own`), over the other side (`cross`).
    """
    n, m = len(own_x), len(own_y)
    own_x, own_y = own_x / (n - 1), own_y / (m - 1)
    value = own_x.mean() + own_y.mean() - 2 * cross_x.sum() / (n * m)
    influence_x, influence_y = 2 * (own_x - cross_x / m), 2 * (own_y - cross_y / n)
    return float(value), influence_x - influence_x.mean(), influence_y - influence_y.mean()


def _mmd2(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    a, b = Features(x), Features(y)
    no_balls = np.zeros(len(a)), np.zeros(len(a)), np.zeros(len(b))
    found = pairs.between(a, b, *no_balls)
    return estimate(pairs.within(a, 1).kernel, pairs.within(b, 1).kernel, found.kernel_x, found.kernel_y)


def _resampled(influence: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(REPLICATES,) means of bootstrap samples."""
    n = len(influence)
    return np.array([influence[rng.integers(0, n, n)].mean() for _ in range(REPLICATES)])
