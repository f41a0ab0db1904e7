"""One class per image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gssl.config import registry
from gssl.data import Images, label_subset
from gssl.errors import UsageError
from gssl.experiment.label_budgets import LabelBudget
from gssl.experiment.tasks.base import Fitted, chosen_by, entry_of, head_state, write_predictions
from gssl.metrics.calibration import ece
from gssl.metrics.clustering import assignment, nmi
from gssl.probe import majority
from gssl.probe.folds import label_folds
from gssl.statistics.metric import METRICS, metrics_of


@dataclass(frozen=True)
class Answers:
    """What one fitted probe says of the test images: classes int64 (n,) and its confidence in each, or None.

    clusters: what the probe said before its clusters got the names of classes, where it knows no classes.
    """

    guess: np.ndarray
    confidence: np.ndarray | None  # (n,) in [0, 1]
    clusters: np.ndarray | None = None


class Classification:
    """One class per image."""

    name, column = "classification", "label"
    metrics: tuple[str, ...] = metrics_of("label")
    bare: tuple[str, ...] = ("pixels", "majority", "pca", "kmeans")
    dense = False
    diagnose = "gssl.experiment.diagnostics:diagnose"
    predict: str | None = None

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        if len(classes) < 2:
            raise UsageError(f"data={data}: {len(classes)} class(es); transfer needs at least two")

    def draw(self, images: Images, label_budget: LabelBudget, seed: int, draw: int) -> np.ndarray:
        if label_budget.per_class == 0:
            return np.arange(len(images))
        per_class, fraction, key = label_budget.per_class, label_budget.fraction, label_budget.key
        return label_subset(images.labels, per_class, fraction, seed, draw, key)

    def comparable(self, images: Images, seed: int) -> bool:
        return bool(label_folds(images, seed))

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
        write_predictions(path, arrays, test)

    def learnable(self, test: Images) -> Images | None:
        return test

    def majority(self, images: Images, probe: str) -> Any:
        return majority.Majority(images.labels)

    def together(self, models: Sequence[Any], test: Images, setting: Any) -> list[Any]:
        raise AssertionError("no probe of classes reads dense features")

    def head(self, f: Fitted) -> dict[str, Any]:
        return {"head": "linear"}

    def state(self, f: Fitted, count: int) -> dict[str, Tensor]:
        return head_state(f.answering.weight, f.answering.bias, f.answering.classes, count)
