"""Whether an image is good, and where it is not: learned from good images alone, which are what is counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gssl.data import Images
from gssl.errors import UsageError
from gssl.experiment.label_budgets import LabelBudget
from gssl.experiment.tasks.base import Fitted, counted_entry, drawn_images, write_statistics
from gssl.probe import anomaly
from gssl.statistics.metric import METRICS, metrics_of


@dataclass(frozen=True)
class Rows:
    """What is kept of a probe's scores and maps: a row per test image, (n, k) float32 (`gssl.statistics.anomaly`)."""

    stats: np.ndarray


class Anomaly:
    """Good images and others. Nothing is validated: labelled images are good."""

    name, column = "anomaly", "anomaly"
    metrics: tuple[str, ...] = metrics_of("anomaly")
    bare: tuple[str, ...] = ("pixels",)
    dense = True
    diagnose = "gssl.experiment.anomaly_examples:diagnose"
    predict: str | None = "gssl.experiment.predicted_anomalies:write"

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        if len(classes) < 2:
            raise UsageError(f"data={data}: no kind of defect; transfer needs at least one")

    def draw(self, images: Images, label_budget: LabelBudget, seed: int, draw: int) -> np.ndarray:
        return drawn_images(len(images), label_budget, seed, draw)

    def comparable(self, images: Images, seed: int) -> bool:
        return False

    def value(self, validated: np.ndarray) -> float:
        return METRICS[self.metrics[0]].value(validated)

    def validation(self, model: Any) -> float | None:
        return None

    def answers(self, f: Fitted, read: Any, test: Images) -> Rows:
        """`read`: images, or the rows themselves where dense features were read for several fits at once."""
        return Rows(read if isinstance(read, np.ndarray) else f.answering.rows(test))

    def score(self, f: Fitted, found: Rows, test: Images) -> dict[str, Any]:
        """Metrics that are not defined, as those of pixels where nobody has said where defects are, are left out."""
        entry = counted_entry(self, f, found.stats, test)
        entry["metrics"] = {name: value for name, value in entry["metrics"].items() if not np.isnan(value)}
        good = test.classes[0]
        entry["components"] = {
            name: {kind: value for kind, value in each.items() if kind != good}
            for name, each in entry["components"].items()
        }
        left_out = [kind for kind in entry.pop("classes_left_out", []) if kind != good]
        return entry | ({"classes_left_out": left_out} if left_out else {})

    def save(self, path: Path, found: Sequence[Rows], test: Images) -> None:
        write_statistics(path, self, [a.stats for a in found], test)

    def learnable(self, test: Images) -> Images | None:
        return None  # some have defects

    def majority(self, images: Images, probe: str) -> Any:
        raise UsageError("weights=majority: answers a class, and anomalies are found by scores; use pixels or random")

    def together(self, models: Sequence[Any], test: Images, setting: Any) -> list[Any]:
        return anomaly.rows_of(models, test)

    def head(self, f: Fitted) -> dict[str, Any]:
        """What `AnomalyNetwork` is built from."""
        return f.answering.described()

    def state(self, f: Fitted, count: int) -> dict[str, Tensor]:
        return {f"head.{name}": value for name, value in f.answering.head.state_dict().items()}
