"""Intervals over seeds and test items together: both are samples.

Another seed trains another network, and another test set asks other questions. An interval over seeds alone grows
narrower with every seed, although the test images stay the few that they are. What goes in are units (seeds, items),
as `gssl.statistics.items.units` makes them; nothing here knows what an accuracy is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from gssl.statistics.paired import Interval, t_quantile

NODES = 32  # by which a chi-square distribution is integrated over


@dataclass(frozen=True)
class TwoWay:
    """A mean over seeds × items and what its variance is made of.

    from_seeds, from_items: their parts of the mean's variance; `from_seeds` also holds what single answers scatter.
    seed_var, item_var, answer_var: variance components of one seed, one item and one answer, for planning.
    fixed: no answer depends on the seed at all, so that only items are a sample. grouped: items are groups of test
    items that belong together.
    """

    mean: float
    seeds: int
    items: int
    from_seeds: float
    from_items: float
    seed_var: float
    item_var: float
    answer_var: float
    fixed: bool
    width: float = 1.0  # range of one item's value
    grouped: bool = False

    @property
    def variance(self) -> float:
        return self.from_seeds + self.from_items

    @property
    def item_share(self) -> float:
        """Part of the variance that comes from the items, in [0, 1]."""
        return self.from_items / self.variance if self.variance > 0 else 0.0

    def planned(self, seeds: int, items: int) -> float:
        """Variance of the mean with other numbers of seeds and items, by these components."""
        answers = self.answer_var / (seeds * items)
        own = 0.0 if self.fixed else self.seed_var / seeds
        return own + max(self.item_var / items + answers, (self.width / (items + 2)) ** 2)


def two_way(units: np.ndarray, width: float = 1.0) -> TwoWay:
    """Crossed random effects of float (seeds, items), whose mean is the value: the items are the same for all seeds.

    Var(mean) = (MS_seed + MS_item − MS_rest) / (seeds · items), the analysis of variance of multi-reader multi-case
    studies (Gallas, Bandos, Samuelson & Wagner 2009, Communications in Statistics 38:2586; Owen 2007, arXiv:0712.1111,
    for the same layout in the bootstrap). Where nearly all answers agree, counted variances are too small: the items'
    is never taken below (width / (items + 2))², as one disagreement among items + 2 would make it (Agresti & Min 2005,
    Statistics in Medicine 24:729); `width` is the range of one item's value.
    """
    u = np.asarray(units, dtype=float)
    seeds, items = u.shape
    mean = float(u.mean())
    by_item = u.mean(axis=0)
    ms_item = seeds * float(((by_item - mean) ** 2).sum()) / max(items - 1, 1)
    ms_seed = ms_rest = 0.0
    fixed = seeds > 1 and bool(np.ptp(u, axis=0).max() < 1e-12)
    if seeds > 1 and not fixed:
        by_seed = u.mean(axis=1)
        ms_seed = items * float(((by_seed - mean) ** 2).sum()) / (seeds - 1)
        rest = u - by_item - by_seed[:, None] + mean
        ms_rest = float((rest**2).sum()) / ((seeds - 1) * max(items - 1, 1))
        if ms_seed < 1e-12 * max(ms_rest, 1e-300):  # equal to the last answer by chance: that is no certainty
            ms_seed = ms_rest
    cells = seeds * items
    least = cells * (width / (items + 2)) ** 2
    above = max(ms_item, least) - ms_rest
    return TwoWay(
        mean=mean,
        seeds=seeds,
        items=items,
        from_seeds=ms_seed / cells,
        from_items=max(above, 0.0) / cells,
        seed_var=max(ms_seed - ms_rest, 0.0) / items,
        item_var=max(ms_item - ms_rest, 0.0) / seeds,
        answer_var=ms_rest,
        fixed=fixed,
        width=width,
    )


def cross_validated(found: TwoWay, folds: int, alone: float | None = None) -> TwoWay:
    """The parts of the variance where the items are those of cross-validation, for one model that learns from all.

    Items that are tested on in turn are what the other folds' models have learnt from, so that the estimates of the
    folds vary together, and no estimator of that is unbiased (Bengio & Grandvalet 2004, JMLR 5:1089). What is wanted is
    the accuracy of one model from one set of labels. So the items' part is that of a single seed: what an answer
    scatters from seed to seed is not averaged away; `alone` is that part where `found` does not know it. Times
    K / (K - 1), for what a model learns from lacks a fold. Measured: docs/results/coverage_folds.md.
    """
    scatter = found.answer_var * (1 - 1 / found.seeds)
    own = found.from_items + scatter / found.items if alone is None else max(found.from_items, alone)
    more = folds / (folds - 1)
    each = found.item_var + scatter if alone is None else own * found.items
    return replace(found, from_items=more * own, item_var=more * each)


def half_width(found: TwoWay, level: float = 0.95) -> float:
    """Half the width of the interval of `found.mean` at `level`, over seeds and items.

    The seeds' part of the variance is known by few degrees of freedom, the items' by many. Given the former the mean
    is normal (Student's t with items − 1 where items are few); the former is integrated over by its posterior under
    the prior that matches coverage to second order, variance⁻² · (variance + items' part) (Ghosh & Kim 2001, Statistica
    Sinica 11:549, for two variances, here with one known): a mixture of scaled inverse chi-squares with seeds − 1 and
    seeds + 1 degrees of freedom. Without an items' part it is the t interval over seeds. With two seeds the wider of
    the two is taken alone, for there the mixture covers too little.
    """
    from scipy.special import gammaincinv, stdtr

    few = max(found.items - 1, 1)
    if found.seeds < 2 or found.from_seeds == 0.0:
        return t_quantile((1 + level) / 2, few) * float(np.sqrt(found.variance))
    df = found.seeds - 1
    own = 1.0 if df == 1 else found.from_seeds / found.variance
    at, weight = _quantiles()
    parts = [(w, 2 * gammaincinv(k / 2, at)) for w, k in ((own, df), (1 - own, df + 2)) if w > 0]
    spread = np.concatenate([np.sqrt(df * found.from_seeds / chi + found.from_items) for _, chi in parts])
    weights = np.concatenate([w * weight for w, _ in parts])
    low, high = 0.0, t_quantile((1 + level) / 2, 1) * 3 * float(np.sqrt(found.variance))
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        above = float(weights @ stdtr(few, -middle / spread))
        low, high = (middle, high) if above > (1 - level) / 2 else (low, middle)
    return high


@cache
def _quantiles() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities in (0, 1) and their weights, dense at 0: small chi-squares make the far tail of the mean."""
    x, w = np.polynomial.legendre.leggauss(NODES)
    v = (1 + x) / 2
    return v**4, w * 2 * v**3


def two_way_interval(found: TwoWay, level: float = 0.95, bounds: tuple[float, float] = (-1.0, 1.0)) -> Interval:
    """Mean ± half width, cut to what can be."""
    half = half_width(found, level)
    return Interval(found.mean, max(bounds[0], found.mean - half), min(bounds[1], found.mean + half))


def share_interval(found: TwoWay, level: float = 0.95) -> Interval:
    """Interval of a proportion over seeds and items: Wilson's, with the number of independent items that would
    give the variance that was found (Kish's effective sample size), so that it never leaves [0, 1].

    Where all answers are right or all wrong that number is the number of items, over the weight of the heaviest one.
    """
    p, variance = found.mean, found.variance
    z = half_width(found, level) / float(np.sqrt(variance)) if variance > 0 else t_quantile((1 + level) / 2, 1e6)
    inside = 1e-12 < p < 1 - 1e-12 and variance > 0
    n = p * (1 - p) / variance if inside else max(found.items / found.width, 1.0)
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(max(p * (1 - p), 0.0) / n + z * z / (4 * n * n)))
    return Interval(p, max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p)))


def needed(found: TwoWay, half: float, level: float = 0.95, most: int = 10**6) -> tuple[int | None, int | None]:
    """How many seeds (at these items), and how many items (at these seeds), would bring the interval's half width to
    `half`; None where no number up to `most` would."""

    def enough(seeds: int, items: int) -> bool:
        v = found.planned(seeds, items)
        own = 0.0 if found.fixed else found.seed_var / seeds + found.answer_var / (seeds * items)
        made = replace(found, seeds=seeds, items=items, from_seeds=own, from_items=max(v - own, 0.0))
        return half_width(made, level) <= half

    def fewest(fits: Callable[[int], bool], start: int) -> int | None:
        low, high = start - 1, start
        while not fits(high):
            low, high = high, 2 * high
            if high > most:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(middle) else (middle, high)
        return high

    start = 2 if found.seeds > 1 else 1
    return fewest(lambda n: enough(n, found.items), start), fewest(lambda n: enough(found.seeds, n), 2)
