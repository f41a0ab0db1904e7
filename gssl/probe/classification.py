"""Fine-tuning for classes: a backbone with a linear head, cross-entropy, and accuracy as the score."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.data import Draws, Images, division, sequential
from gssl.data.preprocessing import Preprocessing
from gssl.method import Batch
from gssl.probe.features import divided, extract
from gssl.probe.folds import Trial, best_point, label_folds, unselected
from gssl.probe.linear import fixed
from gssl.probe.setting import Setting, Views

EVAL_BATCH = 256
HEAD_IMAGES = 2048  # images that the head's first weights are fitted on, at most
ABSENT = -10.0  # first logit of a class without an image


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
    size: int | Preprocessing  # how images are brought to the network; a number: centre crops
    device: torch.device
    chosen: dict[str, float]
    val_accuracy: float | None  # of the chosen grid point, on the folds that it was validated on
    unselected: list[np.ndarray]  # of those folds, see `folds.unselected`
    # The learning curve of the training on the first fold: step (1, 2, …), seconds of training up to there
    # (evaluations not counted), val_accuracy, n. Empty where none was asked for or nothing was chosen.
    curve: list[dict[str, float]] = field(default_factory=list)

    def predict(self, images: Images) -> np.ndarray:
        """(n,) int64 classes."""
        return logits(self.network, images, self.size, self.device).argmax(axis=1)

    def probabilities(self, images: Images) -> np.ndarray:
        """(n, n_classes) float64."""
        return predict_proba(self.network, images, self.size, self.device)


class Classification:
    """The objective of labelled images (`gssl.probe.training.Objective`)."""

    metric = "val_accuracy"

    def network(self, setting: Setting) -> Classifier:
        """A fresh network in training mode; the same at every call, whatever state torch's global generator is in."""
        setting.draws.reseed(0)
        network = Classifier(setting.build(), setting.n_classes, setting.draws).to(setting.device)
        return network.to(memory_format=torch.channels_last).train()

    def start_head(self, network: Classifier, images: Images, setting: Setting, l2: float) -> None:
        """Give the head the linear probe's solution on the backbone's features of `images`, with λ = `l2`, in place.

        Linear probing, then fine-tuning (Kumar et al. 2022, arXiv:2202.10054): the first gradients then do not tear at
        features that are good already, and most steps are saved. A class without an image gets a logit that it can
        hardly win by. At most `HEAD_IMAGES` images are used, evenly spread over the classes.
        """
        order = np.argsort(images.labels, kind="stable")
        some = images.subset(np.sort(order[:: -(-len(images) // HEAD_IMAGES)]))
        x = extract(network.backbone, some, setting.crop, EVAL_BATCH, setting.device)
        weight, bias, classes = division.current.first(lambda: fixed(x, some.labels, l2))
        with torch.no_grad():
            network.head.weight.zero_()
            network.head.bias.fill_(ABSENT)
            rows = torch.from_numpy(classes).to(setting.device)
            network.head.weight[rows] = torch.from_numpy(weight).float().to(setting.device)
            network.head.bias[rows] = torch.from_numpy(bias).float().to(setting.device)

    def batch(self, raw: Batch, views: Views, step: int, view: int) -> Batch:
        if "text" in raw:
            return {"input": raw["text"], "target": raw["label"]}
        if "audio" in raw:
            return {"input": views(raw["audio"], step, view, None), "target": raw["label"]}
        return {"input": views(raw["image"], step, view, raw.get("extent")), "target": raw["label"]}

    def views(self, images: Images, setting: Setting) -> Iterator[Tensor]:
        """Whole images."""
        batches = sequential(images, EVAL_BATCH, setting.device)
        return (setting.crop.read(batch) for batch in batches)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def folds(self, images: Images, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return label_folds(images, seed)

    def score(self, network: Classifier, images: Images, setting: Setting) -> Trial:
        found = logits(network, images, setting.crop, setting.device)
        if not np.isfinite(found).all():
            return self.worst(images)
        entropy = -_log_softmax(found)[np.arange(len(found)), images.labels]
        return Trial((found.argmax(axis=1) == images.labels)[None], entropy[None])

    def worst(self, images: Images) -> Trial:
        return Trial(np.zeros((1, len(images)), dtype=bool), np.full((1, len(images)), np.inf))

    def best(self, trial: Trial) -> int:
        """By accuracy, ties by cross-entropy."""
        return best_point([trial])

    def value(self, trials: Sequence[Trial]) -> float:
        return float(np.concatenate([trial.right[0] for trial in trials]).mean())

    def unselected(self, trial: Trial, images: Images) -> list[np.ndarray]:
        return unselected([trial], [images.labels])

    def fitted(self, network: Classifier, setting: Setting, facts: dict[str, Any]) -> FittedFinetune:
        return FittedFinetune(network, setting.crop, setting.device, **facts)


@torch.no_grad()
def logits(network: Classifier, images: Images, size: int | Preprocessing, device: torch.device) -> np.ndarray:
    """(n, classes) float32 of `images`, brought to the network by `size`; `network` on `device`, in eval mode."""
    crop = Preprocessing.of(size)
    return divided(lambda batch: network(crop.read(batch)), images, EVAL_BATCH, device)


def predict_proba(network: Classifier, images: Images, size: int | Preprocessing, device: torch.device) -> np.ndarray:
    """(n, classes) float64 probabilities of `images`; `network` on `device`, in eval mode."""
    return np.exp(_log_softmax(logits(network, images, size, device)))


def _log_softmax(values: np.ndarray) -> np.ndarray:
    """(n, classes) float64 of float32."""
    values = values.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=1, keepdims=True))
