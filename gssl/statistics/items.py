"""Values of independent test items whose mean is a metric: what intervals over seeds and items are computed from.

For metrics that are means of per-item correctness (`Metric.item_weights`). Items that belong together, such as the
images of one patient, are one unit.
"""

from collections.abc import Sequence

import numpy as np

from gssl.statistics.metric import METRICS


def weights(labels: np.ndarray, metric: str) -> np.ndarray:
    """float (n,), sum 1: the weight of each item in the metric."""
    of_labels = METRICS[metric].item_weights
    assert of_labels is not None, f"{metric} is no mean over items"
    return of_labels(labels)


def units(rows: Sequence[np.ndarray], labels: np.ndarray, groups: np.ndarray | None, metric: str) -> np.ndarray:
    """float (seeds, units) whose row means are the seeds' metric.

    rows: float (n,) per seed, the fraction of its draws of labels in which each item was correct.

    A unit is an item, or a group of items. For the mean of independent items it is the item's correctness. Else it is
    its influence on the metric (the linear part: how far the metric would move without it), so that unequal groups and
    classes of unequal size get the spread that they give the metric.
    """
    found = np.stack([np.asarray(row, dtype=float) for row in rows])
    by_class = METRICS[metric].of_classes is not None
    if not by_class and groups is None:
        return found
    w = weights(labels, metric)
    value = found @ w
    if by_class:  # an item is compared with its own class: class sizes are taken as fixed
        _, of = np.unique(labels, return_inverse=True)
        recall = np.bincount(of, found.mean(axis=0)) / np.bincount(of)
        centre = recall[of]
    else:
        centre = np.full(found.shape[1], value.mean())
    pull = w * (found - centre)
    if groups is not None:
        _, of = np.unique(groups, return_inverse=True)
        count = int(of.max()) + 1
        pull = np.stack([np.bincount(of, row, minlength=count) for row in pull])
    return pull * pull.shape[1] + value.mean()


def width(labels: np.ndarray, groups: np.ndarray | None, metric: str) -> float:
    """The range of one unit's value, 1 for the mean of equally weighted items: what the heaviest item or group can
    move, as a multiple of an even weight."""
    w = weights(labels, metric)
    if groups is not None:
        w = np.bincount(np.unique(groups, return_inverse=True)[1], w)
    return float(w.max() * len(w))
