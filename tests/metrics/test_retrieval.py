"""Ranks and recalls against sorting by hand; ties count against; intervals are over groups."""

import itertools

import numpy as np
import pytest

from gssl.metrics import retrieval


def by_sorting(scores: np.ndarray, true: np.ndarray) -> list[int]:
    """The place of the first true one where, among equal scores, others stand first."""
    found = []
    for row, own in zip(scores.tolist(), true.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda j: (-row[j], own[j]))
        first = next(place for place, j in enumerate(order) if own[j])
        found.append(1 + first)
    return found


def test_ranks_are_places_in_the_sorted_list():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, (200, 9)).astype(np.float32)  # many ties
    true = rng.random((200, 9)) < 0.25
    true[np.arange(200), rng.integers(0, 9, 200)] = True
    assert retrieval.ranks(scores, true).tolist() == by_sorting(scores, true)


def test_a_row_of_equal_scores_is_found_last():
    true = np.eye(5, dtype=bool)
    assert retrieval.ranks(np.zeros((5, 5)), true).tolist() == [5] * 5
    assert retrieval.ranks(np.eye(5), true).tolist() == [1] * 5


def test_chance_is_what_random_orders_reach():
    count, pool = np.array([1, 3, 2]), 12
    found = retrieval.chance(count, pool)
    rng = np.random.default_rng(0)
    reached = []
    for m in count.tolist():
        places = np.array([rng.permutation(pool)[:m].min() + 1 for _ in range(20_000)])
        reached.append([(places <= k).mean() for k in retrieval.RECALLS])
    for k, value in zip(retrieval.RECALLS, np.mean(reached, axis=0), strict=True):
        assert found[f"r{k}"]["value"] == pytest.approx(value, abs=0.006)
    assert retrieval.chance(np.array([1]), 4)["r5"]["value"] == 1.0  # no more than there are


def test_recalls_count_queries_and_differences_are_paired():
    own, other = np.array([1, 2, 6, 11, 1, 30]), np.array([2, 2, 5, 12, 9, 40])
    first, second = retrieval.recalls({"a": own, "b": other}, np.arange(6))
    assert [first[f"r{k}"]["value"] for k in (1, 5, 10)] == pytest.approx([2 / 6, 3 / 6, 4 / 6])
    assert first["median"]["value"] == 4.0 and "gain" not in first
    assert second["gain"]["r1"]["value"] == pytest.approx(2 / 6)
    # the same ranks at 10, query by query: no resample can show a difference
    assert second["gain"]["r10"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert first["r10"]["low"] < 4 / 6 < first["r10"]["high"]


def test_resamples_are_those_of_whole_groups():
    """Mean and deviation over the 27 equally likely draws of three groups, by hand."""
    own, units = np.array([1, 1, 1, 50, 50, 2]), np.array([0, 0, 0, 1, 1, 2])
    hits, sizes = [3, 0, 0], [3, 2, 1]
    draws = itertools.product(range(3), repeat=3)
    values = [sum(hits[g] for g in drawn) / sum(sizes[g] for g in drawn) for drawn in draws]
    weights = retrieval.resampled(units)
    found = weights @ (own <= 1) / weights.sum(1)
    assert found.mean() == pytest.approx(np.mean(values), abs=0.04)
    assert found.std() == pytest.approx(np.std(values), abs=0.02)
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 3] == weights[:, 4]).all()
    row, alone = (retrieval.recalls({"a": own}, of)[0]["r1"] for of in (units, np.arange(6)))
    assert alone["high"] - alone["low"] < row["high"] - row["low"]


def test_medians_of_resamples_are_ranks_that_are_there():
    own = np.array([1, 3, 5, 7, 9])
    weights = np.array([[1, 1, 1, 1, 1], [5, 0, 0, 0, 0], [0, 0, 0, 2, 3]], np.float32)
    assert retrieval._medians(own, weights).tolist() == [5, 1, 9]


def test_accuracies_are_those_of_sklearn():
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    rng = np.random.default_rng(0)
    labels, given = rng.integers(0, 3, 90), rng.integers(0, 3, 90)
    labels[labels == 2] = rng.integers(0, 3, (labels == 2).sum())
    right = {"a": given == labels, "b": np.zeros(90, bool)}
    first, second = retrieval.accuracies(right, labels, np.arange(90) // 3)
    assert first["accuracy"]["value"] == pytest.approx(accuracy_score(labels, given))
    assert first["balanced"]["value"] == pytest.approx(balanced_accuracy_score(labels, given))
    assert first["balanced"]["low"] < first["balanced"]["value"] < first["balanced"]["high"]
    assert second["gain"]["accuracy"]["value"] == pytest.approx(first["accuracy"]["value"])
