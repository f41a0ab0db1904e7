"""Do samples lie where real images lie, and everywhere there? Balls around images, by distances of features.

The ball of an image reaches to its k-th nearest *other* image of its own set: the image itself does not count, a
copy of it does. All four lie in [0, 1] and depend on n and k: compare at equal n, print both.

- precision: proportion of samples in the ball of at least one real image; recall: proportion of real images in the
  ball of at least one sample; k = 3, the rim belongs to the ball (<=). Kynkäänniemi et al. 2019, arXiv:1904.06991.
- density: mean number of real balls that hold a sample, over k; about 1 for real images, not bounded by it. coverage:
  proportion of real balls that hold a sample. k = 5, without the rim (<): a copy of the real images has density 1.
  Naeem et al. 2020, arXiv:2002.09797.

Recall is large for a few scattered samples, whose balls are large; coverage, with balls of real images only, is not.
"""

from typing import NamedTuple

import numpy as np

from gssl.metrics import pairs
from gssl.metrics.pairs import Features


class Manifold(NamedTuple):
    precision: float
    recall: float
    density: float
    coverage: float


class Diversity(NamedTuple):
    """Samples ÷ real images: about 1 where they are as varied, 0 where all samples are one; None if the reals are."""

    pairwise: float | None  # of mean distances between different images
    nearest: float | None  # of median distances to the nearest other image, at equal n


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Of features (n, d) and (m, d), n and m at least 2; k is cut to min(n, m) - 1."""
    found = _measured(real, fake, k)
    return found.precision, found.recall


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """Of features (n, d) and (m, d), n and m at least 2; k is cut to min(n, m) - 1."""
    found = _measured(real, fake, k)
    return found.density, found.coverage


def _measured(real: np.ndarray, fake: np.ndarray, k: int) -> Manifold:
    x, y = Features(real, "real"), Features(fake, "fake")
    k = min(k, len(x) - 1, len(y) - 1)
    near_x, near_y = pairs.within(x, k).near, pairs.within(y, k).near
    return manifold(between(x, y, near_x, near_y, k, k), near_x, k)


def between(
    real: Features,
    fake: Features,
    near_real: np.ndarray,
    near_fake: np.ndarray,
    k_precision: int,
    k_coverage: int,
    present: np.ndarray | None = None,
) -> pairs.Between:
    """The pass over real × fake with the balls of both; `near_*`: neighbours from `pairs.within`."""
    wide, narrow = near_real[:, k_precision - 1], near_real[:, k_coverage - 1]
    return pairs.between(real, fake, wide, narrow, near_fake[:, k_precision - 1], present)


def manifold(found: pairs.Between, near_real: np.ndarray, k_coverage: int) -> Manifold:
    """The four figures from what the passes found."""
    return Manifold(
        float(found.y_inside.mean()),
        float(found.x_inside.mean()),
        float(found.balls.mean() / k_coverage),
        float(covered(found, near_real, k_coverage).mean()),
    )


def covered(found: pairs.Between, near_real: np.ndarray, k_coverage: int) -> np.ndarray:
    """bool (n,): which real balls hold a sample."""
    inside: np.ndarray = found.near_x < near_real[:, k_coverage - 1] * (1 - pairs.TIE)
    return inside


def diversity(
    real: Features, fake: Features, own_real: pairs.Within, own_fake: pairs.Within, seed: int = 0
) -> Diversity:
    """Of two sets, whose passes within are given. Ten images over and over have `nearest` = 0.

    The nearest of many is nearer than that of few: where n differs, equal numbers are drawn from `seed`.
    """
    count = min(len(real), len(fake))
    typical = [
        float(np.median(np.sqrt(_fewer(features, own, count, seed)))) for features, own in
        ((fake, own_fake), (real, own_real))
    ]  # fmt: skip
    return Diversity(_ratio(own_fake.distance, own_real.distance), _ratio(*typical))


def _fewer(features: Features, own: pairs.Within, count: int, seed: int) -> np.ndarray:
    """(count,) squared distances to the nearest other image among `count` of them."""
    if len(features) > count:
        chosen = np.random.Generator(np.random.Philox(seed)).permutation(len(features))[:count]
        own = pairs.within(features.subset(chosen), 1)
    return own.near[:, 0]


def _ratio(fake: float, real: float) -> float | None:
    return fake / real if real > 0 else None
