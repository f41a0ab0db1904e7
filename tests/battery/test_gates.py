"""The battery's gates find faults that are planted: what passes everything would prove nothing."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from scripts.battery import __main__ as battery
from scripts.battery import crowd, disk, flips, fuzz, kill, malformed, signals, soak
from scripts.battery.trial import Said, outcome, unlike

FINE = "error: data.root: no such folder; give one\n"


def run_of(path: Path) -> Path:
    (path / "weights").mkdir(parents=True)
    save_file({"a": np.arange(4, dtype=np.float32)}, path / "weights" / "backbone.safetensors")
    lines = [{"step": step, "loss": 1.0 / step, "seconds": float(step)} for step in (1, 2, 3)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "result.json").write_text(json.dumps({"objective": {"value": 0.5}}))
    return path


@pytest.mark.parametrize("fault", ["weights", "a line lost", "a line twice", "a number", "objective", "nothing"])
def test_another_outcome_is_found(tmp_path, fault):
    one, other = run_of(tmp_path / "one"), run_of(tmp_path / "other")
    metrics = other / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    if fault == "weights":
        changed = np.nextafter(np.arange(4, dtype=np.float32), np.float32(9))
        save_file({"a": changed}, other / "weights" / "backbone.safetensors")
    elif fault == "objective":
        (other / "result.json").write_text(json.dumps({"objective": {"value": 0.51}}))
    elif fault != "nothing":
        new = {"a line lost": lines[:-1], "a line twice": [*lines, lines[-1]]}
        metrics.write_text("".join(new.get(fault, [lines[0].replace("1.0", "1.5", 1), *lines[1:]])))
    assert bool(unlike(outcome(one), outcome(other))) == (fault != "nothing")


@pytest.mark.parametrize(
    "said, spent, fine",
    [
        (Said(2, "", FINE), 0.1, True),
        (Said(0, "done\n", ""), 60.0, True),
        (Said(3, "", FINE), 0.1, False),
        (Said(2, "", FINE + "Traceback (most recent call last):\n"), 0.1, False),
        (Said(1, "", "error: KeyError: 'a'; a fault of gssl's: please report it with the command\n"), 0.1, False),
        (Said(2, "", FINE * 2), 0.1, False),
        (Said(2, "", ""), 0.1, False),
        (Said(2, "", FINE), 9.0, False),
        (Said(0, "class \x1b[31mred", ""), 0.1, False),
    ],
)
def test_how_a_refusal_must_be(said, spent, fine):
    assert (malformed.fault(said, spent, (0, 1, 2)) == "") == fine


@pytest.mark.parametrize("busy, what", [(False, "the trial itself ended with -14"), (True, "")])
def test_a_trial_that_waits_is_ended_and_one_that_works_slowly_is_not(tmp_path, monkeypatch, busy, what):
    def trial(_: Path) -> str:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            time.sleep(0 if busy else 0.1)
        return ""

    monkeypatch.setattr(malformed, "HUNG", 0.3)
    said, _ = battery.one(malformed.bounded(trial), tmp_path)
    assert said.startswith(what) and bool(said) == bool(what)


@pytest.mark.parametrize(
    "times, made, fine",
    [([3.0, 1.0], False, True), ([3.0, 3.0], False, False), ([1.0], False, True), ([3.0], True, False)],
)
def test_of_two_slow_refusals_the_better_counts_where_nothing_was_made(tmp_path, monkeypatch, times, made, fine):
    monkeypatch.chdir(tmp_path)
    spent = iter(times)

    def refused(_: list[str]) -> tuple[Said, float]:
        if made:
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "status.json").write_text('{"state": "failed"}')
        return Said(2, "", "error: weights: no tensor fits\n"), next(spent)

    monkeypatch.setattr(malformed, "timed", refused)
    assert (malformed.gate(["transfer"]) == "") == fine
    assert next(spent, None) is None


@pytest.mark.parametrize("code, files, fine", [(2, {}, True), (2, {"a": "1"}, False), (1, {"state": "running"}, False)])
def test_what_a_refused_call_leaves_is_found(tmp_path, monkeypatch, code, files, fine):
    monkeypatch.chdir(tmp_path)
    if files:
        (tmp_path / "run").mkdir()
        name = "status.json" if "state" in files else "config.yaml"
        (tmp_path / "run" / name).write_text(json.dumps(files))
    assert (malformed.half_made(code) == "") == fine


def test_weights_that_a_call_never_opens_are_found(tmp_path, monkeypatch):
    file = tmp_path / "w.pth"
    for words, fine in ([f"error: {file}: no such file\n", True], ["error: backbone.width=8: none here\n", False]):
        file.write_bytes(b"")
        monkeypatch.setattr(malformed, "call", lambda *_, said=words: Said(2, "", said))
        assert (malformed.unread([], file) == "") == fine


KEPT = [{"a": 1}, None, {"resume": [0, []], "use": [0, ["warning: 2 images"]]}]


@pytest.mark.parametrize(
    "found, held",
    [
        (KEPT, "harmless"),
        ([{"a": 2}, None, KEPT[2]], None),
        ([None, None, {"resume": [0, []], "use": [2, ["error: weights: damaged"]]}], "detected"),
        ([{"a": 1}, None, {"resume": [0, ["warning: made again"]], "use": KEPT[2]["use"]}], "detected"),
        ([{"a": 1}, None, {"resume": [99, ["error: Traceback"]], "use": KEPT[2]["use"]}], None),
        ([{"a": 1}, None, {"resume": [1, []], "use": KEPT[2]["use"]}], None),
        ([{"a": 1}, None, {"resume": [1, ["error: a", "error: b"]], "use": KEPT[2]["use"]}], None),
        ([{"a": 1}, None, {"resume": [1, ["error: please report it"]], "use": KEPT[2]["use"]}], None),
    ],
)
def test_damage_is_detected_harmless_or_a_fault(found, held):
    what = flips.verdict(KEPT, found, "flip a")
    assert what == ("", {"held": held}) if held else isinstance(what, str) and what.startswith("flip a: ")


@pytest.mark.parametrize("kind", sorted({*flips.KINDS}))
def test_damage_changes_a_file(tmp_path, kind):
    import random

    file, other = tmp_path / "a", tmp_path / "b"
    file.write_bytes(bytes(range(200)))
    other.write_bytes(b"other")
    flips.damage(kind, file, other, random.Random(1))
    assert not file.exists() if kind == "delete" else file.read_bytes() != bytes(range(200))


@pytest.mark.parametrize(
    "code, said, fine",
    [
        (1, FINE, True),
        (0, "warning: no cache\n", True),
        (None, "", False),
        (-9, "", False),
        (1, FINE * 2, False),
        (1, "", False),
        (1, f"Traceback (most recent call last):\n{FINE}", False),
    ],
)
def test_how_a_call_in_trouble_must_end(code, said, fine):
    assert (disk.ended(code, said) == "") == fine


def test_a_run_without_a_whole_checkpoint_is_found(tmp_path):
    assert disk.older(tmp_path) == ""
    (tmp_path / "checkpoints" / "step-00000004").mkdir(parents=True)
    assert disk.older(tmp_path) == "no whole checkpoint is left"


@pytest.mark.parametrize(
    "code, said, latency, after, fine",
    [
        (75, "interrupted: run\n", 0.1, "", True),
        (0, "", 0.1, "", True),
        (130, "", 0.1, "", False),  # of SIGTERM
        (1, FINE, 0.1, "", False),
        (75, "Traceback (most recent call last):\n", 0.1, "", False),
        (75, "", -1.0, "", False),
        (75, "", 0.1, "metrics differs", False),
    ],
)
def test_how_a_signal_must_end(tmp_path, code, said, latency, after, fine):
    gone = subprocess.Popen(["true"], start_new_session=True)
    gone.wait()
    (tmp_path / "log").write_text(said)
    what, more = signals.judged("SIGTERM", (gone.pid, code, latency), tmp_path / "log", lambda: after)
    assert (what == "") == fine and more.get("latency") == (latency if code else None)


def test_processes_that_live_on_are_found_and_ended():
    left = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert "live on" in kill.left_behind(left.pid, patience=0.1)
    assert left.wait(5) < 0


def test_a_list_that_fails_is_found(tmp_path):
    for text, fine in (("", True), ("LIST 1 error", False)):
        (tmp_path / "log").write_text(text)
        listing = subprocess.Popen(["sleep", "60"], start_new_session=True)
        found = crowd._listed(listing.pid, tmp_path / "log")
        listing.returncode = 0  # it has been waited for
        assert (found == "") == fine


@pytest.mark.parametrize("leak, fine", [(0, True), (10**6, False)])
def test_memory_that_grows_is_found(tmp_path, monkeypatch, leak, fine):
    made: list[str] = []

    def run(*words: str) -> Said:
        made.append(words[-1])
        Path(words[-1].partition("=")[2]).mkdir()
        return Said(0, "", "")

    monkeypatch.setattr(soak, "call", run)
    monkeypatch.setattr(soak, "SECONDS", 0.0)
    monkeypatch.setattr(soak, "resident", lambda: 10**8 + leak * len(made))
    what, more = soak.soaked(tmp_path)
    assert (what == "") == fine and ("resident memory 100 then 100 MB" in more.get("note", "")) == fine


def test_a_fuzzed_call_differs_from_the_one_that_works():
    import random

    words = ["transfer", "a=1", "b=2", "c=3"]
    changed = [fuzz.changed(random.Random(k), words) for k in range(300)]
    assert all(found[0] == "transfer" for found in changed)
    assert sum(found != words for found in changed) > 250
    assert any(sorted(found) == sorted(words) and found != words for found in changed)  # another order


def test_trials_that_raise_or_hang_fail(tmp_path):
    for name, trial, said in (
        ("raises", lambda where: 1 / 0, "the trial itself ended with 99"),
        ("hangs", lambda where: time.sleep(60), "hung"),
        ("dies", lambda where: os._exit(3), "the trial itself ended with 3"),
        ("well", lambda where: ("", {"held": "harmless"}), ""),
    ):
        (tmp_path / name).mkdir()
        what, _ = battery.one(trial, tmp_path / name, limit=1.0 if name == "hangs" else 20.0)
        assert what.startswith(said) and bool(what) == bool(said)


def test_rows_of_another_revision_do_not_count(tmp_path):
    out = tmp_path / "rows.jsonl"
    rows = [
        {"revision": "old", "group": "kill", "id": "a", "what": "differs", "seconds": 1.0},
        {"revision": "new", "group": "kill", "id": "b", "what": "", "seconds": 2.0, "latency": 0.25},
        {"revision": "new", "group": "flips", "id": "a", "what": "", "seconds": 2.0, "held": "detected"},
        {"revision": "new", "group": "kill", "id": "a", "what": "", "seconds": 2.0, "latency": 0.5},
    ]
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(battery.rows(out, "new")) == 3 and battery.rows(out, "other") == []
    assert [row["what"] for row in battery.rows(out, "old")] == ["differs"]
    assert {(row["id"], row["revision"]) for row in battery.rows(out) if row["group"] == "kill"} == {
        ("a", "new"),
        ("b", "new"),
    }
    text = battery.summary(battery.rows(out, "new"))
    assert "| kill | 2 | 0 |" in text and "p95 0.50 s" in text and "1 detected" in text and "FAILED" not in text
    assert "FAILED kill a: differs" in battery.summary(battery.rows(out, "old"))


def test_every_group_has_the_trials_that_are_promised():
    assert {path.stem for path in Path(battery.__file__).parent.glob("[!_]*.py")} == {
        *battery.GROUPS,
        "trial",
        "instants",
    }
    kills = [name for name, _ in kill.trials() if not name.startswith("dropped-")]
    assert len(kills) == 300 and sum(name.startswith(("save", "evaluation", "end")) for name in kills) == 100
    damage = [name.rpartition("-")[2] for name, _ in flips.trials()]
    assert damage.count("flip") == 600 and damage.count("cut") == 250 and {"delete", "swap"} < {*damage}
    assert len(signals.trials()) == 60 and len({*(name for name, _ in disk.trials())}) == len(disk.trials())
    kinds = [name.partition("-")[0] for name, _ in malformed.trials()]
    counts = {"image": 200, "layout": 100, "table": 100, "weights": 120, "hostile": 60}
    assert {kind: kinds.count(kind) for kind in counts} == counts
    assert kinds.count("override") + kinds.count("configuration") == 300
    assert shutil.which("git") is None or battery.revision() != "none"
