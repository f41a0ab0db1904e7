"""Average precision of boxes, as COCO defines it (Lin et al. 2014, arXiv:1405.0312): its rows of statistics and values.

Matching, per image, class and IoU threshold: detections in order of their scores each take the object that they overlap
most among those that are not taken, if the overlap is at least the threshold. What takes an ignored object (a crowd, or
one whose area is out of range) is ignored, too, as are unmatched detections whose area is out of range. A crowd may be
taken by many, and its overlap is the covered part of the detection. At most `MOST` detections per image count.

Precision is made non-increasing in recall and averaged over 101 recalls, IoU .50, .55, …, .95 and the classes that have
an object; a class without objects is left out. Areas are width times height in pixels of the images that boxes refer
to. Items are images, and values are of items that are counted any number of times, as bootstrap resamples count them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

IOUS = np.linspace(0.5, 0.95, 10)
AT_50, AT_75 = slice(0, 1), slice(5, 6)  # of `IOUS`
RECALLS = np.linspace(0, 1, 101)
MOST = 100  # detections per image
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
FIELDS = 2 + len(AREAS)  # of a detection in a row: class (-1: none), score, and per range of areas a number of 20 bits
BITS = 1 << np.arange(2 * len(IOUS))  # the first ten: it takes an object at this IoU; the others: it is ignored there
BLOCK = 1 << 22  # numbers in an array of weights


class Objects(NamedTuple):
    """The true boxes of an image."""

    boxes: np.ndarray  # float (m, 4): left, top, right, bottom in pixels
    classes: np.ndarray  # int (m,)
    crowd: np.ndarray  # bool (m,): stands for many, and is neither found nor missed


class Detections(NamedTuple):
    """The predicted boxes of an image, in any order."""

    boxes: np.ndarray  # float (d, 4)
    classes: np.ndarray  # int (d,)
    scores: np.ndarray  # float (d,): higher is surer


# ── rows of statistics ───────────────────────────────────────────────────────────────────────────


def box_matches(objects: Sequence[Objects], found: Sequence[Detections], n_classes: int) -> np.ndarray:
    """Of n images float32 (n, k), k = `MOST` · `FIELDS` + ranges · classes.

    Detections in order of their scores, `FIELDS` numbers each; then per range of areas how many objects of each class
    are to be found. Every number is exact in float32 but scores, which are rounded to it.
    """
    rows = [_row(own, theirs, n_classes) for own, theirs in zip(objects, found, strict=True)]
    return np.array(rows, dtype=np.float32).reshape(-1, MOST * FIELDS + len(AREAS) * n_classes)


def _row(objects: Objects, found: Detections, n_classes: int) -> np.ndarray:
    order = np.argsort(-np.asarray(found.scores, dtype=np.float32), kind="stable")[:MOST]
    boxes, classes = np.asarray(found.boxes, dtype=np.float64).reshape(-1, 4)[order], np.asarray(found.classes)[order]
    assert ((classes >= 0) & (classes < n_classes)).all(), f"a class outside of 0 … {n_classes - 1}"
    slots = np.zeros((MOST, FIELDS))
    slots[:, 0] = -1
    slots[: len(order), 0], slots[: len(order), 1] = classes, np.asarray(found.scores)[order]
    true = np.asarray(objects.boxes, dtype=np.float64).reshape(-1, 4)
    ignored = outside(true) | np.asarray(objects.crowd, dtype=bool)  # (ranges, objects)
    for c in np.unique(classes):
        mine, own = np.flatnonzero(classes == c), np.flatnonzero(np.asarray(objects.classes) == c)
        bits = _matched(boxes[mine], true[own], np.asarray(objects.crowd, dtype=bool)[own], ignored[:, own])
        slots[mine, 2:] = bits @ BITS
    counts = [np.bincount(np.asarray(objects.classes)[~out], minlength=n_classes) for out in ignored]
    assert all(len(count) == n_classes for count in counts), f"a class outside of 0 … {n_classes - 1}"
    return np.concatenate([slots.ravel(), *counts])


def _matched(boxes: np.ndarray, true: np.ndarray, crowd: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Bool (d, ranges, 2 · IoUs) of detections (d, 4) of one class in order of their scores, beside its objects (m, 4).

    ignored: (ranges, m).
    """
    overlap = ious(boxes, true, crowd)
    least = np.minimum(IOUS, 1 - 1e-10)
    free = np.ones((len(ignored), len(IOUS), len(true)), dtype=bool)
    bits = np.zeros((len(boxes), len(ignored), 2, len(IOUS)), dtype=bool)
    far = outside(boxes)
    for i, own in enumerate(overlap):
        near = free & (own >= least[:, None])
        first = near & ~ignored[:, None]
        near = np.where(first.any(axis=2, keepdims=True), first, near)  # an ignored object only where there is no other
        any_ = near.any(axis=2)
        bits[i, :, 0], bits[i, :, 1] = any_, ~any_ & far[:, i, None]
        if not any_.any():
            continue
        best = len(true) - 1 - np.where(near, own, -1)[..., ::-1].argmax(axis=2)  # of equal ones the last, as in COCO
        at, threshold = np.nonzero(any_)
        taken = best[at, threshold]
        bits[i, at, 1, threshold] = ignored[at, taken]
        free[at, threshold, taken] = crowd[taken]
    return bits.reshape(len(boxes), len(ignored), -1)


def ious(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray | None = None) -> np.ndarray:
    """(d, m) of boxes (d, 4) and (m, 4). Of a crowd, bool (m,), the part of the box that it covers. 0 of no area."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)[:, None]
    whole = area + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared
    if crowd is not None:
        whole = np.where(crowd, area, whole)
    found: np.ndarray = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return found


def outside(boxes: np.ndarray) -> np.ndarray:
    """Bool (ranges, m): whether the area of each box (m, 4) is out of each range."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.array([(area < low) | (area > high) for low, high in AREAS.values()])


# ── values ───────────────────────────────────────────────────────────────────────────────────────


class OfClass(NamedTuple):
    """The detections of one class in all items, in order of their scores, and its objects."""

    item: np.ndarray  # int (d,): whose they are
    right: np.ndarray  # bool (d, thresholds): takes an object that is to be found
    kept: np.ndarray  # bool (d, thresholds): is not ignored
    objects: np.ndarray  # (n,) in each item


def by_class(stats: np.ndarray, area: str = "all", thresholds: slice = slice(None)) -> Iterator[OfClass]:
    """Rows (n, k) of `box_matches` for values of a range of areas at some of `IOUS`."""
    at = list(AREAS).index(area)
    slots = stats[:, : MOST * FIELDS].reshape(-1, FIELDS)
    counts = stats[:, MOST * FIELDS :].reshape(len(stats), len(AREAS), -1)[:, at].astype(np.float64)
    item = np.repeat(np.arange(len(stats)), MOST)
    for c in range(counts.shape[1]):
        own = np.flatnonzero(slots[:, 0] == c)
        own = own[np.argsort(-slots[own, 1], kind="stable")]
        bits = (slots[own, 2 + at].astype(np.int64)[:, None] & BITS) > 0
        taken, ignored = (part[:, thresholds] for part in np.split(bits, 2, axis=1))
        yield OfClass(item[own], taken & ~ignored, ~ignored, counts[:, c])


def precisions(
    stats: np.ndarray, weights: np.ndarray, area: str = "all", thresholds: slice = slice(None)
) -> np.ndarray:
    """AP (R, classes), the mean over thresholds, where item i of rows (n, k) counts weights[r, i] times.

    NaN where no object of a class is counted.
    """
    return _of_blocks(stats, weights, area, thresholds, _precision)


def recalls(stats: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AR (R, classes): the part of the objects that is found, the mean over thresholds. NaN as in `precisions`."""
    return _of_blocks(stats, weights, "all", slice(None), _recall)


def average_precision(
    stats: np.ndarray, weights: np.ndarray, area: str = "all", thresholds: slice = slice(None)
) -> np.ndarray:
    """(R,): the mean of `precisions` over the classes that have any; NaN where none has."""
    return mean_of_classes(precisions(stats, weights, area, thresholds))


def average_recall(stats: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,): the mean of `recalls` over the classes that have any; NaN where none has."""
    return mean_of_classes(recalls(stats, weights))


def mean_of_classes(values: np.ndarray) -> np.ndarray:
    """(R, classes) → (R,), without NaN."""
    there = ~np.isnan(values)
    found: np.ndarray = np.divide(
        np.where(there, values, 0.0).sum(axis=1),
        there.sum(axis=1),
        out=np.full(len(values), np.nan),
        where=there.any(axis=1),
    )
    return found


def _of_blocks(
    stats: np.ndarray,
    weights: np.ndarray,
    area: str,
    thresholds: slice,
    value: Callable[[OfClass, np.ndarray], np.ndarray],
) -> np.ndarray:
    weights = np.asarray(weights, dtype=np.float64)
    classes = list(by_class(np.asarray(stats), area, thresholds))
    step = max(1, BLOCK // max([1, *(len(own.item) for own in classes)]))
    parts = [weights[first : first + step] for first in range(0, len(weights), step)]
    found = [np.stack([value(own, part) for own in classes], axis=1) for part in parts]
    return np.concatenate(found) if found else np.zeros((0, len(classes)))


def _precision(own: OfClass, weights: np.ndarray) -> np.ndarray:
    """(R,) of one class. Precision is highest where an object has just been found: only these places are looked at."""
    objects = weights @ own.objects
    counted = weights[:, own.item]
    total = np.zeros(len(weights))
    all_kept = counted.cumsum(axis=1) if own.kept.all() else None
    for t in range(own.right.shape[1]):
        at = np.flatnonzero(own.right[:, t])
        if not len(at):
            continue
        seen = all_kept if all_kept is not None else (counted * own.kept[:, t]).cumsum(axis=1)
        right = counted[:, at].cumsum(axis=1)
        precision = right / (seen[:, at] + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = np.divide(right, objects[:, None], out=np.zeros_like(right), where=objects[:, None] > 0)
        reached = np.searchsorted(RECALLS, recall, side="right")  # how many of the 101 recalls
        total += (np.diff(reached, axis=1, prepend=0) * precision).sum(axis=1)
    value: np.ndarray = np.where(objects > 0, total / (len(RECALLS) * own.right.shape[1]), np.nan)
    return value


def _recall(own: OfClass, weights: np.ndarray) -> np.ndarray:
    found, objects = (weights[:, own.item] @ own.right).mean(axis=1), weights @ own.objects
    value: np.ndarray = np.divide(found, objects, out=np.full(len(weights), np.nan), where=objects > 0)
    return value


def matched_once(objects: Objects, found: Detections, iou: float = 0.5) -> np.ndarray:
    """Bool (d,): which detections take an object (or a crowd) of their class at this IoU, the surest first."""
    right = np.zeros(len(found.scores), dtype=bool)
    for c in np.unique(found.classes):
        mine, own = np.flatnonzero(found.classes == c), np.flatnonzero(objects.classes == c)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")]
        true, crowd = objects.boxes[own].astype(np.float64), objects.crowd[own]
        every = np.tile(crowd, (len(AREAS), 1))
        bits = _matched(found.boxes[mine].astype(np.float64), true, crowd, every)
        right[mine] = bits[:, 0, int(np.flatnonzero(np.isclose(IOUS, iou))[0])]
    return right
