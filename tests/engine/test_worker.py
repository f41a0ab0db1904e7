"""The worker: reusable, and its death is one failed job."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gssl.engine import worker
from gssl.engine.worker import BUSY, FAILED, OK, Job, Worker


def fine(cfg, run_dir: Path) -> None:
    (run_dir / "pid").write_text(str(os.getpid()))


def broken(cfg, run_dir: Path) -> None:
    raise ValueError(f"no good: {cfg}")


def dying(cfg, run_dir: Path) -> None:
    os._exit(9)


def wait(made: Worker) -> tuple[str, str]:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        answer = made.poll(0.1)
        if answer:
            return answer
    pytest.fail("no answer")


@pytest.mark.parametrize("when", ["opened", "written"])
def test_a_disk_that_takes_no_log_is_a_failed_job_and_no_death(tmp_path, monkeypatch, when):
    def full(path: Path):
        if when == "opened":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return open("/dev/full", "w")  # what is written there stays in a buffer until it is closed

    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(worker, "open_to_append", full)
    state, why = worker.answered(Job(f"{Path(__file__).stem}:broken", 7, tmp_path))
    assert state == FAILED
    assert ("the disk is full" if when == "opened" else "no good: 7") in why


@pytest.mark.long
def test_jobs_share_a_process_and_a_death_costs_one_job(tmp_path, monkeypatch):
    # workers find functions by name; this file stands in for a command
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    here = Path(__file__).stem
    made = Worker(threads=1)
    jobs = [("fine", OK), ("broken", FAILED), ("fine", OK), ("dying", FAILED), ("fine", OK)]
    pids = []
    try:
        for i, (name, state) in enumerate(jobs):
            made.start(Job(f"{here}:{name}", "cfg", tmp_path / str(i)))
            answer = wait(made)
            assert answer[0] == state, answer
            if name == "fine":
                pids.append((tmp_path / str(i) / "pid").read_text())
            if name == "broken":
                assert answer[1] == "ValueError: no good: cfg"
                assert "Traceback" in (tmp_path / str(i) / "log.txt").read_text()
            if name == "dying":
                assert "died" in answer[1] and "exit code 9" in answer[1]
    finally:
        made.close()
    assert pids[0] == pids[1] != pids[2]
    assert str(os.getpid()) not in pids


@pytest.mark.long
def test_close_ends_the_process(tmp_path):
    made = Worker(threads=1)
    made.start(Job("os:getcwd", None, tmp_path))  # refuses its arguments: a failed job
    assert wait(made)[0] == FAILED
    process = made._process
    made.close()
    assert not process.is_alive()


@pytest.mark.long
def test_a_held_directory_is_busy_not_failed(tmp_path, tiny):
    from gssl.engine.run import Run

    cfg = tiny("pretrain-ssl")
    made = Worker(threads=1)
    try:
        with Run(tmp_path, "pretrain-ssl", cfg):
            made.start(Job("gssl.commands.pretrain_ssl:main", cfg, tmp_path))
            assert wait(made)[0] == BUSY
    finally:
        made.close()


PARENT = """
import sys, time
from pathlib import Path
from gssl.engine.worker import Job, Worker
if __name__ == "__main__":
    made = Worker(threads=1)
    made.start(Job("time:sleep", 600, Path(sys.argv[1])))  # sleep(600, dir) fails: the worker then waits for work
    while made.poll(0.1) is None:
        pass
    print(made._process.pid, flush=True)
    time.sleep(600)
"""


def running(pid: int) -> bool:
    """Not as a zombie, which an orphan stays where process 1 does not reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.long
def test_a_worker_ends_with_its_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "job")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    end = time.monotonic() + 60
    while time.monotonic() < end and running(pid):
        time.sleep(0.1)
    assert not running(pid)
