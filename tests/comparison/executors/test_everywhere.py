"""Every executor with the same tiny jobs: what is finished, what failed and why, what is started again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gssl.commands import compare
from gssl.comparison import plan
from gssl.comparison.execution import Task, drive, execute, opened
from gssl.engine.files import find_json
from gssl.engine.worker import Job

pytestmark = pytest.mark.long
ELSEWHERE = ["submitit", "slurm", "ray"]


def task(folder: Path, name: str, function: str, cfg=None, depends=()) -> Task:
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    return Task(name, Job(f"tiny_jobs:{function}", cfg, path), tuple(folder / one for one in depends))


def starts(folder: Path, name: str) -> int:
    return len((folder / name / "starts").read_text())


@pytest.mark.parametrize("where", ["local", *ELSEWHERE])
def test_the_same_jobs_end_alike_everywhere(where, section, tmp_path):
    told = []
    tasks = [
        task(tmp_path, "first", "fine", "words"),
        task(tmp_path, "second", "fine", "more", ["first"]),
        task(tmp_path, "broken", "broken", 7),
        task(tmp_path, "refused", "refused", "this"),
        task(tmp_path, "waits", "fine", "never", ["broken"]),
    ]
    failed = drive(tasks, opened(section(where), 2, 1), False, lambda one: told.append(one.name))
    assert failed == {
        "broken": "ValueError: no good: 7",
        "refused": "cfg: this is not for this machine",
        "waits": "what it needs failed",
    }
    assert told == ["first", "second"]
    assert find_json(tmp_path / "second" / "result.json")["said"] == "more"
    assert "Traceback" in (tmp_path / "broken" / "log.txt").read_text()
    assert not (tmp_path / "waits" / "starts").exists()
    # what is finished is not started again
    assert drive(tasks[:2], opened(section(where), 2, 1), False) == {}
    assert starts(tmp_path, "first") == starts(tmp_path, "second") == 1


@pytest.mark.parametrize("where", ELSEWHERE)
def test_what_was_stopped_or_lost_is_submitted_again_a_bounded_number_of_times(where, section, tmp_path, capsys):
    tasks = [
        task(tmp_path, "stopped", "stopped", 2),
        task(tmp_path, "always stopped", "stopped", 9),
        task(tmp_path, "killed", "dying", 1),
        task(tmp_path, "always killed", "dying", 9),
        task(tmp_path, "empty", "empty"),
    ]
    own = section(where, "executor.max_preemptions=2", "executor.max_lost=1")
    failed = drive(tasks, opened(own, 1, 1), False)
    assert failed.keys() == {"always stopped", "always killed", "empty"}
    assert "executor.max_preemptions=2" in failed["always stopped"]
    assert "its job ended and left no status" in failed["always killed"]
    assert "executor.max_lost=1" in failed["always killed"]
    assert "result.json is not there" in failed["empty"]  # whatever the job and its scheduler say
    assert starts(tmp_path, "stopped") == 3
    assert starts(tmp_path, "always stopped") == 3
    assert starts(tmp_path, "killed") == starts(tmp_path, "always killed") == 2
    assert "stopped: it was told to save and stop; it is submitted again (1 of 2 times)" in capsys.readouterr().err


@pytest.mark.parametrize("where", ELSEWHERE)
def test_real_parts_are_the_same_to_the_byte_wherever_they_run(where, section, small, tmp_path):
    """Training and evaluation, the one waiting for the other, as this machine's workers make them."""
    found = {}
    for name in ("local", where):
        words = ["arms=[simclr]", f"parts={tmp_path / name}", "eval.milestones=0", "probe.use=[linear]", "draws=1"]
        cfg = small(*words)
        parts = plan.plan(cfg, "d", 1)
        assert execute(parts, 2, cfg.engine, compare.WHERE, executor=section(name)) == {}
        found[name] = {part.name: part.path for part in parts}
    for name, path in found["local"].items():
        other = found[where][name]
        assert other.name == path.name  # executors are no part of what determines a run
        one, two = (find_json(p / "result.json") for p in (path, other))
        assert one["objective"] == two["objective"]
        if (path / "predictions.npz").exists():
            answers = [np.load(p / "predictions.npz")["guess"] for p in (path, other)]
            assert answers[0].size and np.array_equal(*answers)
        kept = [file.relative_to(path) for file in path.glob("weights/*.safetensors")]
        assert kept and all((path / file).read_bytes() == (other / file).read_bytes() for file in kept)
    said = find_json(other / "job.json")
    assert said["state"] == "ok" and said["host"] and said["device"]


PARENT = """
import json, sys
from pathlib import Path
from gssl import schemas
from gssl.comparison.execution import Task, drive, opened
from gssl.comparison.executors import slurm
from gssl.engine.worker import Job
from gssl.errors import Interrupted

slurm.ASK = 1.0
folder, name, values = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
own = getattr(schemas, name).model_validate(values)
tasks = [Task(one, Job("tiny_jobs:until_told", None, folder / one)) for one in ("first", "second")]
for one in tasks:
    one.path.mkdir(parents=True, exist_ok=True)
if __name__ == "__main__":
    try:
        sys.exit(1 if drive(tasks, opened(own, 1, 1), False) else 0)
    except Interrupted as error:
        sys.exit(error.code)
"""


@pytest.fixture
def parent(tmp_path, section):
    """Starts a process that drives two jobs, one of which waits: `parent("slurm")`; all are ended at last."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    begun: list[subprocess.Popen] = []

    def make(where: str) -> subprocess.Popen:
        own = section(where, "executor.max_jobs=1")
        words = [sys.executable, str(script), str(tmp_path), type(own).__name__, json.dumps(own.model_dump())]
        with (tmp_path / "said").open("a") as said:
            begun.append(subprocess.Popen(words, stderr=said, start_new_session=True))
        return begun[-1]

    yield make
    (tmp_path / "go").touch()
    for one in begun:
        one.kill()
        one.wait()


def wait_for(what, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.1)


def state(folder: Path, name: str) -> str | None:
    return (find_json(folder / name / "status.json") or {}).get("state")


@pytest.mark.parametrize("where", ELSEWHERE)
def test_ctrl_c_lets_jobs_save_starts_no_other_and_a_second_call_goes_on(where, parent, tmp_path):
    one = parent(where)
    wait_for(lambda: state(tmp_path, "first") == "running")
    os.kill(one.pid, signal.SIGINT)
    assert one.wait(90) == 130, (tmp_path / "said").read_text()
    assert state(tmp_path, "first") == "interrupted"  # it has saved
    assert state(tmp_path, "second") is None
    (tmp_path / "go").touch()
    assert parent(where).wait(90) == 0
    assert state(tmp_path, "first") == state(tmp_path, "second") == "finished"
    assert (starts(tmp_path, "first"), starts(tmp_path, "second")) == (2, 1)


def test_a_job_of_a_killed_call_is_waited_for_and_not_submitted_twice(parent, tmp_path):
    one = parent("slurm")
    wait_for(lambda: state(tmp_path, "first") == "running")
    one.kill()
    one.wait()
    before = find_json(tmp_path / "first" / "submitted.json")
    other = parent("slurm")
    time.sleep(5)
    (tmp_path / "go").touch()
    assert other.wait(90) == 0
    assert find_json(tmp_path / "first" / "submitted.json") == before
    assert starts(tmp_path, "first") == 1


def _queue() -> list[str]:
    """Number and state of every job."""
    return subprocess.run(
        ["squeue", "-h", "-o", "%A %T"], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_slurm_cancels_what_waits_and_what_somebody_cancels_is_submitted_again(section, tmp_path):
    """A job that leaves the queue without a word has vanished, whoever took it out."""
    own = section("slurm", "executor.max_lost=1")
    (tmp_path / "go").touch()
    blocked = subprocess.run(["sbatch", "--parsable", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 30"],
                             capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    end = time.monotonic() + 60  # a busy scheduler takes a while
    while _queue() != [f"{blocked} RUNNING"]:
        assert time.monotonic() < end, _queue()
        time.sleep(0.5)
    executor = opened(own, 1, 1)
    only = task(tmp_path, "only", "until_told")
    executor.start(only.job)
    first = find_json(only.path / "submitted.json")["id"]
    assert f"{first} PENDING" in _queue()
    executor.interrupt()
    executor.close()
    assert _queue() == [f"{blocked} RUNNING"]
    subprocess.run(["scancel", blocked], check=True)
    assert state(tmp_path, "only") is None
    assert drive([only], opened(own, 1, 1), False) == {}
