"""GAN-train and GAN-test (Shmelkov et al. 2018, arXiv:1807.09499; GAN-train is also known as CAS, Ravuri & Vinyals
2019, arXiv:1905.10887): does a classifier learn real classes from samples, and are these what they claim?

GAN-train is low where samples are poor or alike; GAN-test is low where they do not show their class, and high for a
generator that repeats one good image per class. Neither alone is praise. The classifier and its recipe are those of
`gssl.metrics.classifier`, fixed on real images; the network of the last step is tested, none is chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gssl.data import Draws, Images
from gssl.errors import JobError
from gssl.metrics import classifier
from gssl.metrics.classifier import Classifier, Side
from gssl.statistics.intervals import wilson

REPLICATES = 10_000  # of the bootstrap: four counts each, so they cost nothing

# (labels int64 (B,) on the device, step) → images (B, 3, S, S) in [0, 1] on the device, fresh ones at every step
Make = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Score:
    """What a classifier said about n images whose classes are known; both int64 (n,)."""

    labels: np.ndarray
    predicted: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """bool (n,)."""
        return self.labels == self.predicted

    @property
    def accuracy(self) -> float:
        """Share of right answers in [0, 1]."""
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95%: over images, for this one trained classifier. It says nothing about seeds."""
        return wilson(int(self.right.sum()), len(self.right))

    def per_class(self, classes: int) -> list[float | None]:
        """Accuracy on each class's images, None for a class without any."""
        n = np.bincount(self.labels, minlength=classes)
        right = np.bincount(self.labels[self.right], minlength=classes)
        return [float(r / m) if m else None for r, m in zip(right, n, strict=True)]

    def record(self, classes: list[str]) -> dict[str, Any]:
        """JSON-able: accuracy, its interval, n and the accuracy of each class."""
        low, high = self.interval
        each = dict(zip(classes, self.per_class(len(classes)), strict=True))
        return {"accuracy": self.accuracy, "low": low, "high": high, "n": len(self.right), "per_class": each}


class Ratio(NamedTuple):
    """GAN-train ÷ real reference; the ends of a 95% paired bootstrap over test images."""

    value: float
    low: float
    high: float


def gan_train(
    make: Make, test: Images, size: Side, seed: int, device: torch.device, frequencies: np.ndarray | None = None
) -> Score:
    """Train a classifier on samples only, all of them fresh, and test it on the real images `test`.

    `make` is called with steps 0, 1, … and must be a function of its arguments. Classes are drawn by `frequencies`
    (C,), such as `class_frequencies(train)`; None: all equally often. `seed` decides the drawn classes and the first
    weights. The same arguments give the same score, for one number of threads. Images of `test` without a label are
    left out. Raises JobError where `make` gives values that are not finite.
    """
    classes = len(test.classes)
    p = np.full(classes, 1 / classes) if frequencies is None else np.asarray(frequencies, dtype=np.float64)
    draws = Draws(seed)

    def source(step: int) -> tuple[Tensor, Tensor]:
        chosen = draws.generator("cas/labels", step).choice(classes, classifier.BATCH, p=p / p.sum())
        labels = torch.from_numpy(chosen).to(device)
        return _made(make, labels, step), labels

    network = classifier.train_classifier(source, classes, size, seed, device)
    return score(network, test, size, device)


def real_reference(train: Images, test: Images, size: Side, seed: int, device: torch.device) -> Score:
    """The same recipe on the real images `train`, tested on the same `test`: what GAN-train is a proportion of.

    Its network is kept in `$GSSL_CACHE/evaluators`; that of seed 0 is the classifier evaluator's.
    """
    return score(classifier.cached_classifier(train, size, seed, device), test, size, device)


def gan_test(network: Classifier, make: Make, per_class: int, device: torch.device, batch_size: int = 256) -> Score:
    """What `network`, trained on real images, says about `per_class` samples of each class.

    `make` is called with steps 0, 1, …: give it other random numbers than GAN-train's.
    """
    labels = torch.arange(network.classes).repeat(per_class)
    parts = labels.split(batch_size)
    made = (_made(make, part.to(device), step) for step, part in enumerate(parts))
    return Score(labels.numpy(), classifier.predict(network, made))


def ratio(generated: Score, real: Score) -> Ratio:
    """Accuracy of GAN-train over that of the real reference, on the same test images in the same order.

    Test images are resampled and both classifiers are asked about the same ones, so a hard test set widens nothing.
    The interval knows nothing of training again with another seed. Infinite where the reference is never right.
    """
    if not np.array_equal(generated.labels, real.labels):
        raise ValueError("a ratio needs two scores of the same test images")
    a, b = generated.right, real.right
    # Resampled images matter only by how many are right for both, for one and for none.
    cells = np.array([(a & b).mean(), (a & ~b).mean(), (~a & b).mean(), (~a & ~b).mean()])
    both, first, second, _ = Draws(0).generator("cas/ratio").multinomial(len(a), cells, REPLICATES).T
    values = _over(both + first, both + second)
    low, high = np.quantile(values, [0.025, 0.975], method="nearest")
    return Ratio(float(_over(a.sum(), b.sum())), float(low), float(high))


def score(network: Classifier, images: Images, size: Side, device: torch.device) -> Score:
    """What `network` says about labelled images (their centre crops)."""
    images = images.subset(np.flatnonzero(images.labels >= 0))
    return Score(images.labels, classifier.predict(network, classifier.crops(images, size, device)))


def class_frequencies(images: Images) -> np.ndarray:
    """float64 (C,), summing to 1: proportions of the classes among the labelled images."""
    counts = np.bincount(images.labels[images.labels >= 0], minlength=len(images.classes))
    found: np.ndarray = counts / counts.sum()
    return found


def _over(counts: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return np.where(reference > 0, counts / np.maximum(reference, 1), np.inf)


def _made(make: Make, labels: Tensor, step: int) -> Tensor:
    with torch.no_grad():
        images = make(labels, step)
    if not bool(torch.isfinite(images).all()):
        raise JobError(
            f"the generator's images hold NaN or infinite values (batch {step}): nothing can be learnt from them"
        )
    return images
