"""Scores against compute: checkpoints of all seeds and folds side by side, an untrained network on the same images."""

from types import SimpleNamespace as Some

import pytest

from gssl.report.figures import _over_seeds, _untrained


def run(arm: str, seed: int, *points: tuple[int, float]) -> Some:
    made = [Some(step=s, value=v, flops=1e6 * s, images=32 * s) for s, v in points]
    return Some(arm=arm, seed=seed, points=made)


def test_a_budget_of_seconds_makes_no_zigzag():
    """Seeds that come unequally far: the mean is over seeds at every checkpoint, not of one seed at each step."""
    found = _over_seeds([run("a", 0, (10, 0.2), (20, 0.4), (40, 0.6)), run("a", 1, (14, 0.4), (28, 0.6), (56, 0.8))])
    assert [p["n"] for p in found] == [2, 2, 2]
    assert [p["mean"] for p in found] == pytest.approx([0.3, 0.5, 0.7])
    assert [p["x"] for p in found] == pytest.approx([12e6, 24e6, 48e6]) and found[0]["step"] == 12


def test_a_seed_that_has_fewer_checkpoints_is_matched_at_the_end():
    found = _over_seeds([run("a", 0, (20, 0.4), (40, 0.6)), run("a", 1, (40, 0.8))])
    assert [(p["n"], p["mean"]) for p in found] == [(1, 0.4), (2, pytest.approx(0.7))]


def test_folds_of_a_seed_are_one():
    folds = [run("a", 0, (40, 0.2)), run("a", 0, (40, 0.4)), run("a", 1, (40, 0.9))]
    (end,) = _over_seeds(folds)
    assert (end["n"], end["low"], end["high"]) == (2, pytest.approx(0.3), 0.9) and end["mean"] == pytest.approx(0.6)


def test_the_untrained_network_has_a_level_and_no_place_on_the_axis():
    runs = [run("random", 0, (0, 0.2)), run("random", 0, (0, 0.4)), run("random", 1, (0, 0.5))]
    assert _untrained(runs) == pytest.approx(0.4) and _over_seeds(runs) == []
    assert _untrained([run("random", 0, (40, 0.2))]) is None
