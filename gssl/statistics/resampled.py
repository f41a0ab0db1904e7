"""Variances over seeds and test items of metrics that are no means over items, from bootstrap replicates.

Replicate b is of the same other test items for every arm and seed (`gssl.metrics.replicates` for generated images,
`gssl.statistics.metric.replicates` for predictions), so that differences are taken replicate by replicate.
"""

from collections.abc import Sequence

import numpy as np

from gssl.statistics import paired
from gssl.statistics.paired import Interval
from gssl.statistics.two_way import TwoWay, share_interval, two_way_interval


def spread(values: Sequence[float], replicates: np.ndarray, items: int, width: float = 0.0) -> TwoWay:
    """The parts of the variance of the mean of `values` (n,), one per seed; `replicates` (n, B): each over items.

    Over seeds: s² / n, which holds what each seed has of its own; where the values of all seeds coincide and their
    replicates do not, which is chance, what of the replicates' variance the seeds have not in common. Over the test
    items, that all seeds have in common: what of the replicates' variance the seeds have in common. With M the variance
    of the replicates' mean over seeds and W the mean variance of one seed's, it is (n · M − W) / (n − 1), the
    counterpart of MS_item − MS_rest in `two_way`; adding M itself to s² / n would count what belongs to a seed twice.
    With one seed all of its variance over items counts and nothing is known of seeds.
    Where no resample differs from another, as of two arms that put all items into the right order, nothing of the
    items' scatter has been seen, and that is no certainty: their part is (width / (items + 2))², as in `two_way`.
    width: what one item can move the metric by, times the items; 0 where that has no bound.
    """
    x, seeds, mean = np.asarray(values, dtype=float), len(values), float(np.mean(values))
    replicates = replicates[:, ~np.isnan(replicates).any(axis=0)]  # resamples for which the metric is not defined
    together = float(replicates.mean(axis=0).var(ddof=1))
    if replicates.size and np.ptp(replicates, axis=1).max() < 1e-12:
        together = (width / (items + 2)) ** 2
    fixed = seeds > 1 and bool(np.ptp(replicates, axis=0).max(initial=0.0) < 1e-12) and not paired.varies(list(values))
    if seeds == 1 or fixed:
        return TwoWay(mean, seeds, items, 0.0, together, 0.0, together * items, 0.0, fixed)
    alone = float(replicates.var(axis=1, ddof=1).mean())
    common = max((seeds * together - alone) / (seeds - 1), 0.0)
    own = float(x.var(ddof=1)) if paired.varies(list(values)) else max(alone - common, 0.0)
    return TwoWay(mean, seeds, items, own / seeds, common, own, common * items, 0.0, False)


def interval(
    values: Sequence[float],
    replicates: np.ndarray | None,
    items: int,
    bounds: tuple[float, float],
    level: float = 0.95,
) -> tuple[Interval | None, TwoWay | None]:
    """Of the mean of `values` (n,); `replicates` (n, B); and the parts of its variance. None where neither shows any.

    bounds: what the metric can be. Of proportions, (0, 1), Wilson's with the effective number of items; else the
    symmetric one. Cutting off what cannot be takes nothing from the coverage. Without replicates it is
    Student's t over seeds.
    """
    if replicates is None:
        found = paired.t_interval(list(values), level)
        return (None if found is None else cut(found, bounds)), None
    over = spread(values, replicates, items)
    if bounds == (0.0, 1.0) and 0 <= over.mean <= 1:
        return share_interval(over, level), over
    return two_way_interval(over, level, bounds), over


def cut(found: Interval, bounds: tuple[float, float]) -> Interval:
    """Within what can be."""
    return Interval(found.mean, max(bounds[0], found.low), min(bounds[1], found.high))
