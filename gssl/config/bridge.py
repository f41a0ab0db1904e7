"""From the command line to Hydra and back: check everything first, run, tell how it ended.

Every mistake is found before Hydra makes a directory and before torch is imported.
"""

import contextlib
import io
import logging
import shutil
import signal
import sys
import tempfile
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gssl.config import check, job, registry
from gssl.config.composing import check_all, hydra_values, in_quotes, session
from gssl.config.paths import config_name, held
from gssl.errors import Interrupted, JobError, UsageError

Also = Callable[[Any], None]


def run(
    command: str,
    overrides: Sequence[str],
    multirun: bool = False,
    config_dir: str | None = None,
    also: Also | None = None,
) -> list[job.Record]:
    """Run a command line under Hydra. Returns one record per job.

    `also`: a further check of the typed config. Raises UsageError where nothing could start; nothing is made.
    A single run's directory that this call made is removed where the run had not begun when the command raised
    UsageError or was interrupted.
    """
    _, whole, texts = check_all(command, overrides, multirun, config_dir, also)
    multirun = multirun or whole.hydra.mode == RunMode.MULTIRUN
    folder = Path(_directory(whole, "hydra.sweep.dir" if multirun else "hydra.run.dir"))
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    # resolved once and handed on: its name may come from the clock
    key = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    texts.append(f"{key}={in_quotes(str(folder))}")
    call = uuid.uuid4().hex[:12] if multirun else ""
    optimises = multirun and "BasicSweeper" not in str(OmegaConf.select(whole, "hydra.sweeper._target_"))
    if optimises and OmegaConf.select(whole, "hydra.sweeper.max_failure_rate") == 0.0:
        texts.append("hydra.sweeper.max_failure_rate=1.0")  # a failed trial must not stop the others
    task = job.Task(command, call, optimises)
    try:
        with _sigterm(), _logging_restored(), _hydra(command, texts, config_dir, multirun) as hydra:
            mode = RunMode.MULTIRUN if multirun else RunMode.RUN
            start = hydra.multirun if multirun else hydra.run
            start(config_name=config_name(command), task_function=task, overrides=[*texts, f"hydra.mode={mode.name}"])
        error: Exception | None = None
    except job.Stop as e:
        if not multirun and e.record.state in (job.USAGE, job.INTERRUPTED):
            _remove(missing)
        if not multirun:
            return [e.record]
        error = None
    except KeyboardInterrupt as e:
        code = 75 if isinstance(e, job.Terminated) else 130
        if not multirun:
            _remove(missing)
        return [*_jobs(folder, call), job.Record(str(folder), job.INTERRUPTED, "interrupted", code)]
    except OSError as e:
        error = UsageError(_unusable(key, folder, e))
        error.__cause__ = e
    except (HydraException, OmegaConfBaseException) as e:
        error = UsageError(check.first_line(e))
        error.__cause__ = e
    except Exception as e:
        error = e
    if not multirun and error is None:
        return [job.Record(str(folder), job.FINISHED)]
    records = _jobs(folder, call)
    if error is not None and not any(r.code for r in records):
        if not records:
            _remove(missing)
        raise error
    return records


def _jobs(folder: Path, call: str) -> list[job.Record]:
    return job.read_jobs(folder / job.JOBS, call) if call else []


def _directory(whole: DictConfig, key: str) -> str:
    try:
        with hydra_values(whole):
            return str(OmegaConf.select(whole, key, throw_on_missing=True))
    except OmegaConfBaseException as e:
        raise UsageError(f"{key}: {check.first_line(e)}") from e


def _unusable(key: str, folder: Path, error: OSError) -> str:
    """What an OSError outside the command's own code means: mostly that the directory cannot be made."""
    where = Path(str(error.filename)).absolute() if error.filename else None
    mine = folder.absolute()
    if where is None or not (where.is_relative_to(mine) or mine.is_relative_to(where)):
        return job.one_line(error)
    blocked = next((p for p in (mine, *mine.parents) if p.exists() and not p.is_dir()), None)
    why = f"{job.short(blocked)} is a file" if blocked else error.strerror or job.one_line(error)
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
def _hydra(command: str, texts: list[str], config_dir: str | None, multirun: bool = False) -> Iterator[Hydra]:
    """What `hydra.main` makes, without its composing everything once more to read `hydra.mode`, which is known here."""
    argv = sys.argv
    place = ["--config-dir", str(Path(config_dir).absolute())] if config_dir else []
    sys.argv = [f"gssl {command}", *(["--multirun"] if multirun else []), *place, *texts]  # to be put on record
    try:
        with session(config_dir):
            made = GlobalHydra.instance().hydra
            assert made
            yield made
    finally:
        sys.argv = argv


@contextlib.contextmanager
def _sigterm() -> Iterator[None]:
    """SIGTERM ends a job as Ctrl-C does, with exit code 75. The training loop has handlers of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise job.Terminated

    old = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


@contextlib.contextmanager
def _logging_restored() -> Iterator[None]:
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


# ── looking without running ──────────────────────────────────────────────────────────────────────


def dry_run(command: str, overrides: Sequence[str], config_dir: str | None = None, also: Also | None = None) -> str:
    """Compose, build and run one batch in a directory that is removed. Returns what the command says.

    Pictures that it made are kept: they move to where the run would have gone.
    Raises UsageError, Interrupted and JobError; the traceback of anything unforeseen goes to stderr.
    """
    cfg, whole, _ = check_all(command, overrides, False, config_dir, also)
    said = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="gssl-dry-run-") as folder:
        with contextlib.redirect_stdout(said):
            message = _looked(command, cfg, folder, dry_run=True)
        target = Path(_directory(whole, "hydra.run.dir"))
        kept = []
        for picture in sorted(Path(folder).glob("*.png")):
            target.mkdir(parents=True, exist_ok=True)
            kept.append(job.short(Path(shutil.move(picture, target / picture.name)).absolute()))
    if isinstance(message, str):
        for path in kept:
            message = message.replace(Path(path).name, path)
    parts = [said.getvalue().rstrip(), message if isinstance(message, str) else ""]
    return "\n".join(p for p in parts if p) or "the configuration builds and one batch went through"


def plan(
    command: str,
    overrides: Sequence[str],
    config_dir: str | None = None,
    also: Also | None = None,
    quiet: bool = False,
) -> Any:
    """What a command would do, as its `main` tells it with `plan=True`: it prints as it goes (`quiet`: on stderr) and
    the document that it returns is returned. The directory it gets is removed. Raises as `dry_run`."""
    cfg, _, _ = check_all(command, overrides, False, config_dir, also)
    aside = contextlib.redirect_stdout(sys.stderr) if quiet else contextlib.nullcontext()
    with tempfile.TemporaryDirectory(prefix="gssl-plan-") as folder, aside:
        return _looked(command, cfg, folder, plan=True)


def _looked(command: str, cfg: Any, folder: str, **how: bool) -> Any:
    """What the command's `main` returns when it only looks; its errors are those of a job."""
    main = registry.load(registry.COMMAND[command].where)
    with _sigterm():
        try:
            return main(cfg, Path(folder), **how)
        except KeyboardInterrupt as e:
            raise Interrupted(75 if isinstance(e, job.Terminated) else 130) from e
        except (UsageError, Interrupted, JobError):
            raise
        except Exception as e:
            traceback.print_exc()
            raise JobError(job.describe(e)) from e


def show(
    command: str,
    overrides: Sequence[str],
    kind: str | None = None,
    info: str | None = None,
    resolve: bool = False,
    package: str | None = None,
    config_dir: str | None = None,
) -> None:
    """Print the validated config as YAML (`kind`: job, hydra or all) or Hydra's `info` about it on stdout."""
    _, whole, texts = check_all(command, overrides, False, config_dir)
    if package and package != "_global_" and OmegaConf.select(whole, package) is None:
        raise UsageError(f"--package: no package '{package}' in the configuration")
    name = config_name(command)
    try:
        with _logging_restored(), _hydra(command, texts, config_dir) as hydra:
            if kind:
                hydra.show_cfg(config_name=name, overrides=texts, cfg_type=kind, package=package, resolve=resolve)
            else:
                hydra.show_info(info or "all", config_name=name, overrides=texts)
    except (HydraException, OmegaConfBaseException, ValueError) as e:
        raise UsageError(check.first_line(e)) from e


def plain_config(
    command: str, overrides: Sequence[str], package: str | None = None, config_dir: str | None = None
) -> Any:
    """The validated config, or its dotted part `package`, as plain containers: for --cfg job --json."""
    tree: Any = asdict(check_all(command, overrides, False, config_dir)[0])
    for part in package.split(".") if package else []:
        if not isinstance(tree, dict) or part not in tree:
            raise UsageError(f"--package: no package '{package}' in the configuration")
        tree = tree[part]
    return tree
