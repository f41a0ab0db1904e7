"""A command whose `main` does what a test asks for, in place of the real ones, which need torch and time."""

import json
import os
import time
from pathlib import Path
from typing import Any

from gssl.errors import Interrupted, JobError, UsageError
from gssl.schemas.determining import config_hash

CALLS: list[tuple[Any, Path, bool]] = []
MODES: dict[int | None, str] = {}  # by seed; None: any


def main(cfg: Any, run_dir: Path, *, dry_run: bool = False) -> float | str | None:
    CALLS.append((cfg, run_dir, dry_run))
    print("noise that must not reach stdout")
    if dry_run:
        (run_dir / "trace").touch()
        return "one batch of 7"
    seed = getattr(cfg, "seed", None)
    mode = MODES.get(seed) or MODES.get(None) or os.environ.get("STUB", "ok")
    if mode == "fail":
        raise ValueError("the loss\nis odd")
    if mode == "job":
        raise JobError("diverged at step 3")
    if mode == "usage":
        raise UsageError("weights: no such file")
    if mode.startswith("begun-"):
        begin(cfg, run_dir)
        mode = mode.removeprefix("begun-")
        if mode == "usage":
            raise UsageError("this run began with other images")
    if mode == "interrupted":
        raise Interrupted(75)
    if mode == "sleep":
        print("asleep", flush=True)
        for _ in range(1200):  # in slices: a signal just before the system call would be seen only after the sleep
            time.sleep(0.1)
    finish(cfg, run_dir, seed)
    if mode == "claim":
        raise JobError("does not hold: a > b")
    return seed


def begin(cfg: Any, run_dir: Path) -> None:
    """On record, by this process; its way out does not come to note how it ended."""
    status = {"schema": "gssl.status/1", "command": "stub", "config_hash": config_hash(cfg), "step": 2}
    status |= {"state": "running", "started": "2020-01-01T00:00:00+00:00", "ended": None, "error": None}
    (run_dir / "status.json").write_text(json.dumps(status | {"pid": os.getpid()}))


def finish(cfg: Any, run_dir: Path, value: float | None) -> None:
    result = {"schema": "gssl.result/2", "command": "stub", "method": "stub", "seed": value}
    result |= {"objective": {"name": "val_knn", "value": value, "direction": "max"}, "spent": {"steps": 5}}
    status = {"schema": "gssl.status/1", "command": "stub", "config_hash": config_hash(cfg), "step": 5}
    status |= {"state": "finished", "started": "2020-01-01T00:00:00+00:00", "ended": None, "error": None}
    (run_dir / "result.json").write_text(json.dumps(result))
    (run_dir / "status.json").write_text(json.dumps(status))
