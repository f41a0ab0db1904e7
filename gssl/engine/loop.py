"""The one training loop. It owns time: budget, schedules, logs, checkpoints, evaluation, signals.

It never looks inside a batch or a method: `method.update(feed(step), step)` is all it knows.
"""

import contextlib
import math
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from gssl import schemas
from gssl.data import Draws
from gssl.engine import checkpoint
from gssl.engine.budget import Clock
from gssl.engine.device import Precision, synchronize
from gssl.engine.feed import Feed
from gssl.engine.flops import CountFlops
from gssl.engine.optim import Optimizer
from gssl.engine.progress import Meter, say
from gssl.engine.run import Run, Timer
from gssl.errors import Interrupted, JobError
from gssl.method import Batch

Evaluate = Callable[[int], dict[str, float]]
Watch = Callable[[dict[str, Any]], list[str]]  # a logged entry → what is newly wrong with the run


class Signals:
    """SIGINT and SIGTERM set a flag; the loop looks at it. A second Ctrl-C stops at once.

    Saving inside a handler is what hangs in other tools.
    """

    def __init__(self) -> None:
        self.code = 0
        self._old: dict[int, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.code and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.code = 130 if number == signal.SIGINT else 75

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, old in self._old.items():
            signal.signal(number, old)


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak so far: workers run many jobs, and each has its own."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes since `reset_peak_memory`: allocated on a GPU, the process's resident set on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Trainer:
    """Trains one method in one run directory.

    Build it, build the method with `optimizer` as its factory, then `fit`. A second process that builds the same
    and finds a checkpoint goes on where it stands.
    """

    def __init__(
        self, run: Run, cfg: schemas.Engine, budget: schemas.Budget, device: torch.device, precision: Precision
    ) -> None:
        self.run, self.cfg, self.budget = run, cfg, budget
        self.device, self.precision = device, precision
        self.optimizers: list[Optimizer] = []
        self.spent: dict[str, Any] = {}

    def optimizer(
        self, params: Iterable[nn.Parameter], cfg: schemas.Optim, steady: Iterable[nn.Parameter] = ()
    ) -> Optimizer:
        """The factory that methods get: the loop schedules and saves what it makes."""
        made = Optimizer(
            params,
            cfg,
            device=self.device,
            precision=self.precision,
            accumulate=self.cfg.accumulate,
            steady=steady,
        )
        self.optimizers.append(made)
        return made

    # ── checkpoints ──────────────────────────────────────────────────────────────────────────────

    def _save(self, method: Any, step: int, seconds: float, flops: float, milestone: bool = False) -> None:
        model = method.state_dict()
        # the loss was finite before the update, the weights must be after it: a checkpoint is never a broken one
        for key, value in model.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise JobError(f"diverged at step {step}: {key} is not finite; the checkpoint before it is kept")
        optim: dict[str, torch.Tensor] = {}
        rest = []
        for index, opt in enumerate(self.optimizers):
            tensors, other = opt.state()
            optim |= {f"{index}/{key}": value for key, value in tensors.items()}
            rest.append(other)
        state = {"seconds": seconds, "flops": flops, "optim": rest, "config_hash": self.run.hash}
        if milestone:
            state["milestone"] = True
        folder = self.run.path / "checkpoints"
        checkpoint.write(folder, step, model, optim, state, self.cfg.keep_checkpoints)

    def _restore(self, method: Any) -> tuple[int, float, float]:
        """(finished steps, seconds, FLOPs counted over the first period) of the newest whole checkpoint, or zeros."""
        path, damaged = checkpoint.newest(self.run.path / "checkpoints")
        for bad in damaged:
            say(f"warning: {bad} is damaged (its manifest does not hold); the checkpoint before it is used")
        if path is None:
            return 0, 0.0, 0.0
        model, optim, state = checkpoint.read(path, self.device)
        method.load_state_dict(model)
        for index, opt in enumerate(self.optimizers):
            head = f"{index}/"
            mine = {key[len(head) :]: value for key, value in optim.items() if key.startswith(head)}
            opt.load(mine, state["optim"][index])
        return state["step"], state["seconds"], state["flops"]

    # ── the loop ─────────────────────────────────────────────────────────────────────────────────

    def dry(self, method: Any, batch: Batch) -> dict[str, float]:
        """One update on one batch; nothing is written."""
        return self._numbers(self._checked(method, method.update(batch, 0)))

    def fit(
        self,
        method: Any,
        feed: Feed,
        draws: Draws,
        *,
        images: int,
        title: str,
        evaluate: Evaluate,
        every: int | None,
        watch: Watch,
        milestones: int = 0,
    ) -> dict[str, Any]:
        """Train until the budget is spent; returns what was spent.

        `milestones`: so many checkpoints are kept for good, at 1/2, 1/4, 1/8 … of the budget.

        `images` in the training split; `evaluate(step)` gives numbers for metrics.jsonl, called before the first
        step, every `every` steps and at the end. `watch` sees every logged entry. Raises JobError where the loss is not
        finite (the last finite checkpoint stays) or `watch` found something and `engine.on_collapse` is stop, and
        Interrupted on a signal, after saving.
        """
        reset_peak_memory(self.device)
        step, seconds, flops = self._restore(method)
        for warning in self.run.begin(step):
            say(f"warning: {warning}")
        clock = Clock.of(self.budget, feed.size, images)
        period = getattr(method, "period", 1)  # steps until the same work comes again (n_dis, lazy penalties)
        timer = Timer(seconds)
        timer.stop()  # until the first step

        def spent() -> dict[str, Any]:
            per_step = flops / max(min(step, period), 1)
            return {
                "steps": step,
                "images": step * feed.size,
                "epochs": step * feed.size / images,
                "seconds": round(timer.seconds, 3),
                "cpu_seconds": round(timer.cpu, 3),
                "flops": per_step * step,
                "flops_per_step": per_step,
                "peak_memory_bytes": peak_memory(self.device),
                "images_per_second": round(step * feed.size / max(timer.seconds, 1e-9), 1),
            }

        self.run.spending = spent  # a run that stops on the way says what it cost, too
        if step >= period:
            clock.count(flops / period)
        board = self._tensorboard()

        logged = self.run.entries()
        alarms = [entry for entry in logged if "alarm" in entry]
        for entry in logged:  # a resumed run remembers what was seen
            watch(entry)
        if alarms and self.cfg.on_collapse == "stop":
            raise JobError(self._stopped(alarms[0]))

        def log(entry: dict[str, Any]) -> None:
            self.run.log(entry)
            for reason in watch(entry):
                alarms.append({"step": entry["step"], "alarm": reason})
                self.run.log(alarms[-1])
                say(f"alarm: {self.run.path}: step {entry['step']}: {reason}")
            if board:
                for key, value in entry.items():
                    if isinstance(value, int | float) and key != "step":
                        board.add_scalar(key, value, entry["step"])

        if step == 0:
            self._save(method, 0, 0.0, 0.0)  # a run that diverges at once has a finite checkpoint too
            log({"step": 0, "images": 0, "seconds": 0.0, **evaluate(0)})
        shares = [2.0**-k for k in range(1, milestones + 1)]
        timer.start()
        rate_step, rate_seconds = step, seconds
        with Signals() as signals, Meter(title, self.cfg.progress) as meter:
            while clock.progress(step, timer.seconds) < 1:
                progress = clock.progress(step, timer.seconds)
                for opt in self.optimizers:
                    opt.progress = progress
                draws.reseed(step)  # dropout and the like: the same after a resume
                batch = feed(step)
                if step < period:
                    with CountFlops() as counted:
                        out = self._checked(method, method.update(batch, step))
                    flops += counted.total
                    if step + 1 == period:
                        clock.count(flops / period)
                else:
                    out = method.update(batch, step)
                step += 1
                after = clock.progress(step, timer.seconds)
                ended = after >= 1
                # a budget of FLOPs is known in steps after the first period only: before that nothing is passed
                passed = any(progress < share <= after for share in shares)
                saving = step % self.cfg.checkpoint_every == 0 or passed
                logging = step % self.cfg.log_every == 0 or ended
                evaluating = every is not None and step % every == 0 and not ended
                # reading a number waits for a GPU, so there only where it is needed anyway; a CPU has it at hand
                if self.device.type == "cpu" or logging or saving or evaluating or signals.code:
                    self._check_finite(out, step)
                if logging:
                    now = timer.seconds
                    rate = (step - rate_step) * feed.size / max(now - rate_seconds, 1e-9)
                    rate_step, rate_seconds = step, now
                    numbers = self._numbers(out)
                    shared = {"step": step, "images": step * feed.size, "seconds": round(now, 3)}
                    log({**shared, "lr": self.optimizers[0].lr, "images_per_second": round(rate, 1), **numbers})
                    meter.update(clock.progress(step, now), step, now, rate, numbers.get("loss"))
                if evaluating or ((saving or signals.code) and not ended):
                    timer.stop()
                    if evaluating:
                        log({"step": step, "images": step * feed.size, "seconds": timer.seconds, **evaluate(step)})
                    if saving or signals.code:
                        self._save(method, step, timer.seconds, flops, passed)
                    timer.start()
                if alarms and self.cfg.on_collapse == "stop":
                    self._save(method, step, timer.seconds, flops)
                    raise JobError(self._stopped(alarms[0]))
                if signals.code and not ended:
                    raise Interrupted(signals.code)
            synchronize(self.device)
            timer.stop()
            meter.update(1.0, step, timer.seconds, step * feed.size / max(timer.seconds, 1e-9), None)
        self._save(method, step, timer.seconds, flops)
        final = evaluate(step)
        log({"step": step, "images": step * feed.size, "seconds": round(timer.seconds, 3), **final})
        if board:
            board.close()
        if alarms and self.cfg.on_collapse == "stop":  # found by the last evaluation
            raise JobError(self._stopped(alarms[0]))
        self.spent = spent()
        places = checkpoint.milestones(self.run.path / "checkpoints")
        for place in places:
            place |= {"images": place["step"] * feed.size, "flops": self.spent["flops_per_step"] * place["step"]}
        return {"spent": self.spent, "final": final, "alarms": alarms, "milestones": places}

    @staticmethod
    def _stopped(alarm: dict[str, Any]) -> str:
        return f"stopped at step {alarm['step']}: {alarm['alarm']}; on_collapse=warn goes on all the same"

    @staticmethod
    def _checked(method: Any, out: Any) -> dict[str, torch.Tensor]:
        """What the first updates return, or an error that tells the method's author what is wrong with it."""
        name = type(method).__name__
        if not isinstance(out, dict) or "loss" not in out:
            got = ", ".join(out) if isinstance(out, dict) else type(out).__name__
            raise TypeError(f'{name}.update returned {got}; it must return a dict of scalars with "loss" among them')
        for key, value in out.items():
            if value.numel() != 1:
                raise TypeError(f"{name}.update: {key} has shape {tuple(value.shape)}; it must be a scalar")
        return out

    @staticmethod
    def _numbers(out: dict[str, torch.Tensor]) -> dict[str, float]:
        """One copy to the host for all of them."""
        values = torch.stack([value.float().reshape(()) for value in out.values()]).tolist()
        return dict(zip(out, values, strict=True))

    def _check_finite(self, out: dict[str, torch.Tensor], step: int) -> None:
        if not math.isfinite(float(sum(value.float() for value in out.values()))):
            raise JobError(
                f"diverged at step {step}: {', '.join(f'{k}={v:.4g}' for k, v in self._numbers(out).items())};"
                " the last finite checkpoint is kept; try a smaller learning rate"
            )

    def _tensorboard(self) -> Any:
        if not self.cfg.tensorboard:
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            say("warning: engine.tensorboard=true is ignored: pip install 'gssl[tensorboard]'")
            return None
        return SummaryWriter(str(self.run.path / "tensorboard"))
