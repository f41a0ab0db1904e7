import numpy as np
import pytest

from gssl.metrics import kid as module
from gssl.metrics import pairs
from gssl.metrics.kid import kid


def definition(x, y):
    """Unbiased MMD², pair by pair."""
    d = x.shape[1]

    def k(a, b):
        return (float(a @ b) / d + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize("side", [1, 7, 1024])
def test_equals_the_definition(monkeypatch, side):
    monkeypatch.setattr(pairs, "SIDE", side)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 7)), rng.standard_normal((33, 7)) + 0.5
    indices = [(rng.choice(40, 12, replace=False), rng.choice(33, 12, replace=False)) for _ in range(5)]
    result = kid(x, y, indices=indices)
    values = [definition(x[i], y[j]) for i, j in indices]
    assert result.mean == pytest.approx(np.mean(values), rel=1e-9)
    assert result.std == pytest.approx(np.std(values), rel=1e-9)
    assert result.mmd2 == pytest.approx(definition(x, y), rel=1e-9)
    assert (result.subsets, result.subset_size) == (5, 12)


def test_subset_is_cut_to_the_smaller_side():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((30, 3))
    assert kid(x, y).subset_size == 20
    whole = kid(x, y[:20])
    assert (whole.mean, whole.std, whole.subsets) == (whole.mmd2, 0, 1)


@pytest.mark.long
def test_unbiased():
    """Over many pairs of samples of one distribution the mean is 0 within its error; a biased one is not."""
    rng = np.random.default_rng(0)
    values = [module._mmd2(*rng.standard_normal((2, 25, 4)))[0] for _ in range(500)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    # The diagonal, E (|x|²/d + 1)³ = 13 for d = 4, against 1.75 elsewhere, would add this:
    assert 20 * error < 2 * (13 - 1.75) / 25


def test_orders_noise_and_its_seed_fixes_it():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 300, 8))
    levels = [kid(x, y + s * rng.standard_normal(y.shape), 10, 100).mean for s in (0.0, 0.5, 1.0, 2.0)]
    assert levels == sorted(levels)
    assert kid(x, y, 3, 100, seed=1) == kid(x, y, 3, 100, seed=1)
    assert kid(x, y, 3, 100, seed=1).mean != kid(x, y, 3, 100, seed=2).mean


@pytest.mark.long
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_interval_holds_the_truth(shift):
    d, rng = 6, np.random.default_rng(1)
    truth = (
        0.0 if shift == 0 else module._mmd2(rng.standard_normal((4000, d)), rng.standard_normal((4000, d)) + shift)[0]
    )
    hits = 0
    for _ in range(60):
        result = kid(rng.standard_normal((60, d)), rng.standard_normal((60, d)) + shift, subsets=1)
        hits += result.low <= truth <= result.high
    assert hits >= 52  # of 57 expected


@pytest.mark.long
def test_against_torchmetrics():
    import torch
    from torchmetrics.image import kid as image

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 16)), rng.standard_normal((50, 16)) + 0.2
    theirs = image.poly_mmd(torch.from_numpy(x), torch.from_numpy(y))
    assert kid(x, y).mmd2 == pytest.approx(float(theirs), rel=1e-6)


def test_against_torch_fidelity_on_the_same_subsets():
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((90, 16)), rng.standard_normal((70, 16)) + 0.2
    options = {"kid_subsets": 7, "kid_subset_size": 40, "rng_seed": 5, "verbose": False}
    theirs = kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), **options)
    draws = np.random.RandomState(5)
    indices = [(draws.choice(90, 40, replace=False), draws.choice(70, 40, replace=False)) for _ in range(7)]
    found = kid(x, y, indices=indices)
    assert found.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)
    assert found.std == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-6)


def test_without_subsets_the_headline_is_the_same():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 8)), rng.standard_normal((60, 8))
    alone, whole = kid(x, y, subsets=0), kid(x, y)
    assert alone[2:5] == whole[2:5] and (alone.mean, alone.subsets) == (whole.mmd2, 0)
