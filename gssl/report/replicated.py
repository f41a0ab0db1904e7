"""Intervals of figures of generated images: over seeds and test images together, never outside the figure's range.

A coverage or a KID is no mean over images, so its variance over images comes from bootstrap replicates
(`gssl.metrics.replicates`): replicate b is of the same other test images for every generator and seed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gssl.statistics import paired
from gssl.statistics.paired import Interval
from gssl.statistics.two_way import TwoWay, share_interval, two_way_interval

SHARES = ("precision", "recall", "coverage", "copied", "gan_train", "gan_test")
POSITIVE = ("density", "fd")


def spread(values: Sequence[float], replicates: np.ndarray, items: int) -> TwoWay:
    """The parts of the variance of the mean of `values` (n,), one per seed; `replicates` (n, B): each over images.

    Over seeds: s² / n, which holds what the generated images scatter, for each seed has its own. Over the real images,
    that all seeds share: what of the replicates' variance the seeds have in common. With M the variance of the
    replicates' mean over seeds and W the mean variance of one seed's, it is (n · M − W) / (n − 1), the counterpart of
    MS_item − MS_rest in `two_way`; adding M itself to s² / n would count the generated images twice. With one seed all
    of its variance over images counts and nothing is known of seeds.
    """
    x, seeds, mean = np.asarray(values, dtype=float), len(values), float(np.mean(values))
    together = float(replicates.mean(axis=0).var(ddof=1))
    fixed = seeds > 1 and not paired.varies(list(values))
    if seeds == 1 or fixed:
        return TwoWay(mean, seeds, items, 0.0, together, 0.0, together * items, 0.0, fixed)
    alone = float(replicates.var(axis=1, ddof=1).mean())
    shared = max((seeds * together - alone) / (seeds - 1), 0.0)
    own = float(x.var(ddof=1))
    return TwoWay(mean, seeds, items, own / seeds, shared, own, shared * items, 0.0, False)


def interval(
    metric: str, values: Sequence[float], replicates: np.ndarray | None, items: int, level: float = 0.95
) -> dict[str, Any] | None:
    """Of the mean of one arm's `values` (n,); `replicates` (n, B). None where neither shows any spread.

    Shares: Wilson's with the effective number of images, so within [0, 1]. Density and Fréchet distance: the symmetric
    one, cut at 0. KID: its estimate may be negative but the distance is not, so the lower end is cut at the smaller of
    0 and the mean. Cutting off what cannot be takes nothing from the coverage. Without replicates (evaluations of an
    older version, the Fréchet distance): Student's t over seeds, cut alike.
    """
    mean = float(np.mean(values))
    low, high = bounds(metric, mean)
    if replicates is None:
        found = paired.t_interval(list(values), level)
        return None if found is None else _told("t", "seeds", len(values), None, level, _cut(found, low, high))
    over = spread(values, replicates, items)
    share = metric in SHARES and 0 <= mean <= 1
    ends = share_interval(over, level) if share else two_way_interval(over, level, (low, high))
    return _written(over, level, ends)


def difference(
    metric: str, values: Sequence[float], replicates: np.ndarray | None, items: int, level: float = 0.95
) -> tuple[dict[str, Any] | None, TwoWay | None]:
    """The same of paired differences (n,) and of the differences of their replicates (n, B); and the parts."""
    reach = (-1.0, 1.0) if metric in SHARES else (-np.inf, np.inf)
    if replicates is None:
        found = paired.t_interval(list(values), level)
        return (_told("t", "seeds", len(values), None, level, _cut(found, *reach)) if found else None), None
    over = spread(values, replicates, items)
    return _written(over, level, two_way_interval(over, level, reach)), over


def bounds(metric: str, mean: float) -> tuple[float, float]:
    """What a figure whose estimate is `mean` can be."""
    if metric in SHARES:
        return 0.0, 1.0
    return (0.0 if metric in POSITIVE else min(0.0, mean)), float("inf")


def _cut(found: Interval, low: float, high: float) -> Interval:
    return Interval(found.mean, max(low, found.low), min(high, found.high))


def _written(over: TwoWay, level: float, ends: Interval) -> dict[str, Any]:
    images = over.seeds < 2 or over.fixed
    kind, what = ("bootstrap", "test images") if images else ("two_way", "seeds and test images")
    return _told(kind, what, over.seeds, over.items, level, ends)


def _told(kind: str, over: str, n: int, items: int | None, level: float, ends: Interval) -> dict[str, Any]:
    found = {"kind": kind, "over": over, "n": n, "level": level, "low": ends.low, "high": ends.high}
    return found if items is None else found | {"items": items}
