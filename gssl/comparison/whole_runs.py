"""Whole runs of train-gan, pretrain-ssl and transfer by an executor (see `gssl.config.elsewhere.Elsewhere`, which this
module is): a single run is one job, each run of a sweep is one.

What runs them, asks for them and submits them again is what runs the parts of a comparison. Nothing heavy is imported
before an executor is asked for.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.engine.worker import Job


def check(cfg: Any, folder: Path) -> None:
    """Raises UsageError where runs in `folder` could not be submitted. Nothing is made."""
    from gssl.comparison.executors import checks

    checks.check(cfg.executor, {"hydra.run.dir or hydra.sweep.dir": folder}, cfg.data)


def engine_here(cfg: Any) -> schemas.Engine:
    """`engine` for one batch on this machine, which may have no GPU."""
    from gssl.comparison.executors import checks

    return checks.engine_here(cfg.executor, cfg.engine)


def ready(command: str, cfg: Any, run_dir: Path) -> Any:
    """The configuration that a job of this run gets. Its images are read, so that those who run it find them in the
    cache. Raises UsageError for what the job would refuse: another run in its directory, weights that are not there,
    images that cannot be read.
    """
    from gssl.comparison.executors import checks
    from gssl.data import load_data
    from gssl.engine.progress import write_json_lines
    from gssl.engine.run import Run
    from gssl.errors import Busy
    from gssl.experiment.probing import find_source

    write_json_lines(cfg.engine.progress_format == "json")
    checks.check_places(cfg.executor, _places(cfg, run_dir), cfg.data)
    finished = False
    try:
        with Run(run_dir, command, cfg) as found:
            if not (finished := found.finished):
                found.bind(weights=find_source(cfg.weights, cfg.backbone).sha256)
    except Busy:
        pass  # a job of an earlier call, or of somebody else's: it is waited for
    if not finished and not getattr(cfg, "to", None):
        load_data(cfg.data, progress=cfg.engine.progress)
    threads = cfg.engine.threads or max(1, cfg.executor.cpus // cfg.engine.processes)
    resume = "auto" if cfg.engine.resume == "no" else cfg.engine.resume  # a job that has saved is submitted again
    engine = schemas.replace(cfg.engine, threads=threads, resume=resume, progress=False)
    return schemas.replace(cfg, executor=schemas.LOCAL, engine=engine)


def _places(cfg: Any, run_dir: Path) -> dict[str, str | Path | None]:
    """What a run reads and writes beside its data: names of weights are of no place."""
    given: dict[str, str | None] = {
        "weights": cfg.weights,
        "generated.run": getattr(cfg, "generated", None) and cfg.generated.run,
    }
    given |= {f"to={text}": text for text in getattr(cfg, "to", None) or []}
    return {"hydra.run.dir": run_dir} | {key: text for key, text in given.items() if text and Path(text).exists()}


def run(jobs: Mapping[str, Job], executor: Any, show: bool, told: Callable[[str], None]) -> dict[str, Exception]:
    """Run what is not finished; {name: why} of what failed: a UsageError where the run itself refused what it was
    given, else a JobError. told: is called with the name of each that has ended well.

    Raises Interrupted after running jobs have saved, UsageError where the executor takes none.
    """
    from gssl.comparison.execution import Task, drive, opened
    from gssl.comparison.executors import USAGE
    from gssl.comparison.executors.traces import SAID
    from gssl.engine.files import find_json
    from gssl.errors import JobError, UsageError

    def refused(name: str) -> bool:
        return (find_json(jobs[name].run_dir / SAID) or {}).get("state") == USAGE

    tasks = [Task(name, job, kind="run") for name, job in jobs.items()]
    for task in tasks:
        task.path.mkdir(parents=True, exist_ok=True)
    what = "run" if len(tasks) == 1 else "runs"
    failed = drive(tasks, opened(executor, 1, 0), show, lambda task: told(task.name), what=what)
    return {name: UsageError(why) if refused(name) else JobError(why) for name, why in failed.items()}


def described(executor: Any, jobs: int | None) -> str:
    """What would be submitted, in a line. jobs: None: a sweeper decides."""
    from gssl.comparison.executors import checks

    found = checks.described(executor, 1, jobs or 0)
    count = f"{jobs} job{'s' if jobs != 1 else ''}" if jobs else "a job for each run"
    return f"executor={found['name']}: {count}, each with {' '.join(found['request'])}; {found['at_once']} at once"
