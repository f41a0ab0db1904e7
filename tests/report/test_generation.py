"""Intervals of generation's figures: they cover over seeds and test images, and stay where a figure can be."""

import numpy as np
import pytest

from gssl.metrics.instability import lifeless
from gssl.report import generation
from gssl.report.collect import Run
from gssl.report.generation import difference, interval
from gssl.report.records import cost, stability
from gssl.statistics.resampled import spread

RNG = np.random.Generator(np.random.Philox(7))
WEIGHTS = RNG.poisson(1.0, (200, 300)).astype(float)
FLOOR = {"kid": -0.006, "kid_low": -0.01, "kid_high": 0.004, "coverage": 0.95, "precision": 0.87, "recall": 0.86}
DEAD = {"kid": 6.21, "kid_low": 6.05, "kid_high": 6.36, "precision": 0.0, "recall": 0.0, "coverage": 0.0}
ALIVE = {"kid": 0.1, "kid_low": 0.08, "kid_high": 0.12, "precision": 0.7, "recall": 0.5, "coverage": 0.21}


def drawn(seeds: int, images: int, level: float, by_seed: float, by_image: float, fakes: float):
    """Values of a figure near `level`, one per seed, and their replicates: all seeds see the same images."""
    hard = by_image * RNG.standard_normal(images)
    own = fakes * RNG.standard_normal((seeds, images))
    of_seed = by_seed * RNG.standard_normal((seeds, 1))
    items = level + of_seed + hard + own
    return items.mean(axis=1), items @ WEIGHTS[:, :images].T / WEIGHTS[:, :images].sum(axis=1)


@pytest.mark.parametrize(
    ("metric", "seeds", "by_seed", "by_image"),
    [("kid", 3, 0.03, 0.3), ("kid", 6, 0.01, 0.6), ("coverage", 2, 0.01, 0.6), ("coverage", 6, 0.06, 0.1)],
)
def test_they_cover_what_other_seeds_and_other_images_give(metric, seeds, by_seed, by_image):
    """At 95%; over seeds alone it is below 80% where images matter."""
    inside = 0
    for _ in range(250):
        values, replicates = drawn(seeds, 200, 0.5, by_seed, by_image, 0.3)
        found = interval(metric, list(values), replicates, 200)
        assert found is not None and found.kind == "two_way" and found.over == "seeds and test images"
        inside += found.low <= 0.5 <= found.high
    assert inside / 250 > 0.95 - 3 * (0.05 * 0.95 / 250) ** 0.5


def test_over_seeds_alone_they_would_not():
    inside = 0
    for _ in range(400):
        values, _ = drawn(6, 200, 0.5, 0.01, 0.6, 0.3)
        found = interval("kid", list(values), None, 200)
        assert found is not None and found.kind == "t"
        inside += found.low <= 0.5 <= found.high
    assert inside / 400 < 0.8


def test_the_images_that_seeds_share_are_told_from_their_own_fakes():
    parts = [spread(*drawn(4, 300, 0.5, 0.05, 0.5, 0.4), 300) for _ in range(300)]
    assert np.mean([p.from_items for p in parts]) == pytest.approx(0.5**2 / 300, rel=0.15)
    assert np.mean([p.from_seeds for p in parts]) == pytest.approx((0.05**2 + 0.4**2 / 300) / 4, rel=0.15)


@pytest.mark.parametrize("with_replicates", [True, False])
@pytest.mark.parametrize(
    ("metric", "values"),
    [("recall", [0.0, 0.14, 0.0]), ("coverage", [0.99, 0.6, 1.0]), ("fd", [1.0, 30.0]), ("density", [0.01, 0.4])],
)
def test_they_stay_in_range(metric, values, with_replicates):
    replicates = np.array(values)[:, None] + 0.05 * RNG.standard_normal((len(values), 200)) if with_replicates else None
    found = interval(metric, values, replicates, 1000)
    assert found is not None and found.low >= 0 and found.low <= np.mean(values) <= found.high
    assert found.high <= 1 or metric in ("fd", "density")


def test_kid_is_cut_at_the_smaller_of_zero_and_its_estimate():
    wild = interval("kid", [0.1, 6.2, 0.3], None, 1000)
    below = interval("kid", [-0.004, -0.002, -0.006], np.full((3, 200), -0.004), 1000)
    assert wild is not None and wild.low == 0.0 and below is not None and below.low == pytest.approx(-0.004)


def test_what_both_sides_share_cancels_in_a_difference():
    values, replicates = drawn(3, 200, 0.5, 0.0, 0.6, 0.0)
    told, parts = difference("coverage", [0.01, 0.02, 0.03], replicates - replicates, 200)
    alone = interval("coverage", list(values), replicates, 200)
    assert told is not None and parts is not None and parts.from_items == 0.0 and alone is not None
    assert told.high - told.low < 0.6 * (alone.high - alone.low)


# ── of runs ──────────────────────────────────────────────────────────────────────────────────────


def evaluation(figures, images="a", seed=0):
    found = {
        "evaluator": {"name": "own", "hash": "1"},
        "split": "test",
        "n": 1000,
        "images": images,
        "figures": figures,
    }
    shifted = {key: (figures[key] + 0.01 * np.sin(np.arange(200) + seed)).tolist() for key in ("kid", "coverage")}
    return found | {"replicates": shifted, "baseline": {"train_real": FLOOR}}


def run(path, arm, seed, stage, depends=(), **result) -> Run:
    empty = {"environment": {}, "config": {}, "part": {}, "status": {}}
    return Run(path, arm, seed, stage, "finished", None, "", result, depends=tuple(depends), **empty)


def runs(root, **figures):
    found = []
    for arm, per_seed in figures.items():
        for seed, one in enumerate(per_seed):
            trained = run(root / f"{arm}-{seed}", arm, seed, "pretrain")
            text = evaluation(one, seed=seed)
            found += [trained, run(root / f"e-{arm}-{seed}", arm, seed, "evaluate", [trained.path], evaluation=text)]
    return found


def test_a_dead_generator_is_a_collapsed_run_though_nothing_was_said_while_it_trained(tmp_path):
    found = runs(tmp_path, dcgan=[ALIVE, DEAD, ALIVE], sngan=[ALIVE])
    rows = {row["arm"]: row for row in stability(found, ["dcgan", "sngan"])}
    assert (rows["dcgan"]["collapsed"], rows["dcgan"]["finished"], rows["dcgan"]["alarms"]) == (1, 3, 1)
    assert rows["sngan"]["collapsed"] == 0
    ((where, reason, trained),) = generation.deaths(found)
    assert where.seed == 1 and trained == (tmp_path / "dcgan-1").resolve()
    for figure in ("recall 0", "coverage 0", "0.95", "KID 6.21", "-0.006"):
        assert figure in reason
    assert generation.dead(evaluation(ALIVE)) is None and lifeless(DEAD, {}) is None


def test_rows_and_differences_are_over_seeds_and_images_where_the_images_are_the_same(tmp_path):
    found = runs(tmp_path, dcgan=[ALIVE, ALIVE | {"kid": 0.13}], sngan=[ALIVE | {"kid": 0.2}, ALIVE | {"kid": 0.25}])
    rows = generation.rows(found, ["dcgan", "sngan"])
    kinds = {row.metric: row.interval.kind for row in rows}
    assert kinds["kid"] == "two_way" and kinds["recall"] == "t"
    assert kinds["coverage"] == "two_way"  # two seeds of equal value, their resamples differ: that is chance
    (kid, coverage) = generation.differences(rows, ["dcgan", "sngan"], found)
    assert kid.metric == "kid" and kid.interval.kind == "two_way" and kid.mean == pytest.approx(-0.11)
    assert coverage.fixed
    # other images, other replicates
    found[1].result["evaluation"]["images"] = "b"
    assert {row.interval.kind for row in generation.rows(found, ["dcgan"])} == {"t"}


def test_a_sentence_per_arm_from_controls_of_all_seeds(tmp_path):
    found = runs(tmp_path, dcgan=[ALIVE, ALIVE | {"kid": 0.13}], sngan=[DEAD])
    rows = generation.rows(found, ["dcgan", "sngan"])
    assert generation.qualities(found, rows) == []  # evaluations of older versions measured none
    for one in found:
        if one.stage == "evaluate":
            controls = {"half": {"kid": 0.05}, "quarter": {"kid": 0.3}, "noise": {"kid": 4.0}}
            one.result["evaluation"]["controls"] = controls
    grades = {own.arm: own for own in generation.qualities(found, rows)}
    assert grades["sngan"].grade == "useless" and "noise" in grades["sngan"].text
    assert grades["dcgan"].grade == "poor" and "KID 0.115" in grades["dcgan"].text


def test_costs_have_intervals_above_zero(tmp_path):
    """Two seeds of which one was ten times as slow: Student's t would begin below zero."""
    found = []
    for seed, seconds in enumerate((6.0, 60.0)):
        trained = run(tmp_path / f"p{seed}", "simclr", seed, "pretrain", spent={"seconds": seconds})
        found += [trained, run(tmp_path / f"t{seed}", "simclr", seed, "transfer", [trained.path])]
    (row,) = [row for row in cost(found, ["simclr"]) if row["metric"] == "seconds"]
    assert row["interval"]["kind"] == "log_t" and 0 < row["interval"]["low"] < 33 < row["interval"]["high"]
