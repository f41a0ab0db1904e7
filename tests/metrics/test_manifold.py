import numpy as np
import pytest
import torch

from gssl.metrics import manifold, pairs
from gssl.metrics.manifold import density_coverage, precision_recall
from gssl.metrics.pairs import Features


def distances(x, y):
    return np.sqrt(np.square(x[:, None] - y[None]).sum(axis=-1))


def radii(x, k):
    others = distances(x, x)
    np.fill_diagonal(others, np.inf)
    return np.sort(others, axis=1)[:, k - 1]


def definition(real, fake, k_precision=3, k_coverage=5):
    between = distances(real, fake)
    inside = between < radii(real, k_coverage)[:, None]
    return (
        (between <= radii(real, k_precision)[:, None]).any(axis=0).mean(),
        (between <= radii(fake, k_precision)[None]).any(axis=1).mean(),
        inside.sum(axis=0).mean() / k_coverage,
        inside.any(axis=1).mean(),
    )


RNG = np.random.default_rng(0)
REAL, FAKE = RNG.standard_normal((150, 6)), 0.8 * RNG.standard_normal((110, 6)) + 0.2
CASES = {
    "random": (REAL, FAKE),
    "copies of real images": (REAL, REAL[:110]),
    "fakes twice": (REAL, np.tile(FAKE[:50], (2, 1))),
    "ten of them": (REAL, FAKE[np.arange(110) % 10]),
    "constant": (REAL, np.repeat(REAL[:1], 60, axis=0)),
    "a lattice, ties everywhere": (RNG.integers(0, 3, (120, 4)), RNG.integers(0, 3, (100, 4))),
    "axes around the origin": (np.vstack([np.zeros(6), np.eye(6)]), -np.eye(6)),
    "far from the origin": (REAL + 1000, FAKE + 1000),
}


@pytest.mark.parametrize("side", [7, 64, 1024])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_definition_whatever_the_tiles(monkeypatch, name, side):
    monkeypatch.setattr(pairs, "SIDE", side)
    real, fake = CASES[name]
    found = (*precision_recall(real, fake), *density_coverage(real, fake))
    assert found == pytest.approx(definition(real, fake), rel=1e-12)


@pytest.mark.parametrize("side", [7, 1024])
@pytest.mark.parametrize("name", ["a lattice, ties everywhere", "axes around the origin"])
def test_ties_stay_ties_when_numbers_are_rounded(monkeypatch, name, side):
    """Whole numbers are exact; turned and shrunk, equal distances differ in their last digits."""
    monkeypatch.setattr(pairs, "SIDE", side)
    real, fake = CASES[name]
    turn = 0.1 * np.linalg.qr(RNG.standard_normal((real.shape[1],) * 2))[0]
    found = (*precision_recall(real @ turn, fake @ turn), *density_coverage(real @ turn, fake @ turn))
    assert found == pytest.approx(definition(real, fake), rel=1e-12)


def test_agrees_with_torch_fidelity():
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    theirs = calculate_precision_recall_full(torch.from_numpy(FAKE), torch.from_numpy(REAL), 3)
    assert precision_recall(REAL, FAKE) == pytest.approx(theirs, rel=1e-6)
    swapped = calculate_precision_recall_full(torch.from_numpy(REAL), torch.from_numpy(FAKE), 3)
    assert theirs[0] != theirs[1] and precision_recall(FAKE, REAL) == pytest.approx(swapped, rel=1e-6)


def test_a_copy_of_the_real_images_has_density_and_coverage_one():
    assert density_coverage(REAL, REAL) == (1.0, 1.0)


def test_few_images_cut_k():
    assert precision_recall(REAL[:3], FAKE[:2], k=3) == precision_recall(REAL[:3], FAKE[:2], k=1)


@pytest.mark.parametrize("side", [7, 1024])
def test_passes_equal_their_definitions(monkeypatch, side):
    monkeypatch.setattr(pairs, "SIDE", side)
    x, y = Features(REAL.astype(np.float32)), Features(FAKE.astype(np.float32))
    a, b = (v.values.numpy().astype(np.float64) for v in (x, y))
    own = distances(a, a)
    kernel = (a @ a.T / 6 + 1) ** 3
    np.fill_diagonal(kernel, 0)
    found = pairs.within(x, 4)
    assert found.kernel == pytest.approx(kernel.sum(axis=1), rel=1e-12)
    assert found.distance == pytest.approx(own[~np.eye(len(a), dtype=bool)].mean(), rel=1e-12)
    assert np.sqrt(found.near) == pytest.approx(np.sort(own, axis=1)[:, 1:5], rel=1e-9)
    assert np.sqrt(pairs.nearest(x, y)) == pytest.approx(distances(a, b).min(axis=1), rel=1e-9)


def test_diversity():
    def diversity(real, fake):
        real, fake = Features(real), Features(fake)
        return manifold.diversity(real, fake, pairs.within(real, 3), pairs.within(fake, 3))

    assert diversity(REAL, 2 * REAL) == pytest.approx((2, 2))
    assert diversity(REAL, REAL[np.arange(150) % 10]).nearest == 0
    assert diversity(REAL, np.repeat(FAKE[:1], 50, axis=0)) == (0, 0)
    assert diversity(np.ones((9, 2)), FAKE[:, :2]) == (None, None)
    # the nearest of many is nearer than that of few: without equal numbers this would be about .6
    many = np.random.default_rng(1).standard_normal((1200, 6))
    assert diversity(REAL, many).nearest == pytest.approx(1, abs=0.12)
    assert diversity(many, REAL).nearest == pytest.approx(1, abs=0.12)
