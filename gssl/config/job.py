"""What runs inside Hydra: one job, from a composed config to a run directory that says how it went.

`Task` is a frozen dataclass because Hydra's launchers pickle it. Torch comes in with the command's module.
"""

import contextlib
import gc
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from gssl.config.validate import validate
from gssl.engine.files import find_json, write_json
from gssl.engine.lines import growing, read_lines
from gssl.engine.outputs import open_to_append
from gssl.engine.progress import say
from gssl.engine.shapes import TEXT, WHOLE, mismatch
from gssl.engine.signals import received
from gssl.engine.trouble import misnamed, told
from gssl.engine.worker import Job
from gssl.errors import Interrupted, JobError, UsageError, describe, one_line
from gssl.names import load
from gssl.schemas import section
from gssl.schemas.determining import config_hash

if TYPE_CHECKING:
    from gssl.config.elsewhere import Elsewhere

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
class Place:
    """A job as Hydra has set it up: where it runs, and what a sweep's record names it by."""

    run_dir: Path
    before: tuple[int, int] | None  # stamp of the result.json that was there
    sweep_dir: Path
    number: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Waiting:
    """A run of a sweep that an executor has yet to take. cfg: as it was composed, given: what its job gets of it."""

    place: Place
    cfg: Any
    given: Any

    @property
    def digest(self) -> str:
        return config_hash(self.cfg)


@dataclass(frozen=True)
class Task:
    """Hydra's task function: validates, runs the command's `main`, returns its objective.

    In a sweep (`call` is not empty) a failure is noted in jobs.jsonl and the next job runs; unfinished jobs
    of an earlier call go on and finished ones are left alone, for every job has engine.resume=auto.

    With `elsewhere` an executor takes the run; the runs of a sweep pass through `waiting` and `sent`, all together.
    """

    command: str
    where: str  # `module:function`
    call: str = ""
    raises: bool = False  # optimising sweepers want to see a failed trial's exception
    sign: float = 1.0  # of the objective, for a sweeper that minimises
    elsewhere: "Elsewhere | None" = None

    def __call__(self, config: DictConfig) -> float | None:
        place = self._set_up()
        gc.collect()  # the job before this one may have left networks in the same process
        if device := sys.modules.get("gssl.engine.device"):  # torch is here already: and what it kept for its steps
            device.release_memory()
        value: float | None = None
        cfg: Any = None
        how = FINISHED, "", 0
        try:
            cfg = self._read(place, config)
            with contextlib.redirect_stdout(sys.stderr):
                value = load(self.where)(cfg, place.run_dir) if self.elsewhere is None else self._alone(place, cfg)
        except (Exception, KeyboardInterrupt) as e:
            how = _ended(e, cfg, place.run_dir)
        self._end(place, "" if cfg is None else config_hash(cfg), *how)
        return None if value is None else self.sign * value

    def waiting(self, config: DictConfig) -> Waiting | None:
        """Hydra's task function where an executor takes the runs of a sweep: reads one; None where it cannot run."""
        assert self.elsewhere is not None
        place = self._set_up()
        cfg: Any = None
        try:
            cfg = self._read(place, config)
            with contextlib.redirect_stdout(sys.stderr):
                return Waiting(place, cfg, self.elsewhere.ready(self.command, cfg, place.run_dir))
        except (Exception, KeyboardInterrupt) as e:
            self._end(place, "" if cfg is None else config_hash(cfg), *_ended(e, cfg, place.run_dir))
            return None

    def sent(self, waiting: list[Waiting], typed: Sequence[str]) -> list[Any]:
        """The objectives of the runs of a sweep, once an executor has run them all; of a failed one None, or the
        exception where the sweeper wants it. typed: the overrides of the command line.

        Raises Stop on a signal, UsageError where the executor takes none."""
        assert self.elsewhere is not None
        if not waiting:
            return []
        runs = dict(zip(_names([one.place for one in waiting], typed), waiting, strict=True))
        failed: dict[str, Exception] = dict(_in_one_directory({name: one.place.run_dir for name, one in runs.items()}))
        jobs = {name: Job(self.where, one.given, one.place.run_dir) for name, one in runs.items() if name not in failed}
        first, well = waiting[0].cfg, set[str]()

        def ended_well(name: str) -> None:
            well.add(name)
            self._note(runs[name].place, runs[name].digest, FINISHED, "", 0)

        try:
            with contextlib.redirect_stdout(sys.stderr):
                failed |= self.elsewhere.run(jobs, first.executor, first.engine.progress, ended_well)
        except (Interrupted, KeyboardInterrupt) as e:
            code = e.code if isinstance(e, Interrupted) else received() or 130
            left = [runs[name] for name in jobs if name not in well]
            raise Stop(self._stopped(left, waiting[0].place.sweep_dir, code)) from None
        for name in [name for name in runs if name not in {*well, *failed}]:  # finished before
            self._note(runs[name].place, runs[name].digest, FINISHED, "", 0)
        for name, error in failed.items():
            how = (USAGE, one_line(error), 2) if isinstance(error, UsageError) else (FAILED, one_line(error), 1)
            self._note(runs[name].place, runs[name].digest, *how)
        return [self._answer(failed.get(name), one.place.run_dir) for name, one in runs.items()]

    def _set_up(self) -> Place:
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        number = str(OmegaConf.select(hydra, "job.num", default=""))  # type: ignore[arg-type]
        run_dir = Path(hydra.runtime.output_dir)
        sweep_dir = Path(hydra.sweep.dir) if self.call else run_dir
        return Place(run_dir, _stamp(run_dir), sweep_dir, number, tuple(hydra.overrides.task))

    def _read(self, place: Place, config: DictConfig) -> Any:
        """The typed configuration of a job. Raises UsageError."""
        if not os.access(place.run_dir, os.W_OK | os.X_OK):
            key = "hydra.sweep.dir" if self.call else "hydra.run.dir"
            raise UsageError(f"{short(place.run_dir)}: cannot write this directory; choose another {key}")
        cfg = validate(self.command, config)
        if self.call and cfg.engine.resume == "no":
            cfg = section.replace(cfg, engine=section.replace(cfg.engine, resume="auto"))
        return cfg

    def _alone(self, place: Place, cfg: Any) -> float | None:
        """A single run as the only job of an executor."""
        assert self.elsewhere is not None
        job = Job(self.where, self.elsewhere.ready(self.command, cfg, place.run_dir), place.run_dir)
        name = short(place.run_dir)
        if failed := self.elsewhere.run({name: job}, cfg.executor, cfg.engine.progress, lambda _: None):
            raise failed[name]
        return objective(place.run_dir)

    def _answer(self, error: Exception | None, run_dir: Path) -> Any:
        if error is not None:
            return error if self.raises else None
        value = objective(run_dir)
        return None if value is None else self.sign * value

    def _stopped(self, left: list[Waiting], sweep_dir: Path, code: int) -> Record:
        """Note how far the runs of a sweep have come that a signal ended; returns the record of one that goes on, else
        one of the sweep."""
        goes_on: list[Waiting] = []
        record: Record | None = None
        for one in left:
            status = find_json(one.place.run_dir / "status.json") or {}
            if status.get("state") == FAILED:
                self._note(one.place, one.digest, FAILED, str(status.get("error")), 1)
            elif status.get("state") in (INTERRUPTED, "running"):
                record = self._note(one.place, one.digest, INTERRUPTED, "interrupted", code)
            elif status.get("state") != FINISHED:
                goes_on.append(one)
        if record is None and goes_on:
            record = self._note(goes_on[0].place, goes_on[0].digest, INTERRUPTED, "interrupted", code)
        return record or Record(short(sweep_dir), INTERRUPTED, "interrupted", code)

    def _note(self, place: Place, digest: str, state: str, message: str, code: int) -> Record:
        """Put it on record how a job ended."""
        if state in (FAILED, INTERRUPTED):
            with contextlib.suppress(OSError):  # a full disk: what went wrong is reported all the same
                error = message if state == FAILED else None
                note_status(place.run_dir, self.command, digest, state, error)
        has_result = state == FAILED and _stamp(place.run_dir) != place.before
        record = Record(short(place.run_dir), state, message, code, has_result=has_result)
        if self.call:
            record = replace(record, job=place.number, overrides=place.overrides, call=self.call)
            append(place.sweep_dir / JOBS, record)
        return record

    def _end(self, place: Place, digest: str, state: str, message: str, code: int) -> None:
        """Put it on record, and raise what ends the call or tells a sweeper of it."""
        record = self._note(place, digest, state, message, code)
        if state == INTERRUPTED or (code and not self.call):
            raise Stop(record)
        if code and self.raises:
            raise JobError(message)


def _ended(error: BaseException, cfg: Any, run_dir: Path) -> tuple[str, str, int]:
    """The state, message and exit code of a job that raised; the traceback of what is unforeseen goes to its log."""
    if isinstance(error, UsageError):
        return USAGE, one_line(error), 2
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return INTERRUPTED, "interrupted", error.code if isinstance(error, Interrupted) else received() or 130
    with contextlib.suppress(OSError), open_to_append(run_dir / "log.txt") as log:
        log.write("".join(traceback.format_exception(error)))
    if received():  # what was in the middle of something has made another error of the signal
        return INTERRUPTED, "interrupted", received()
    if line := misnamed(error):
        return USAGE, line, 2
    return FAILED, told(error, cfg, run_dir) or describe(error), 1


def _names(places: list[Place], typed: Sequence[str]) -> list[str]:
    """How progress and errors name the runs of a sweep: by number, and by what the sweep has chosen for them."""
    own = [" ".join(text for text in one.overrides if text not in typed) for one in places]
    return [f"run {one.number}" + (f" ({words})" if words else "") for one, words in zip(places, own, strict=True)]


def _in_one_directory(places: Mapping[str, Path]) -> Iterator[tuple[str, UsageError]]:
    """The runs of a sweep whose directory is that of one before them: side by side they would write over each other."""
    taken: dict[Path, str] = {}
    for name, path in places.items():
        if (other := taken.setdefault(path, name)) != name:
            hint = "hydra.sweep.subdir must name one for each, as ${hydra.job.num} does"
            yield name, UsageError(f"{short(path)}: is the directory of {other}, too; {hint}")


def objective(run_dir: Path) -> float | None:
    """The objective of a finished run."""
    return ((find_json(run_dir / "result.json") or {}).get("objective") or {}).get("value")


def short(path: Path) -> str:
    """The path as a user would write it: relative where it lies below the working directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


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
