"""Metrics of predictions for test items, computed from sufficient statistics that are summed over the items.

A metric turns one item's target and prediction into a row of numbers. Its value is a function of the sum of these rows
or, for metrics of ranks, of the rows and of how often each is counted; so the value of any subset, group or bootstrap
resample of the items needs the rows alone. Rows are what a transfer run stores and what intervals are computed from. No
torch here.

A new metric is one function from sums, or rows and counts, to values, one line in METRICS, and a function for its rows
where no other metric of its target has the same ones (metrics of one target are computed from the same stored rows).
The docstring of Metric says what the order of METRICS and the optional fields decide.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from gssl.statistics import anomaly, detection, fake

IGNORE = 255  # of masks: pixels without a label
RESAMPLES = 1000  # a standard deviation from them is off by about 2%
SEED = 0x5EED  # key of Philox for the bootstrap: the same for every arm, data set and seed
BLOCK = 1 << 22  # numbers in an array of counts


@dataclass(frozen=True)
class Metric:
    """One number that says how good predictions are.

    stats: (targets, predictions, number of classes), or what its function says, → (n, k), one row per item. of_sums:
    sums (…, k) → (…,), NaN where the metric is not defined. of_items, in its place for a metric of ranks: rows (n, k),
    counts (r, n) → (r,), the metric of r collections of the items in which item i occurs counts[r, i] times.
    of_classes: what of_sums or of_items takes → (…, classes), the metric of each class, NaN where a class has none;
    None for a metric without such components. item_weights: labels (n,) → (n,) with sum 1, for metrics that are means
    of per-item correctness with weights that depend on the labels alone; None for all others.

    What else rests on these fields and on the order of METRICS, among the metrics of one target:
    - The first one is the primary metric unless `primary.metric` names another (`metrics_of`).
    - Where item_weights are given and classes are of very unequal size, the first one with of_classes is primary
      instead (`gssl.report.document.chosen_metric`), and the cautions of the report say that it counts classes alike
      (`gssl.report.cautions`). So a metric with of_classes stands behind balanced_accuracy unless it is to take over.
    - `gssl compare --explain` computes the first one with item_weights and without of_classes from the number of
      correct items where no predictions are left (`gssl.report.recompute`): it must be the proportion of correct items.
    """

    name: str
    title: str
    unit: str  # fraction (of 1, shown in percent) | value
    direction: str  # max | min
    target: str  # column that predictions are compared with (`gssl.data.targets`); its metrics have the same rows
    stats: Callable[..., np.ndarray]
    of_sums: Callable[[np.ndarray], np.ndarray] | None
    of_classes: Callable[..., np.ndarray] | None = None
    component: str = ""  # what a component is called, such as "IoU"
    item_weights: Callable[[np.ndarray], np.ndarray] | None = None
    of_items: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None

    @property
    def percent(self) -> bool:
        """Whether values are shown in percent and differences in points."""
        return self.unit == "fraction"

    @property
    def per_item_mean(self) -> bool:
        """Whether intervals over seeds and items come from the items themselves and not from bootstrap resamples."""
        return self.item_weights is not None

    def value(self, stats: np.ndarray, weights: np.ndarray | None = None) -> float:
        """Of all items (n, k), or of items counted `weights` (n,) times."""
        if self.of_items is not None:
            return float(self.of_items(stats, _once(stats) if weights is None else np.asarray(weights)[None])[0])
        assert self.of_sums is not None
        sums = stats.sum(axis=0, dtype=np.float64) if weights is None else np.asarray(weights, dtype=np.float64) @ stats
        return float(self.of_sums(sums))

    def components(self, stats: np.ndarray, classes: Sequence[str]) -> dict[str, float | None]:
        """The value of each class, None where it has none; empty where the metric has no components."""
        if self.of_classes is None:
            return {}
        if self.of_items is not None:
            found = self.of_classes(stats, _once(stats))[0]
        else:
            found = self.of_classes(stats.sum(axis=0, dtype=np.float64))
        return {name: None if np.isnan(v) else float(v) for name, v in zip(classes, found, strict=True)}

    def units(
        self, stats: np.ndarray, groups: np.ndarray | None = None
    ) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
        """What a bootstrap draws from: the number of items (n, k), or of the groups (n,) they belong to; and the metric
        of resamples as a function of how often each of them has each unit, (r, units) → (r,)."""
        if self.of_items is None:
            assert self.of_sums is not None
            rows, of_sums = by_group(np.asarray(stats), groups).astype(np.float64), self.of_sums
            return len(rows), lambda counts: of_sums(counts @ rows)
        of = np.arange(len(stats)) if groups is None else np.unique(groups, return_inverse=True)[1]
        of_items = self.of_items
        return int(of.max(initial=-1)) + 1, lambda counts: of_items(stats, counts[:, of])


def _once(stats: np.ndarray) -> np.ndarray:
    """Counts (1, n) of a collection that has every item once."""
    return np.ones((1, len(stats)))


# ── rows of statistics ───────────────────────────────────────────────────────────────────────────


def label_counts(labels: Sequence[np.ndarray] | np.ndarray, predicted: Sequence[np.ndarray] | np.ndarray,
                 n_classes: int) -> np.ndarray:  # fmt: skip
    """Of (n,) labels and predicted classes: (n, 2 · classes) int64, by class: is the item correct, is it labelled."""
    y, guess = np.asarray(labels), np.asarray(predicted)
    own = (y[:, None] == np.arange(n_classes)).astype(np.int64)
    return np.concatenate([own * (guess == y)[:, None], own], axis=1)


def mask_counts(masks: Sequence[np.ndarray] | np.ndarray, predicted: Sequence[np.ndarray] | np.ndarray,
                n_classes: int) -> np.ndarray:  # fmt: skip
    """Of n masks and predicted masks (H, W): (n, 3 · classes) int64, pixels of each class that are correct, predicted
    and labelled. Pixels whose label is IGNORE count nowhere."""
    return np.array([_pixels(np.asarray(m), np.asarray(p), n_classes) for m, p in zip(masks, predicted, strict=True)],
                    dtype=np.int64).reshape(-1, 3 * n_classes)  # fmt: skip


def _pixels(mask: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    assert mask.shape == predicted.shape, f"a mask of {mask.shape} and a prediction of {predicted.shape}"
    kept = mask != IGNORE
    y, p = mask[kept].astype(np.int64), predicted[kept].astype(np.int64)
    parts = [np.bincount(part, minlength=n_classes) for part in (y[y == p], p, y)]
    assert all(len(part) == n_classes for part in parts), f"a class outside of 0 … {n_classes - 1}"
    return np.concatenate(parts)


# ── values from sums ─────────────────────────────────────────────────────────────────────────────


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where `below` is 0."""
    found: np.ndarray = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
    return found


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Over the last axis, without NaN; NaN where nothing is left."""
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1))


def _overall(sums: np.ndarray, parts: int) -> np.ndarray:
    """All that is correct over all that is labelled: the first and the last of `parts` blocks of classes."""
    classes = sums.shape[-1] // parts
    return _ratio(sums[..., :classes].sum(axis=-1), sums[..., -classes:].sum(axis=-1))


def accuracy_of(sums: np.ndarray) -> np.ndarray:
    """Of `label_counts`."""
    return _overall(sums, 2)


def recalls(sums: np.ndarray) -> np.ndarray:
    """Of `label_counts`: the proportion of each class that is correct."""
    classes = sums.shape[-1] // 2
    return _ratio(sums[..., :classes], sums[..., classes:])


def balanced_accuracy_of(sums: np.ndarray) -> np.ndarray:
    """Of `label_counts`: the mean recall of the classes that occur among the labels."""
    return _mean_of_defined(recalls(sums))


def ious(sums: np.ndarray) -> np.ndarray:
    """Of `mask_counts`: TP / (TP + FP + FN) of each class. A class that is neither labelled nor predicted has none; one
    that is predicted and not labelled has 0."""
    classes = sums.shape[-1] // 3
    correct, predicted, labelled = (sums[..., i * classes : (i + 1) * classes] for i in range(3))
    return _ratio(correct, predicted + labelled - correct)


def mean_iou_of(sums: np.ndarray) -> np.ndarray:
    """Of `mask_counts`: the mean over the classes that have an IoU."""
    return _mean_of_defined(ious(sums))


def pixel_accuracy_of(sums: np.ndarray) -> np.ndarray:
    """Of `mask_counts`: correct pixels over labelled ones."""
    return _overall(sums, 3)


def _even(labels: np.ndarray) -> np.ndarray:
    return np.full(len(labels), 1 / len(labels))


def _even_classes(labels: np.ndarray) -> np.ndarray:
    _, of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    found: np.ndarray = 1 / (len(counts) * counts[of])
    return found


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", "fraction", "max", "label", label_counts, accuracy_of, item_weights=_even),
        Metric("balanced_accuracy", "balanced accuracy", "fraction", "max", "label", label_counts, balanced_accuracy_of,
               recalls, "recall", _even_classes),
        Metric("mean_iou", "mean IoU", "fraction", "max", "mask", mask_counts, mean_iou_of, ious, "IoU"),
        Metric("pixel_accuracy", "pixel accuracy", "fraction", "max", "mask", mask_counts, pixel_accuracy_of),
        Metric("ap", "AP", "fraction", "max", "boxes", detection.box_matches, None, detection.precisions, "AP",
               of_items=detection.average_precision),
        Metric("ap50", "AP50", "fraction", "max", "boxes", detection.box_matches, None,
               partial(detection.precisions, thresholds=detection.AT_50), "AP50",
               of_items=partial(detection.average_precision, thresholds=detection.AT_50)),
        Metric("ap75", "AP75", "fraction", "max", "boxes", detection.box_matches, None,
               of_items=partial(detection.average_precision, thresholds=detection.AT_75)),
        Metric("ar100", "AR100", "fraction", "max", "boxes", detection.box_matches, None, detection.recalls, "AR",
               of_items=detection.average_recall),
        Metric("image_auroc", "image AUROC", "fraction", "max", "anomaly", anomaly.anomaly_rows, None,
               anomaly.kind_aurocs, "AUROC", of_items=anomaly.image_auroc_of),
        Metric("image_ap", "image average precision", "fraction", "max", "anomaly", anomaly.anomaly_rows, None,
               of_items=anomaly.image_ap_of),
        Metric("pixel_auroc", "pixel AUROC", "fraction", "max", "anomaly", anomaly.anomaly_rows,
               anomaly.pixel_auroc_of),
        Metric("fake_auroc", "AUROC of a held-out generator", "fraction", "max", "fake", fake.fake_rows, None,
               fake.aurocs, "AUROC", of_items=fake.held_out_auroc),
        Metric("fake_ap", "average precision of a held-out generator", "fraction", "max", "fake", fake.fake_rows, None,
               of_items=fake.held_out_ap),
        Metric("fake_accuracy", "accuracy at a threshold of known generators", "fraction", "max", "fake",
               fake.fake_rows, fake.held_out_accuracy, fake.rightly_called, "called rightly"),
        Metric("fake_auroc_jpeg", "AUROC of a held-out generator after JPEG", "fraction", "max", "fake",
               fake.fake_rows, None, of_items=fake.held_out_auroc_jpeg),
        Metric("aupro", "AUPRO up to FPR .3", "fraction", "max", "anomaly", anomaly.anomaly_rows, anomaly.aupro_of),
    )
}  # fmt: skip

ALIKE = dict.fromkeys(
    ("video", "text", "audio"), "label"
)  # columns whose rows have one class each, as those of another one have


def metrics_of(target: str) -> tuple[str, ...]:
    """Names of the metrics of predictions for a column, the default primary metric first."""
    kind = ALIKE.get(target, target)
    return tuple(name for name, metric in METRICS.items() if metric.target == kind)


# ── bootstrap over items ─────────────────────────────────────────────────────────────────────────


def by_group(stats: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Rows (n, k) summed over the items that belong together: (groups, k); unchanged without `groups` (n,)."""
    if groups is None:
        return stats
    _, of = np.unique(groups, return_inverse=True)
    found = np.zeros((int(of.max()) + 1, stats.shape[1]), dtype=np.float64)
    np.add.at(found, of, stats)
    return found


def resample_counts(items: int, resamples: int = RESAMPLES, seed: int = SEED) -> Iterator[np.ndarray]:
    """Blocks (·, items) of how often each resample has each item; `resamples` rows in all, each with sum `items`.

    A row is a function of (items, its number, seed), so every arm that is evaluated on the same items gets the same
    resamples.
    """
    step = max(1, BLOCK // items)
    for first in range(0, resamples, step):
        rows = []
        for b in range(first, min(first + step, resamples)):
            counter = np.array([0, 0, 0, b], dtype=np.uint64)
            drawn = np.random.Generator(np.random.Philox(counter=counter, key=seed)).integers(items, size=items)
            rows.append(np.bincount(drawn, minlength=items))
        yield np.array(rows, dtype=np.float64)


def replicates(
    stats: np.ndarray, metric: Metric, groups: np.ndarray | None = None, resamples: int = RESAMPLES, seed: int = SEED
) -> np.ndarray:
    """(resamples,) float64: the metric of bootstrap resamples of the items, or of the groups (n,) they belong to.

    Replicate b is of the same other test items for every arm, so that differences are taken replicate by replicate.
    """
    units, values = metric.units(stats, groups)
    return np.concatenate([values(counts) for counts in resample_counts(units, resamples, seed)])
