"""Fine-tuning: the whole network and a linear head on the labels; one recipe and budget for every source."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.config import schema
from gssl.data import Batches, Draws, Images, centre, sequential
from gssl.errors import JobError
from gssl.probe.folds import choice_folds

WARMUP = 0.1  # share of the steps with a linearly rising learning rate
EVAL_BATCH = 256
Views = Callable[[Tensor, int, int, Tensor | None], Tensor]


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


@dataclass
class FittedFinetune:
    """The trained network."""

    network: Classifier  # in evaluation mode
    size: int
    device: torch.device
    chosen: dict[str, float]
    val_accuracy: float | None  # on the part where the learning rate was chosen

    def predict(self, images: Images) -> np.ndarray:
        """(n,) int64 classes of the centre crops."""
        return _logits(self.network, images, self.size, self.device).argmax(axis=1)


class Finetune:
    """The probe by its configuration: AdamW, cosine schedule, learning rate chosen on validation."""

    def __init__(self, cfg: schema.Finetune) -> None:
        self.cfg = cfg

    def fit(
        self,
        build: Callable[[], nn.Module],
        images: Images,
        n_classes: int,
        views: Views,
        size: int,
        device: torch.device,
        seed: int,
        draws: Draws,
        extra: Images | None = None,
    ) -> FittedFinetune:
        """Fine-tune a fresh `build()` on labelled `images` (at least two).

        Every learning rate is tried on the first of `choice_folds(labels, seed)` and the best by validation
        accuracy (ties: by cross-entropy) is used on all images. One-shot takes the first of `lrs`. The result
        is a function of (`build`, images, seed, draws, extra); torch's global generator is left as it was.
        `extra` images take their share of every batch, whose size and number stay the same; none is chosen on.
        Raises JobError where no learning rate gives a finite network.
        """
        lrs = list(self.cfg.lrs)
        folds = choice_folds(images.labels, seed)
        rest = (n_classes, views, size, device, draws, extra)
        lr, accuracy = lrs[0], None
        if folds:
            fit, val = (images.subset(part) for part in folds[0])
            scores = {lr: _score(self._train(lr, build, fit, *rest), val, size, device) for lr in lrs}
            lr = max(scores, key=scores.__getitem__)
            accuracy = scores[lr][0]
        network = self._train(lr, build, images, *rest)
        if not all(p.isfinite().all() for p in network.parameters()):
            raise JobError(f"fine-tuning diverged with lr {lr}; add smaller values to probe.finetune.lrs")
        return FittedFinetune(network, size, device, {"lr": lr}, accuracy)

    def _train(
        self,
        lr: float,
        build: Callable[[], nn.Module],
        images: Images,
        n_classes: int,
        views: Views,
        size: int,
        device: torch.device,
        draws: Draws,
        extra: Images | None,
    ) -> Classifier:
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            draws.reseed(0)
            network = Classifier(build(), n_classes, draws).to(device).to(memory_format=torch.channels_last)
            network.train()
            # Norms and biases are not shrunk.
            matrices = [p for p in network.parameters() if p.ndim > 1]
            vectors = [p for p in network.parameters() if p.ndim <= 1]
            groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
            optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=self.cfg.weight_decay)
            mixed = _batches(images, extra, self.cfg.batch_size, draws, device)
            for step in range(self.cfg.steps):
                draws.reseed(step)
                for group in optimizer.param_groups:
                    group["lr"] = lr * _schedule(step, self.cfg.steps)
                parts = [batches(step) for batches in mixed]
                seen = [views(part["image"], step, i, part.get("extent")) for i, part in enumerate(parts)]
                logits = network(torch.cat(seen))
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(logits, torch.cat([part["label"] for part in parts])).backward()
                optimizer.step()
        return network.eval()


def _batches(
    images: Images, extra: Images | None, batch_size: int, draws: Draws, device: torch.device
) -> list[Batches]:
    """One stream of batches, or two whose sizes have the proportion of the two sets."""
    if extra is None:
        return [Batches(images, min(batch_size, len(images)), draws, device)]
    both = len(images) + len(extra)
    total = min(batch_size, both)
    share = min(max(1, round(total * len(extra) / both)), total - 1)
    # Draws of its own: two sets of equal length must not be shuffled alike.
    return [Batches(images, total - share, draws, device), Batches(extra, share, Draws(-1 - draws.seed), device)]


def _schedule(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine down to nearly 0; never 0."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup + 1) / (steps - warmup + 1)))


@torch.no_grad()
def _logits(network: Classifier, images: Images, size: int, device: torch.device) -> np.ndarray:

    parts = [
        network(centre(batch["image"], size, batch.get("extent"))).float().cpu().numpy()
        for batch in sequential(images, EVAL_BATCH, device)
    ]
    return np.concatenate(parts)


def predict_proba(network: Classifier, images: Images, size: int, device: torch.device) -> np.ndarray:
    """(n, classes) float32 probabilities of the centre crops of `images`; `network` on `device`, in eval mode."""
    logits = torch.from_numpy(_logits(network, images, size, device))
    return logits.softmax(1).numpy()


def _score(network: Classifier, images: Images, size: int, device: torch.device) -> tuple[float, float]:
    """(accuracy, minus mean cross-entropy); a diverged network scores below every other."""
    logits = _logits(network, images, size, device).astype(np.float64)
    if not np.isfinite(logits).all():
        return -1.0, -math.inf
    logits -= logits.max(axis=1, keepdims=True)
    right = logits[np.arange(len(logits)), images.labels]
    accuracy = float((logits.argmax(axis=1) == images.labels).mean())
    return accuracy, float((right - np.log(np.exp(logits).sum(axis=1))).mean())
