"""Intervals over seeds and test items against mean squares by hand, their known limits, and simulation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gssl.statistics.intervals import wilson
from gssl.statistics.paired import t_interval
from gssl.statistics.two_way import (
    cross_validated,
    half_width,
    needed,
    share_interval,
    two_way,
    two_way_interval,
)


def made(seeds: int, items: int, seed: int = 0, own=0.02, item=0.2, rest=0.3) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(seed))
    parts = own * rng.normal(size=(seeds, 1)), item * rng.normal(size=items), rest * rng.normal(size=(seeds, items))
    return 0.1 + sum(parts)


@pytest.mark.parametrize("seeds, items", [(2, 2), (2, 30), (6, 20), (10, 100)])
def test_the_parts_are_those_of_an_analysis_of_variance(seeds: int, items: int) -> None:
    """Mean squares by loops over cells, and as sums of squares that add up to the whole."""
    u = made(seeds, items, seeds)
    mean = sum(u[s, i] for s in range(seeds) for i in range(items)) / (seeds * items)
    rows = [sum(u[s]) / items for s in range(seeds)]
    columns = [sum(u[:, i]) / seeds for i in range(items)]
    ss_seed = items * sum((r - mean) ** 2 for r in rows)
    ss_item = seeds * sum((c - mean) ** 2 for c in columns)
    ss_rest = float(((u - mean) ** 2).sum()) - ss_seed - ss_item
    ms_seed, ms_item = ss_seed / (seeds - 1), ss_item / (items - 1)
    ms_rest = ss_rest / ((seeds - 1) * (items - 1))
    found = two_way(u, width=0.0)
    assert found.mean == pytest.approx(mean)
    assert found.from_seeds == pytest.approx(ms_seed / (seeds * items))
    assert found.from_items == pytest.approx(max(ms_item - ms_rest, 0) / (seeds * items))
    if ms_item > ms_rest:
        assert found.variance == pytest.approx((ms_seed + ms_item - ms_rest) / (seeds * items))
    assert found.answer_var == pytest.approx(ms_rest)
    assert found.seed_var == pytest.approx(max(ms_seed - ms_rest, 0) / items)
    assert found.item_var == pytest.approx(max(ms_item - ms_rest, 0) / seeds)


def test_the_variance_is_unbiased_for_what_it_estimates() -> None:
    found = [two_way(made(4, 40, k, own=0.05), width=0.0).variance for k in range(1500)]
    means = [made(4, 40, k, own=0.05).mean() for k in range(1500)]
    true = 0.05**2 / 4 + 0.2**2 / 40 + 0.3**2 / 160
    assert np.mean(found) == pytest.approx(true, rel=0.05)
    assert np.var(means) == pytest.approx(true, rel=0.15)


def test_components_tell_what_other_numbers_of_seeds_and_items_would_give() -> None:
    found = two_way(made(6, 50, own=0.2), width=0.0)
    assert found.planned(6, 50) == pytest.approx(found.variance)
    assert found.planned(12, 50) < found.planned(6, 50) > found.planned(6, 100)
    assert found.planned(10**9, 50) == pytest.approx(found.item_var / 50, rel=1e-3)
    assert 0 < found.item_share < 1


@pytest.mark.parametrize("seeds", [2, 3, 6, 10])
@pytest.mark.parametrize("level", [0.9, 0.95, 1 - 0.05 / 6, 0.999])
def test_without_a_part_of_the_items_it_is_the_t_interval_over_seeds(seeds: int, level: float) -> None:
    rng = np.random.Generator(np.random.Philox(seeds))
    values = rng.normal(0.01, 0.02, seeds)
    u = np.repeat(values[:, None], 100_000, axis=1)  # every item answers alike
    found = replace(two_way(u), from_items=0.0)
    own = t_interval(values.tolist(), level)
    assert own
    assert half_width(found, level) == pytest.approx(own.high - own.mean, rel=1e-3)


@pytest.mark.parametrize("right, n", [(0, 30), (3, 30), (27, 30), (80, 100), (100, 100), (812, 1000)])
def test_of_one_seed_it_is_wilsons_interval(right: int, n: int) -> None:
    """With Student's t for the normal quantile, and n − 1 for n where a variance is estimated."""
    found = share_interval(two_way((np.arange(n) < right).astype(float)[None]))
    t, p, m = stats.t.ppf(0.975, n - 1), right / n, n - (0 < right < n)
    middle, half = (p + t * t / (2 * m)) / (1 + t * t / m), t * (p * (1 - p) / m + t * t / (4 * m * m)) ** 0.5
    expected = middle - half / (1 + t * t / m), middle + half / (1 + t * t / m)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)
    assert (found.low, found.high) == pytest.approx(wilson(right, n), abs=0.5 / n)


def test_seeds_that_all_answer_alike_are_one_seed() -> None:
    one = (np.arange(200) % 4 > 0).astype(float)[None]
    same = two_way(np.repeat(one, 6, axis=0))
    assert same.fixed and same.from_seeds == 0
    assert half_width(same) == pytest.approx(half_width(two_way(one)), rel=1e-9)


def test_seeds_that_are_equal_by_chance_are_no_certainty() -> None:
    u = made(2, 100)
    u[1] += u[0].mean() - u[1].mean()
    found = two_way(u)
    assert not found.fixed and found.from_seeds > 0 and half_width(found) > 0


def test_neither_the_order_of_seeds_nor_of_items_matters() -> None:
    u, rng = made(5, 60), np.random.Generator(np.random.Philox(3))
    for other in (u[rng.permutation(5)], u[:, rng.permutation(60)]):
        assert half_width(two_way(other)) == pytest.approx(half_width(two_way(u)))
    turned, one = two_way_interval(two_way(-u)), two_way_interval(two_way(u))
    assert (turned.low, turned.high) == pytest.approx((-one.high, -one.low))


def test_a_higher_level_is_a_wider_interval_and_more_of_either_a_narrower_one() -> None:
    for seeds in (1, 2, 3, 6):
        found = two_way(made(seeds, 50))
        widths = [half_width(found, level) for level in (0.5, 0.8, 0.9, 0.95, 0.983, 0.99, 0.9999)]
        assert all(a < b for a, b in zip(widths, widths[1:], strict=False))
    wide = [half_width(replace(two_way(made(6, 50)), from_items=v)) for v in (0.0, 1e-4, 1e-3, 1e-2)]
    assert wide == sorted(wide)
    mean = [np.mean([half_width(two_way(made(s, n, k))) for k in range(30)]) for s, n in ((3, 50), (6, 50), (6, 200))]
    assert mean[0] > mean[1] > mean[2]


def test_it_is_never_narrower_than_the_interval_over_items_alone() -> None:
    for k in range(40):
        found = two_way(made(2 + k % 9, 30, k))
        items = stats.t.ppf(0.975, 29) * found.from_items**0.5
        assert half_width(found) >= items * (1 - 1e-9)


def test_intervals_never_leave_what_can_be() -> None:
    rng = np.random.Generator(np.random.Philox(5))
    for seeds in (1, 2, 3, 6):
        for p in (0.0, 0.01, 0.5, 0.99, 1.0):
            for n in (2, 20, 300):
                u = (rng.random((seeds, n)) < p).astype(float)
                share = share_interval(two_way(u))
                assert 0 <= share.low <= share.mean <= share.high <= 1
                assert share.high > share.low  # all right among few is no certainty
                gap = two_way_interval(two_way(u - rng.integers(0, 2, u.shape)))
                assert -1 <= gap.low <= gap.mean <= gap.high <= 1


def test_answers_that_nearly_all_agree_have_a_width() -> None:
    found = two_way_interval(two_way(np.zeros((6, 20))))
    assert found.low == pytest.approx(-found.high) and found.high == pytest.approx(2.09 / 22, rel=0.01)


@pytest.mark.parametrize("seeds, own, item", [(3, 0.05, 0.05), (6, 0.02, 0.2), (6, 0.1, 0.02)])
def test_intervals_cover_and_those_over_seeds_alone_do_not(seeds: int, own: float, item: float) -> None:
    many = 500
    drawn = [made(seeds, 50, k, own, item) for k in range(many)]
    both = [two_way_interval(two_way(u)) for u in drawn]
    covered = np.mean([i.low <= 0.1 <= i.high for i in both])
    assert covered == pytest.approx(0.95, abs=0.02 + 3 * (0.95 * 0.05 / many) ** 0.5)
    alone = [t_interval(u.mean(axis=1).tolist()) for u in drawn]
    if item > own:
        assert np.mean([i.low <= 0.1 <= i.high for i in alone if i]) < 0.9


def test_planning_finds_the_fewest_that_are_enough() -> None:
    found = two_way(made(3, 50))
    half = half_width(found) * 0.6
    seeds, items = needed(found, half)
    assert items and items > 50
    for n in (items - 1, items):
        v = found.planned(3, n)
        own = found.seed_var / 3 + found.answer_var / (3 * n)
        there = replace(found, items=n, from_seeds=own, from_items=v - own)
        assert (half_width(there) <= half) == (n == items)
    assert needed(found, 1e-9, most=1000) == (None, None)
    assert seeds is None or seeds > 3


def test_plans_know_the_floor_of_an_interval() -> None:
    """Where no answer differs, fewer items than there are cannot be enough for less than is known now."""
    found = two_way(np.zeros((2, 60)))
    assert half_width(found) > 0.005
    seeds, items = needed(found, 0.005)
    assert seeds is None and items is not None and items > 60


@pytest.mark.parametrize("seeds", [1, 3, 8])
def test_over_folds_the_items_are_those_of_one_model(seeds: int) -> None:
    """What answers scatter is not averaged over seeds: as many as one likes leave the variance of a single one."""
    found = two_way(made(seeds, 400, 3, own=0.0), width=0.0)
    one = cross_validated(found, 5)
    scatter = 0.3**2 * (1 - 1 / seeds if seeds > 1 else 1)  # the rest of it is in the seeds' part
    assert one.from_items == pytest.approx(1.25 * (0.2**2 + scatter) / 400, rel=0.15)
    assert one.from_seeds == found.from_seeds and one.mean == found.mean
    assert half_width(one) > half_width(found)
    assert cross_validated(found, 2).from_items == pytest.approx(one.from_items * 2 / 1.25)
    if seeds > 1:  # more images make it narrower, more seeds hardly
        assert one.planned(seeds, 1600) < one.planned(seeds, 400) and one.planned(50, 400) > one.from_items * 0.99


def test_over_folds_of_a_metric_that_is_no_mean_the_items_are_those_of_one_seed() -> None:
    found = two_way(made(4, 50), width=0.0)
    one = cross_validated(replace(found, answer_var=0.0), 5, alone=0.004)
    assert one.from_items == pytest.approx(1.25 * max(found.from_items, 0.004))
    assert cross_validated(replace(found, from_items=0.01), 5, alone=0.004).from_items == pytest.approx(0.0125)
