"""Finished runs are found by one pattern or several, and what was lost of one is said."""

import json
from pathlib import Path

import numpy as np
import pytest

from gssl.comparison.outcome import finished_runs, of_runs
from gssl.config.composing import compose
from gssl.engine import recorded
from gssl.engine.files import sha256, write_json
from gssl.errors import UsageError
from tests.report import fake_runs


def test_runs_by_a_pattern_or_a_list_each_once(tmp_path):
    for name in ("a1", "a2", "b1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "status.json").write_text("{}")
    (tmp_path / "a3").mkdir()  # no run

    def names(*patterns: str) -> list[str]:
        return [path.name for path in finished_runs([f"{tmp_path}/{p}" for p in patterns])]

    assert [path.name for path in finished_runs(f"{tmp_path}/a*")] == ["a1", "a2"]
    assert names("b1", "a*", "a1") == ["b1", "a1", "a2"]
    with pytest.raises(UsageError, match="runs=.*c.*: no run directory matches"):
        names("a*", "c*")


def test_a_run_without_its_status_is_found(tmp_path):
    for name, file, text in (
        ("a1", "status.json", "{}"),
        ("a2", "result.json", "{}"),
        ("a3", "config.yaml", "engine: {threads: 1}"),
        ("a4", "config.yaml", "of: somebody else"),
        ("a5", "part.json", "{}"),  # planned, and never begun
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    assert [path.name for path in finished_runs(f"{tmp_path}/a*")] == ["a1", "a2", "a3"]


@pytest.fixture
def runs(tmp_path) -> Path:
    """Two arms with three seeds, as this version leaves them."""
    for arm in ("random", "pixels"):
        for seed in range(3):
            path = fake_runs.transfer(tmp_path / "parts", arm, seed)
            known = json.loads((path / "status.json").read_text())
            known |= {"files": recorded.listed(path), "result_sha256": sha256(path / "result.json")}
            write_json(path / "status.json", known)
            (path / "config.yaml").write_text(f"seed: {seed}\nengine: {{threads: 1}}\nto: null\n")
    return tmp_path / "parts"


def report_of(runs: Path):
    return of_runs(compose("compare", [f"runs={runs}/*"])).report


def hurt(path: Path, how: str) -> str:
    """Damage a run; the file that must be named."""
    if how == "status gone":
        (path / "status.json").unlink()
        return "status.json is gone"
    if how == "status and result gone":
        (path / "status.json").unlink()
        (path / "result.json").unlink()
        return "status.json is gone"
    if how == "status cut":
        (path / "status.json").write_text((path / "status.json").read_text()[:40])
        return "status.json cannot be read"
    if how == "result changed":
        (path / "result.json").write_text((path / "result.json").read_text().replace("accuracy", "accuracy", 1) + " ")
        return "result.json cannot be read"
    file = path / "predictions.npz"
    if how == "predictions gone":
        file.unlink()
        return "predictions.npz is gone"
    with np.load(file) as found:
        arrays = dict(found)
    np.savez_compressed(
        file, allow_pickle=False, **arrays | {"guess": np.stack([arrays["labels"]] * len(arrays["guess"]))}
    )
    return "predictions.npz"


DAMAGE = ["status gone", "status and result gone", "status cut", "result changed", "predictions gone", "all right"]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_run_is_left_out_and_said(runs, capsys, how):
    whole = report_of(runs)
    assert "left out" not in capsys.readouterr().err + " ".join(whole.verdict.cautions)
    bad = runs / "transfer-random-1"
    named = hurt(bad, how)
    report = report_of(runs)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:"))
    assert str(bad) in line and named in line and "left out" in line
    (caution,) = (text for text in report.verdict.cautions if "damaged" in text)
    assert str(bad) in caution and named in caution and "scores are over 2 seeds" in caution
    assert not any("did not finish" in text for text in report.verdict.cautions)
    (row,) = (row for row in report.table if (row.arm, row.probe, row.label_budget) == ("random", "linear", "10"))
    before = next(r for r in whole.table if (r.arm, r.probe, r.label_budget) == ("random", "linear", "10"))
    assert row.per_seed == {seed: value for seed, value in before.per_seed.items() if seed != "1"}
    (part,) = report.failed
    assert (part.arm, part.seed, part.state) == ("random", 1, "damaged")


def test_weights_that_are_gone_take_no_number_away(runs, capsys):
    (path, *_) = sorted(runs.iterdir())
    (path / "weights").mkdir()
    (path / "weights" / "finetuned.safetensors").write_bytes(b"weights")
    known = json.loads((path / "status.json").read_text()) | {"files": recorded.listed(path)}
    write_json(path / "status.json", known)
    (path / "weights" / "finetuned.safetensors").unlink()
    report = report_of(runs)
    assert not report.failed
    assert f"note: {path}/weights/finetuned.safetensors: is gone" in capsys.readouterr().err
    (path / "weights" / "finetuned.safetensors").write_bytes(b"others.")
    assert [part.state for part in report_of(runs).failed] == ["damaged"]
