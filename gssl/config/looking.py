"""Looking at a command without running it: one batch, its plan, its configuration, the schema of that."""

import contextlib
import io
import math
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gssl import schemas
from gssl.config import comments, elsewhere, hydra_api, job, sweeps
from gssl.config.composing import check_all
from gssl.config.paths import config_name
from gssl.config.running import logging_restored
from gssl.config.validate import first_line
from gssl.engine import signals
from gssl.engine.trouble import misnamed
from gssl.errors import Interrupted, JobError, UsageError, describe
from gssl.names import load

Also = Callable[[Any], None]


def dry_run(
    command: str,
    where: str,
    overrides: Sequence[str],
    multirun: bool = False,
    config_dir: str | None = None,
    also: Also | None = None,
    away: elsewhere.Elsewhere | None = None,
) -> str:
    """Compose, build and run one batch in a directory that is removed. Returns what the command says; of a sweep, the
    first combination says it, and how many there are. What an executor would be given is said, too.

    where: `module:function` of the command. away: what takes runs to an executor. Pictures that it made are kept: they
    move to where the run would have gone. Raises UsageError, Interrupted and JobError; the traceback of anything
    unforeseen goes to stderr.
    """
    cfg, whole, texts = elsewhere.checked(command, overrides, multirun, config_dir, also)
    multirun = multirun or whole.hydra.mode == RunMode.MULTIRUN
    count = (None if sweeps.optimises(whole) else _combinations(texts, whole, config_dir)) if multirun else 1
    more = [] if not multirun else [f"first of {count} runs" if count else "first of the runs that the sweeper chooses"]
    key = "hydra.sweep.dir" if multirun else "hydra.run.dir"
    target = Path(hydra_api.selected(whole, key))
    if away and elsewhere.wanted(cfg):
        elsewhere.check(cfg, whole, multirun)
        away.check(cfg, target)
        more.append(away.described(cfg.executor, count))
        cfg = schemas.replace(cfg, executor=schemas.LOCAL, engine=away.engine_here(cfg))
    said = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="gssl-dry-run-") as folder:
        with contextlib.redirect_stdout(said):
            message = _looked(where, cfg, folder, dry_run=True)
        kept = []
        for picture in sorted(Path(folder).glob("*.png")):
            target.mkdir(parents=True, exist_ok=True)
            kept.append(job.short(Path(shutil.move(picture, target / picture.name)).absolute()))
    if isinstance(message, str):
        for path in kept:
            message = message.replace(Path(path).name, path)
    parts = [said.getvalue().rstrip(), message if isinstance(message, str) else "", *more]
    return "\n".join(p for p in parts if p) or "the configuration builds and one batch went through"


def _combinations(texts: Sequence[str], whole: DictConfig, config_dir: str | None) -> int:
    """How many runs Hydra's own sweeper makes of overrides, and of those in a preset."""
    params = OmegaConf.to_container(OmegaConf.select(whole, sweeps.PARAMS) or OmegaConf.create())
    with hydra_api.session(config_dir):
        texts = [*(f"{key}={value}" for key, value in dict(params).items()), *texts]  # type: ignore[arg-type]
        last = {one.get_key_element(): one for one in map(hydra_api.parsed, texts)}  # the last of a key counts
        swept = [one for one in last.values() if one.is_sweep_override()]
        return math.prod(len(hydra_api.choices(one)) for one in swept)


def plan(
    command: str,
    where: str,
    overrides: Sequence[str],
    config_dir: str | None = None,
    also: Also | None = None,
    quiet: bool = False,
) -> Any:
    """What a command would do: the document that its `main` returns with `plan=True`.

    It prints as it goes (`quiet`: on stderr). The directory it gets is removed. Raises as `dry_run`.
    """
    cfg, _, _ = check_all(command, overrides, False, config_dir, also)
    aside = contextlib.redirect_stdout(sys.stderr) if quiet else contextlib.nullcontext()
    with tempfile.TemporaryDirectory(prefix="gssl-plan-") as folder, aside:
        return _looked(where, cfg, folder, plan=True)


def _looked(where: str, cfg: Any, folder: str, **how: bool) -> Any:
    """What the command's `main` returns when it only looks; its errors are those of a job."""
    main = load(where)
    with signals.ending():
        try:
            return main(cfg, Path(folder), **how)
        except KeyboardInterrupt as e:
            raise Interrupted(signals.received() or 130) from e
        except (UsageError, Interrupted, JobError):
            raise
        except Exception as e:
            if line := misnamed(e):
                raise UsageError(line) from e
            traceback.print_exc()
            raise JobError(describe(e)) from e


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
    typed, whole, texts = check_all(command, overrides, False, config_dir)
    if package and package != "_global_" and OmegaConf.select(whole, package) is None:
        raise _no_package(package)
    name = config_name(command)
    try:
        with logging_restored(), hydra_api.on_record(command, texts, config_dir) as hydra:
            if kind:
                said = io.StringIO()
                with contextlib.redirect_stdout(said):
                    hydra.show_cfg(config_name=name, overrides=texts, cfg_type=kind, package=package, resolve=resolve)
                text = said.getvalue().rstrip()
                if kind == "job":
                    text = comments.annotated(text, command, whole, package, typed.data.size)
                print(text)
            else:
                hydra.show_info(info or "all", config_name=name, overrides=texts)
    except (*hydra_api.ERRORS, ValueError) as e:
        raise UsageError(first_line(e)) from e


def values(command: str, overrides: Sequence[str], package: str | None = None, config_dir: str | None = None) -> Any:
    """The validated config, or its dotted part `package`, as dicts and lists: for --cfg job --json."""
    tree: Any = check_all(command, overrides, False, config_dir)[0].model_dump()
    for part in package.split(".") if package else []:
        if not isinstance(tree, dict) or part not in tree:
            raise _no_package(package)
        tree = tree[part]
    return tree


def _no_package(package: str | None) -> UsageError:
    return UsageError(f"--package: no package '{package}' in the configuration")
