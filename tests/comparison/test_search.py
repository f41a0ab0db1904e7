"""What a search found and spent, from the files of its trials. A whole search: test_compare_arms."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from gssl.comparison.search import _found

PLANNER = SimpleNamespace(primary=lambda: ("linear", "10"), task=SimpleNamespace(metrics=("accuracy",)))


def part(path: Path, **files):
    """A part's directory with `result` and `status`, where they are given."""
    path.mkdir()
    for name, tree in files.items():
        (path / f"{name}.json").write_text(json.dumps(tree))
    return SimpleNamespace(path=path)


def scored(path: Path, value: float | None):
    return part(path, result={"objective": {"value": value}}) if value is not None else part(path)


def test_trials_of_a_chain_count_what_they_share_once(tmp_path):
    shared = part(tmp_path / "first", result={"spent": {"flops": 100.0, "seconds": 10.0}})
    last = [part(tmp_path / f"last{i}", result={"spent": {"flops": 7.0 + i, "seconds": 1.0}}) for i in range(2)]
    tried = [([f"gan.ema=.{i}"], [shared, last[i], scored(tmp_path / f"m{i}", 0.5 + i / 10)]) for i in range(2)]
    found = _found("simclr+dcgan", tried, PLANNER)
    assert (found["flops"], found["seconds"]) == (115.0, 12.0)
    assert found["chosen"] == ["gan.ema=.1"] and found["trials"] == 2 and found["uncounted"] == 0


def test_failed_trials_count_too_and_who_died_without_a_word_is_told(tmp_path, capsys):
    stopped = part(tmp_path / "stopped", status={"state": "failed", "spent": {"flops": 3.0, "seconds": 2.0}})
    dead = part(tmp_path / "dead", status={"state": "running"})
    never = part(tmp_path / "never")
    tried = [([str(i)], [one, scored(tmp_path / f"m{i}", None)]) for i, one in enumerate((stopped, dead, never))]
    found = _found("simclr", tried, PLANNER)
    assert (found["flops"], found["seconds"], found["uncounted"]) == (3.0, 2.0, 1)
    assert found["chosen"] == [] and {row["state"] for row in found["rows"]} == {"failed"}
    assert "every trial of simclr failed" in capsys.readouterr().err


def test_the_best_is_the_highest_on_validation_images(tmp_path):
    tried = [([str(i)], [scored(tmp_path / f"m{i}", value)]) for i, value in enumerate((0.2, 0.6, None, 0.4))]
    found = _found("simclr", tried, PLANNER)
    assert found["chosen"] == ["1"] and [row["value"] for row in found["rows"]] == pytest.approx([0.2, 0.6, None, 0.4])
