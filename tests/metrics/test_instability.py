"""The alarm: silent on healthy series, and each rule fires on its own kind of series, once."""

from typing import Any

import pytest

from gssl.metrics.instability import InstabilityMonitor, lifeless


def entry(step: int, kid: float = 0.1, **more: Any) -> dict[str, Any]:
    """A healthy evaluation."""
    healthy = {
        "val_kid": kid, "val_kid_low": kid - 0.01, "val_kid_high": kid + 0.01, "coverage": 0.6, "pairwise": 0.95,
        "nearest": 0.9, "precision": 0.7, "copied": 0.06, "copied_low": 0.04, "d_val": 0.9, "d_train": 0.95,
    }  # fmt: skip
    return {"step": step} | healthy | more


def fired(series: list[dict[str, Any]], real: dict[str, Any] | None = None) -> list[tuple[int, str]]:
    watch = InstabilityMonitor(real)
    return [(e["step"], reason) for e in series for reason in watch(e)]


def test_silent_on_a_healthy_series():
    kids = [2.0, 0.5, 0.2, 0.12, 0.1, 0.14, 0.11, 0.13]
    series = [entry(i, kid, coverage=0.1 * min(i, 6)) for i, kid in enumerate(kids)]
    losses = [{"step": i, "loss": 1e3 * (-1) ** i, "d_real": 1.0} for i in range(8)]
    assert not fired([row for pair in zip(losses, series, strict=True) for row in pair])


BAD = {
    "kid": (dict(kid=1.0), "far from their best"),
    "coverage": (dict(coverage=0.2), "lost kinds"),
    "pairwise": (dict(pairwise=0.3), "alike"),
    "nearest": (dict(nearest=0.1), "repeat"),
    "copied": (dict(copied=0.5, copied_low=0.4), "copies of training"),
    "overfit": (dict(d_val=0.6, d_train=0.99), "by heart"),
}


@pytest.mark.parametrize("rule", BAD)
def test_a_rule_fires_at_the_second_bad_evaluation_in_a_row_and_once(rule):
    more, words = BAD[rule]
    series = [entry(0), entry(1), entry(2, **more), entry(3), *(entry(i, **more) for i in range(4, 9)), entry(9)]
    found = fired(series)
    assert [step for step, _ in found] == [5] and words in found[0][1]
    # and it does not speak up again after a recovery
    assert fired([*series, *(entry(i, **more) for i in range(10, 14))]) == found


def test_a_discriminator_that_has_won_is_given_longer():
    series = [entry(0), entry(1), *(entry(i, d_val=1.0, d_train=1.0) for i in range(2, 9))]
    ((step, reason),) = fired(series)
    assert step == 5 and "has won" in reason and "100.0%" in reason


@pytest.mark.parametrize("rule", ["pairwise", "nearest"])
def test_a_plain_collapse_is_seen_at_once(rule):
    ((step, reason),) = fired([entry(0), entry(1, **{rule: 0.01})])
    assert step == 1 and BAD[rule][1] in reason


def test_several_kinds_at_once():
    found = fired([entry(0), entry(1), *(entry(i, 3.0, coverage=0.0, pairwise=0.0, nearest=0.0) for i in (2, 3))])
    assert [step for step, _ in found] == [2, 2, 3, 3]
    assert len({reason for _, reason in found}) == 4


def test_the_untrained_generator_is_never_judged_and_sets_no_record():
    collapsed = dict(pairwise=0.0, nearest=0.0, coverage=0.9, d_val=1.0)
    assert not fired([entry(0, 1e-6, **collapsed), entry(0, 1e-6, **collapsed), entry(1), entry(2), entry(3)])


def test_the_best_distance_is_taken_by_its_interval():
    """A lucky low value with a wide interval is no record that later ones are held to."""
    lucky = [entry(1, 0.01, val_kid_low=-0.2, val_kid_high=0.2)]
    assert not fired([*lucky, *(entry(i, 0.5) for i in range(2, 6))])
    assert fired([entry(1, 0.01), *(entry(i, 0.5) for i in range(2, 6))])
    # nor is a wide interval far from the best for sure
    assert not fired([entry(1, 0.01), *(entry(i, 0.5, val_kid_low=0.0, val_kid_high=1.0) for i in range(2, 6))])


def test_a_distance_below_zero_is_as_good_as_zero():
    series = [entry(1, -0.02), *(entry(i, 0.0, val_kid_low=-0.005) for i in range(2, 5))]
    assert not fired(series)


def test_coverage_that_never_came_is_not_lost():
    assert not fired([entry(i, coverage=0.05 if i < 3 else 0.0) for i in range(8)])


def test_what_is_not_measured_is_not_looked_at():
    bare = [{"step": i, "val_kid": 0.1 * 3**i} for i in range(6)]
    absent = [entry(i, copied=None, copied_low=None, coverage=None, pairwise=None, nearest=None) for i in range(6)]
    assert not fired(bare) and not fired(absent)


def test_it_remembers_across_a_resume():
    """The loop feeds the old entries again: the same alarms, at the same steps."""
    series = [entry(0), entry(1), *(entry(i, pairwise=0.3) for i in range(2, 6))]
    watch = InstabilityMonitor()
    before = [watch(e) for e in series[:3]]
    assert not any(before) and watch(series[3]) and not watch(series[4])


def test_pale_noise_is_near_everything_and_copies_nothing():
    series = [entry(0), *(entry(i, copied=0.5, copied_low=0.4, precision=0.2) for i in range(1, 6))]
    assert not fired(series)


# ── dead at a single evaluation ──────────────────────────────────────────────────────────────────

REAL = {"kid": -0.006, "kid_low": -0.01, "kid_high": 0.004, "coverage": 0.95, "precision": 0.87}
NOTHING = dict(coverage=0.0, precision=0.0, recall=0.0, pairwise=0.6, nearest=0.5, copied=0.0, copied_low=0.0)


def nothing(step: int, kid: float, progress: float) -> dict[str, Any]:
    """An evaluation of a generator that makes nothing like an image."""
    return entry(step, kid, **NOTHING, progress=progress)


def test_one_evaluation_at_the_end_is_enough_for_a_dead_generator():
    ((step, reason),) = fired([nothing(0, 7.3, 0.0), nothing(186, 6.2, 0.995)], REAL)
    assert step == 186 and "dead" in reason
    for figure in ("precision 0", "recall 0", "coverage 0 (real images: 0.95)", "KID 6.2 (real images: -0.006)"):
        assert figure in reason
    assert not fired([nothing(0, 7.3, 0.0), entry(186, 0.1, coverage=0.09, progress=0.995)], REAL)


def test_a_young_generator_that_gets_better_is_not_dead():
    kids = [7.3, 7.1, 5.0, 2.1, 1.0]
    young = [nothing(i, kid, 0.1 * i) for i, kid in enumerate(kids)]
    assert not fired([*young, entry(5, 0.2, progress=0.95)], REAL)
    # one step back is an accident, two are not
    assert not fired([*young[:3], nothing(3, 5.5, 0.3), nothing(4, 4.0, 0.4)], REAL)
    found = fired([*young[:3], nothing(3, 5.5, 0.3), nothing(4, 5.6, 0.4)], REAL)
    assert [step for step, _ in found] == [4] and "dead" in found[0][1]


def test_neither_few_covered_images_nor_a_distance_alone_make_a_generator_dead():
    figures = {"kid": 6.2, "kid_low": 6.0, "coverage": 0.0, "precision": 0.0, "recall": 0.0}
    assert "near no real image" in str(lifeless(figures, REAL))
    assert lifeless(figures | {"kid_low": 0.01}, REAL) is None
    assert lifeless(figures | {"coverage": 0.06}, REAL) is None
    assert lifeless({"kid": 6.2}, REAL) is None and lifeless(figures, {}) is None


def test_samples_that_are_one_or_few_are_dead_however_real_they_look():
    figures = {"kid": 3.0, "kid_low": 2.9, "coverage": 0.2, "precision": 1.0, "pairwise": 0.0, "nearest": 0.0}
    assert "all alike" in str(lifeless(figures, REAL))
    assert "repeat" in str(lifeless(figures | {"pairwise": 1.0}, REAL))
    assert lifeless(figures | {"pairwise": 0.7, "nearest": 1.2}, REAL) is None
