"""One class per pixel; labels are counted in images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gssl.data import Images
from gssl.errors import UsageError
from gssl.experiment.label_budgets import LabelBudget
from gssl.experiment.tasks.base import Fitted, counted_entry, drawn_images, head_state, write_statistics
from gssl.probe import segment
from gssl.probe.dense import DenseSetting
from gssl.probe.folds import image_folds
from gssl.statistics.metric import METRICS, metrics_of


@dataclass(frozen=True)
class Counts:
    """What is kept of a probe's predicted masks: sufficient statistics per test image, (n, k) integers."""

    stats: np.ndarray


class Segmentation:
    """One class per pixel; labels are counted in images."""

    name, column = "segmentation", "mask"
    metrics: tuple[str, ...] = metrics_of("mask")
    bare: tuple[str, ...] = ("position", "pixels", "majority")
    dense = True
    diagnose = "gssl.experiment.mask_examples:diagnose"
    predict: str | None = "gssl.experiment.predicted_masks:write"

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        if len(classes) < 2:
            raise UsageError(f"data={data}: masks of {len(classes)} class(es); transfer needs at least two")

    def draw(self, images: Images, label_budget: LabelBudget, seed: int, draw: int) -> np.ndarray:
        return drawn_images(len(images), label_budget, seed, draw)

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
        return counted_entry(self, f, found.stats, test)

    def save(self, path: Path, found: Sequence[Counts], test: Images) -> None:
        write_statistics(path, self, [a.stats for a in found], test)

    def learnable(self, test: Images) -> Images | None:
        return test

    def majority(self, images: Images, probe: str) -> Any:
        return segment.Majority()

    def together(self, models: Sequence[Any], test: Images, setting: DenseSetting) -> list[np.ndarray]:
        return segment.counts([model.head for model in models], test, setting)

    def head(self, f: Fitted) -> dict[str, Any]:
        if f.reads == "network":
            return {"head": "pyramid", "channels": f.answering.network.head.classify.in_channels}
        return {"head": "dense"}

    def state(self, f: Fitted, count: int) -> dict[str, Tensor]:
        own = f.answering.head
        state = head_state(own.weight, own.bias, own.classes, count)
        return state | {"head.weight": state["head.weight"][:, :, None, None]}
