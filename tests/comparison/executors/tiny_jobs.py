"""Jobs that take no time, by name: workers, Slurm and Ray find them as `tiny_jobs:NAME`."""

import os
import signal
import time
from pathlib import Path

from gssl.engine.files import find_json, sha256, write_json
from gssl.engine.run import command_line
from gssl.engine.signals import Signals
from gssl.errors import Interrupted, UsageError


def state(run_dir: Path, value: str) -> None:
    old = find_json(run_dir / "status.json") or {}
    more = {"result_sha256": sha256(run_dir / "result.json")} if value == "finished" else {}
    text = {"schema": "gssl.status/1", "command": "tiny", "config_hash": "", "step": 0, "started": "", "pid": 0}
    write_json(run_dir / "status.json", {**text, **old, "state": value, **more})


def count(run_dir: Path) -> int:
    """How often this job has begun, this time included."""
    with (run_dir / "starts").open("a") as file:
        file.write("x")
    return len((run_dir / "starts").read_text())


def fine(cfg, run_dir: Path) -> None:
    count(run_dir)
    finish(cfg, run_dir)


def finish(cfg, run_dir: Path) -> None:
    write_json(run_dir / "result.json", {"schema": "gssl.result/2", "command": "tiny", "said": str(cfg)})
    state(run_dir, "finished")


def broken(cfg, run_dir: Path) -> None:
    raise ValueError(f"no good: {cfg}")


def commanded(cfg, run_dir: Path) -> None:
    raise ValueError(command_line())


def refused(cfg, run_dir: Path) -> None:
    raise UsageError(f"cfg: {cfg} is not for this machine")


def stopped(cfg, run_dir: Path) -> None:
    """Its machine is taken back `cfg` times: SIGUSR2, as Slurm sends it."""
    state(run_dir, "running")
    if count(run_dir) > cfg:
        return finish(cfg, run_dir)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGUSR2)
        while not signals.code:
            time.sleep(0.01)
    state(run_dir, "interrupted")
    raise Interrupted(signals.code)


def dying(cfg, run_dir: Path) -> None:
    """Killed `cfg` times, as by a lack of memory."""
    state(run_dir, "running")
    if count(run_dir) <= cfg:
        os.kill(os.getpid(), signal.SIGKILL)
    finish(cfg, run_dir)


def empty(cfg, run_dir: Path) -> None:
    """Ends well and leaves nothing."""


def until_told(cfg, run_dir: Path) -> None:
    """Runs until a signal; once there is a file `go` beside it, it ends by itself."""
    count(run_dir)
    state(run_dir, "running")
    with Signals() as signals:
        end = time.monotonic() + 300
        while not signals.code and time.monotonic() < end:
            if (run_dir.parent / "go").exists():
                return finish(cfg, run_dir)
            time.sleep(0.05)
    state(run_dir, "interrupted")
    raise Interrupted(signals.code)
