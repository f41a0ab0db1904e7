"""minutes=: what fits is chosen by arithmetic on measured times; a second call chooses the same."""

from types import SimpleNamespace

import pytest

from gssl.comparison import time_plan
from gssl.comparison.plan import Planner
from gssl.comparison.timings import Timing
from gssl.config.composing import compose
from gssl.errors import UsageError


def choose(minutes, rest=40.0, seeds=6, jobs=1, once=0.0, per_flop=3e-9):
    cfg = SimpleNamespace(minutes=minutes, jobs=jobs)
    return time_plan.choose([time_plan.Seed(3, per_flop, rest)] * seeds, once, cfg)


@pytest.mark.parametrize("minutes", [3, 5, 10, 30, 60, 240])
def test_it_fits_and_more_time_never_gives_less(minutes):
    found, more = choose(minutes), choose(2 * minutes)
    assert found.minutes <= minutes
    assert more.seeds >= found.seeds and more.seeds * more.flops >= found.seeds * found.flops
    assert found.minutes == pytest.approx(found.seeds * (3e-9 * found.flops + 40) / 60, abs=0.05)
    assert found.seconds == pytest.approx(found.flops * 1e-9, abs=0.05)


def test_seeds_are_given_up_for_training_of_some_length_and_the_last_ones_only_where_nothing_else_fits():
    assert choose(60).seeds == 6
    few = choose(9)
    assert few.seeds == 3 and few.seconds >= time_plan.ENOUGH
    assert choose(2).seeds == 1
    assert choose(30, jobs=4).flops > choose(30).flops


def test_arms_that_train_nothing_need_no_budget():
    rows = [time_plan.Seed(0.0, 0.0, 30.0)] * 6
    assert time_plan.choose(rows, 0.0, SimpleNamespace(minutes=10, jobs=1)).seeds == 6


def test_too_little_time_says_how_much_is_needed():
    with pytest.raises(UsageError, match="minutes=1: one seed with 10 s of training .* takes about 2 minutes here"):
        choose(1, rest=60)


@pytest.mark.long
def test_a_second_call_chooses_the_same_whatever_is_measured_then(tmp_path, monkeypatch):
    cfg = compose("compare", [f"parts={tmp_path}", "minutes=10", "arms=[simclr,random]", "eval.milestones=0"])
    splits = SimpleNamespace(hash="h", summary={"counts": dict.fromkeys(("train", "val", "test", "pretrain"), 50)})
    speed = [1.0]
    monkeypatch.setattr(
        time_plan.Timings, "of", lambda self, part: Timing(fixed=speed[0], per_step=1.0, epochs=1.0, flops=1e9)
    )
    monkeypatch.setattr(time_plan.Timings, "__init__", lambda self, *_: None)
    monkeypatch.setattr(time_plan.Timings, "kind", lambda self, part: [part.stage])

    def fitted():
        return time_plan.fitted(cfg, lambda c: Planner(c, "h", 1), splits, {})

    first, text = fitted()
    assert first.budget.flops and "FLOPs of training per run" in text and "with jobs=1" in text
    speed[0] = 60.0
    assert fitted()[0] == first
