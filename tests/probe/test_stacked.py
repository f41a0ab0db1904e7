import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from gssl.probe import linear, stacked
from gssl.probe.linear import Linear
from gssl.probe.stacked import Stack
from tests.probe.test_linear import config, features


def fits(sizes, classes=4):
    """Features (r, n) of different shapes on their principal axes, and labels."""
    zs, ys = [], []
    for seed, (r, n) in enumerate(sizes):
        x, y = features(n, r, classes, spread=0.3, seed=seed)
        x = x.astype(np.float64)
        x = (x - x.mean(0)) / x.std(0)
        zs.append((x @ np.linalg.eigh(x.T @ x)[1]).T)
        ys.append(y)
    return zs, ys


@pytest.mark.parametrize("l2", [1e-5, 1e-3, 1e-1, 10.0])
def test_every_fit_of_a_stack_reaches_scikit_learns_optimum(l2):
    zs, ys = fits([(10, 50), (12, 47), (30, 20)])
    stack = Stack(zs, ys, 4)
    found, values, converged = stack.solve(l2, stack.start, 5000, stacked.FINAL)
    assert converged
    assert np.allclose(values, stack.objective(found, l2))
    for fit, (z, y) in enumerate(zip(zs, ys, strict=True)):
        w = stack.own(found[fit], fit)
        assert w.shape == (4, len(z) + 1)
        theirs = LogisticRegression(C=1 / (len(y) * l2), tol=1e-10, max_iter=50_000).fit(z.T, y)
        scores = np.exp(w[:, :-1] @ z + w[:, -1:])
        np.testing.assert_allclose((scores / scores.sum(axis=0)).T, theirs.predict_proba(z.T), atol=1e-4)


def test_the_others_of_a_stack_change_nothing():
    zs, ys = fits([(10, 50), (12, 47)])
    both, alone = Stack(zs, ys, 4), Stack(zs[:1], ys[:1], 4)
    one, _, _ = both.solve(1e-2, both.start, 5000, stacked.FINAL)
    other, _, _ = alone.solve(1e-2, alone.start, 5000, stacked.FINAL)
    np.testing.assert_allclose(both.own(one[0], 0), other[0], atol=1e-6)


def test_a_path_is_as_exact_as_it_says():
    stack = Stack(*fits([(20, 60), (20, 60)]), 4)
    grid = list(np.geomspace(1e2, 1e-6, 9))
    for l2, w in zip(grid, stack.path(grid, 1000), strict=True):
        _, best, _ = stack.solve(l2, w, 5000, stacked.FINAL)
        assert (stack.objective(w, l2) <= best * (1 + 1e-3)).all()


def test_too_few_iterations_are_said():
    stack = Stack(*fits([(20, 60)]), 4)
    assert not stack.solve(1e-5, stack.start, 3, stacked.FINAL)[2]


def test_together_and_in_turn_agree(monkeypatch):
    for n, d, seed in [(60, 40, 0), (60, 140, 1), (90, 20, 2), (60, 140, 3)]:
        x, y = features(n, d, spread=0.3, seed=seed)
        together = Linear(config(low=1e-3)).fit(x, y, 5, seed)
        with monkeypatch.context() as patch:
            patch.setattr(linear, "STACKED", 0)
            in_turn = Linear(config(low=1e-3)).fit(x, y, 5, seed)
        assert together.chosen == in_turn.chosen
        assert together.val_accuracy == in_turn.val_accuracy
        assert together.objective == pytest.approx(in_turn.objective, rel=1e-9)
        np.testing.assert_allclose(together.probabilities(x), in_turn.probabilities(x), atol=1e-3)


def test_where_the_folds_mislead_the_start_is_another():
    """Separable classes and a tiny λ: what one fold is certain of is wrong on others, with an objective of many."""
    x, y = features(100, 300, spread=0.3)
    fitted = Linear(config(1e-6, 1e-6, 1)).fit(x, y, 5, seed=0)
    assert fitted.converged
    assert fitted.objective < 1e-3
    assert (fitted.predict(x) == y).all()
