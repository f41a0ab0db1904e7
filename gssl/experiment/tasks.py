"""Tasks: what probes learn to predict, what is labelled one by one, how labels are drawn and what is measured.

A task is picked by the columns of the data. It draws labels (nested, the same draws for all arms), answers for the test
items, scores the answers and stores what intervals need. A new task is a class here, its metrics in
`gssl.statistics.metric`, and a probe that serves it (`gssl.config.registry`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gssl.config import registry
from gssl.data import Draws, Images, label_subset
from gssl.data.preprocessing import Preprocessing
from gssl.errors import UsageError
from gssl.experiment.label_budgets import LabelBudget
from gssl.metrics.calibration import ece
from gssl.metrics.clustering import assignment, nmi
from gssl.probe.folds import choice_folds, image_folds
from gssl.probe.sized import Sized
from gssl.statistics.metric import METRICS, metrics_of


@dataclass
class Fitted:
    """A probe that has made its choices, waiting for the test set."""

    probe: str
    label_budget: LabelBudget
    draw: int
    n_train: int  # real images
    generated: int  # generated images beside them
    model: Any
    subset: str = ""  # hash of the real images

    @property
    def member(self) -> str:
        """The probe that answers: of a menu the one that was chosen."""
        return self.model.member if registry.PROBE[self.probe].reads == "menu" else self.probe

    @property
    def answering(self) -> Any:
        """The fit that answers."""
        return self._member.model if isinstance(self._member, Sized) else self._member

    @property
    def view(self) -> Preprocessing | None:
        """How images are brought to the network, where the source has several sizes; None: crops of data.size."""
        return self._member.view if isinstance(self._member, Sized) else None

    @property
    def sizes(self) -> dict[str, float]:
        """The validation metric of each size that was compared; {}: none was."""
        return self._member.validated if isinstance(self._member, Sized) else {}

    @property
    def _member(self) -> Any:
        return self.model.model if registry.PROBE[self.probe].reads == "menu" else self.model

    @property
    def reads(self) -> str:
        return registry.PROBE[self.member].reads


@dataclass(frozen=True)
class Answers:
    """What one fitted probe says of the test images: classes int64 (n,) and its confidence in each, or None.

    clusters: what the probe said before its clusters got the names of classes, where it knows no classes.
    """

    guess: np.ndarray
    confidence: np.ndarray | None  # (n,) in [0, 1]
    clusters: np.ndarray | None = None


@dataclass(frozen=True)
class Counts:
    """What is kept of a probe's predicted masks: sufficient statistics per test image, (n, k) integers."""

    stats: np.ndarray


class Task(Protocol):
    """What a task knows. metrics: names in METRICS, all computed from the same statistics, the primary one first."""

    name: str
    column: str  # what is predicted
    unit: str  # what is labelled one by one: "label" (one per image) or "image" (all of its pixels)
    metrics: tuple[str, ...]
    bare: tuple[str, ...]  # weights without a network that have features for it

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        """Raises UsageError for labelled images from which nothing can be learnt."""

    def draw(self, images: Images, label_budget: LabelBudget, seed: int, draw: int) -> np.ndarray:
        """Sorted indices of the labelled images of draw `draw`: a smaller budget's lie among a larger one's."""

    def comparable(self, images: Images, seed: int) -> bool:
        """Whether these labelled images leave something to choose on."""

    def value(self, validated: np.ndarray) -> float:
        """The primary metric of rows that a probe keeps of its validation images (`unselected`)."""

    def validation(self, model: Any) -> float | None:
        """The primary metric of a fitted probe on its validation folds."""

    def answers(self, f: Fitted, read: Any, test: Images) -> Any:
        """What a fitted probe says of the test images, from what it reads of them."""

    def score(self, f: Fitted, found: Any, test: Images) -> dict[str, Any]:
        """One entry of result.json's scores."""

    def save(self, path: Path, found: Sequence[Any], test: Images) -> None:
        """predictions.npz: a row per entry of scores, then of generated_scores."""


def entry_of(task: Task, f: Fitted, n_test: int) -> dict[str, Any]:
    """What the scores of all tasks say of a fit."""
    return {
        "probe": f.probe,
        "task": task.name,
        **f.label_budget.record(),
        "draw": f.draw,
        "n_train": f.n_train,
        "subset": f.subset,
        **({"generated": f.generated} if f.generated else {}),
        "n_test": n_test,
    }


def chosen_by(task: Task, f: Fitted) -> dict[str, Any]:
    """What a fit chose, and by what."""
    entry = {"chosen": f.model.chosen, "validation": {task.metrics[0]: task.validation(f.model)}}
    if registry.PROBE[f.probe].reads == "menu":
        entry |= {"validated": f.model.validated, "n_val": f.model.n_val}
    if f.view is not None:
        entry["preprocessing"] = f.view.record()
        if f.sizes:
            entry["sizes"] = f.sizes
    return entry


class Classification:
    """One class per image."""

    name, column, unit = "classification", "label", "label"
    metrics: tuple[str, ...] = metrics_of("label")
    bare: tuple[str, ...] = ("pixels", "majority", "pca", "kmeans")

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        if len(classes) < 2:
            raise UsageError(f"data={data}: {len(classes)} class(es); transfer needs at least two")

    def draw(self, images: Images, label_budget: LabelBudget, seed: int, draw: int) -> np.ndarray:
        if label_budget.per_class == 0:
            return np.arange(len(images))
        per_class, fraction, key = label_budget.per_class, label_budget.fraction, label_budget.key
        return label_subset(images.labels, per_class, fraction, seed, draw, key)

    def comparable(self, images: Images, seed: int) -> bool:
        return bool(choice_folds(images.labels, seed))

    def value(self, validated: np.ndarray) -> float:
        """Of bool (n,): which images were named right."""
        return float(validated.mean())

    def validation(self, model: Any) -> float | None:
        found: float | None = model.val_accuracy
        return found

    def answers(self, f: Fitted, read: Any, test: Images) -> Answers:
        """Of images or features, as `f.reads`. Clusters get the names of classes by the best one-to-one naming, which
        is their measure."""
        guess = f.model.predict(read)
        if registry.PROBE[f.probe].labels:
            confidence = f.model.probabilities(read)
            return Answers(guess, confidence[np.arange(len(guess)), guess])
        return Answers(assignment(test.labels, guess, len(test.classes))[guess], None, guess)

    def score(self, f: Fitted, found: Answers, test: Images) -> dict[str, Any]:
        labels = test.labels
        correct = int((found.guess == labels).sum())
        stats = METRICS[self.metrics[0]].stats(labels, found.guess, len(test.classes))
        metrics = {name: METRICS[name].value(stats) for name in self.metrics}
        entry = entry_of(self, f, len(labels)) | {"correct": correct, **metrics, "metrics": metrics}
        entry |= {"val_accuracy": f.model.val_accuracy} | chosen_by(self, f)
        if found.confidence is not None:
            entry["ece"] = ece(found.confidence, found.guess == labels)
        if found.clusters is not None:
            entry["nmi"] = nmi(labels, found.clusters)
        return entry

    def save(self, path: Path, found: Sequence[Answers], test: Images) -> None:
        """Per fit and test image the class and the confidence in it (NaN: none), so that every figure can be computed
        again. labels int16 (n,), guess int16 and confidence float16 (fits, n), groups int32 (n,) where some images
        belong together."""
        none = np.full(len(test), np.nan)
        arrays = {
            "labels": test.labels.astype(np.int16),
            "guess": np.array([a.guess for a in found], dtype=np.int16),
            "confidence": np.array([none if a.confidence is None else a.confidence for a in found], dtype=np.float16),
        }
        _save(path, arrays, test)


class Segmentation:
    """One class per pixel; labels are counted in images."""

    name, column, unit = "segmentation", "mask", "image"
    metrics: tuple[str, ...] = metrics_of("mask")
    bare: tuple[str, ...] = ("position", "pixels", "majority")

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        if len(classes) < 2:
            raise UsageError(f"data={data}: masks of {len(classes)} class(es); transfer needs at least two")

    def draw(self, images: Images, label_budget: LabelBudget, seed: int, draw: int) -> np.ndarray:
        n = len(images)
        wanted = label_budget.images
        if wanted is None:
            wanted = max(1, round((label_budget.fraction or 1.0) * n))
        elif wanted > n:
            raise UsageError(
                f"{label_budget.key}: {wanted} asked for, but there are {n} labelled training images; use at most {n}"
            )
        chances = Draws(seed).generator(f"labels/{draw}").random(n)
        return np.sort(np.argsort(chances, kind="stable")[:wanted])

    def comparable(self, images: Images, seed: int) -> bool:
        return bool(image_folds(len(images), images.groups, seed))

    def value(self, validated: np.ndarray) -> float:
        """Of statistics (n, k) of images that no setting was chosen on."""
        return METRICS[self.metrics[0]].value(validated)

    def validation(self, model: Any) -> float | None:
        """Of all folds together: images that the chosen setting was not chosen on."""
        return self.value(np.concatenate(model.unselected)) if model.unselected else None

    def answers(self, f: Fitted, read: Any, test: Images) -> Counts:
        """`read`: images, or the statistics themselves where dense features were read for all fits at once."""
        return Counts(read if isinstance(read, np.ndarray) else f.answering.counts(read))

    def score(self, f: Fitted, found: Counts, test: Images) -> dict[str, Any]:
        metrics = {name: METRICS[name].value(found.stats) for name in self.metrics}
        named = {name: METRICS[name].components(found.stats, test.classes) for name in self.metrics}
        components = {name: each for name, each in named.items() if each}
        left_out = sorted({c for each in components.values() for c, value in each.items() if value is None})
        entry = entry_of(self, f, len(test)) | {"metrics": metrics, "components": components}
        if left_out:  # neither labelled nor predicted in any test image
            entry["classes_left_out"] = left_out
        return entry | chosen_by(self, f)

    def save(self, path: Path, found: Sequence[Counts], test: Images) -> None:
        """stats int32 (fits, n, k), metric: the metrics that are computed from them, groups int32 (n,) where some
        images belong together, items: the hash of the test images."""
        stats = np.array([a.stats for a in found], dtype=np.int32)
        _save(path, {"stats": stats, "metric": np.array(self.metrics), "items": np.array(test.hash)}, test)


def _save(path: Path, arrays: dict[str, np.ndarray], test: Images) -> None:
    groups = test.group_codes()
    if groups is not None:
        arrays["groups"] = groups
    np.savez_compressed(path, allow_pickle=False, **arrays)


CLASSIFICATION: Task = Classification()
TASKS: dict[str, Task] = {task.column: task for task in (Segmentation(), CLASSIFICATION)}


def task_of(columns: Sequence[str]) -> Task:
    """The task of images with these columns; of images without a target it is classification, which then refuses."""
    return next((task for column, task in TASKS.items() if column in columns), CLASSIFICATION)
