"""Where the numbers of a run go beside metrics.jsonl: TensorBoard, Weights & Biases, MLflow, Trackio.

A logger is a class in `LOGGERS`: made from an `About`, `add(step, numbers)` for every line, `close(state)` at the end.
Its package is an extra of gssl of the same name, imported when the first run begins. A logger that fails ends with a
warning, the run goes on. Addresses and keys come from each package's own environment variables.
"""

import contextlib
import hashlib
import importlib.util
import math
import netrc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from gssl.engine.progress import say
from gssl.errors import UsageError

PROJECT = "gssl"  # what a project or experiment is called where the environment does not say


class About(NamedTuple):
    """What a logger knows of a run. `step`: after which it goes on; `started` tells a new run in the same place."""

    path: Path
    command: str
    config: dict[str, Any]  # dotted keys
    started: str
    step: int

    @property
    def name(self) -> str:
        return "/".join(self.path.absolute().parts[-2:])

    @property
    def id(self) -> str:
        """The same for every process that works on this run."""
        return hashlib.sha256(f"{self.path.absolute()} {self.started}".encode()).hexdigest()[:16]


class Logger(Protocol):
    """One place that numbers go to."""

    def add(self, step: int, numbers: dict[str, float]) -> None:
        """Numbers after `step` steps."""

    def close(self, state: str) -> None:
        """`state`: finished, failed or interrupted."""


class TensorBoard:
    """Event files in RUN/tensorboard."""

    def __init__(self, about: About) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = about.step or None  # lines that a resumed run writes again
        self.writer: Any = SummaryWriter(str(about.path / "tensorboard"), purge_step=purge)

    def add(self, step: int, numbers: dict[str, float]) -> None:
        for key, value in numbers.items():
            self.writer.add_scalar(key, value, step)

    def close(self, state: str) -> None:
        self.writer.close()


class WandB:
    """Weights & Biases; offline, in RUN/wandb, where nobody has logged in and WANDB_MODE does not say otherwise."""

    def __init__(self, about: About) -> None:
        import wandb

        mode = os.environ.get("WANDB_MODE") or ("online" if _wandb_key() else "offline")
        if mode == "offline":
            say(
                f"note: wandb writes to {about.path / 'wandb'}; `wandb sync` uploads it, WANDB_MODE=online does at once"
            )
        self.run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=about.name,
            id=about.id,
            resume="allow",
            dir=str(about.path),
            config=about.config,
            job_type=about.command,
            mode=mode,
        )

    def add(self, step: int, numbers: dict[str, float]) -> None:
        self.run.log(numbers, step=step)

    def close(self, state: str) -> None:
        self.run.finish(exit_code=0 if state == "finished" else 1)


def _wandb_key() -> bool:
    """Whether somebody has logged in."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


class MLflow:
    """An MLflow run; where: MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME, else MLflow's default."""

    ENDS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
    MOST, LONGEST = 100, 500  # parameters at once, letters of one

    def __init__(self, about: About) -> None:
        import mlflow
        from mlflow.entities import Metric, Param

        self.metric, self.client = Metric, mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self.client.get_experiment_by_name(name)
        where = known.experiment_id if known else self.client.create_experiment(name)
        before = self.client.search_runs([where], f"tags.`gssl.id` = '{about.id}'", max_results=1)
        if before:
            self.id = before[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
            return
        tags = {"gssl.id": about.id, "gssl.command": about.command, "gssl.run": str(about.path)}
        self.id = self.client.create_run(where, tags=tags, run_name=about.name).info.run_id
        given = [Param(key, str(value)[: self.LONGEST]) for key, value in about.config.items()]
        for at in range(0, len(given), self.MOST):
            self.client.log_batch(self.id, params=given[at : at + self.MOST])

    def add(self, step: int, numbers: dict[str, float]) -> None:
        import time

        now = int(1000 * time.time())
        found = [self.metric(key, value, now, step) for key, value in numbers.items()]
        self.client.log_batch(self.id, metrics=found)

    def close(self, state: str) -> None:
        self.client.set_terminated(self.id, self.ENDS.get(state, "FAILED"))


class Trackio:
    """Trackio: files in TRACKIO_DIR, shown by `trackio show`."""

    def __init__(self, about: About) -> None:
        import trackio

        self.package: Any = trackio
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        trackio.init(project=project, name=f"{about.name} {about.id[:4]}", config=about.config, resume="allow")

    def add(self, step: int, numbers: dict[str, float]) -> None:
        self.package.log(numbers, step=step)

    def close(self, state: str) -> None:
        self.package.finish()


LOGGERS: dict[str, Callable[[About], Logger]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
    "trackio": Trackio,
}


def check(names: Sequence[str]) -> None:
    """Raises UsageError where a logger's package is not installed."""
    for name in names:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            raise UsageError(
                f"engine.loggers: {name} is not installed; pip install 'gssl[{name}]', or leave it out of the list"
            )


class Loggers:
    """All loggers of a run, as one."""

    def __init__(self, names: Sequence[str], about: About) -> None:
        self.step = about.step
        self.open: dict[str, Logger] = {}
        for name in names:
            with self._kept(name), contextlib.redirect_stdout(sys.stderr):
                self.open[name] = LOGGERS[name](about)

    def add(self, step: int, values: dict[str, Any]) -> None:
        """The finite numbers among `values`."""
        self.step = step
        numbers = {key: float(value) for key, value in values.items() if _number(value) and key != "step"}
        for name, logger in list(self.open.items()):
            with self._kept(name):
                logger.add(step, numbers)

    def close(self, state: str) -> None:
        for name, logger in list(self.open.items()):
            with self._kept(name), contextlib.redirect_stdout(sys.stderr):
                logger.close(state)
        self.open = {}

    @contextlib.contextmanager
    def _kept(self, name: str) -> Any:
        """Whatever goes wrong with a logger is no reason to stop a training."""
        try:
            yield
        except Exception as error:
            self.open.pop(name, None)
            why = " ".join(str(error).split()) or "no reason given"
            say(f"warning: engine.loggers: {name} ends here ({type(error).__name__}: {why}); metrics.jsonl goes on")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
