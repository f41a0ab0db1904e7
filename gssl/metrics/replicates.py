"""What other images would have given: bootstrap replicates of a generator's figures over real images and samples.

Replicate b gives every image a Poisson(1) weight from a stream that knows b and the image's position in its split, and
nothing of the generator: independent weights for both of two crossed factors (Owen & Eckles 2012, arXiv:1106.2125;
Owen 2007, arXiv:0712.1111, resamples rows and columns to the same end). So replicate b stands for the same other test
images wherever a generator is evaluated on that split, and differences and means over seeds are taken replicate by
replicate: what they have in common cancels or stays as it should.

What each image adds to a figure is weighted, while the radii of balls and training images stay; of precision it is
asked which samples are still inside where only the balls of the real images with a weight are there.
Recall and coverage scatter in replicates by the real images alone: what other samples would change shows where
another seed draws them. Against fresh images (nine times 400 digits, a DCGAN's samples) the standard deviations from
replicates were .9 (KID, recall), 1.0 (precision, density) and 1.2 (coverage) times those that were found. The Fréchet
distance has no replicates, for it is no mean over images.
"""

from collections.abc import Mapping

import numpy as np

REPLICATES = 200  # a standard deviation from them is off by 5%
DIGITS = 6  # that are stored
REAL, FAKE = 0x5EA1, 0xFA4E  # keys of Philox, the same for every generator, data set and seed


def weights(key: int, positions: np.ndarray, count: int = REPLICATES) -> np.ndarray:
    """float64 (count, n), each row with sum 1: Poisson(1) counts of images at `positions` int64 (n,) of their split.

    A count depends on `key`, the replicate and the position alone, not on which other images are evaluated.
    """
    longest = int(positions.max()) + 1
    rows = []
    for b in range(count):
        counter = np.array([0, 0, 0, b], dtype=np.uint64)
        # numbers of a generator come one after the other: the first ones do not depend on how many are asked for
        drawn = np.random.Generator(np.random.Philox(counter=counter, key=key)).poisson(1.0, longest)[positions]
        rows.append(drawn if drawn.any() else np.ones(len(positions)))
    found = np.array(rows, dtype=np.float64)
    whole: np.ndarray = found / found.sum(axis=1, keepdims=True)
    return whole


def moved(value: float, *sides: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(count,) of `value` to first order: for each side weights (count, n), and what its images add (n,)."""
    return value + sum(w @ (adds - adds.mean()) for w, adds in sides)


def below(samples: np.ndarray, near: np.ndarray, reals: np.ndarray, held: np.ndarray, level: float) -> np.ndarray:
    """(count,) proportions of samples whose distance `near` (m,) is at most the `level` quantile of `held` (n,).

    `samples` (count, m) and `reals` (count, n) weigh both: the limit moves with the real images.
    """
    order = np.argsort(held, kind="stable")
    rank = (np.cumsum(reals[:, order], axis=1) < level).sum(axis=1).clip(max=len(held) - 1)
    limit = held[order][rank]
    found: np.ndarray = (samples * (near <= limit[:, None])).sum(axis=1)
    return found


def written(found: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """As they stand in an evaluation."""
    return {key: [float(f"{value:.{DIGITS}g}") for value in values] for key, values in found.items()}
