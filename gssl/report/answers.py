"""Which test items every fitted probe got right, from a run's predictions.npz: what intervals over items rest on.

A metric is a weighted mean over test items. What is needed of a fit is one number per independent item, its unit, so
that the units' mean is the metric: `units`. Items that belong together (the images of one patient) are one unit. No
torch here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

PREDICTIONS = "predictions.npz"
METRICS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}  # and how they are written


@dataclass(frozen=True)
class Answers:
    """Of one run. labels int (n,); right bool (fits, n), row i belongs to entry i of result.json's `scores`, then of
    its `generated_scores`; groups int (n,): which items belong together, None where all are independent."""

    labels: np.ndarray
    right: np.ndarray
    groups: np.ndarray | None = None

    def same_items(self, other: "Answers") -> bool:
        """Whether both were judged on the same items in the same order, as far as labels and groups tell."""
        if not np.array_equal(self.labels, other.labels):
            return False
        both = self.groups is not None and other.groups is not None
        return not both or np.array_equal(self.groups, other.groups)  # type: ignore[arg-type]


def read(run: Path) -> Answers | None:
    """The answers in a run directory; None where there are none or the file cannot be read."""
    try:
        with (run / PREDICTIONS).open("rb") as file, np.load(file) as found:  # NumPy leaves a torn archive open
            labels = found["labels"]
            groups = found["groups"] if "groups" in found.files else None
            return Answers(labels, found["guess"] == labels, groups)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def weights(labels: np.ndarray, metric: str) -> np.ndarray:
    """float (n,), sum 1: what each item counts. accuracy: all alike; balanced_accuracy: every class alike."""
    n = len(labels)
    if metric == "accuracy":
        return np.full(n, 1 / n)
    _, of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return 1 / (len(counts) * counts[of])


def units(rows: Sequence[np.ndarray], answers: Answers, metric: str) -> np.ndarray:
    """float (seeds, units) whose row means are the seeds' metric.

    rows: float (n,) per seed, the share of its draws of labels in which each item was right.

    A unit is an item, or a group of items. For the plain mean of independent items it is the answer itself. Else it is
    its influence on the metric (the linear part: how far the metric would move without it), so that unequal groups and
    classes of unequal size get the spread that they give the metric.
    """
    found = np.stack([np.asarray(row, dtype=float) for row in rows])
    if metric == "accuracy" and answers.groups is None:
        return found
    w = weights(answers.labels, metric)
    value = found @ w
    if metric == "accuracy":
        centre = np.full(found.shape[1], value.mean())
    else:  # an item is compared with its own class: class sizes are taken as fixed
        _, of = np.unique(answers.labels, return_inverse=True)
        recall = np.bincount(of, found.mean(axis=0)) / np.bincount(of)
        centre = recall[of]
    pull = w * (found - centre)
    if answers.groups is not None:
        _, of = np.unique(answers.groups, return_inverse=True)
        count = int(of.max()) + 1
        pull = np.stack([np.bincount(of, row, minlength=count) for row in pull])
    return pull * pull.shape[1] + value.mean()


def width(answers: Answers, metric: str) -> float:
    """The range of one unit's value, 1 for the plain mean of items: what the heaviest item or group can move, as a
    multiple of an even share."""
    w = weights(answers.labels, metric)
    if answers.groups is not None:
        w = np.bincount(np.unique(answers.groups, return_inverse=True)[1], w)
    return float(w.max() * len(w))


def mean_over_draws(right: np.ndarray) -> np.ndarray:
    """bool (draws, n) → float (n,)."""
    return np.asarray(right, dtype=float).mean(axis=0)
