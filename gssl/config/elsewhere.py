"""Runs that an executor takes (`executor=slurm`, `ray`): a single one, or those of a sweep.

The runs of a sweep are composed and checked here, one after another, and handed over together. A sweeper that chooses
values asks for a few at a time and gets their objectives. What hands them over is `gssl.comparison.whole_runs`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from gssl.config import hydra_api
from gssl.config.comparison_rules import like_machines
from gssl.config.composing import check_all
from gssl.engine.worker import Job
from gssl.errors import UsageError
from gssl.schemas import LOCAL

Told = Callable[[str], None]


class Elsewhere(Protocol):
    """What takes whole runs to an executor."""

    def check(self, cfg: Any, folder: Path) -> None:
        """Raises UsageError where runs in `folder` could not be submitted. Nothing is made."""

    def ready(self, command: str, cfg: Any, run_dir: Path) -> Any:
        """The configuration that a job of this run gets, its images read. Raises UsageError for what it would refuse:
        another run in its directory, weights that are not there, images that cannot be read."""

    def run(self, jobs: Mapping[str, Job], executor: Any, show: bool, told: Told) -> dict[str, Exception]:
        """Run what is not finished; {name: why} of what failed: a UsageError where the run itself refused what it was
        given, else a JobError. told: is called with the name of each that has ended well. Raises Interrupted after
        running jobs have saved, UsageError where the executor takes none."""

    def engine_here(self, cfg: Any) -> Any:
        """`engine` for one batch on this machine, which may have no GPU."""

    def described(self, executor: Any, jobs: int | None) -> str:
        """What would be submitted, in a line. jobs: None: a sweeper decides."""


def wanted(cfg: Any) -> bool:
    """Whether the runs of a configuration go to an executor. compare and curve submit their parts by themselves."""
    return not hasattr(cfg, "sources") and not hasattr(cfg, "arms") and cfg.executor != LOCAL


def checked(
    command: str,
    overrides: Sequence[str],
    multirun: bool,
    config_dir: str | None = None,
    also: Callable[[Any], None] | None = None,
) -> tuple[Any, DictConfig, list[str]]:
    """`check_all`, with one executor for all runs of a sweep. Raises UsageError."""
    seen: list[Any] = []

    def note(cfg: Any) -> None:
        seen.append(cfg)
        if also:
            also(cfg)

    found = check_all(command, overrides, multirun, config_dir, note)
    if any(map(wanted, seen)) and any(cfg.executor != seen[0].executor for cfg in seen):
        raise UsageError("executor: differs between the runs of this sweep, and all of them go to one; give one value")
    return found


def check(cfg: Any, whole: DictConfig, multirun: bool) -> None:
    """Raises UsageError for what does not go with an executor."""
    if multirun:
        like_machines(cfg)
    name = OmegaConf.select(whole, "executor.name")
    if cfg.engine.resume == "extend":  # a run that is finished already is one that no job has to be submitted for
        raise UsageError(f"resume=extend: a finished run is lengthened here, not by executor={name}; leave one out")
    if (launcher := hydra_api.chosen(whole, "hydra/launcher")) != "basic":
        raise UsageError(f"hydra/launcher={launcher}: executor={name} starts the runs; leave one of the two out")
    if OmegaConf.select(whole, "hydra.job.env_set"):
        other = "executor.setup=['export NAME=value']" if name == "slurm" else "the environment that Ray was started in"
        raise UsageError(f"hydra.job.env_set: does not reach the jobs of executor={name}; use {other}")
    if OmegaConf.select(whole, "hydra.job.chdir"):
        raise UsageError(f"hydra.job.chdir: jobs of executor={name} run in this directory; leave it out")


class Together(Launcher):
    """Hydra's launcher for runs that an executor takes. The task is a `gssl.config.job.Task`."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        setup_globals()
        returns, waiting = [], {}
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            where: Any = {"job_dir_key": "hydra.sweep.dir", "job_subdir_key": "hydra.sweep.subdir"}
            found = run_job(self.task.waiting, config, hydra_context=self.context, **where)
            returns.append(found)
            if found.status == JobStatus.COMPLETED and found.return_value is not None:
                waiting[len(returns) - 1] = found.return_value
        values = self.task.sent(list(waiting.values()), self.config.hydra.overrides.task)
        for index, value in zip(waiting, values, strict=True):
            failed = isinstance(value, Exception)
            returns[index].status = JobStatus.FAILED if failed else JobStatus.COMPLETED
            returns[index].return_value = value
        return returns
