"""Pretraining: one method in one run directory within a budget; what lies between the steps of `engine.steps`.

It never looks inside a batch or a method: `method.update(feed(step), step)` is all it knows.
"""

from contextlib import nullcontext
from typing import Any, Protocol

import torch

from gssl import schemas
from gssl.data import Draws
from gssl.engine import checkpoint, compile, dist
from gssl.engine.budget import Clock
from gssl.engine.compile import Compiled
from gssl.engine.device import Precision, fixed_shapes, peak_memory, reset_peak_memory, synchronize
from gssl.engine.feed import Feed
from gssl.engine.flops import CountedUpdate
from gssl.engine.log import Log
from gssl.engine.optim import Optimizers
from gssl.engine.progress import Meter, say
from gssl.engine.run import Run, Timer
from gssl.engine.signals import Signals
from gssl.engine.steps import Step, checked, follow, numbers, steps
from gssl.errors import Diverged, Interrupted, JobError, UsageError
from gssl.method import Batch


class Evaluator(Protocol):
    """Measures a method in training, and says what is wrong with it."""

    def evaluate(self, step: int) -> dict[str, float]:
        """Numbers for metrics.jsonl after `step` steps; called before the first step, on the way and at the end."""

    def alarms(self, entry: dict[str, Any]) -> list[str]:
        """What is newly wrong with the run, by an entry of metrics.jsonl; it is given every one, in order."""


class Trainer:
    """Trains one method in one run directory.

    Build it, build the method with `optimizer` as its factory, then `fit`. A second process that builds the same
    and finds a checkpoint goes on from it.
    """

    def __init__(
        self, run: Run, cfg: schemas.Engine, budget: schemas.Budget, device: torch.device, precision: Precision
    ) -> None:
        self.run, self.cfg, self.budget = run, cfg, budget
        self.device, self.precision = device, precision
        self.optimizer = Optimizers(device, precision, cfg.accumulate)  # the factory that methods get
        self.optimizers = self.optimizer.made
        self.checkpoints = checkpoint.Checkpoints(run.path / "checkpoints", device, cfg.keep_checkpoints)

    def dry(self, method: Any, batch: Batch) -> dict[str, float]:
        """One update on one batch; nothing is written."""
        return numbers(checked(method, method.update(batch, 0)))

    def fit(
        self,
        method: Any,
        feed: Feed,
        draws: Draws,
        evaluator: Evaluator,
        *,
        images: int,
        title: str,
        every: int | None,
        milestones: int = 0,
    ) -> dict[str, Any]:
        """Train until the budget is spent; returns what was spent, the last evaluation, alarms and milestones.

        `images` in the training split; `every` so many steps `evaluator` measures. `milestones`: so many checkpoints
        are kept for good, at 1/2, 1/4, 1/8 … of the budget. Raises JobError where the loss is not finite (the last
        finite checkpoint stays) or where there is an alarm and `engine.on_collapse` is stop, and Interrupted on a
        signal, after saving.
        """
        reset_peak_memory(self.device)
        training = _Training(self, method, feed, draws, evaluator, images, every)
        with fixed_shapes(self.cfg, self.device):
            training.begin()
            try:
                training.train(title, [2.0**-k for k in range(1, milestones + 1)])
            except Diverged as error:
                raise JobError(f"{error}; the last finite checkpoint is kept; try a smaller learning rate") from error
            finally:
                dist.release()
                if training.compiled is not None:
                    training.compiled.close()
        return training.end()

    def follow(self, method: Any, feed: Feed, draws: Draws) -> None:
        """Take part in the training that rank 0 does, as another process. Nothing is written."""

        def restored() -> int:
            return int((self.checkpoints.restore(method, self.optimizers) or {"step": 0})["step"])

        with Signals() as signals, fixed_shapes(self.cfg, self.device):
            follow(method.update, feed, self.optimizers, draws, restored, lambda: signals.code)
            if signals.code:
                raise Interrupted(signals.code)


class _Training:
    """One call of `Trainer.fit`."""

    def __init__(
        self,
        trainer: Trainer,
        method: Any,
        feed: Feed,
        draws: Draws,
        evaluator: Evaluator,
        images: int,
        every: int | None,
    ) -> None:
        self.trainer, self.method, self.feed, self.draws = trainer, method, feed, draws
        self.evaluator, self.images, self.every = evaluator, images, every
        self.run, self.cfg, self.device = trainer.run, trainer.cfg, trainer.device
        state = trainer.checkpoints.restore(method, trainer.optimizers) or {"step": 0, "seconds": 0.0, "flops": 0.0}
        self.run.check_checkpoint(state)
        self.done: int = state["step"]
        self.saved: int | None = self.done if "config_hash" in state else None  # step of the newest checkpoint
        self.timer = Timer(state["seconds"])
        self.timer.stop()  # until the first step
        self.clock = Clock.of(trainer.budget, feed.size, images)
        self.compiled = Compiled(method) if compile.wanted(self.cfg, method, self.device, self.clock) else None
        self.update = CountedUpdate(method, self.clock, self.done, state["flops"], self.compiled or nullcontext)
        if self.done and state.get("compiled", False) != bool(self.compiled):
            words = ("begun with compiled networks, goes on without", "goes on with compiled networks, begun without")
            say(f"note: {words[bool(self.compiled)]}: the same training, but for last digits")
        for optimizer in trainer.optimizers:  # as after the last step: no step may be left to set it
            optimizer.progress = self.clock.progress(max(self.done - 1, 0), state["seconds"])

    def begin(self) -> None:
        """Put the run on record; a new one is saved and evaluated before its first step.

        Raises UsageError, and nothing is written, where a run is to be lengthened and its budget is spent already.
        """
        if self.run.extension is not None:
            self.extend(self.run.extension)
        for warning in self.run.begin(self.done, self.clock.progress(self.done, self.timer.seconds) >= 1):
            say(f"warning: {warning}")
        self.run.spending = self.spent  # a run that stops on the way says what it cost, too
        self.log = Log(self.run, self.evaluator.alarms, self.cfg)
        if self.done == 0:
            self.save()  # a run that diverges at once has a finite checkpoint too
            self.log.add({"step": 0, "images": 0, "seconds": 0.0, **self._evaluated()})

    def extend(self, extension: dict[str, Any]) -> None:
        """Say where a finished run goes on in its longer budget. Raises UsageError where that is no longer one."""
        position = self.clock.progress(self.done, self.timer.seconds)
        if self.done == 0:
            raise UsageError(f"{self.run.path}: no checkpoint is there to go on from; choose another hydra.run.dir")
        if position >= 1:
            raise UsageError(
                f"resume=extend: the run has made {self.done} steps in {self.timer.seconds:.0f} seconds, which the"
                " budget given does not exceed; give a larger one, such as budget.steps="
                f"{2 * self.done}"
            )
        extension |= {"step": self.done, "seconds": round(self.timer.seconds, 3), "position": round(position, 6)}
        say(
            f"note: step {self.done} is {position:.1%} of the longer budget: learning rate and other schedules over the"
            " whole budget go on from there, so the result differs from that of a run which began with it"
        )

    def train(self, title: str, milestones: list[float]) -> None:
        """The steps until the budget is spent."""
        feed, timer, trainer = self.feed, self.timer, self.trainer
        logged = self.done, timer.seconds  # the step and the time of the last line
        self.warm_up()
        dist.agree(self.done, patient=True)
        for optimizer in trainer.optimizers:
            optimizer.together.prepare()
        timer.start()
        budget = (self.clock, timer, self.draws, self.device, self.done)
        with Signals() as signals, Meter(title, self.cfg.progress, run=self.run.path) as meter:
            for step in steps(self.update, feed, trainer.optimizers, *budget):
                self.done = step.done
                # a budget of FLOPs is known in steps after the first period only: before that nothing is passed
                passed = any(step.before < fraction <= step.after for fraction in milestones)
                saving = step.done % self.cfg.checkpoint_every == 0 or passed
                evaluating = self.every is not None and step.done % self.every == 0
                if step.done % self.cfg.log_every == 0 or step.last:
                    step.check_finite()
                    now = timer.seconds
                    rate = (step.done - logged[0]) * feed.size / max(now - logged[1], 1e-9)
                    logged = step.done, now
                    loss = self.log_step(step, now, rate)
                    meter.update(self.clock.progress(step.done, now), step.done, now, rate, loss)
                if not step.last and (saving or evaluating or signals.code or step.code):
                    step.check_finite()
                    timer.stop()
                    if evaluating:
                        self.evaluate(timer.seconds)
                    code = signals.code or step.code
                    if saving or code:
                        self.save(passed)
                    if code:
                        raise Interrupted(code)
                    timer.start()
                if self.log.stopping:
                    self.save()
                    self.log.stop()
            synchronize(self.device)
            timer.stop()
            if self.saved != self.done:  # while it is written again, a kept one would be gone
                self.save()
            if signals.code:  # in the last step: the evaluation can wait until somebody goes on with the run
                raise Interrupted(signals.code)
            meter.update(1.0, self.done, timer.seconds, self.done * feed.size / max(timer.seconds, 1e-9), None)

    def warm_up(self) -> None:
        """Let torch compile, before any time is counted: updates that are taken back. Raises JobError."""
        if self.compiled is None:
            return
        try:
            with self.compiled.first():
                for step in range(self.done, self.done + self.update.period):
                    self.draws.reseed(step)
                    self.method.update(self.feed(step), step)
                synchronize(self.device)
        except JobError as error:
            if self.cfg.compile == "on":
                raise
            say(f"warning: {error}")
            self.compiled, self.update.around = None, nullcontext
        self.trainer.checkpoints.restore(self.method, self.trainer.optimizers)
        if self.compiled is not None:
            say(f"note: torch compiled the networks in {self.compiled.seconds:.0f} s, which no budget counts")

    def end(self) -> dict[str, Any]:
        """The last evaluation, and what is there in the end."""
        final = self.evaluate(round(self.timer.seconds, 3))
        self.log.stop()  # an alarm of the last evaluation
        spent = self.spent()
        kept = checkpoint.milestones(self.run.path / "checkpoints")
        for entry in kept:
            entry |= {"images": entry["step"] * self.feed.size, "flops": spent["flops_per_step"] * entry["step"]}
        return {"spent": spent, "final": final, "alarms": self.log.alarms, "milestones": kept}

    def log_step(self, step: Step, seconds: float, rate: float) -> float:
        """One line about the training itself; returns the loss."""
        found = step.numbers()
        entry = {"step": step.done, "images": step.done * self.feed.size, "seconds": round(seconds, 3)}
        lr = self.trainer.optimizers[0].lr
        self.log.add({**entry, "lr": lr, "images_per_second": round(rate, 1), **found})
        return found["loss"]

    def evaluate(self, seconds: float) -> dict[str, float]:
        found = self._evaluated()
        self.log.add({"step": self.done, "images": self.done * self.feed.size, "seconds": seconds, **found})
        return found

    def _evaluated(self) -> dict[str, float]:
        with dist.alone():
            return self.evaluator.evaluate(self.done)

    def save(self, milestone: bool = False) -> None:
        state: dict[str, Any] = {"seconds": self.timer.seconds, "flops": self.update.flops}
        state |= {"compiled": True} if self.compiled else {}
        state |= {"config_hash": self.run.hash, "inputs": self.run.inputs} | ({"milestone": True} if milestone else {})
        self.trainer.checkpoints.save(self.method, self.trainer.optimizers, self.done, state)
        self.saved = self.done

    def spent(self) -> dict[str, Any]:
        """What the run has cost so far."""
        images, seconds = self.done * self.feed.size, self.timer.seconds
        per_step = self.update.flops / max(min(self.done, self.update.period), 1)
        return {
            "steps": self.done,
            "images": images,
            "epochs": images / self.images,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(self.timer.cpu, 3),
            "flops": per_step * self.done,
            "flops_per_step": per_step,
            "peak_memory_bytes": peak_memory(self.device),
            "images_per_second": round(images / max(seconds, 1e-9), 1),
            **({"compile_seconds": round(self.compiled.seconds, 3)} if self.compiled else {}),
        }
