"""One class per clip: what happens in it. Labels are counted in clips, or in groups of clips where the data name any.

Clips of one person (one film, one place) are no independent labels: where the data have groups, a label budget of five
is all clips of five groups, folds tear no group, and intervals are over groups.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gssl.config import registry
from gssl.data import Images
from gssl.data.clips import column_of
from gssl.errors import UsageError
from gssl.experiment.label_budgets import LabelBudget
from gssl.experiment.tasks.base import Fitted, drawn_images
from gssl.experiment.tasks.classification import Classification
from gssl.probe.folds import clip_folds
from gssl.statistics.metric import metrics_of


class Action(Classification):
    """Probes read features of frames, pooled over time (`gssl.probe.clips`)."""

    name, column = "action", "video"
    metrics: tuple[str, ...] = metrics_of("video")
    bare: tuple[str, ...] = ("pixels", "majority")
    diagnose = "gssl.experiment.clip_examples:diagnose"
    predict: str | None = "gssl.experiment.predicted_clips:write"

    def check(self, images: Images, classes: Sequence[str], data: str) -> None:
        if column_of(images) is None or len(classes) < 2:
            raise UsageError(f"data={data}: clips of {len(classes)} class(es); transfer needs at least two")

    def draw(self, images: Images, label_budget: LabelBudget, seed: int, draw: int) -> np.ndarray:
        """All clips of the drawn groups, or the drawn clips where there are no groups."""
        codes = images.group_codes()
        if codes is None:
            return drawn_images(len(images), label_budget, seed, draw)
        count = int(codes.max()) + 1
        if label_budget.images is not None and label_budget.images > count:
            raise UsageError(
                f"{label_budget.key}: {label_budget.images} asked for, but the labelled training clips are of {count}"
                f" groups; use at most {count}"
            )
        return np.flatnonzero(np.isin(codes, drawn_images(count, label_budget, seed, draw)))

    def comparable(self, images: Images, seed: int) -> bool:
        return bool(clip_folds(images.labels, images.groups, seed))

    def head(self, f: Fitted) -> dict[str, Any]:
        return {"head": "clip", "pooling": registry.PROBE[f.member].pooling}
