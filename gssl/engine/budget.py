"""When training ends. Progress in [0, 1] is a pure function of the steps done and the seconds spent."""

import math
from dataclasses import dataclass

from gssl import schemas


@dataclass
class Clock:
    """A budget resolved for one run: a number of steps, or a number of seconds, or both (the first one ends it)."""

    steps: int | None
    seconds: float | None
    flops: float | None  # becomes a number of steps once a full step was counted

    @classmethod
    def of(cls, cfg: schemas.Budget, batch_size: int, images: int) -> "Clock":
        """`batch_size` images per step out of `images` per epoch; no limit given means `default_epochs`."""
        per_epoch = images / batch_size
        epochs = cfg.epochs
        if not any((cfg.steps, cfg.epochs, cfg.images, cfg.seconds, cfg.flops)):
            epochs = cfg.default_epochs
        limits = [
            cfg.steps,
            math.ceil(epochs * per_epoch) if epochs else None,
            math.ceil(cfg.images / batch_size) if cfg.images else None,
        ]
        given = [limit for limit in limits if limit]
        return cls(min(given) if given else None, cfg.seconds, cfg.flops)

    def count(self, flops_per_step: float) -> None:
        """Turn the FLOP budget into steps: at least one, rounded to the nearest."""
        if self.flops is not None and flops_per_step > 0:
            steps = max(1, round(self.flops / flops_per_step))
            self.steps = min(self.steps, steps) if self.steps else steps

    def progress(self, step: int, seconds: float) -> float:
        """The fraction of the budget that `step` finished steps and `seconds` of training have used, at most 1."""
        used = [0.0]
        if self.steps:
            used.append(step / self.steps)
        if self.seconds:
            used.append(seconds / self.seconds)
        return min(max(used), 1.0)
