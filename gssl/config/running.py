"""Running a command under Hydra: check everything first, run, say how it ended.

Every mistake is found before Hydra makes a directory and before torch is imported.
"""

import contextlib
import logging
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gssl.config import elsewhere, hydra_api, job, sweeps
from gssl.config.command_line import in_quotes
from gssl.config.paths import held
from gssl.config.validate import first_line
from gssl.engine import signals
from gssl.errors import JobError, UsageError, describe, one_line

Also = Callable[[Any], None]


@signals.ending()
def run(
    command: str,
    where: str,
    overrides: Sequence[str],
    multirun: bool = False,
    config_dir: str | None = None,
    also: Also | None = None,
    away: elsewhere.Elsewhere | None = None,
) -> list[job.Record]:
    """Run a command line under Hydra. Returns one record per job.

    where: `module:function` of the command.
    away: what takes runs to an executor that the configuration asks for.
    `also`: a further check of the typed config. Raises UsageError where nothing could start; nothing is made.
    A single run's directory that this call made is removed where the run had not begun when the command raised
    UsageError or was interrupted.
    """
    typed, whole, texts = elsewhere.checked(command, overrides, multirun, config_dir, also)
    multirun = multirun or whole.hydra.mode == RunMode.MULTIRUN
    key = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    folder = Path(hydra_api.selected(whole, key))
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    away = _away(away, typed, whole, multirun, folder)
    # resolved once and handed on: its name may come from the clock
    texts.append(f"{key}={in_quotes(str(folder))}")
    call = uuid.uuid4().hex[:12] if multirun else ""
    optimises = multirun and sweeps.optimises(whole)
    aim = sweeps.aim(command, whole, texts) if optimises else sweeps.Aim()
    texts += aim.texts
    if aim.note:
        print(aim.note, file=sys.stderr, flush=True)
    if optimises and OmegaConf.select(whole, "hydra.sweeper.max_failure_rate") == 0.0:
        texts.append("hydra.sweeper.max_failure_rate=1.0")  # a failed trial must not stop the others
    task = job.Task(command, where, call, optimises, aim.sign, away)
    stopped: job.Record | None = None
    try:
        with logging_restored():
            if optimises:
                sweeps.quiet(whole)
            hydra_api.run(command, texts, config_dir, multirun, task, elsewhere.Together if away else None)
        error: BaseException | None = None
    except job.Stop as e:
        if not multirun and e.record.state in (job.USAGE, job.INTERRUPTED):
            _remove(missing)
        if not multirun:
            return [e.record]
        error, stopped = None, e.record
    except KeyboardInterrupt as e:
        error = e
    except OSError as e:
        error = UsageError(_unusable(key, folder, e))
        error.__cause__ = e
    except hydra_api.ERRORS as e:
        error = UsageError(first_line(e))
        error.__cause__ = e
    except Exception as e:
        error = e
        if isinstance(e, ValueError) and str(e).startswith("Unable to configure"):  # Python's words
            error = UsageError(f"hydra.job_logging: {first_line(e.__cause__ or e)}; leave it out, or mend its keys")
        if optimises and not isinstance(e, UsageError):  # the plugin's own code, where no trial has a value
            error = JobError(f"hydra/sweeper: {describe(e)}")
            error.__cause__ = e
    if error is not None and (code := signals.received()):  # whatever the signal has become on its way
        if not multirun:
            _remove(missing)
        return [*_jobs(folder, call), job.Record(str(folder), job.INTERRUPTED, "interrupted", code)]
    if not multirun and error is None:
        return [job.Record(str(folder), job.FINISHED)]
    records = _jobs(folder, call)
    if stopped and stopped not in records:  # every run has ended, and no more of them may begin
        records.append(stopped)
    refused = away is not None and isinstance(error, UsageError)  # by the executor: no failed run explains it
    if error is not None and (refused or not any(r.code for r in records)):
        if not records:
            _remove(missing)
        raise error
    return records


def _away(
    away: elsewhere.Elsewhere | None, typed: Any, whole: DictConfig, multirun: bool, folder: Path
) -> elsewhere.Elsewhere | None:
    """What takes the runs to an executor, where one is asked for. Raises UsageError where it could take none."""
    if not elsewhere.wanted(typed):
        return None
    if away is None:
        raise UsageError(f"executor={typed.executor.name}: torchrun has started this run; leave one of the two out")
    elsewhere.check(typed, whole, multirun)
    away.check(typed, folder)
    return away


def _jobs(folder: Path, call: str) -> list[job.Record]:
    return job.read_jobs(folder / job.JOBS, call) if call else []


def _unusable(key: str, folder: Path, error: OSError) -> str:
    """What an OSError outside the command's own code means: mostly that the directory cannot be made."""
    where = Path(str(error.filename)).absolute() if error.filename else None
    mine = folder.absolute()
    if where is None or not (where.is_relative_to(mine) or mine.is_relative_to(where)):
        return one_line(error)
    blocked = next((p for p in (mine, *mine.parents) if p.exists() and not p.is_dir()), None)
    why = f"{job.short(blocked)} is a file" if blocked else error.strerror or one_line(error)
    return f"{key}={folder}: cannot make or write this directory ({why}); choose another, such as {key}=runs/mine"


def _remove(missing: list[Path]) -> None:
    """Remove the directory that this call made (the first of `missing`) and its empty parents.

    Nothing is removed once a run has begun there, or while another process holds it.
    """
    if not missing or any(missing[0].rglob("status.json")) or held(missing[0]):
        return
    for i, path in enumerate(missing):
        if i == 0:
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.rmdir()


@contextlib.contextmanager
def logging_restored() -> Iterator[None]:
    """Hydra configures the root logger per job; afterwards it is as before and the jobs' files are closed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        for handler in root.handlers[:]:
            if handler not in handlers:
                root.removeHandler(handler)
                handler.close()
        for handler in handlers:
            if handler not in root.handlers:
                root.addHandler(handler)
        root.setLevel(level)
