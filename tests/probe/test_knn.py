import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gssl.probe import knn
from gssl.probe.folds import choice_folds
from gssl.probe.knn import Knn

CFG = SimpleNamespace(k=20, temperature=0.07)


def brute_force(x, y, queries, n_classes, k, temperature):
    """The definition, one query at a time: classes, and shares of the votes."""
    classes, shares = [], []
    x, queries = x.astype(np.float64), queries.astype(np.float64)
    length = np.sqrt((x**2).sum(axis=1))
    for q in queries:
        s = [float(np.dot(q, r)) / (np.linalg.norm(q) * n) for r, n in zip(x, length, strict=True)]
        nearest = sorted(range(len(x)), key=lambda i: (-round(s[i], 11), i))[:k]
        votes = [sum(np.exp(s[i] / temperature) for i in nearest if y[i] == c) for c in range(n_classes)]
        classes.append(next(c for c in range(n_classes) if votes[c] >= max(votes) * (1 - 1e-12)))
        shares.append(np.array(votes) / sum(votes))
    return np.array(classes), np.array(shares)


def check(fitted, x, y, queries, n_classes, k, temperature):
    classes, shares = brute_force(x, y, queries, n_classes, k, temperature)
    predicted, found = fitted.predict(queries), fitted.probabilities(queries)
    assert predicted.dtype == np.int64 and found.dtype == np.float64
    assert np.array_equal(predicted, classes)
    np.testing.assert_allclose(found, shares, rtol=1e-8, atol=1e-12)
    assert np.array_equal(found.argmax(axis=1), classes)
    np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize(("n", "k", "temperature"), [(300, 20, 0.07), (300, 1, 0.07), (15, 20, 0.07), (80, 7, 1.0)])
@pytest.mark.parametrize(("block", "many"), [(1, 4096), (1 << 24, 4096), (8000, 0)])
def test_equals_brute_force(monkeypatch, n, k, temperature, block, many):
    monkeypatch.setattr(knn, "BLOCK", block)
    monkeypatch.setattr(knn, "MANY", many)
    rng = np.random.default_rng(n + k)
    x, queries = (rng.standard_normal((m, 6)).astype(np.float32) for m in (n, 100))
    y = rng.integers(0, 4, n)
    fitted = Knn(SimpleNamespace(k=k, temperature=temperature)).fit(x, y, 4, seed=0)
    assert fitted.chosen == {"k": min(k, n)}
    check(fitted, x, y, queries, 4, min(k, n), temperature)


def test_equals_brute_force_among_many_with_ties():
    """Among so many that float32 proposes, half of them copies of few: k-th places and votes are often shared."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((knn.MANY + 500, 24)).astype(np.float32)
    copies = rng.choice(len(x), len(x) // 2, replace=False)
    x[copies] = x[rng.integers(0, 40, len(copies))] * rng.choice([1, 2], (len(copies), 1))
    y = rng.integers(0, 7, len(x))
    queries = np.concatenate([x[copies[:15]], rng.standard_normal((15, 24)).astype(np.float32)])
    fitted = Knn(CFG).fit(x, y, 7, seed=0)
    check(fitted, x, y, queries, 7, 20, 0.07)
    for index in (None, np.sort(rng.permutation(len(x))[: knn.MANY + 50])):
        bank, q = knn.Units(x, index), knn.Units(queries)[:]
        few, many = knn.nearest(q, bank, 20), knn.nearest_of_many(q, bank, bank.single(), 20)
        assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=True))


def test_votes_of_a_small_temperature_are_finite():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 3)).astype(np.float32), np.arange(50) % 2
    fitted = Knn(SimpleNamespace(k=5, temperature=1e-3)).fit(x, y, 2, seed=0)
    assert np.array_equal(fitted.predict(x), y)
    assert np.isfinite(fitted.probabilities(x)).all()


def test_features_are_not_copied(monkeypatch):
    monkeypatch.setattr(knn, "BLOCK", 1 << 18)
    x = np.random.default_rng(0).standard_normal((20_000, 32)).astype(np.float32)
    y = np.arange(len(x)) % 10
    tracemalloc.start()
    try:
        Knn(CFG).fit(x, y, 10, seed=0).predict(x[:200])
        peak = tracemalloc.get_traced_memory()[1]  # NumPy's; the unit rows in float32 are torch's
    finally:
        tracemalloc.stop()
    assert peak < 0.7 * x.nbytes


@pytest.mark.parametrize("many", [0, 4096])
def test_equal_neighbours_by_index_and_equal_votes_by_class(monkeypatch, many):
    monkeypatch.setattr(knn, "MANY", many)
    rng = np.random.default_rng(0)
    # few directions, many copies: most k-th places are shared, most votes are tied
    x = rng.integers(0, 2, (200, 3)).astype(np.float32) + np.float32([1, 0, 0])
    y = rng.integers(0, 3, 200)
    for k in (1, 2, 5, 20):
        fitted = Knn(SimpleNamespace(k=k, temperature=0.07)).fit(x, y, 3, seed=0)
        check(fitted, x, y, x[:40], 3, k, 0.07)
    pair = Knn(SimpleNamespace(k=2, temperature=0.07)).fit(x[[0, 0]], np.array([2, 1]), 3, seed=0)
    assert pair.predict(x[:1]).tolist() == [1]


def test_single_precision_only_proposes(monkeypatch):
    """Directions closer to each other than float32 can tell apart, in an order that rounding would upset."""
    rng = np.random.default_rng(0)
    angle = rng.permutation(np.linspace(0, 1e-5, 300))
    bank = torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    query = torch.tensor([[np.cos(1.0), np.sin(1.0)]], dtype=torch.float64)
    close = knn.Units(bank.numpy())
    proposed = knn.nearest_of_many(query, close, close.single(), 20)
    assert proposed[1][0].tolist() == np.argsort(-angle)[:20].tolist()
    asked = []
    monkeypatch.setattr(knn, "nearest", lambda q, *_: asked.append(len(q)) or proposed)
    spread = knn.Units(rng.standard_normal((300, 8)).astype(np.float32))
    knn.nearest_of_many(spread[:50], spread, spread.single(), 20)
    assert asked == [], "where float32 suffices nothing is done twice"


def test_validation_is_on_the_folds():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 240)
    x = (rng.standard_normal((3, 5))[y] + rng.standard_normal((240, 5))).astype(np.float32)
    ((fit, val),) = choice_folds(y, 5)
    expected = (brute_force(x[fit], y[fit], x[val], 3, 20, 0.07)[0] == y[val]).mean()
    assert Knn(CFG).fit(x, y, 3, seed=5).val_accuracy == pytest.approx(expected)
    assert Knn(CFG).fit(x[:3], np.arange(3), 3, seed=5).val_accuracy is None


def test_features_of_zeros_are_no_error():
    x = np.zeros((4, 3), dtype=np.float32)
    assert Knn(CFG).fit(x, np.array([0, 0, 1, 1]), 2, seed=0).predict(x).tolist() == [0] * 4
