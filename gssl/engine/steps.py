"""The one training loop: progress, learning rates, random state, batch, update, and the check that all is finite.

`engine.loop` pretrains with it and `engine.fits` fine-tunes: both iterate over `steps`, and log, evaluate and save
between two steps.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gssl.data import Draws
from gssl.engine import dist
from gssl.engine.budget import Clock
from gssl.engine.optim import Optimizer
from gssl.engine.run import Timer
from gssl.errors import Diverged, JobError
from gssl.method import Batch

Update = Callable[[Batch, int], dict[str, Tensor]]  # (batch, step) → scalars, "loss" among them


@dataclass(frozen=True)
class Step:
    """A step that was made."""

    done: int  # finished steps, this one included
    scalars: dict[str, Tensor]  # what the update returned
    before: float  # progress in [0, 1] before the step
    after: float
    code: int = 0  # exit code of a signal that another process of this training was sent; 0: none

    @property
    def last(self) -> bool:
        return self.after >= 1

    def numbers(self) -> dict[str, float]:
        return numbers(self.scalars)

    def check_finite(self) -> None:
        """Raises Diverged. Reading a number waits for a GPU."""
        if not math.isfinite(float(sum(value.float() for value in self.scalars.values()))):
            said = ", ".join(f"{key}={value:.4g}" for key, value in self.numbers().items())
            raise Diverged(f"diverged at step {self.done}: {said}")


def steps(
    update: Update,
    feed: Callable[[int], Batch],
    optimizers: Sequence[Optimizer],
    clock: Clock,
    timer: Timer,
    draws: Draws,
    device: torch.device,
    start: int = 0,
    stopped: Callable[[], int] = lambda: 0,
) -> Iterator[Step]:
    """Train from step `start` until the budget of `clock` is spent, and stop between steps at the caller's will.

    `stopped`: the exit code of a signal to this process, where all processes iterate and not rank 0 alone. Raises
    Diverged, on a CPU at once; on a GPU, where reading waits, the caller asks with `Step.check_finite`.
    """
    done = start
    while (progress := clock.progress(done, timer.seconds)) < 1:
        agreed = dist.agree(done, progress, code=stopped())
        for optimizer in optimizers:
            optimizer.progress = progress
        draws.reseed(done)  # dropout and the like: the same after a resume
        with dist.noticing():
            scalars = update(feed(done), done)
        done += 1
        step = Step(done, scalars, progress, clock.progress(done, timer.seconds), agreed.code)
        if device.type == "cpu":
            step.check_finite()
        yield step


def follow(
    update: Update,
    feed: Callable[[int], Batch],
    optimizers: Sequence[Optimizer],
    draws: Draws,
    restore: Callable[[], int],
    stopped: Callable[[], int],
) -> None:
    """The steps of any process but rank 0: those that rank 0 makes, as long as it goes on.

    `restore`: loads the checkpoint that rank 0 goes on from; returns its step. `stopped`: the exit code of a signal to
    this process, which rank 0 is told. Raises JobError where the two are not at the same step.
    """
    agreed = dist.agree(code=stopped())
    if not agreed.go:
        return
    done = restore() if agreed.step else 0
    for optimizer in optimizers:
        optimizer.together.prepare()
    while (agreed := dist.agree(code=stopped())).go:
        if done != agreed.step:
            raise JobError(f"this process is at step {done}, and the first one at {agreed.step}")
        for optimizer in optimizers:
            optimizer.progress = agreed.progress
        draws.reseed(done)
        with dist.noticing():
            update(feed(done), done)
        done += 1


def numbers(scalars: dict[str, Tensor]) -> dict[str, float]:
    """One copy to the host for all of them."""
    values = torch.stack([value.float().reshape(()) for value in scalars.values()]).tolist()
    return dict(zip(scalars, values, strict=True))


def checked(method: Any, out: Any) -> dict[str, Tensor]:
    """What the first updates return, or an error that tells the method's author what is wrong with it."""
    name = type(method).__name__
    if not isinstance(out, dict) or "loss" not in out:
        got = ", ".join(out) if isinstance(out, dict) else type(out).__name__
        raise TypeError(f'{name}.update returned {got}; it must return a dict of scalars with "loss" among them')
    for key, value in out.items():
        if value.numel() != 1:
            raise TypeError(f"{name}.update: {key} has shape {tuple(value.shape)}; it must be a scalar")
    return out
