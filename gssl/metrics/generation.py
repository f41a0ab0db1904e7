"""All figures about samples in one pass: Fréchet, KID, manifold, diversity, memorisation, score.

Each of real × real, fake × fake, real × fake (and × train) is gone through once, tile by tile (`gssl.metrics.pairs`).
What does not depend on the samples is computed once and kept in a `Reference`, for evaluations during training.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gssl.errors import UsageError
from gssl.metrics import frechet, kid, manifold, memorisation, pairs, replicates, scores
from gssl.metrics.pairs import Features


@dataclass(frozen=True)
class Figures:
    """What `measure` returns, as a dict; None: not asked for, or not to be had."""

    n_real: int
    n_fake: int
    d: int
    seed: int  # of the bootstrap, and of draws to equal numbers
    k_precision: int  # neighbours that were used: cut to the smaller n - 1
    k_coverage: int
    fd: float | None  # Fréchet distance, 0 is best
    fd_refused: str | None  # why there is none
    kid: float  # 0 on average for real images; may be negative
    kid_low: float
    kid_high: float
    precision: float
    recall: float
    density: float
    coverage: float
    pairwise: float | None  # diversity, samples ÷ real images
    nearest: float | None
    copied: float | None  # memorisation, needs training images
    copied_low: float | None
    copied_high: float | None
    copied_chance: float | None
    train_nearest: float | None  # chance .5
    inception_score: float | None  # needs class probabilities
    inception_low: float | None
    inception_high: float | None


class Reference:
    """The real side: held-out images that samples are compared with, and the training images they might repeat."""

    def __init__(
        self,
        real: np.ndarray,
        train: np.ndarray | None = None,
        *,
        seed: int = 0,
        k_precision: int = 3,
        k_coverage: int = 5,
    ) -> None:
        """`real` (n, d): held-out features, n at least 2; `train` (t, d): for memorisation only."""
        self.real, self.seed, self.k = Features(real, "real"), seed, (k_precision, k_coverage)
        self.train = None if train is None else Features(train, "train")
        _same_dim(self.real, self.train)

    @cached_property
    def own(self) -> pairs.Within:
        return pairs.within(self.real, min(max(self.k), len(self.real) - 1))

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        return frechet.moments(self.real)

    @cached_property
    def drawn(self) -> tuple[Features, Features | None]:
        """As many training images as there are held-out ones, and the others."""
        assert self.train is not None
        return memorisation.equal(self.train, len(self.real), self.seed)

    @cached_property
    def held(self) -> np.ndarray:
        """(n,) squared distances from held-out to training images."""
        return memorisation.nearest_train(self.real, *self.drawn)[0]

    def measure(self, fake: np.ndarray, probabilities: np.ndarray | None = None) -> dict[str, Any]:
        """All figures of features `fake` (m, d); `probabilities` (m, C): a classifier's, of the same samples."""
        return self._measured(fake, probabilities, None)[0]

    def replicated(
        self, fake: np.ndarray, positions: np.ndarray, probabilities: np.ndarray | None = None
    ) -> tuple[dict[str, Any], dict[str, list[float]]]:
        """The figures, and bootstrap replicates of kid, precision, recall, density, coverage and copied over images.

        `positions` int64 (n,): which images of their split the real ones are, so that replicates are of the same images
        for all generators that are evaluated on it (`gssl.metrics.replicates`).
        """
        return self._measured(fake, probabilities, np.asarray(positions))

    def _measured(
        self, fake: np.ndarray, probabilities: np.ndarray | None, positions: np.ndarray | None
    ) -> tuple[dict[str, Any], dict[str, list[float]]]:
        real, made = self.real, Features(fake, "fake")
        _same_dim(real, made)
        if probabilities is not None and len(probabilities) != len(made):
            raise UsageError(f"class probabilities: expected one row for each of {len(made)} samples")
        k_precision, k_coverage = (min(k, len(real) - 1, len(made) - 1) for k in self.k)

        own_real, own_fake = self.own, pairs.within(made, max(k_precision, k_coverage))
        reals = None if positions is None else replicates.weights(replicates.REAL, positions)
        present = None if reals is None else reals > 0
        found = manifold.between(real, made, own_real.near, own_fake.near, k_precision, k_coverage, present)
        value, by_real, by_fake = kid.estimate(own_real.kernel, own_fake.kernel, found.kernel_x, found.kernel_y)
        low, high = kid.interval(value, by_real, by_fake, np.random.Generator(np.random.Philox(self.seed)))
        refused = frechet.refusal(len(real), len(made), real.dim)
        fd = None if refused else frechet.frechet_from_moments(*self.moments, *frechet.moments(made))
        diversity = manifold.diversity(real, made, own_real, own_fake, self.seed)
        copied, train_nearest, near_train = self._memorised(made, found.near_y)
        score = None if probabilities is None else scores.inception_score(probabilities)
        figures = Figures(
            n_real=len(real),
            n_fake=len(made),
            d=real.dim,
            seed=self.seed,
            k_precision=k_precision,
            k_coverage=k_coverage,
            fd=fd,
            fd_refused=refused,
            kid=value,
            kid_low=low,
            kid_high=high,
            **manifold.manifold(found, own_real.near, k_coverage)._asdict(),
            **diversity._asdict(),
            copied=copied and copied.proportion,
            copied_low=copied and copied.low,
            copied_high=copied and copied.high,
            copied_chance=copied and copied.chance,
            train_nearest=train_nearest,
            inception_score=score and score.value,
            inception_low=score and score.low,
            inception_high=score and score.high,
        )
        if reals is None:
            return asdict(figures), {}
        samples = replicates.weights(replicates.FAKE, np.arange(len(made)))
        held = found.held * len(real) / (len(made) * k_coverage)
        left = found.left.mean(axis=1)  # precision with the balls of those real images that are there
        density = replicates.moved(figures.density, (reals, held), (samples, found.balls / k_coverage))
        others = {
            "kid": replicates.moved(value, (reals, by_real), (samples, by_fake)),
            "precision": np.clip(samples @ found.y_inside + left - left.mean(), 0, 1),
            "recall": reals @ found.x_inside,
            "density": np.maximum(density, 0.0),
            "coverage": reals @ manifold.covered(found, own_real.near, k_coverage),
        }
        if near_train is not None:
            others["copied"] = replicates.below(samples, near_train, reals, self.held, memorisation.LEVEL)
        return asdict(figures), replicates.written(others)

    def _memorised(
        self, made: Features, near_real: np.ndarray
    ) -> tuple[memorisation.Copied | None, float | None, np.ndarray | None]:
        if self.train is None:
            return None, None, None
        near, near_equal = memorisation.nearest_train(made, *self.drawn)
        if len(self.train) < len(self.real):
            few, _ = memorisation.equal(self.real, len(self.train), self.seed)
            near_real = pairs.nearest(made, few)
        return memorisation.copied(near, self.held), memorisation.train_share(near_equal, near_real), near


def measure(
    real: np.ndarray,
    fake: np.ndarray,
    *,
    train: np.ndarray | None = None,
    probabilities: np.ndarray | None = None,
    seed: int = 0,
    k_precision: int = 3,
    k_coverage: int = 5,
) -> dict[str, Any]:
    """The fields of `Figures` for features `real` (n, d), held out, and `fake` (m, d), n and m at least 2.

    `train` (t, d) for memorisation, `probabilities` (m, C) of the samples for the score; without them None.
    Raises UsageError for shapes that do not fit, JobError for values that are not finite.
    """
    reference = Reference(real, train, seed=seed, k_precision=k_precision, k_coverage=k_coverage)
    return reference.measure(fake, probabilities)


def real_baseline(
    train: np.ndarray, real: np.ndarray, seed: int = 0, n: int | None = None
) -> dict[str, dict[str, Any]]:
    """What real images get in place of samples, with n images on either side: the best that can be asked for.

    `train_train`: two halves of the training images; `train_real`: one half against held-out ones, with the other half
    in place of the training images. `n` is cut to half of `train` (t, d), t at least 4, and to `real` (·, d).
    """
    n = min(len(train) // 2, len(real), n or len(real))
    rng = np.random.Generator(np.random.Philox(seed))
    order = rng.permutation(len(train))
    half, other = train[order[:n]], train[order[n : 2 * n]]
    held = real[rng.permutation(len(real))[:n]]
    return {
        "train_train": measure(other, half, seed=seed),
        "train_real": measure(held, half, train=other, seed=seed),
    }


def _same_dim(real: Features, other: Features | None) -> None:
    if other is not None and other.dim != real.dim:
        raise UsageError(f"features of different evaluators: {real.dim} and {other.dim} numbers per image")
