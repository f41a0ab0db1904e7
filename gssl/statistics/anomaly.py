"""Metrics of anomaly detection: of images by their score, of pixels by a map of scores. No torch here.

A row per test image holds what every metric, its kinds and its bootstrap intervals need:

    one-hot kind (C, the first is good) | score | number of regions | good pixels | anomalous pixels | covered share

The last three are histograms of `BINS` bins over the scores of pixels, from low to high: how many pixels that are not
anomalous lie in a bin, how many that are, and what share of each anomalous region, summed over the image's regions. A
region is an 8-connected component of a mask. Pixels whose mask is IGNORE count nowhere.

AUPRO (Bergmann et al.: MVTec AD, IJCV 2021) is the mean share of the regions that is found, integrated over false
positive rates up to .3 and divided by .3. False positives are pixels of all images that are not anomalous.

Edges of bins are quantiles of the scores of good pixels, most of them among the highest 30%, where AUPRO looks: at even
false positive rates, and at geometrically growing ones for the steep beginning. In a bin the curve is a straight line,
as it is between pixels of equal score. Measured against all pixels (tests/statistics/test_anomaly.py): both within
.0003.
"""

from collections.abc import Sequence

import numpy as np

IGNORE = 255  # of masks: pixels of which nothing is known
LIMIT = 0.3  # largest false positive rate of AUPRO
EDGES = np.concatenate([np.geomspace(2e-5, 0.3 / 192, 48), np.linspace(0, 0.3, 193)[2:], np.linspace(0.3, 1, 81)[1:]])
BINS = len(EDGES) + 2  # and what is higher than every good pixel


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────


def edges_of(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
    """float64 (BINS - 1,), ascending: inner edges of bins, from maps (h, w) and masks (h, w), 1 where anomalous.

    Equal edges, where many scores are equal, leave bins empty. Without a good pixel all edges are 0.
    """
    good = [np.asarray(m)[np.asarray(mask) == 0].ravel() for m, mask in zip(maps, masks, strict=True)]
    scores = np.sort(np.concatenate([*good, np.zeros(0, np.float32)]))
    if not len(scores):
        return np.zeros(BINS - 1)
    at = np.clip(np.round((1 - EDGES) * len(scores)).astype(int), 0, len(scores) - 1)
    return np.append(np.sort(scores[at]), np.nextafter(scores[-1], np.inf)).astype(np.float64)


def anomaly_rows(
    kinds: np.ndarray,
    n_kinds: int,
    scores: np.ndarray,
    maps: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    edges: np.ndarray,
) -> np.ndarray:
    """Rows float32 (n, n_kinds + 2 + 3 · BINS) of n images: kinds (n,) in 0 … n_kinds - 1, 0 is good; scores (n,);
    maps (h, w) of scores and masks (h, w) uint8, 1 where anomalous, IGNORE where that is not known."""
    found = np.zeros((len(kinds), n_kinds + 2 + 3 * BINS), dtype=np.float32)
    found[np.arange(len(kinds)), kinds] = 1
    found[:, n_kinds] = scores
    for row, own, mask in zip(found, maps, masks, strict=True):
        row[n_kinds + 1], row[n_kinds + 2 :] = _pixels(np.asarray(own), np.asarray(mask), edges)
    return found


def _pixels(scores: np.ndarray, mask: np.ndarray, edges: np.ndarray) -> tuple[int, np.ndarray]:
    """The number of regions, and the three histograms, (3 · BINS,)."""
    from scipy import ndimage  # which takes time to load

    assert scores.shape == mask.shape, f"a map of {scores.shape} and a mask of {mask.shape}"
    bins = np.searchsorted(edges, scores, side="right")
    good = np.bincount(bins[mask == 0], minlength=BINS)
    wrong = (mask != 0) & (mask != IGNORE)
    bad = np.bincount(bins[wrong], minlength=BINS)
    regions, count = ndimage.label(wrong, structure=np.ones((3, 3)))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    covered = np.bincount(bins[wrong], 1 / sizes[regions[wrong]], minlength=BINS)
    return count, np.concatenate([good, bad, covered])


def kinds_in(width: int) -> int:
    """The number of kinds, good among them, of rows of `width` numbers."""
    return width - 2 - 3 * BINS


# ── images: values from rows and how often each occurs ───────────────────────────────────────────


def image_auroc_of(stats: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Rows (n, k), counts (R, n) → (R,): the probability that an anomalous image scores higher than a good one, ties
    one half. NaN where a resample has one sort of images alone."""
    good, score = _images(stats)
    return auroc(score, counts * ~good, counts * good)


def image_ap_of(stats: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Average precision of the anomalous images."""
    good, score = _images(stats)
    return average_precision(score, counts * ~good, counts * good)


def kind_aurocs(stats: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Rows (n, k), counts (R, n) → (R, kinds): the image AUROC of each kind of anomaly against all good images. NaN of
    the first kind, which is good, and of kinds without an image."""
    good, score = _images(stats)
    own = np.asarray(stats)[:, : kinds_in(stats.shape[1])] > 0
    found = np.full((len(counts), own.shape[1]), np.nan)
    for kind in range(1, own.shape[1]):
        kept = good | own[:, kind]
        found[:, kind] = auroc(score[kept], (counts * own[:, kind])[:, kept], (counts * good)[:, kept])
    return found


def _images(stats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool (n,): is an image good; float (n,): its score."""
    stats = np.asarray(stats)
    return stats[:, 0] > 0, stats[:, kinds_in(stats.shape[1])]


def _levels(score: np.ndarray, bad: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts (R, n) summed over items of equal score, from the lowest score to the highest: two of (R, scores)."""
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    first = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    lower, higher = (np.add.reduceat(part[:, order].astype(np.float64), first, axis=1) for part in (bad, good))
    return lower, higher


def auroc(score: np.ndarray, bad: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Of scores (n,) and how often each is of an item that should score high and of one that should score low, (R, n):
    (R,), ties one half. NaN without one of the two sorts."""
    if not len(score):
        return np.full(len(bad), np.nan)
    return _area(*_levels(score, bad, good))


def average_precision(score: np.ndarray, bad: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Of the same: precision at every distinct score, weighted by the recall that it adds."""
    if not len(score):
        return np.full(len(bad), np.nan)
    high, low = (levels[:, ::-1].cumsum(axis=1) for levels in _levels(score, bad, good))
    precision, gained = ratio(high, high + low), np.diff(high, axis=1, prepend=0.0)
    found = ratio((np.nan_to_num(precision) * gained).sum(axis=1), high[:, -1])
    return np.where(low[:, -1] > 0, found, np.nan)


def _area(bad: np.ndarray, good: np.ndarray) -> np.ndarray:
    """AUROC of counts (…, levels) from the lowest score to the highest; NaN without one of the two sorts."""
    below = good.cumsum(axis=-1) - good / 2
    return ratio((bad * below).sum(axis=-1), bad.sum(axis=-1) * good.sum(axis=-1))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where `below` is 0."""
    found: np.ndarray = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)
    return found


# ── pixels: values from sums of rows ─────────────────────────────────────────────────────────────


def pixel_auroc_of(sums: np.ndarray) -> np.ndarray:
    """Sums (…, k) → (…,): AUROC of all pixels; those of one bin count as ties."""
    good, bad, _ = _histograms(sums)
    return _area(bad, good)


def aupro_of(sums: np.ndarray) -> np.ndarray:
    """Sums (…, k) → (…,): area under the mean covered share of regions, up to a false positive rate of `LIMIT`, over
    `LIMIT`. NaN without a region or a good pixel."""
    good, _, covered = _histograms(sums)
    regions = sums[..., kinds_in(sums.shape[-1]) + 1, None]
    rate = _from_zero(ratio(good, good.sum(axis=-1, keepdims=True) + np.zeros_like(good)))
    share = _from_zero(ratio(covered, regions + np.zeros_like(covered)))
    width = np.diff(rate, axis=-1)
    kept = np.clip(LIMIT - rate[..., :-1], 0, width)
    part = np.divide(kept, width, out=np.zeros_like(width), where=width > 0)
    height = share[..., :-1] + np.diff(share, axis=-1) * part / 2
    found: np.ndarray = (kept * height).sum(axis=-1) / LIMIT
    return found


def _histograms(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(…, BINS) each: good pixels, anomalous pixels, covered share."""
    start = kinds_in(sums.shape[-1]) + 2
    good, bad, covered = (sums[..., start + i * BINS : start + (i + 1) * BINS] for i in range(3))
    return good, bad, covered


def _from_zero(shares: np.ndarray) -> np.ndarray:
    """Shares (…, BINS) from low scores to high → what lies above each edge, from 0 at the highest: (…, BINS + 1)."""
    above = shares[..., ::-1].cumsum(axis=-1)
    return np.concatenate([np.zeros((*above.shape[:-1], 1)), above], axis=-1)
