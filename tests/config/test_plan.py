"""`gssl compare --plan`: a table or one JSON document, and nothing left behind."""

import json

import pytest
from typer.testing import CliRunner

from gssl.cli import app
from gssl.errors import JobError, UsageError

FOUND = {
    "schema": "gssl.plan/1",
    "primary": {"probe": "linear", "labels": "10", "pairs": [["simclr", "dcgan"]], "fixed_by": "rule"},
    "seeds": 2,
    "probes": ["linear"],
    "labels": ["10"],
    "jobs": 1,
    "parts": [],
    "searches": {"trials": 0, "arms": [], "budget": 0.5},
    "seconds_left": 720.0,
    "resolution": [],
}


def gssl(*args):
    return CliRunner().invoke(app, ["compare", *args])


@pytest.fixture
def planned(stubbed, monkeypatch):
    """The command's `main` returns a plan; yields the calls it saw."""
    calls = []

    def main(cfg, run_dir, *, dry_run=False, plan=False):
        calls.append((cfg, run_dir, dry_run, plan))
        if cfg.seeds > 7:
            raise {8: UsageError("seeds: too many"), 9: JobError("cannot measure"), 10: KeyboardInterrupt}.get(
                cfg.seeds, ValueError("odd")
            )
        (run_dir / "trace").touch()
        print("measuring")
        return FOUND

    monkeypatch.setattr(stubbed, "main", main)
    return calls


def test_it_prints_the_plan_that_the_command_returns(planned, tmp_path):
    done = gssl("--plan", "seeds=2", "--check", "simclr.linear@10 > 1")
    assert done.exit_code == 0
    assert "the verdict: linear probe at 10, simclr vs dcgan (by the rule over names)" in done.stdout
    assert "0 of 0 parts are done; about 12 min left with jobs=1" in done.stdout
    ((cfg, folder, dry_run, plan),) = planned
    assert (cfg.seeds, dry_run, plan) == (2, False, True)
    assert not folder.exists() and list(tmp_path.iterdir()) == []


def test_json_is_the_commands_document_alone(planned, tmp_path):
    done = gssl("--plan", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == FOUND
    assert "measuring" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seeds", "code", "word"), [(8, 2, "too many"), (9, 1, "cannot"), (10, 130, ""), (11, 1, "odd")]
)
def test_how_it_fails(planned, tmp_path, seeds, code, word):
    done = gssl("--plan", f"seeds={seeds}")
    assert done.exit_code == code and word in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [["--dry-run"], ["-m"], ["--cfg", "job"], ["--info"], ["--explain", "verdict"]])
def test_it_excludes_every_other_way_of_looking(planned, tmp_path, flags):
    done = gssl("--plan", *flags)
    assert done.exit_code == 2
    assert "exclude each other" in done.stderr and "--plan" in done.stderr
    assert planned == [] and list(tmp_path.iterdir()) == []


def test_a_wrong_claim_is_refused_before_anything_is_measured(planned):
    done = gssl("--plan", "--check", "simclr.kid < 1")
    assert done.exit_code == 2 and "simclr has no generator" in done.stderr
    assert planned == []
