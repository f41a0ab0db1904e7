"""Fine-tunings within one run: many small trainings, each of which goes on after a kill.

A probe describes one training as a task (`gssl.probe.training.FineTuning`), an `nn.Module` with

    update(batch, step)    one update, as a method of `gssl.method` makes it
    looks                  the steps after which it is evaluated, beside the end
    settle()               what comes between the last step and the last evaluation
    evaluate(step)         numbers for the log
    outcome(), take(…)     the tensors that are left of it once it is finished, and their way back

and asks `Fits` for a `Fit` by a title for people and a key of everything that determines the result. With a folder, a
running fit leaves checkpoints in `folder/key`, a finished one its outcome: the same run, started again after a kill,
takes outcomes as they are and goes on from checkpoints, bit for bit on a CPU. Precision, accumulation, progress,
signals and the checks for divergence are those of `engine:`, as in pretraining.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from gssl import schemas
from gssl.data import Draws
from gssl.engine import checkpoint, dist
from gssl.engine.budget import Clock
from gssl.engine.device import Precision, synchronize
from gssl.engine.files import find_json
from gssl.engine.optim import Optimizers
from gssl.engine.progress import Meter, say
from gssl.engine.run import Timer
from gssl.engine.signals import Signals
from gssl.engine.steps import steps
from gssl.errors import Interrupted, JobError
from gssl.method import Batch

FINISHED = "finished"
Log = list[dict[str, Any]]  # an entry per evaluation: step (1, 2, …), seconds of training, what was measured


def _host(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


class Task(Protocol):
    """What is trained; see above."""

    looks: set[int]

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]: ...

    def settle(self) -> None: ...

    def evaluate(self, step: int) -> dict[str, Any]: ...

    def outcome(self) -> dict[str, Tensor]: ...

    def take(self, outcome: dict[str, Tensor]) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...


class Fits:
    """The fits of a run. Without a folder nothing is written, and a fit that was killed starts anew."""

    def __init__(
        self, cfg: schemas.Engine, device: torch.device, precision: Precision, folder: Path | None = None
    ) -> None:
        self.cfg, self.device, self.precision, self.folder = cfg, device, precision, folder

    def __call__(self, title: str, key: str, batch_size: int) -> "Fit":
        return Fit(self, title, self.folder / key if self.folder else None, batch_size, self.owner(key))

    def alarm(self, text: str) -> None:
        say(f"alarm: {text}")

    def owner(self, key: str) -> str:
        """Whose checkpoints those of the fit `key` are: hash of the run's configuration, and the fit's own name."""
        status = (find_json(self.folder.parent / "status.json") if self.folder else None) or {}
        return f"{status.get('config_hash')}/{key}"

    def forget(self) -> None:
        """Remove what was kept for a restart: the run has its result."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


class Fit:
    """One training: make its optimiser, build the task, then `train`."""

    def __init__(self, fits: Fits, title: str, folder: Path | None, batch_size: int, owner: str) -> None:
        self.cfg, self.device, self.precision = fits.cfg, fits.device, fits.precision
        self.title, self.folder, self.batch_size, self.owner = title, folder, batch_size, owner
        self.run = fits.folder.parent if fits.folder else None
        accumulate = min(self.cfg.accumulate, max(1, batch_size // 2))  # batch norm needs two images
        self.optimizer = Optimizers(self.device, self.precision, accumulate, fused=False)
        self.optimizers = self.optimizer.made

    def train(self, task: Task, feed: Callable[[int], Batch], draws: Draws, count: int) -> Log:
        """Train for `count` steps; returns the log. Raises Diverged, and Interrupted on a signal, after saving.

        Of several processes each calls it. They train together where `draws` are of their parts of the batches; else
        rank 0 trains, and the others get what it has.
        """
        together = draws.ranks == dist.processes()
        if not together:
            log, outcome = dist.first(lambda: (self._train(task, feed, draws, count), _host(task.outcome())))
            if dist.rank():
                task.take(outcome)
            return list(log)
        dist.globalise(task)  # type: ignore[arg-type]  # an nn.Module, see above
        try:
            return self._train(task, feed, draws, count)
        finally:
            dist.localise(task)  # type: ignore[arg-type]

    def _train(self, task: Task, feed: Callable[[int], Batch], draws: Draws, count: int) -> Log:
        if dist.first(lambda: self._begin(task)):
            assert self.folder
            tensors, kept = checkpoint.read_named(self.folder, FINISHED, self.device) or ({}, {})
            task.take(tensors)
            return list(kept["log"])
        saved = checkpoint.Checkpoints(self.folder, self.device, self.cfg.keep_checkpoints) if self.folder else None
        state = (saved.restore(task, self.optimizers) if saved else None) or {"step": 0, "seconds": 0.0, "log": []}
        log: Log = state["log"]
        timer = Timer(state["seconds"])

        def evaluate(step: int) -> None:
            synchronize(self.device)
            timer.stop()
            log.append({"step": step, "seconds": round(timer.seconds, 4), **task.evaluate(step)})
            timer.start()

        clock, start = Clock(count, None, None), state["step"]
        if dist.first(lambda: start) != start:
            raise JobError(f"{self.folder}: is not the same in all processes; it must be on a disk that all have")
        several, alone = dist.processes() > 1, not dist.rank()
        show = (self.cfg.progress, True, self.run) if alone else (False, True, None)
        with Signals() as signals, Meter(self.title, *show) as meter:
            heard = (lambda: signals.code) if several else (lambda: 0)
            for step in steps(task.update, feed, self.optimizers, clock, timer, draws, self.device, start, heard):
                saving = step.done % self.cfg.checkpoint_every == 0
                looking = step.done in task.looks
                code = step.code if several else signals.code  # what all know of
                if step.done % self.cfg.log_every == 0 or looking or saving or code or step.last:
                    step.check_finite()
                    rate = step.done * self.batch_size / max(timer.seconds, 1e-9)
                    meter.update(step.after, step.done, timer.seconds, rate, step.numbers()["loss"])
                if step.last:
                    break
                if looking:
                    evaluate(step.done)
                if not several:
                    code = signals.code
                if saved and alone and (saving or code):
                    timer.stop()
                    saved.save(
                        task, self.optimizers, step.done, {"seconds": timer.seconds, "log": log, "fit": self.owner}
                    )
                    timer.start()
                if code:
                    raise Interrupted(code)
            task.settle()
            evaluate(count)
            if alone:
                self._finish(task, count, log)
            if code := dist.agree(code=signals.code, patient=True).code:
                raise Interrupted(code)
        return log

    def _begin(self, task: Task) -> bool:
        """Whether this fit is finished already."""
        self._drop_foreign()
        return bool(self.folder and checkpoint.read_named(self.folder, FINISHED, self.device))

    def _drop_foreign(self) -> None:
        """Remove checkpoints that say they are of another run or fit; this fit begins anew, which is said."""
        for path in sorted(self.folder.glob("*/state.json")) if self.folder else []:
            owner = (find_json(path) or {}).get("fit", self.owner)
            if owner != self.owner:
                say(f"warning: {path.parent} is of another run or fit; it is not used")
                shutil.rmtree(path.parent)

    def _finish(self, task: Task, count: int, log: Log) -> None:
        if self.folder:
            checkpoint.write_named(self.folder, FINISHED, count, task.outcome(), {"log": log, "fit": self.owner})
            for old in self.folder.glob("step-*"):
                shutil.rmtree(old)
