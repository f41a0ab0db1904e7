"""Units: what single answers give the metric, against resampling of items and of groups."""

import numpy as np
import pytest

from gssl.report.scores import Predictions, mean_over_draws, read_predictions
from gssl.statistics.items import units, weights
from gssl.statistics.two_way import two_way


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def answers(labels, groups=None) -> Predictions:
    labels = np.asarray(labels)
    return Predictions(labels, np.zeros((0, len(labels)), bool), groups)


def unequal(n: int = 200, seed: int = 0) -> tuple[Predictions, np.ndarray]:
    """90/10 classes, the small one is harder: (seeds, n) answers of three seeds."""
    labels = (np.arange(n) % 10 == 0).astype(int)
    draw = rng(seed)
    return answers(labels), (draw.random((3, n)) < np.where(labels, 0.5, 0.9)).astype(float)


def balanced(right: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([right[..., labels == k].mean() for k in np.unique(labels)]))


def test_weights_are_those_of_the_metric() -> None:
    items, right = unequal()
    for metric, value in (("accuracy", right.mean()), ("balanced_accuracy", balanced(right, items.labels))):
        assert weights(items.labels, metric).sum() == pytest.approx(1)
        assert float((right @ weights(items.labels, metric)).mean()) == pytest.approx(value)
        for groups in (None, np.arange(200) // 7):
            found = units(list(right), items.labels, groups, metric)
            assert found.mean() == pytest.approx(value)
            assert found.shape == (3, 200 if groups is None else 29)


def test_the_rows_of_units_have_the_seeds_metric_as_their_means() -> None:
    items, right = unequal()
    for groups in (None, rng(1).integers(0, 12, 200)):
        found = units(list(right), items.labels, groups, "balanced_accuracy")
        each = [balanced(row, items.labels) for row in right]
        assert found.mean(axis=1) == pytest.approx(each)


def test_plain_accuracy_of_single_items_are_the_answers_themselves() -> None:
    items, right = unequal()
    assert (units(list(right), items.labels, items.groups, "accuracy") == right).all()


def test_balanced_accuracys_variance_is_the_jackknifes_and_the_bootstraps() -> None:
    items, right = unequal(400)
    one, labels, n = right[0], items.labels, 400
    found = two_way(units([one], items.labels, items.groups, "balanced_accuracy"), width=0.0).from_items
    left = np.array([balanced(np.delete(one, i), np.delete(labels, i)) for i in range(n)])
    jackknife = (n - 1) / n * ((left - left.mean()) ** 2).sum()
    draw, resampled = rng(2), []
    for _ in range(2000):  # within classes, whose sizes are taken as fixed
        at = np.concatenate([draw.choice(np.flatnonzero(labels == k), (labels == k).sum()) for k in (0, 1)])
        resampled.append(balanced(one[at], labels[at]))
    assert found == pytest.approx(jackknife, rel=0.05)
    assert found == pytest.approx(np.var(resampled), rel=0.15)
    assert found > 2 * two_way(units([one], items.labels, items.groups, "accuracy"), width=0.0).from_items


def test_groups_give_the_cluster_robust_variance_of_the_mean() -> None:
    """Σ over groups of (sum of deviations)², over n², with the factor G / (G − 1) (Liang & Zeger)."""
    draw = rng(3)
    groups = np.repeat(np.arange(25), draw.integers(1, 12, 25))
    n = len(groups)
    right = (draw.random(n) < np.repeat(draw.random(25), np.bincount(groups))).astype(float)
    items = answers(draw.integers(0, 3, n), draw.permutation(25)[groups] * 7)  # names of groups do not matter
    found = two_way(units([right], items.labels, items.groups, "accuracy"), width=0.0).from_items
    sums = np.bincount(groups, right - right.mean())
    assert found == pytest.approx(25 / 24 * (sums**2).sum() / n**2)
    single = two_way(units([right], items.labels, None, "accuracy"), width=0.0).from_items
    assert found > 1.5 * single


def test_copies_of_an_item_in_a_group_add_nothing() -> None:
    items, right = unequal()
    groups = np.arange(200)
    twice = Predictions(np.repeat(items.labels, 2), np.zeros((0, 400), bool), np.repeat(groups, 2))
    one = two_way(units(list(right), items.labels, items.groups, "accuracy")).variance
    two = two_way(units(list(np.repeat(right, 2, axis=1)), twice.labels, twice.groups, "accuracy")).variance
    assert two == pytest.approx(one)


def test_a_share_of_draws_is_the_mean_of_the_draws() -> None:
    right = rng(4).random((5, 30)) < 0.5
    assert mean_over_draws(right) == pytest.approx(right.mean(axis=0))


def test_the_same_items_are_told_from_others() -> None:
    one = answers([0, 1, 1], np.array([0, 0, 1]))
    assert one.same_items(answers([0, 1, 1])) and one.same_items(one)
    assert not one.same_items(answers([0, 1, 1], np.array([0, 1, 1])))
    assert not one.same_items(answers([1, 0, 1])) and not one.same_items(answers([0, 1]))


def test_answers_are_read_from_predictions_or_not_at_all(tmp_path) -> None:
    assert read_predictions(tmp_path) is None
    np.savez(tmp_path / "predictions.npz", labels=np.array([0, 1, 2]), guess=np.array([[0, 1, 1], [0, 0, 2]]))
    found = read_predictions(tmp_path)
    assert found and found.right.tolist() == [[True, True, False], [True, False, True]] and found.groups is None
    (tmp_path / "predictions.npz").write_bytes(b"PK\x03\x04 torn")
    assert read_predictions(tmp_path) is None
