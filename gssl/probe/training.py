"""What probes that train the network have in common: the training itself, and the choice of a grid point on a fold.

What a network is fine-tuned for is an `Objective`: its network and head, its batches, its loss and its score.
`gssl.probe.classification` has that of classes; another task brings an objective of its own and gives it to
`gssl.probe.finetune.Finetune(cfg, objective)`. The engine trains (`Setting.fits`), so that precision, accumulation,
clipping, progress and restarts are those of pretraining.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gssl import schemas
from gssl.data import Batches, Draws, Images, division
from gssl.data.draws import digest
from gssl.errors import Diverged, JobError
from gssl.method import Batch
from gssl.probe.setting import Setting, Views

WARMUP = 0.1  # fraction of the steps with a linearly rising learning rate
CURVE_IMAGES = 1000  # validation images that a step of the learning curve is measured on
Point = dict[str, float]  # of the grid


class Network(Protocol):
    """What is fine-tuned: an `nn.Module` with a backbone and a head of its own."""

    backbone: nn.Module
    head: nn.Module

    def __call__(self, x: Tensor) -> Tensor: ...

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The backbone's weights by stage, from input to output."""


class Objective(Protocol):
    """What a network is fine-tuned for."""

    def network(self, setting: Setting) -> Any:
        """A fresh `Network` on the device in training mode; the same at every call."""

    def start_head(self, network: Any, images: Images, setting: Setting, l2: float) -> None:
        """Give the head a linear probe's solution with λ = `l2`, in place."""

    def batch(self, raw: Batch, views: Views, step: int, view: int) -> Batch:
        """ "input" (B, 3, S, S) in [0, 1] and "target" (B, …) of a stored batch: random views of it."""

    def views(self, images: Images, setting: Setting) -> Iterator[Tensor]:
        """Batches (B, 3, H, W) in [0, 1] of the images as they are predicted."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the batch; `outputs` are the network's, float32."""

    def folds(self, images: Images, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """(training, validation) indices; [] where there is nothing to choose on."""

    # A trial is a NamedTuple of arrays (points, n, …): what points of the grid, a row each, scored on n images.

    metric: str  # key of `value` in the learning curve, such as val_accuracy

    def score(self, network: Any, images: Images, setting: Setting) -> Any:
        """A trial of one row, of a network in evaluation mode. No network scores below a diverged one."""

    def worst(self, images: Images) -> Any:
        """The trial of one row of a diverged network."""

    def best(self, trial: Any) -> int:
        """The best row; of equally good ones the first."""

    def value(self, trials: Sequence[Any]) -> float:
        """The metric of the images of trials of one row, all together."""

    def unselected(self, trial: Any, images: Images) -> list[np.ndarray]:
        """Per image what a row got that was chosen without it (`folds.unselected`)."""

    def fitted(self, network: Any, setting: Setting, facts: dict[str, Any]) -> Any:
        """What predicts, with the attributes network and `facts`: chosen, val_accuracy, unselected, curve."""


class ValidationCurve:
    """Scores a network on validation images after some steps of its training.

    The last score, by which choices are made, is of all images. Those on the way are of `CURVE_IMAGES` at the most,
    spread evenly: on all of CIFAR-10's, ten of them would take as long as the training.
    """

    def __init__(self, images: Images, setting: Setting, objective: Objective, at: set[int]) -> None:
        self.images, self.setting, self.objective, self.at = images, setting, objective, at
        self.few = images.subset(np.arange(0, len(images), -(-len(images) // CURVE_IMAGES)))
        self.trial = objective.worst(images)  # until the last step is scored
        self.curve: list[dict[str, float]] = []  # step, seconds of training up to there, metric, n

    def score(self, network: Any, step: int) -> dict[str, float]:
        """After `step` steps. Leaves no trace in the network."""
        modes = {module: module.training for module in network.modules()}
        network.eval()
        images = self.images if step == max(self.at) else self.few
        trial = self.objective.score(network, images, self.setting)
        for module, mode in modes.items():
            module.training = mode
        if step == max(self.at):
            self.trial = trial
        return {self.objective.metric: self.objective.value([trial]), "n": len(images)}


class FineTuning(nn.Module):
    """One training of a network as the engine runs it (`gssl.engine.fits`): a method whose data is labelled.

    `recorded`: name of a scalar of the loss whose values in the last `tail` steps are kept in `record`.
    """

    record: Tensor

    def __init__(
        self,
        network: nn.Module,
        optimizer: Any,
        loss: Callable[[Batch], dict[str, Tensor]],
        steps: int,
        curve: ValidationCurve | None = None,
        settle: Callable[[], None] | None = None,
        recorded: str | None = None,
        tail: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.optimizer, self.loss, self.steps = network, optimizer, loss, steps
        self.curve, self._settle, self.recorded, self.tail = curve, settle, recorded, tail
        self.register_buffer("record", torch.zeros(tail, device=next(network.parameters()).device))
        self.looks = curve.at - {steps} if curve else set()

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        out: dict[str, Tensor] = self.optimizer.minimize(self.loss, batch)
        index = step - (self.steps - self.tail)
        if self.recorded and index >= 0:  # on the device: nothing waits for it
            self.record[index] = out[self.recorded]
        return out

    def settle(self) -> None:
        if self._settle:
            self._settle()

    def evaluate(self, step: int) -> dict[str, float]:
        return self.curve.score(self.network, step) if self.curve else {}

    def outcome(self) -> dict[str, Tensor]:
        """Of a trial what it scored, else the network."""
        if self.curve is None:
            return self.state_dict()
        return {name: torch.from_numpy(rows) for name, rows in self.curve.trial._asdict().items()}

    def take(self, outcome: dict[str, Tensor]) -> None:
        if self.curve is None:
            self.load_state_dict(outcome)
        else:
            self.curve.trial = self.curve.trial._replace(**{key: rows.cpu().numpy() for key, rows in outcome.items()})


def optimise(
    network: Any,
    loss: Callable[[Batch], dict[str, Tensor]],
    feed: Callable[[int], Batch],
    setting: Setting,
    optim: schemas.Optim,
    steps: int,
    *,
    title: str,
    key: Sequence[object],
    batch_size: int,
    draws: Draws | None = None,
    layer_decay: float = 1.0,
    curve: ValidationCurve | None = None,
    settle: Callable[[], None] | None = None,
    recorded: str | None = None,
    tail: int = 0,
) -> FineTuning:
    """Minimise `loss` over the weights that may be trained.

    `draws`: those of the batches where they are of this process's part of them. `key`: what determines the result
    beside `curve` and `setting`. `settle` comes after the last step and before the
    last score. Raises Diverged.
    """
    held = curve.images.hash if curve else None
    fit = setting.fits(title, digest(*key, held, setting.seed, setting.draws.seed).hex(), batch_size)
    scales = lr_scales(network, layer_decay)
    optimizer = fit.optimizer(
        [p for p in scales if p.requires_grad],
        optim,
        lr_scales=scales,
        factor=lambda progress: schedule(round(progress * steps), steps),
    )
    task = FineTuning(network, optimizer, loss, steps, curve, settle, recorded, tail)
    log = fit.train(task, feed, draws or setting.draws, steps)
    if curve:
        curve.curve = log
    return task


# What one grid point makes of labelled images, and what there is to say about it beside the point itself.
Train = Callable[[Point, Images, ValidationCurve | None], tuple[Any, dict[str, float]]]


def fit_best(
    name: str,
    train: Train,
    grid: list[Point],
    images: Images,
    setting: Setting,
    objective: Objective,
    steps: int,
    points: int = 0,
    most_folds: int = 1,
) -> Any:
    """Try every point of `grid` on the first of the objective's folds and train the best on all `images`.

    Best is as the objective says, ties by order; without folds it is the first. The best is
    trained on up to `most_folds` - 1 further folds, for a steadier `val_accuracy`: it is chosen on the first alone.
    `points`: of the learning curve. torch's global generator is left as it was. A trial that diverges scores worst.
    Raises JobError, naming probe.`name`.lrs, where the network that was trained last is not finite.
    """
    cuda = [setting.device] if setting.device.type == "cuda" else []
    best = 0
    curve: list[dict[str, float]] = []
    validated: list[Any] = []  # trials of the best point
    checked: list[np.ndarray] = []
    with torch.random.fork_rng(devices=cuda):
        folds = objective.folds(images, setting.seed)[:most_folds]
        for fold, (fit, val) in enumerate(folds):
            fitted, held = images.subset(fit), images.subset(val)
            at = (curve_steps(points, steps) if fold == 0 else set()) | {steps}
            tried = grid if fold == 0 else [grid[best]]
            curves = [ValidationCurve(held, setting, objective, at) for _ in tried]
            for point, watched in zip(tried, curves, strict=True):
                try:
                    train(point, fitted, watched)
                except Diverged as error:
                    setting.fits.alarm(f"probe.{name} with {_words(point)} {error}; this setting scores worst")
            trial = type(curves[0].trial)(*map(np.concatenate, zip(*(c.trial for c in curves), strict=True)))
            row = division.current.first(partial(objective.best, trial))
            validated.append(curves[row].trial)
            checked += objective.unselected(trial, held)
            if fold == 0:
                best, curve = row, curves[row].curve if points else []
        try:
            network, facts = train(grid[best], images, None)
            if not all(p.isfinite().all() for p in network.parameters()):
                raise Diverged("diverged in the last step")
        except Diverged as error:
            raise JobError(
                f"probe.{name} with {_words(grid[best])} {error}; add smaller values to probe.{name}.lrs"
            ) from error
    accuracy = objective.value(validated) if validated else None
    found = {"chosen": grid[best] | facts, "val_accuracy": accuracy, "unselected": checked, "curve": curve}
    return objective.fitted(network.eval(), setting, found)


def lr_scales(network: Any, layer_decay: float) -> dict[nn.Parameter, float]:
    """Factor of the learning rate of every weight that may be trained.

    It is `layer_decay` to the power of the distance from the head: 0 for the head, 1 for the last stage.
    """
    layers = [list(network.head.parameters()), *reversed(network.layer_groups())]
    scales = {p: layer_decay**distance for distance, layer in enumerate(layers) for p in layer if p.requires_grad}
    assert len(scales) == sum(p.requires_grad for p in network.parameters())
    return scales


def adamw(lr: float, weight_decay: float, clip: float | None = None) -> schemas.Optim:
    """AdamW as every fine-tuning uses it; `schedule` sets its learning rate."""
    return schemas.Optim(
        name="adamw",
        lr=lr,
        weight_decay=weight_decay,
        momentum=0.0,
        betas=[0.9, 0.999],
        warmup=WARMUP,
        schedule="cosine",
        clip=clip,
    )


def sizes(images: Images, extra: Images | None, batch_size: int) -> list[int]:
    """Images per batch of one stream of labelled batches, or of two in proportion of the two sets."""
    if extra is None:
        return [min(batch_size, len(images))]
    both = len(images) + len(extra)
    total = min(batch_size, both)
    second = min(max(1, round(total * len(extra) / both)), total - 1)
    return [total - second, second]


def streams(images: Images, extra: Images | None, batch_size: int, draws: Draws, device: torch.device) -> list[Batches]:
    """One stream of labelled batches or two, of `sizes`: of all their images, or of the part that `draws` are of."""
    first, *second = sizes(images, extra, batch_size)
    found = [Batches(images, first, draws, device)]
    if extra is not None:
        # Draws of its own: two sets of equal length must not be shuffled alike.
        found.append(Batches(extra, second[0], Draws(-1 - draws.seed, draws.rank, draws.ranks), device))
    return found


def schedule(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine down to nearly 0; never 0."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup + 1) / (steps - warmup + 1)))


def curve_steps(points: int, steps: int) -> set[int]:
    """At most `points` steps from 1 to `steps` with equal ratios; `steps` is the last, and the only one of one."""
    return {round(steps ** (1 - i / max(points - 1, 1))) for i in range(points)}


def _words(point: Point) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in point.items())
