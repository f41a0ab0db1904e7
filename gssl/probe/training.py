"""What the probes that train the network share: the classifier, its optimiser and loop, and the choice on a fold."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gssl.data import Batches, Draws, Images, centre, sequential
from gssl.errors import JobError
from gssl.probe.features import extract
from gssl.probe.folds import Trial, best_point, choice_folds, unselected
from gssl.probe.linear import fixed
from gssl.probe.setting import Setting

WARMUP = 0.1  # share of the steps with a linearly rising learning rate
EVAL_BATCH = 256
HEAD = 2048  # images that the head's first weights are fitted on, at most
ABSENT = -10.0  # first logit of a class without an image
GLANCE = 1000  # validation images that a place of the learning curve is measured on
Point = dict[str, float]  # of the grid


class Classifier(nn.Module):
    """A backbone with `dim` features and a linear head."""

    def __init__(self, backbone: nn.Module, n_classes: int, draws: Draws) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(cast(int, backbone.dim), n_classes)
        # Small, so that the first gradients that reach a pretrained backbone are small as well.
        weight = draws.generator("finetune/head").standard_normal(tuple(self.head.weight.shape)) * 0.01
        self.head.weight.data = torch.from_numpy(weight.astype(np.float32))
        self.head.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to logits (B, n_classes)."""
        return self.head(self.backbone(x))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The backbone's weights by stage, from input to output; one stage where the backbone knows of none."""
        if hasattr(self.backbone, "layer_groups"):
            return cast(Any, self.backbone).layer_groups()
        return [list(self.backbone.parameters())]


@dataclass
class FittedFinetune:
    """The trained network."""

    network: Classifier  # in evaluation mode
    size: int
    device: torch.device
    chosen: dict[str, float]
    val_accuracy: float | None  # of the chosen grid point, on the folds that it was validated on
    unselected: list[np.ndarray]  # of those folds, see `folds.unselected`
    # The learning curve of the training on the first fold: step (1, 2, …), seconds of training up to there
    # (looking not counted), val_accuracy. Empty where none was asked for or nothing was chosen.
    curve: list[dict[str, float]] = field(default_factory=list)

    def predict(self, images: Images) -> np.ndarray:
        """(n,) int64 classes of the centre crops."""
        return _logits(self.network, images, self.size, self.device).argmax(axis=1)

    def probabilities(self, images: Images) -> np.ndarray:
        """(n, n_classes) float64 of the centre crops."""
        return predict_proba(self.network, images, self.size, self.device)


class Watch:
    """Looks at a network in training: validation scores after some steps, and the seconds that training took.

    The last look, by which choices are made, sees all images. Those on the way see `GLANCE` of them at the most, spread
    evenly: on all of CIFAR-10's, ten looks would take as long as the training.
    """

    def __init__(self, images: Images, setting: Setting, at: set[int]) -> None:
        self.images, self.setting, self.at = images, setting, at
        self.few = images.subset(np.arange(0, len(images), -(-len(images) // GLANCE)))
        self.curve: list[dict[str, float]] = []
        self.trial = Trial(np.zeros((1, 0), dtype=bool), np.zeros((1, 0)))  # the last look's
        self._seconds = self._since = 0.0

    def start(self) -> None:
        self._since = time.perf_counter()

    def look(self, network: Classifier, step: int) -> None:
        """After `step` steps. Leaves no trace in the network."""
        if step not in self.at:
            return
        if self.setting.device.type == "cuda":
            torch.cuda.synchronize(self.setting.device)
        self._seconds += time.perf_counter() - self._since
        modes = {module: module.training for module in network.modules()}
        network.eval()
        seen = self.images if step == max(self.at) else self.few
        self.trial = _score(network, seen, self.setting.size, self.setting.device)
        for module, mode in modes.items():
            module.training = mode
        accuracy, n = float(self.trial.right.mean()), len(seen)
        self.curve.append({"step": step, "seconds": round(self._seconds, 4), "val_accuracy": accuracy, "n": n})
        self.start()


# What one grid point makes of labelled images, and what is to be told about it beside the point itself.
Train = Callable[[Point, Images, Watch | None], tuple[Classifier, dict[str, float]]]


def fit_best(
    name: str,
    train: Train,
    grid: list[Point],
    images: Images,
    setting: Setting,
    steps: int,
    points: int = 0,
    most_folds: int = 1,
) -> FittedFinetune:
    """Try every point of `grid` on the first of `choice_folds` and train the best on all `images`.

    Best is by validation accuracy, ties by cross-entropy, then by place; without folds it is the first. The best is
    trained on up to `most_folds` - 1 further folds, for a steadier `val_accuracy`: it is chosen on the first alone.
    `points`: of the learning curve. torch's global generator is left as it was. Raises JobError, naming
    probe.`name`.lrs, where the network that was trained last is not finite.
    """
    cuda = [setting.device] if setting.device.type == "cuda" else []
    best, curve, right, checked = 0, [], [], []  # type: int, list[dict[str, float]], list[np.ndarray], list[np.ndarray]
    with torch.random.fork_rng(devices=cuda):
        folds = choice_folds(images.labels, setting.seed)[:most_folds]
        for fold, (fit, val) in enumerate(folds):
            fitted, validated = images.subset(fit), images.subset(val)
            at = (places(points, steps) if fold == 0 else set()) | {steps}
            watches = [Watch(validated, setting, at) for _ in (grid if fold == 0 else [best])]
            for point, watch in zip(grid if fold == 0 else [grid[best]], watches, strict=True):
                train(point, fitted, watch)
            trial = Trial(*(np.concatenate(rows) for rows in zip(*(watch.trial for watch in watches), strict=True)))
            place = best_point([trial])
            right.append(trial.right[place])
            checked += unselected([trial], [validated.labels])
            if fold == 0:
                best, curve = place, watches[place].curve if points else []
        network, facts = train(grid[best], images, None)
    if not all(p.isfinite().all() for p in network.parameters()):
        lr = grid[best]["lr"]
        raise JobError(f"probe.{name}: training diverged with lr {lr}; add smaller values to probe.{name}.lrs")
    accuracy = float(np.concatenate(right).mean()) if right else None
    return FittedFinetune(network.eval(), setting.size, setting.device, grid[best] | facts, accuracy, checked, curve)


def start_head(network: Classifier, images: Images, setting: Setting, l2: float) -> None:
    """Give the head the linear probe's solution on the backbone's features of `images`, with λ = `l2`, in place.

    Linear probing, then fine-tuning (Kumar et al. 2022, arXiv:2202.10054): the first gradients then do not tear at
    features that are good already, and most steps are saved. A class without an image gets a logit that it can hardly
    win by. At most `HEAD` images are used, evenly spread over the classes.
    """
    order = np.argsort(images.labels, kind="stable")
    some = images.subset(np.sort(order[:: -(-len(images) // HEAD)]))
    x = extract(network.backbone, some, setting.size, EVAL_BATCH, setting.device)
    weight, bias, classes = fixed(x, some.labels, l2)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.fill_(ABSENT)
        rows = torch.from_numpy(classes).to(setting.device)
        network.head.weight[rows] = torch.from_numpy(weight).float().to(setting.device)
        network.head.bias[rows] = torch.from_numpy(bias).float().to(setting.device)


def classifier(setting: Setting) -> Classifier:
    """A fresh network in training mode; the same at every call, whatever torch's global generator has seen."""
    setting.draws.reseed(0)
    network = Classifier(setting.build(), setting.n_classes, setting.draws).to(setting.device)
    return network.to(memory_format=torch.channels_last).train()


def optimise(
    network: Classifier,
    loss: Callable[[int], Tensor],
    steps: int,
    lr: float,
    weight_decay: float,
    draws: Draws,
    layer_decay: float = 1.0,
    watch: Watch | None = None,
    settle: Callable[[], None] | None = None,
) -> None:
    """Minimise `loss`(step) over the weights that may be trained, by AdamW with warm-up and a cosine.

    `settle` comes after the last step and before the last look.
    """
    optimizer = torch.optim.AdamW(groups(network, weight_decay, layer_decay), lr=lr)
    if watch:
        watch.start()
    for step in range(steps):
        draws.reseed(step)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["share"] * schedule(step, steps)
        value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        if settle and step + 1 == steps:
            settle()
        if watch:
            watch.look(network, step + 1)


def groups(network: Classifier, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """The optimiser's groups of what may be trained; `share` is a group's part of the learning rate.

    It is `layer_decay` to the power of the distance from the head: 0 for the head, 1 for the last stage.
    """
    made: list[dict[str, Any]] = []
    for distance, weights in enumerate([list(network.head.parameters()), *reversed(network.layer_groups())]):
        trained = [p for p in weights if p.requires_grad]
        # Norms and biases are not shrunk.
        for decay, part in (
            (weight_decay, [p for p in trained if p.ndim > 1]),
            (0.0, [p for p in trained if p.ndim <= 1]),
        ):
            if part:
                made.append({"params": part, "weight_decay": decay, "share": layer_decay**distance})
    assert sum(len(g["params"]) for g in made) == sum(p.requires_grad for p in network.parameters())
    return made


def streams(images: Images, extra: Images | None, batch_size: int, draws: Draws, device: torch.device) -> list[Batches]:
    """One stream of labelled batches, or two whose sizes have the proportion of the two sets."""
    if extra is None:
        return [Batches(images, min(batch_size, len(images)), draws, device)]
    both = len(images) + len(extra)
    total = min(batch_size, both)
    share = min(max(1, round(total * len(extra) / both)), total - 1)
    # Draws of its own: two sets of equal length must not be shuffled alike.
    return [Batches(images, total - share, draws, device), Batches(extra, share, Draws(-1 - draws.seed), device)]


def schedule(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine down to nearly 0; never 0."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup + 1) / (steps - warmup + 1)))


def places(points: int, steps: int) -> set[int]:
    """At most `points` steps from 1 to `steps` with equal ratios; `steps` is the last, and the only one of one."""
    return {round(steps ** (1 - i / max(points - 1, 1))) for i in range(points)}


@torch.no_grad()
def _logits(network: Classifier, images: Images, size: int, device: torch.device) -> np.ndarray:
    parts = [
        network(centre(batch["image"], size, batch.get("extent"))).float().cpu().numpy()
        for batch in sequential(images, EVAL_BATCH, device)
    ]
    return np.concatenate(parts)


def predict_proba(network: Classifier, images: Images, size: int, device: torch.device) -> np.ndarray:
    """(n, classes) float64 probabilities of the centre crops of `images`; `network` on `device`, in eval mode."""
    return np.exp(_log_softmax(_logits(network, images, size, device)))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """(n, classes) float64 of float32."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _score(network: Classifier, images: Images, size: int, device: torch.device) -> Trial:
    """A trial of one row; no network scores below a diverged one."""
    logits = _logits(network, images, size, device)
    if not np.isfinite(logits).all():
        return Trial(np.zeros((1, len(logits)), dtype=bool), np.full((1, len(logits)), np.inf))
    entropy = -_log_softmax(logits)[np.arange(len(logits)), images.labels]
    return Trial((logits.argmax(axis=1) == images.labels)[None], entropy[None])
