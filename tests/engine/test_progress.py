"""Time left of a plan: by what parts of each kind have taken, not by their mean."""

import pytest

from gssl.engine import progress
from gssl.engine.progress import PlanMeter


def test_time_left_knows_that_kinds_differ(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    kinds = {"a train": "train", "a evaluate": "evaluator", "b train": "train", "b evaluate": "evaluator"}
    with PlanMeter(kinds, 1, 1, show=False) as meter:
        assert meter.total == 5 and meter.seconds_left() is None
        meter.begin("a train")
        now[0] = 100.0
        meter.done("a train", "ok")
        assert meter.seconds_left() == pytest.approx(300)  # one of them is all there is to go by
        meter.begin("a evaluate")
        now[0] = 110.0
        meter.done("a evaluate", "ok")
        assert meter.seconds_left() == pytest.approx(110)
        meter.begin("b train")
        now[0] = 150.0
        assert meter.seconds_left() == pytest.approx(70)  # forty seconds of it are gone
        now[0] = 300.0
        assert meter.seconds_left() == pytest.approx(10)  # late, but never below nothing
        meter.done("b train", "ok")
        meter.done("b evaluate", "ok")  # another comparison has made it
        assert meter.seconds_left() == 0 and meter.finished == 5


def test_workers_share_what_is_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with PlanMeter({str(i): "one" for i in range(5)}, 0, 2, show=False) as meter:
        meter.begin("0")
        now[0] = 60.0
        meter.done("0", "ok")
        assert meter.seconds_left() == pytest.approx(4 * 60 / 2)
