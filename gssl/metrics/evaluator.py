"""Evaluators: fixed networks that read generated and real images alike. A contestant's own backbone is never one.

`RandomEvaluator` needs neither downloads nor labels: its weights follow from integers, so they are the same on
every machine. `ClassifierEvaluator` is trained on the real training images and knows more where there are labels.
Those of `gssl.metrics.pretrained` have learnt from other images. Every distance is printed with the evaluator's name
and hash; two evaluators' distances are not comparable.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data import Draws, Images, Splits
from gssl.errors import UsageError
from gssl.metrics import classifier
from gssl.metrics.evaluator_base import Evaluator, weights_hash

NAMES = ("auto", "classifier", "random", "inception", "dinov2", "torchvision:NAME")
HELD = 2000  # validation images on which a trained evaluator's accuracy is measured
RANDOM_KEY = 20180104  # of the random evaluator's weights; another number is another evaluator
RANDOM_WIDTHS = (32, 48, 48, 40)
RANDOM_GAIN = 1.7  # filters without a mean lose power at each layer; this keeps the levels at one scale


class RandomEvaluator(Evaluator):
    """Frozen random convolutions, features of four levels: `dim` = 504 numbers per image.

    Random filters tell textures, colours and coarse shapes apart, not objects: their distances order degrees
    of damage and notice collapse, and say little about semantics.
    """

    def __init__(self, size: classifier.Side) -> None:
        """`size`: side of the images in pixels, at least 8, or height and width. The weights do not depend on it."""
        super().__init__()
        self.size, self.name = size, "random-conv"
        raw = np.random.Philox(key=RANDOM_KEY)
        channels = 3
        for level, width in enumerate(RANDOM_WIDTHS):
            fan = channels * 9
            # Whole numbers until the last division: no rounding that a machine could do differently.
            whole = (raw.random_raw(width * fan) >> np.uint64(48)).astype(np.int64) - (1 << 15)
            whole = whole.reshape(width, fan)
            centred = whole * fan - whole.sum(axis=1, keepdims=True)  # answers contrast, not brightness
            unit = fan * 2.0**16 / np.sqrt(12.0)
            weight = centred / unit * np.sqrt(2.0 / fan) * RANDOM_GAIN
            bias = ((raw.random_raw(width) >> np.uint64(48)).astype(np.int64) - (1 << 15)) / 2.0**17
            self.register_buffer(f"weight{level}", _float(weight.reshape(width, channels, 3, 3)))
            self.register_buffer(f"bias{level}", _float(bias))
            channels = width
        self.dim = 3 * 16 + 2 * sum(RANDOM_WIDTHS[:3]) + 5 * RANDOM_WIDTHS[3]
        self.hash = weights_hash(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to (B, dim).

        4×4 colours; of each level the channels' means and deviations over the image, of the last the
        means over its quarters instead.
        """
        features = [F.adaptive_avg_pool2d((x - 0.5) / 0.25, 4).flatten(1)]
        for level, found in enumerate(self.levels(x)):
            mean = found.mean(dim=(2, 3))
            deviation = (found - mean[:, :, None, None]).square().mean(dim=(2, 3)).sqrt()
            features += [mean if level < 3 else F.adaptive_avg_pool2d(found, 2).flatten(1), deviation]
        return torch.cat(features, dim=1)

    def levels(self, x: Tensor) -> Iterator[Tensor]:
        """The maps of the four levels of images (B, 3, H, W) in [0, 1], each of half the side of the one before."""
        x = (x - 0.5) / 0.25
        for level in range(4):
            if level:
                x = F.avg_pool2d(x, 2)
            x = F.relu(F.conv2d(x, getattr(self, f"weight{level}"), getattr(self, f"bias{level}"), padding=1))
            yield x


class ClassifierEvaluator(Evaluator):
    """The small convnet of `gssl.metrics.classifier`, trained on real labelled images: `dim` = 128 features.

    It is trained once per (images, size) and kept in `$GSSL_CACHE/evaluators`. Other machines or numbers of
    threads may train another one, hence the hash beside each distance.
    """

    def __init__(
        self,
        images: Images,
        size: classifier.Side,
        device: torch.device,
        held: Images | None = None,
        watch: classifier.Watch | None = None,
    ) -> None:
        """`images`: the labelled training part; `held`: labelled images, some of which measure `accuracy`; `watch`:
        called after each step, where it has to be trained."""
        super().__init__()
        self.size, self.name = size, "classifier-conv"
        self.network = classifier.cached_classifier(images, size, 0, device, watch)
        self.dim, self.classes = self.network.dim, self.network.classes
        self.eval().requires_grad_(False)
        self.hash = weights_hash(self)
        if held is not None and (held.labels >= 0).any():
            held = held.subset(np.flatnonzero(held.labels >= 0))
            held = held.subset(Draws(0).permutation("judge/held", 0, len(held))[:HELD])
            right = classifier.predict(self.network, classifier.crops(held, size, device)) == held.labels
            self.accuracy = int(right.sum()), len(right)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] to penultimate features (B, dim)."""
        features: Tensor = self.network(x)
        return features

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, dim) and probabilities of the data set's classes (B, classes)."""
        features = self(x)
        return features, self.network.head(features).softmax(dim=1)


def make_evaluator(
    name: str,
    splits: Splits,
    size: classifier.Side,
    device: torch.device,
    weights: str | None = None,
    watch: classifier.Watch | None = None,
) -> Evaluator:
    """The evaluator called `name`, one of `NAMES`, on `device`, for images of `size` pixels.

    `auto`: the classifier where at least two classes have labelled training images, else the random one; its `note`
    then says so. `weights`: a file, for evaluators that have learnt elsewhere. `watch`: as of `ClassifierEvaluator`.
    Raises UsageError, naming `evaluator=`.
    """
    labelled = _classes(splits)
    if weights is not None and name in NAMES[:3]:
        others = ", ".join(NAMES[3:])
        raise UsageError(f"evaluator={name}: takes no weights file; leave {weights} out or name one of {others}")
    if name == "classifier" and labelled < 2:
        raise UsageError(
            f"evaluator=classifier: needs labelled training images of at least 2 classes, here are {labelled};"
            " use evaluator=random or a pretrained one"
        )
    if name == "classifier" or (name == "auto" and labelled >= 2):
        return ClassifierEvaluator(splits.train, size, device, splits.val, watch)
    if name in ("auto", "random"):
        evaluator: Evaluator = RandomEvaluator(size).to(device)
        if name == "auto":
            evaluator.note = (
                "the evaluator is random filters, for there are no labelled classes: it knows textures, colours and"
                " coarse shapes, not objects; evaluator=dinov2 and evaluator=inception know more"
            )
        return evaluator
    kind, _, model = name.partition(":")
    if not isinstance(size, int):
        raise UsageError(f"evaluator={name}: has learnt from photographs; sounds take classifier or random")
    if name in ("inception", "dinov2") or (kind == "torchvision" and model):
        from gssl.metrics import pretrained

        return pretrained.load(kind, model, size, weights).to(device)
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"evaluator={name}: expected one of {', '.join(NAMES)}{hint}")


def kept(name: str, splits: Splits, size: classifier.Side) -> bool:
    """Whether `make_evaluator` has nothing to train first."""
    trains = name in ("auto", "classifier") and _classes(splits) >= 2
    return not trains or classifier.kept_at(splits.train, size, 0).is_file()


def _classes(splits: Splits) -> int:
    """How many have labelled training images."""
    return len(set(splits.train.labels[splits.train.labels >= 0].tolist()))


class Outputs(NamedTuple):
    """What an evaluator says about n images, float32 on the CPU."""

    features: np.ndarray  # (n, dim)
    probabilities: np.ndarray | None  # (n, classes); None where the evaluator has no head


@torch.no_grad()
def evaluator_outputs(
    evaluator: Evaluator,
    images: Images | Tensor | Iterable[Tensor],
    batch_size: int = 256,
    device: torch.device | None = None,
) -> Outputs:
    """Features and class probabilities of images, each read once by the network.

    `images`: Images (their centre crops), one tensor (n, 3, S, S) in [0, 1] or an iterable of such batches,
    S = evaluator.size; the evaluator is on `device` (None: the CPU).
    """
    device = device or torch.device("cpu")
    features, probabilities = [], []
    for batch in _batches(evaluator, images, batch_size, device):
        found, own = evaluator.outputs(batch)
        features.append(found.float().cpu().numpy())
        if own is not None:
            probabilities.append(own.float().cpu().numpy())
    return Outputs(np.concatenate(features), np.concatenate(probabilities) if probabilities else None)


@torch.no_grad()
def evaluator_features(
    evaluator: Evaluator,
    images: Images | Tensor | Iterable[Tensor],
    batch_size: int = 256,
    device: torch.device | None = None,
) -> np.ndarray:
    """Features (n, evaluator.dim) float32 alone; the arguments of `outputs`."""
    device = device or torch.device("cpu")
    parts = [evaluator(batch).float().cpu().numpy() for batch in _batches(evaluator, images, batch_size, device)]
    return np.concatenate(parts)


def _batches(
    evaluator: Evaluator, images: Images | Tensor | Iterable[Tensor], batch_size: int, device: torch.device
) -> Iterator[Tensor]:
    if isinstance(images, Images):
        yield from classifier.crops(images, evaluator.size, device, batch_size)
        return
    for given in [images] if isinstance(images, Tensor) else images:
        yield from (part.to(device) for part in given.split(batch_size))


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
