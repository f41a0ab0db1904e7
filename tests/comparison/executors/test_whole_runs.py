"""Runs of a sweep by executors: the same bytes as on this machine; what is told to stop is submitted again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gssl.comparison import whole_runs
from gssl.engine.files import find_json

pytestmark = pytest.mark.long
TINY = ["data.limit=64", "ssl.batch_size=16", "budget.default_epochs=1", "backbone=convnet", "engine.threads=1"]
SWEEP = ["pretrain-ssl", "-m", "seed=0,1", *TINY]


def words(section, where: str) -> list[str]:
    """The overrides that ask for an executor on this machine."""
    own = section(where)
    asked = [f"executor={own.name}", "executor.patience=3", "executor.unshared=[]", "executor.cpus=1"]
    return [*asked, *{"submitit": ["executor.cluster=local"], "slurm": ["executor.time=30"]}.get(where, [])]


def gssl(folder: Path, *args: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "gssl", *args], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def weights(run: Path) -> bytes:
    return (run / "weights" / "backbone.safetensors").read_bytes()


@pytest.mark.parametrize("where", ["submitit", "slurm", "ray"])
def test_a_sweep_gives_the_same_bytes_wherever_its_runs_run(where, section, tmp_path):
    for name, more in (("here", []), ("there", words(section, where))):
        with gssl(tmp_path, *SWEEP, f"hydra.sweep.dir={name}", *more, "--json") as one:
            said, err = one.communicate(timeout=300)
        assert one.returncode == 0, err
        assert [document["objective"]["name"] for document in json.loads(said)] == ["val_knn", "val_knn"]
    for number in ("0", "1"):
        here, there = tmp_path / "here" / number, tmp_path / "there" / number
        assert weights(here) == weights(there)
        assert find_json(there / "job.json")["state"] == "ok"
        assert find_json(here / "job.json") is None
    rows = [json.loads(line) for line in (tmp_path / "there" / "jobs.jsonl").read_text().splitlines()]
    assert sorted((row["job"], row["state"]) for row in rows) == [("0", "finished"), ("1", "finished")]


@pytest.mark.parametrize("where", ["submitit", "slurm"])
def test_a_run_that_is_told_to_stop_saves_and_is_submitted_again(where, section, tmp_path):
    run = tmp_path / "run"
    long = ["budget.steps=100000", "engine.checkpoint_every=2", "hydra.run.dir=run"]

    def step() -> int:
        """The newest checkpoint's."""
        return max((int(path.name[5:]) for path in run.glob("checkpoints/step-*")), default=0)

    with gssl(tmp_path, "pretrain-ssl", *TINY, *long, *words(section, where)) as one:
        try:
            until(step, one)
            first = find_json(run / "job.json")["pid"]
            os.kill(first, signal.SIGUSR2)  # as Slurm does where the time is over
            until(lambda: (find_json(run / "job.json") or {}).get("pid") not in (None, first), one)
            before = step()
            until(lambda: step() > before, one)
            one.send_signal(signal.SIGINT)
            err = one.communicate(timeout=120)[1]
        finally:
            one.kill()
    assert one.returncode == 130, err
    assert "it was told to save and stop; it is submitted again (1 of 20 times)" in err
    assert "interrupted: run; call it again with resume=auto hydra.run.dir=run to go on" in err
    assert find_json(run / "status.json")["state"] == "interrupted"


def until(what, process: subprocess.Popen, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.1)


def test_whole_runs_is_what_the_configuration_asks_of_an_executor():
    """The protocol's functions are there, with its parameters."""
    import inspect

    from gssl.config.elsewhere import Elsewhere

    for name, asked in inspect.getmembers(Elsewhere, inspect.isfunction):
        if not name.startswith("_"):
            own = inspect.signature(getattr(whole_runs, name))
            assert list(own.parameters) == list(inspect.signature(asked).parameters)[1:]
