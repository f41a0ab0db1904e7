"""Time left of a plan: by what parts of each kind have taken, not by their mean. Records of progress as JSON."""

import json

import pytest

from gssl.engine import progress
from gssl.engine.progress import FILE, Meter, PlanMeter, say, write_json_lines


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


# ── records ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def as_json(monkeypatch):
    """JSON lines for one test, and no time between two of them."""
    monkeypatch.setattr(progress, "RECORD_EVERY", 0.0)
    write_json_lines(True)
    yield
    write_json_lines(False)


def records(capsys):
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert all(record["schema"] == "gssl.progress/1" for record in found)
    return found


def test_a_line_is_a_record(as_json, capsys, tmp_path):
    with Meter("simclr seed 0", True, run=tmp_path) as meter:
        meter.update(0.25, 10, 5.0, 128.0, 1.5)
        assert json.loads((tmp_path / FILE).read_text())["step"] == 10
        meter.update(1.0, 40, 20.0, 128.0, 1.0)
        meter.update(1.0, 40, 20.1, 128.0, None)  # the same end once more
    assert not (tmp_path / FILE).exists()
    first, last = records(capsys)
    assert {key: first[key] for key in ("event", "step", "total", "progress", "seconds", "eta", "loss")} == {
        "event": "progress", "step": 10, "total": 40, "progress": 0.25, "seconds": 5.0, "eta": 15.0, "loss": 1.5
    }  # fmt: skip
    assert (last["event"], last["eta"], last["loss"]) == ("end", 0.0, 1.0)


def test_records_are_few_but_never_without_the_end(as_json, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "RECORD_EVERY", 3600.0)
    monkeypatch.setattr(Meter, "_kept", -3600.0)
    with Meter("x", True) as meter:
        for step in range(1, 101):
            meter.update(step / 100, step, float(step), 1.0, 0.5)
    assert [record["step"] for record in records(capsys)] == [1, 100]


def test_what_is_not_to_be_seen_is_in_the_file_alone(as_json, capsys, tmp_path):
    with Meter("x", False, run=tmp_path) as meter:
        meter.update(0.5, 1, 1.0, 1.0, None)
        assert (tmp_path / FILE).is_file()
    assert records(capsys) == []


def test_messages_are_records_by_their_kind(as_json, capsys):
    for text in ("warning: small", "alarm: run: step 3: flat", "20 parts"):
        say(text)
    assert [(r["event"], r["text"]) for r in records(capsys)] == [
        ("warning", "warning: small"),
        ("alarm", "alarm: run: step 3: flat"),
        ("message", "20 parts"),
    ]


def test_a_plan_says_how_many_parts_are_done(as_json, capsys):
    with PlanMeter({"a": "one", "b": "one"}, 3, 1, show=True) as meter:
        meter.begin("a")
        meter.done("a", "ok")
        meter.done("b", "failed")
    start, first, second = records(capsys)
    assert (start["event"], start["step"], start["total"]) == ("start", 3, 5)
    assert (first["part"], first["state"], first["step"], first["progress"]) == ("a", "ok", 4, 0.8)
    assert (second["part"], second["state"], second["step"]) == ("b", "failed", 5)


def test_text_is_as_before(capsys):
    say("warning: small")
    assert capsys.readouterr().err == "warning: small\n"
