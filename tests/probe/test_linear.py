import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from gssl.probe import linear
from gssl.probe.folds import choice_folds
from gssl.probe.linear import WIDE, Axes, FittedLinear, Linear, Rows
from gssl.probe.stacked import Stack


def config(low=1e-6, high=1e2, count=9, one_shot=1.0):
    return SimpleNamespace(l2_low=low, l2_high=high, l2_count=count, l2_one_shot=one_shot, max_iter=2000)


def features(n, d, classes=5, spread=1.0, seed=0):
    """Correlated, skewed, unequally scaled features as networks give them, and their labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    y[: 2 * classes] = np.repeat(np.arange(classes), 2)
    mix = rng.standard_normal((d, d)) * np.exp(-4 * np.arange(d) / d)[:, None]
    x = (rng.standard_normal((classes, d))[y] * spread + rng.standard_normal((n, d))) @ mix
    return (np.maximum(x, 0) * np.geomspace(0.01, 100, d) + 3).astype(np.float32), y


def objective(x, y, weight, bias, l2):
    scores = x @ weight.T + bias
    top = scores.max(axis=1)
    entropy = np.log(np.exp(scores - top[:, None]).sum(axis=1)) + top - scores[np.arange(len(y)), y]
    return entropy.mean() + l2 / 2 * np.square(weight).sum()


@pytest.fixture
def as_if_large(monkeypatch):
    """Every size is held in float32, read in blocks and refined."""
    for name, value in {"SMALL": 0, "HELD": 0, "BLOCK": 1000, "LARGE": 0}.items():
        monkeypatch.setattr(linear, name, value)


@pytest.mark.parametrize(("n", "d"), [(400, 30), (40, 90), (60, 60)])
@pytest.mark.parametrize("l2", [1e-5, 1e-3, 1e-1, 10.0])
@pytest.mark.parametrize("large", [False, True])
def test_reaches_the_optimum_of_scikit_learn(request, n, d, l2, large):
    if large:
        request.getfixturevalue("as_if_large")
    x, y = features(n, d, spread=0.3)
    fitted = Linear(config(l2, l2, 1)).fit(x, y, 5, seed=0)
    scaler = StandardScaler().fit(x.astype(np.float64))
    z = scaler.transform(x.astype(np.float64))
    theirs = LogisticRegression(C=1 / (n * l2), tol=1e-9, max_iter=20000).fit(z, y)
    best = objective(z, y, theirs.coef_, theirs.intercept_, l2)
    weight = fitted.weight * scaler.scale_
    ours = objective(z, y, weight, fitted.bias + fitted.weight @ scaler.mean_, l2)
    assert fitted.converged
    assert fitted.chosen == {"l2": l2}
    assert ours == pytest.approx(fitted.objective, rel=1e-6 if large else 1e-9)
    assert ours <= best * (1 + 1e-6)

    queries, _ = features(10_000, d, spread=0.3, seed=1)
    z = scaler.transform(queries.astype(np.float64))
    assert (fitted.predict(queries) != theirs.predict(z)).sum() <= 3
    np.testing.assert_allclose(fitted.probabilities(queries), theirs.predict_proba(z), atol=1e-2 if l2 < 1e-4 else 1e-4)
    assert np.array_equal(fitted.probabilities(queries).argmax(axis=1), fitted.predict(queries))


def test_probabilities_name_all_classes_and_decide_ties():
    weight, classes = np.zeros((3, 2)), np.array([1, 2, 4])
    fitted = FittedLinear(weight, np.array([0.0, 0.0, 2.0**-54]), classes, 6, {}, None, 0.0, True, [])
    x = np.zeros((3, 2), dtype=np.float32)
    assert fitted.probabilities(x).tolist() == [[0, 1 / 3, 1 / 3, 0, 1 / 3, 0]] * 3
    assert fitted.predict(x).tolist() == [1] * 3


def test_features_are_held_once_more_at_the_most(monkeypatch):
    for name, value in {"SMALL": 0, "HELD": 0, "BLOCK": 1 << 14}.items():
        monkeypatch.setattr(linear, name, value)
    x, y = features(20_000, 64, spread=0.3)
    tracemalloc.start()
    try:
        Linear(config(1e-2, 1e-2, 1)).fit(x, y, 5, seed=0).predict(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.8 * x.nbytes  # beside the features themselves


def test_chosen_on_the_folds_with_ties_to_the_lower_cross_entropy():
    x, y = features(90, 20, spread=0.25)
    fitted = Linear(config(count=5)).fit(x, y, 5, seed=3)
    grid = [1e2, 1.0, 1e-2, 1e-4, 1e-6]
    folds = choice_folds(y, 3)
    correct, entropy = dict.fromkeys(grid, 0), dict.fromkeys(grid, 0.0)
    for fit, val in folds:
        scaler = StandardScaler().fit(x[fit].astype(np.float64))
        for l2 in grid:
            model = LogisticRegression(C=1 / (len(fit) * l2), tol=1e-8, max_iter=20000)
            model.fit(scaler.transform(x[fit].astype(np.float64)), y[fit])
            shown = model.predict_proba(scaler.transform(x[val].astype(np.float64)))
            correct[l2] += (shown.argmax(1) == y[val]).sum()
            entropy[l2] -= np.log(shown[np.arange(len(val)), y[val]]).sum()
    best = max(grid, key=lambda l2: (correct[l2], -entropy[l2]))
    assert len(set(correct.values())) > 1, "the case decides nothing"
    assert fitted.chosen["l2"] == best
    assert fitted.val_accuracy == pytest.approx(correct[best] / sum(len(val) for _, val in folds))

    blobs, y = features(60, 10, classes=2, spread=50.0)  # every λ is right everywhere: the surest one is taken
    assert Linear(config(1e-6, 1e-2, 5)).fit(blobs, y, 2, seed=0).chosen["l2"] == 1e-6


@pytest.mark.parametrize("together", [True, False])
def test_validation_rows_do_not_reach_the_fit(monkeypatch, together):
    """Absurd validation rows may change what is measured on them, never mean, scale, axes or weights."""
    x, y = features(100, 12)
    fit, val = choice_folds(y, 0)[0]
    seen = []
    solve, solve_all = linear.solve, Stack.solve

    def spy(z, *args):
        seen.append((z.copy(), solve(z, *args)[0]))
        return solve(z, *args)

    def spy_all(stack, *args):
        found = solve_all(stack, *args)
        seen.append((stack.z[0, :-1, stack.weights[0] > 0].T, found[0][0]))
        return found

    monkeypatch.setattr(linear, "solve", spy)
    monkeypatch.setattr(Stack, "solve", spy_all)
    if not together:
        monkeypatch.setattr(linear, "STACKED", 0)
    poisoned = x.copy()
    poisoned[val] = 1e6
    runs = []
    for data in (x, poisoned):
        seen.clear()
        Linear(config(count=3)).fit(data, y, 5, seed=0)
        runs.append(list(seen))
    for (z, w), (z_poisoned, w_poisoned) in zip(runs[0][:3], runs[1][:3], strict=True):
        assert z.shape[1] == len(fit)
        assert np.array_equal(z, z_poisoned)
        assert np.array_equal(w, w_poisoned)
    assert not np.array_equal(runs[0][-1][0], runs[1][-1][0]), "the refit sees everything"


def test_one_shot_takes_the_given_value():
    x, _ = features(20, 8)
    fitted = Linear(config(one_shot=0.01)).fit(x[:5], np.arange(5), 5, seed=0)
    assert fitted.chosen == {"l2": 0.01}
    assert fitted.val_accuracy is None
    assert fitted.predict(x[:5]).tolist() == list(range(5))


def test_single_precision_chooses_and_ends_alike(monkeypatch):
    x, y = features(500, 40, spread=0.2)
    double = Linear(config()).fit(x, y, 5, seed=0)
    monkeypatch.setattr(linear, "SMALL", 0)
    monkeypatch.setattr(linear, "HELD", 0)
    single = Linear(config()).fit(x, y, 5, seed=0)
    assert abs(double.val_accuracy - single.val_accuracy) <= 2 / 50
    if single.chosen == double.chosen:
        assert single.objective == pytest.approx(double.objective, rel=1e-6)


def test_blocks_and_large_products_change_nothing(monkeypatch):
    x, y = features(150, 20)
    plain = Linear(config(count=3)).fit(x, y, 5, seed=0)
    for name, value in {"BLOCK": 64, "LARGE": 0, "LARGE_FACTOR": 0}.items():
        monkeypatch.setattr(linear, name, value)
    blocked = Linear(config(count=3)).fit(x, y, 5, seed=0)
    assert blocked.objective == pytest.approx(plain.objective, rel=1e-6)
    assert np.array_equal(blocked.predict(x), plain.predict(x))


def test_dead_features_missing_classes_and_one_class():
    x, y = features(80, 6, classes=3, spread=5.0)
    x[:, 2] = 7.7
    y = np.array([0, 4, 6])[y]
    fitted = Linear(config()).fit(x, y, 8, seed=0)
    assert np.isfinite(fitted.weight).all()
    assert np.abs(fitted.weight[:, 2]).max() < 1e-6 * np.abs(fitted.weight).max()
    assert set(fitted.predict(x)) <= {0, 4, 6}
    assert (fitted.predict(x) == y).mean() > 0.8
    only = Linear(config()).fit(x, np.full(80, 4), 8, seed=0)
    assert set(only.predict(x)) == {4}
    single = Linear(config()).fit(x[:1], np.array([2]), 8, seed=0)
    assert single.predict(x[:3]).tolist() == [2, 2, 2]


def test_rotated_axes_lose_nothing():
    for n, d, weak in [(30, 8, 1.0), (8, 30, 1.0), (8, WIDE, 1.0), (8, WIDE, 1e-5)]:
        x, _ = features(n, d, classes=3)
        if weak < 1:  # rows that differ by next to nothing: too little to be left of squares
            x = np.random.default_rng(0).standard_normal((n, d)).astype(np.float32)
            x[1] = x[0] + weak * (x[1] - x[0])
        axes = Axes.of(Rows(x), np.float64)
        z = StandardScaler().fit_transform(x.astype(np.float64))
        # n centred rows span n - 1 dimensions
        assert axes.z.shape == (n - 1 if d == WIDE and weak == 1 else min(n, d), n)
        assert np.allclose(axes.z.T @ axes.z, z @ z.T)  # all distances and angles
        off = axes.z @ axes.z.T
        assert np.allclose(off, np.diag(np.diag(off)), atol=1e-8 * off.max())
        assert np.allclose(axes.rotate(Rows(x)), axes.z)
        w = np.random.default_rng(0).standard_normal((3, len(axes.z) + 1))
        assert np.allclose(axes.inward(*axes.outward(w)), w)
