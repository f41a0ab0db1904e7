"""Replicates over images: of the same images for every generator, and as wide as other images make a figure."""

import numpy as np
import pytest

from gssl.metrics import replicates
from gssl.metrics.generation import Reference

N, D = 300, 8
CENTRES = 2 * np.random.default_rng(99).standard_normal((12, D))


def real(seed, n=N):
    rng = np.random.default_rng(seed)
    return CENTRES[rng.integers(0, 12, n)] + rng.standard_normal((n, D))


def made(seed, n=N, kinds=8):
    rng = np.random.default_rng([1, seed])
    return CENTRES[rng.integers(0, kinds, n)] + 1.2 * rng.standard_normal((n, D)) + 0.3


def test_a_place_has_one_weight_whichever_images_are_judged_beside_it():
    whole = replicates.weights(1, np.arange(50), count=20)
    some = replicates.weights(1, np.array([3, 10, 49]), count=20)
    assert whole.sum(axis=1) == pytest.approx(1.0) and some.sum(axis=1) == pytest.approx(1.0)
    few = whole[:, [3, 10, 49]]
    drawn = few.any(axis=1)
    assert drawn.sum() > 15
    assert some[drawn] == pytest.approx(few[drawn] / few[drawn].sum(axis=1, keepdims=True))
    assert some[~drawn] == pytest.approx(1 / 3)  # a sum of nothing says nothing
    assert not np.allclose(whole, replicates.weights(2, np.arange(50), count=20))


def test_figures_are_what_they_are_without_replicates_and_replicates_lie_about_them():
    reference = Reference(real(0), real(1, 900))
    figures, found = reference.replicated(made(0), np.arange(N))
    assert figures == reference.measure(made(0))
    assert set(found) == {"kid", "precision", "recall", "density", "coverage", "copied"}
    for key, values in found.items():
        assert len(values) == replicates.REPLICATES
        assert np.mean(values) == pytest.approx(figures[key], abs=4 * np.std(values) / 14 + 0.003), key


@pytest.fixture(scope="module")
def scattered():
    """Figures with other real images, and with other fakes."""
    fake, reference = made(0), Reference(real(0))
    return [Reference(real(s)).measure(fake) for s in range(25)], [reference.measure(made(s)) for s in range(25)]


@pytest.mark.long
@pytest.mark.parametrize("key", ["kid", "precision", "density", "recall", "coverage"])
def test_their_spread_is_what_other_images_make(key, scattered):
    """Of recall and coverage what other real images make: their fakes are others for every seed."""
    per = [np.std([figures[key] for figures in side]) for side in scattered]
    wanted = per[0] if key in ("recall", "coverage") else np.hypot(*per)
    found = [np.std(Reference(real(s)).replicated(made(s), np.arange(N))[1][key]) for s in range(3)]
    assert 0.7 < np.mean(found) / wanted < 1.45


def test_two_generators_are_compared_on_the_same_images():
    """Two that are the same differ by nothing in any replicate; two that are alike by less than either scatters."""
    reference = Reference(real(0))
    one, again = (reference.replicated(made(0), np.arange(N))[1] for _ in range(2))
    other = reference.replicated(np.concatenate([made(0)[: N // 2], made(5)[N // 2 :]]), np.arange(N))[1]
    assert one == again
    assert np.std(np.subtract(one["coverage"], other["coverage"])) < 0.8 * np.std(one["coverage"])


def test_the_limit_of_copies_moves_with_the_held_out_images():
    held = np.arange(1.0, 101.0)
    reals = np.eye(100)[[10, 60]]  # all weight on one image
    fakes = np.full((2, 4), 0.25)
    assert replicates.below(fakes, np.array([5.0, 11.0, 30.0, 70.0]), reals, held, 0.05).tolist() == [0.5, 0.75]
