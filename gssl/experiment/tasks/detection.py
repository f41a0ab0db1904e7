"""Boxes of objects; labels are counted in images."""

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
from gssl.probe import detect
from gssl.probe.dense import DenseSetting
from gssl.probe.folds import image_folds
from gssl.statistics.detection import AREAS, average_precision
from gssl.statistics.metric import METRICS, metrics_of


@dataclass(frozen=True)
class Matches:
    """What is kept of a probe's predicted boxes: rows (n, k) of `gssl.statistics.detection.box_matches`."""

    stats: np.ndarray


class Detection:
    """Boxes of objects, each of one class; labels are counted in images."""

    name, column = "detection", "boxes"
    metrics: tuple[str, ...] = metrics_of("boxes")
    bare: tuple[str, ...] = ("position", "pixels", "majority")
    dense = True
    diagnose = "gssl.experiment.box_examples:diagnose"
    predict: str | None = "gssl.experiment.predicted_boxes:write"

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        if not any(len(own) for own in images.boxes or ()):
            raise UsageError(f"data={data}: no labelled training image has a box; transfer needs some")

    def draw(self, images: Images, label_budget: LabelBudget, seed: int, draw: int) -> np.ndarray:
        return drawn_images(len(images), label_budget, seed, draw)

    def comparable(self, images: Images, seed: int) -> bool:
        return bool(image_folds(len(images), images.groups, seed))

    def value(self, validated: np.ndarray) -> float:
        """Of statistics (n, k) of images that no setting was chosen on; 0 where none of them has an object."""
        return float(np.nan_to_num(METRICS[self.metrics[0]].value(validated)))

    def validation(self, model: Any) -> float | None:
        """Of all folds together: images that the chosen setting was not chosen on."""
        return self.value(np.concatenate(model.unselected)) if model.unselected else None

    def answers(self, f: Fitted, read: Any, test: Images) -> Matches:
        """`read`: images, or the statistics themselves where dense features were read."""
        return Matches(read if isinstance(read, np.ndarray) else f.answering.counts(read))

    def score(self, f: Fitted, found: Matches, test: Images) -> dict[str, Any]:
        """Beside the metrics AP by the area of objects in pixels of the stored images, whose sizes are given."""
        once = np.ones((1, len(found.stats)))
        sizes = {area: float(average_precision(found.stats, once, area)[0]) for area in list(AREAS)[1:]}
        entry = counted_entry(self, f, found.stats, test)
        if test.shape is not None:
            entry["image_size"] = list(test.shape)
        return entry | {"ap_by_area": {area: None if np.isnan(value) else value for area, value in sizes.items()}}

    def save(self, path: Path, found: Sequence[Matches], test: Images) -> None:
        write_statistics(path, self, [a.stats for a in found], test)

    def learnable(self, test: Images) -> Images | None:
        return test

    def majority(self, images: Images, probe: str) -> Any:
        return detect.Majority()

    def together(self, models: Sequence[Any], test: Images, setting: DenseSetting) -> list[np.ndarray]:
        return [model.counts(test) for model in models]

    def head(self, f: Fitted) -> dict[str, Any]:
        network = f.answering.network
        return {
            "head": "centres",
            "channels": network.head.channels,
            "stride": network.stride,
            "frozen": network.frozen,
        }

    def state(self, f: Fitted, count: int) -> dict[str, Tensor]:
        own = f.answering.network.head.state_dict()
        return {f"head.{key}": value.detach().cpu().contiguous() for key, value in own.items()}
