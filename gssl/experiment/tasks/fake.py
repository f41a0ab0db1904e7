"""Real or generated: learned from known generators as two classes, scored on one that was held out, and after JPEG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gssl.data import Images
from gssl.experiment.label_budgets import LabelBudget
from gssl.experiment.tasks.base import Fitted, chosen_by, entry_of, write_statistics
from gssl.experiment.tasks.classification import Classification
from gssl.statistics.fake import CONDITIONS, JPEG
from gssl.statistics.metric import METRICS, metrics_of

OF_CLASSES = Classification()  # how labels are drawn, folded and learned is the same


@dataclass(frozen=True)
class Detected:
    """What is kept of a detector: a row per test image, (n, k) float32 (`gssl.statistics.fake`)."""

    stats: np.ndarray


class Fake:
    """The threshold is a probability of one half by the fit, which has seen known generators alone."""

    name, column = "fake", "fake"
    metrics: tuple[str, ...] = metrics_of("fake")
    bare: tuple[str, ...] = ("pixels", "majority", "pca", "kmeans")
    dense = False
    diagnose = "gssl.experiment.fake_examples:diagnose"
    predict: str | None = None

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        OF_CLASSES.check(images, classes, data)

    def draw(self, images: Images, label_budget: LabelBudget, seed: int, draw: int) -> np.ndarray:
        return OF_CLASSES.draw(images, label_budget, seed, draw)

    def comparable(self, images: Images, seed: int) -> bool:
        return OF_CLASSES.comparable(images, seed)

    def value(self, validated: np.ndarray) -> float:
        """Accuracy on images of known generators and real ones, bool (n,): the only ones that choices are made on."""
        return OF_CLASSES.value(validated)

    def validation(self, model: Any) -> float | None:
        return OF_CLASSES.validation(model)

    def answers(self, f: Fitted, read: Any, test: Images) -> Detected:
        score = f.model.probabilities(read)[:, 1]
        conditions = test.store.columns[self.column].fetch(test.rows)
        said = f.model.predict(read) == 1
        return Detected(METRICS[self.metrics[0]].stats(conditions, np.stack([score, said], axis=1), len(test.classes)))

    def score(self, f: Fitted, found: Detected, test: Images) -> dict[str, Any]:
        """Metrics, and of each condition its AUROC and the share that was called rightly."""
        metrics = {name: METRICS[name].value(found.stats) for name in self.metrics}
        named = {name: METRICS[name].components(found.stats, CONDITIONS) for name in self.metrics}
        known = {name: {c: v for c, v in each.items() if v is not None} for name, each in named.items() if each}
        entry = entry_of(self, f, len(test)) | {"metrics": metrics, "components": known} | chosen_by(self, f)
        return entry | {"validation": {"accuracy": self.validation(f.model)}}

    def save(self, path: Path, found: Sequence[Detected], test: Images) -> None:
        write_statistics(path, self, [a.stats for a in found], test)

    def learnable(self, test: Images) -> Images | None:
        """Each file once, without its JPEG."""
        return test.subset(np.flatnonzero(test.store.columns[self.column].fetch(test.rows) % 2 != JPEG))

    def majority(self, images: Images, probe: str) -> Any:
        return OF_CLASSES.majority(images, probe)

    def together(self, models: Sequence[Any], test: Images, setting: Any) -> list[Any]:
        return OF_CLASSES.together(models, test, setting)

    def head(self, f: Fitted) -> dict[str, Any]:
        return OF_CLASSES.head(f)

    def state(self, f: Fitted, count: int) -> dict[str, Tensor]:
        return OF_CLASSES.state(f, count)
