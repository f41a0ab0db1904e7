from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from gssl.probe import fewshot
from gssl.probe.fewshot import FewShot
from gssl.probe.folds import Labelled, choice_folds

CFG = SimpleNamespace(scale=10.0)


def clouds(n: int, seed: int, classes: int = 4, d: int = 6) -> Labelled:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return Labelled((rng.standard_normal((n, d)) + 2 * np.eye(d)[y] + 3).astype(np.float32), y)


def transformed(x: np.ndarray, by: np.ndarray) -> np.ndarray:
    """CL2N: centred by the mean of `by`, unit length."""
    x = x.astype(np.float64) - by.astype(np.float64).mean(axis=0)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("n", [8, 20, 201])
@pytest.mark.parametrize("block", [1, 1 << 22])
def test_equals_scikit_learns_nearest_centroid(monkeypatch, n, block):
    monkeypatch.setattr(fewshot, "BLOCK", block)
    (x, y), query = clouds(n, 0), clouds(150, 1).x
    theirs = NearestCentroid().fit(transformed(x, x), y)
    fitted = FewShot(CFG).fit(x, y, 4, seed=0)
    predicted = fitted.predict(query)
    assert predicted.dtype == np.int64
    assert np.array_equal(predicted, theirs.predict(transformed(query, x)))
    assert np.allclose(fitted.centroids, theirs.centroids_, atol=1e-12)
    assert fitted.chosen == {}


def test_one_label_per_class_is_the_nearest_of_them():
    (x, y), query = clouds(4, 0), clouds(150, 1).x
    square = np.square(transformed(query, x)[:, None] - transformed(x, x)).sum(axis=2)
    assert np.array_equal(FewShot(CFG).fit(x, y, 4, seed=0).predict(query), y[square.argmin(axis=1)])


def test_probabilities_are_the_softmax_of_distances():
    (x, y), query = clouds(40, 0), clouds(30, 1).x
    fitted = FewShot(CFG).fit(x, y, 4, seed=0)
    square = np.square(transformed(query, x)[:, None] - fitted.centroids).sum(axis=2)
    wanted = np.exp(-10 * square)
    found = fitted.probabilities(query)
    assert np.allclose(found, wanted / wanted.sum(axis=1, keepdims=True), rtol=1e-9)
    assert np.array_equal(found.argmax(axis=1), fitted.predict(query))
    sharp = FewShot(SimpleNamespace(scale=1e6)).fit(x, y, 4, seed=0)
    assert np.array_equal(sharp.predict(query), fitted.predict(query)), "the scale decides nothing"


def test_turning_scaling_and_shifting_change_nothing():
    (x, y), query = clouds(20, 0), clouds(100, 1).x
    fitted = FewShot(CFG).fit(x, y, 4, seed=0)
    turn, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))
    for matrix, shift in ((turn, 0), (np.eye(6) * 1e-3, 0), (np.eye(6), 40)):
        other = FewShot(CFG).fit(x @ matrix + shift, y, 4, seed=0)
        assert np.allclose(other.probabilities(query @ matrix + shift), fitted.probabilities(query), atol=1e-9)
        assert other.val_accuracy == fitted.val_accuracy


def test_classes_without_a_label_are_never_predicted():
    x, y = clouds(40, 0)
    kept = np.isin(y, [1, 3])
    fitted = FewShot(CFG).fit(x[kept], y[kept], 6, seed=0)
    found = fitted.probabilities(x)
    assert found.shape == (40, 6) and np.allclose(found.sum(axis=1), 1)
    assert (found[:, [0, 2, 4, 5]] == 0).all() and (found[:, [1, 3]] > 0).all()
    assert set(fitted.predict(x).tolist()) == {1, 3}
    alone = FewShot(CFG).fit(x[:1], np.array([2]), 4, seed=0)
    assert set(alone.predict(x).tolist()) == {2} and alone.val_accuracy is None


def test_validation_is_on_the_folds():
    x, y = clouds(60, 0)
    folds = choice_folds(y, 5)
    assert len(folds) == 3
    right = [
        NearestCentroid().fit(transformed(x[fit], x[fit]), y[fit]).predict(transformed(x[val], x[fit])) == y[val]
        for fit, val in folds
    ]
    assert FewShot(CFG).fit(x, y, 4, seed=5).val_accuracy == pytest.approx(np.concatenate(right).mean())
    assert FewShot(CFG).fit(x[:4], y[:4], 4, seed=5).val_accuracy is None


def test_extra_counts_as_labelled_in_the_folds_too_and_is_not_judged():
    real, extra, query = clouds(24, 0), clouds(200, 1), clouds(50, 2).x
    both = FewShot(CFG).fit(np.concatenate([real.x, extra.x]), np.concatenate([real.y, extra.y]), 4, 0)
    found = FewShot(CFG).fit(*real, 4, 0, extra)
    assert np.allclose(found.probabilities(query), both.probabilities(query), atol=1e-12)
    assert found.val_accuracy > 0.6
    assert FewShot(CFG).fit(*real, 4, 0, Labelled(extra.x, (extra.y + 1) % 4)).val_accuracy < 0.4


def test_features_of_zeros_are_no_error():
    x = np.zeros((8, 3), dtype=np.float32)
    fitted = FewShot(CFG).fit(x, np.arange(8) % 2, 2, seed=0)
    assert fitted.predict(x).tolist() == [0] * 8 and np.allclose(fitted.probabilities(x), 0.5)
