"""What runs inside Hydra: one job, from a composed config to a run directory that says how it went.

`Task` is a frozen dataclass because Hydra's launchers pickle it. Torch comes in with the command's module.
"""

import contextlib
import gc
import os
import sys
import traceback
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gssl.config.validate import validate
from gssl.engine.files import find_json, write_json
from gssl.engine.lines import growing, read_lines
from gssl.engine.outputs import open_to_append
from gssl.engine.progress import say
from gssl.engine.shapes import TEXT, WHOLE, mismatch
from gssl.engine.signals import received
from gssl.engine.trouble import misnamed, told
from gssl.errors import Interrupted, JobError, UsageError
from gssl.names import load
from gssl.schemas import section
from gssl.schemas.determining import config_hash

FINISHED, FAILED, USAGE, INTERRUPTED = "finished", "failed", "usage", "interrupted"
JOBS = "jobs.jsonl"  # in a sweep's directory: one line per job, of every call
ROW = {"dir": TEXT, "state": TEXT, "message": TEXT, "code": WHOLE, "job": TEXT, "overrides": [TEXT]}
ROW |= {"has_result": bool, "call": TEXT}  # of such a line, see `Record`


@dataclass(frozen=True)
class Record:
    """How a job ended. `code` is the exit code that it alone would give."""

    dir: str
    state: str  # finished | failed | usage | interrupted
    message: str = ""
    code: int = 0
    job: str = ""  # a sweep's job number
    overrides: tuple[str, ...] = ()
    has_result: bool = False  # failed with a result: a comparison whose claim does not hold
    call: str = ""  # which call of the sweep's directory


class Stop(BaseException):
    """Ends a single run, or a whole sweep. Hydra passes on what is no Exception, without a word on stderr."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.record = record


@dataclass(frozen=True)
class Task:
    """Hydra's task function: validates, runs the command's `main`, returns its objective.

    In a sweep (`call` is not empty) a failure is noted in jobs.jsonl and the next job runs; unfinished jobs
    of an earlier call go on and finished ones are left alone, for every job has engine.resume=auto.
    """

    command: str
    where: str  # `module:function`
    call: str = ""
    raises: bool = False  # optimising sweepers want to see a failed trial's exception
    sign: float = 1.0  # of the objective, for a sweeper that minimises

    def __call__(self, config: DictConfig) -> float | None:
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        run_dir = Path(hydra.runtime.output_dir)
        gc.collect()  # the job before this one may have left networks in the same process
        if device := sys.modules.get("gssl.engine.device"):  # torch is here already: and what it kept for its steps
            device.release_memory()
        value: float | None = None
        digest = ""
        state, message, code = FINISHED, "", 0
        before = _stamp(run_dir)
        cfg: Any = None
        try:
            if not os.access(run_dir, os.W_OK | os.X_OK):
                key = "hydra.sweep.dir" if self.call else "hydra.run.dir"
                raise UsageError(f"{short(run_dir)}: cannot write this directory; choose another {key}")
            cfg = validate(self.command, config)
            digest = config_hash(cfg)
            if self.call and cfg.engine.resume == "no":
                cfg = section.replace(cfg, engine=section.replace(cfg.engine, resume="auto"))
            with contextlib.redirect_stdout(sys.stderr):
                value = load(self.where)(cfg, run_dir)
        except UsageError as e:
            state, message, code = USAGE, one_line(e), 2
        except (Interrupted, KeyboardInterrupt) as e:
            code = e.code if isinstance(e, Interrupted) else received() or 130
            state, message = INTERRUPTED, "interrupted"
        except Exception as e:
            if received():  # what was in the middle of something has made another error of the signal
                state, message, code = INTERRUPTED, "interrupted", received()
            elif line := misnamed(e):
                state, message, code = USAGE, line, 2
            else:
                state, message, code = FAILED, told(e, cfg, run_dir) or describe(e), 1
            with contextlib.suppress(OSError), open_to_append(run_dir / "log.txt") as log:
                log.write(traceback.format_exc())
        if state in (FAILED, INTERRUPTED):
            with contextlib.suppress(OSError):  # a full disk: what went wrong is reported all the same
                note_status(run_dir, self.command, digest, state, message if state == FAILED else None)
        record = Record(short(run_dir), state, message, code, has_result=state == FAILED and _stamp(run_dir) != before)
        if self.call:
            number = str(OmegaConf.select(hydra, "job.num", default=""))  # type: ignore[arg-type]
            record = replace(record, job=number, overrides=tuple(hydra.overrides.task), call=self.call)
            append(Path(hydra.sweep.dir) / JOBS, record)
        if state == INTERRUPTED or (code and not self.call):
            raise Stop(record)
        if code and self.raises:
            raise JobError(message)
        return None if value is None else self.sign * value


def short(path: Path) -> str:
    """The path as a user would write it: relative where it lies below the working directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def describe(error: Exception) -> str:
    """One line for a failed job: our own messages as they are, others with their type."""
    return one_line(error) if isinstance(error, JobError) else f"{type(error).__name__}: {one_line(error)}"


def _stamp(run_dir: Path) -> tuple[int, int] | None:
    """What distinguishes one result.json from the next: it is always replaced as a whole."""
    try:
        found = (run_dir / "result.json").stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def note_status(run_dir: Path, command: str, digest: str, state: str, error: str | None) -> None:
    """Write status.json where a run of this process died with the state `running`, or failed before it began.

    The status of another process's run stays as it is, and an interrupt before the run began leaves none.
    """
    path = run_dir / "status.json"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    status: dict[str, Any] = {"schema": "gssl.status/1", "command": command, "config_hash": digest, "step": 0}
    status |= {"started": now, "pid": os.getpid()}
    old = find_json(path)
    mine = old is not None and old.get("state") == "running" and old.get("pid") == os.getpid()
    if not mine and (path.exists() or state == INTERRUPTED):
        return
    write_json(path, status | (old or {}) | {"state": state, "ended": now, "error": error})


def append(path: Path, record: Record) -> None:
    """Add a line to jobs.jsonl, to which several processes may write."""
    with growing(path) as (_, add):
        add(asdict(record))


def read_jobs(path: Path, call: str) -> list[Record]:
    """The jobs of one call, in the order of their numbers. Damaged lines are said."""
    lines = read_lines(path, _usable)
    if lines.damage:
        say(f"warning: {lines.damage}: jobs that stood there are not in the table")
    rows = [row for _, row in lines.found if row.get("call") == call]
    found = [Record(**row | {"overrides": tuple(row.get("overrides", ()))}) for row in rows]
    return sorted(found, key=lambda r: (not r.job.isdigit(), int(r.job) if r.job.isdigit() else 0, r.job))


def _usable(row: dict[str, Any]) -> bool:
    return {"dir", "state"} <= set(row) <= set(ROW) and None not in row.values() and mismatch(row, ROW) is None
