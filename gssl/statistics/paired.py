"""Intervals and tests over seeds, with nothing that a reader has to take on trust.

Everything here works on one number per seed (a seed's score is already the mean over its label draws) or on one
network; intervals over seeds and test items together are in `two_way`. Nothing here knows what an accuracy is. scipy
is imported where a quantile is needed, not before.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from gssl.statistics.intervals import wilson

# Up to so many pairs of seeds every sign vector is visited (2¹⁶ of them); above, so many are drawn.
EXACT_SEEDS = 16
DRAWN_SIGNS = 1 << EXACT_SEEDS
TIE = 1e-9  # two statistics closer than this are the same one, computed in another order


class Interval(NamedTuple):
    """A mean with its interval, in the unit of the values."""

    mean: float
    low: float
    high: float


def t_quantile(p: float, df: float) -> float:
    """Quantile `p` in (0, 1) of Student's t with `df` > 0 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """x̄ ± t·s/√n of n independent values; None for fewer than two, where nothing shows the spread.

    Under normal values it covers the true mean with probability `level` at every n ≥ 2, which the percentile
    bootstrap does not (75% instead of 95% at n = 3).
    """
    x = np.asarray(values, dtype=float)
    if x.size < 2:
        return None
    half = t_quantile((1 + level) / 2, x.size - 1) * float(x.std(ddof=1)) / float(np.sqrt(x.size))
    mean = float(x.mean())
    return Interval(mean, mean - half, mean + half)


def positive_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Of the mean of n values that cannot be negative: t on the logarithmic scale, x̄ · exp(± t·s / (x̄·√n)).

    By the delta method log x̄ has the standard error s / (x̄·√n). It holds no value below zero, where x̄ ± t·s/√n of
    two or three seeds may; where values hardly scatter the two are one. None as in `t_interval`, and where x̄ = 0.
    """
    found = t_interval(values, level)
    if found is None or found.mean <= 0:
        return None
    factor = float(np.exp(min((found.high - found.mean) / found.mean, 700.0)))
    return Interval(found.mean, found.mean / factor, found.mean * factor)


def newcombe(a: tuple[float, float, float], b: tuple[float, float, float]) -> Interval:
    """Interval of a difference of two proportions from their own Wilson intervals, each as (proportion, low, high).

    Newcombe (1998), "Interval estimation for the difference between independent proportions", method 10. It
    takes the two as independent; two arms evaluated on the same images usually agree more than that, so it is
    rather wide.
    """
    (pa, la, ua), (pb, lb, ub) = a, b
    d = pa - pb
    low = d - float(np.hypot(pa - la, ub - pb))
    high = d + float(np.hypot(ua - pa, pb - lb))
    return Interval(d, low, high)


def newcombe_paired(both: int, first: int, second: int, neither: int, level: float = 0.95) -> Interval:
    """Interval of a difference of two proportions, first minus second, of the same n images.

    Counts of images that both got right, only the first, only the second, neither; n ≥ 1. Newcombe (1998), "Improved
    confidence intervals for the difference between binomial proportions based on paired data", Statistics in Medicine
    17:2635-2650, method 10: square-and-add of the two Wilson intervals, less what the two have in common (φ, its
    numerator corrected by n/2 where positive). Other than McNemar's normal interval it has a width where the two never
    differ. It says what other test images might do to these two trained classifiers, nothing about draws or seeds.
    """
    n = both + first + second + neither
    a, b = both + first, both + second
    d = (first - second) / n
    (la, ua), (lb, ub) = wilson(a, n, level), wilson(b, n, level)
    down_a, up_a, down_b, up_b = a / n - la, ua - a / n, b / n - lb, ub - b / n
    margins = a * (n - a) * b * (n - b)
    common = float(both * neither - first * second)
    if common > 0:
        common = max(common - n / 2, 0.0)
    phi = common / margins**0.5 if margins else 0.0
    low = d - (max(down_a**2 - 2 * phi * down_a * up_b + up_b**2, 0.0)) ** 0.5
    high = d + (max(up_a**2 - 2 * phi * up_a * down_b + down_b**2, 0.0)) ** 0.5
    return Interval(d, low, high)


def paired_difference(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], level: float = 0.95
) -> tuple[Interval, str]:
    """Interval of the mean difference in accuracy, first minus second, and what it is over.

    Each holds per draw of labels which test images were right: bool (n,), the same images and draws on both sides.
    With several draws a t interval over their differences: how much depends on which images are labelled. With one
    draw Newcombe's paired interval over test images: for these two fitted probes. The same of the first draw where
    all draws differ by the same: a t interval without spread would claim to be certain.
    """
    differences = [float(a.mean() - b.mean()) for a, b in zip(first, second, strict=True)]
    found = t_interval(differences, level)
    if found is not None and np.ptp(differences) >= 1e-12:
        return found, "t over draws"
    a, b = first[0], second[0]
    counts = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum())
    return newcombe_paired(*counts, level), "newcombe_paired over test images"


def varies(values: Sequence[float]) -> bool:
    """Whether several values differ at all.

    Where they do not, nothing that was asked depends on the seed (pixels as features and all labels): an interval over
    seeds would claim to be certain, and a sign-flip test to have found something.
    """
    return len(values) > 1 and float(np.ptp(np.asarray(values, dtype=float))) >= 1e-12


def smallest_p(n: int) -> float:
    """The smallest two-sided p-value that a sign-flip test over `n` seeds can give: 2 / 2ⁿ."""
    return min(1.0, 2.0 / 2.0**n)


def attainable(n: int, alpha: float = 0.05) -> float:
    """The largest p-value up to `alpha` that a sign-flip test over `n` seeds can give: how often it errs. Else 0."""
    unit = smallest_p(n)
    return unit * int(alpha / unit + 1e-9)


def seeds_needed(alpha: float = 0.05) -> int:
    """The fewest seeds with which a sign-flip test can reach `alpha`: six for .05."""
    n = 1
    while smallest_p(n) > alpha:
        n += 1
    return n


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p-value of the paired sign-flip test of one row of n differences; 1.0 where n = 0.

    Under the null hypothesis a paired difference is as likely as its negative, so p is the proportion of the 2ⁿ
    sign vectors whose |mean| is at least the observed one. Exact up to 16 seeds, Monte Carlo above (fixed
    draws).
    """
    return max_t(np.asarray(differences, dtype=float)[None])[0]


def max_t(differences: np.ndarray | Sequence[Sequence[float]]) -> list[float]:
    """Adjusted p-values of a family of paired comparisons: Westfall and Young's max-T, step-down.

    `differences` has shape (pairs, n): one row per comparison, one column per seed, NaN where a comparison
    lacks a seed (a run failed). One sign vector flips the whole family, so the dependence between comparisons
    that have an arm in common is kept, and with six seeds a family of three can still reject, which Holm's correction
    never could. Controls the family-wise error rate. Westfall & Young (1993), "Resampling-Based Multiple
    Testing", algorithm 2.8. One pair gives the ordinary test.
    """
    d = np.atleast_2d(np.asarray(differences, dtype=float))
    pairs, n = d.shape
    if n == 0:
        return [1.0] * pairs
    have = (~np.isnan(d)).sum(axis=1)
    d = np.nan_to_num(d)  # a difference of 0 does not change whichever way it is flipped
    observed = _statistic(d, have, np.ones((1, n)))[0]
    flipped = _statistic(d, have, _signs(n))
    order = np.argsort(-observed, kind="stable")
    adjusted = np.ones(pairs)
    largest = 0.0
    for rank, row in enumerate(order):
        worst = flipped[:, order[rank:]].max(axis=1)
        p = float((worst >= observed[row] - TIE * (1 + observed[row])).mean())
        largest = max(largest, p)  # step-down: never smaller than that of a stronger comparison
        adjusted[row] = largest
    return [float(p) for p in adjusted]


def _statistic(d: np.ndarray, have: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """n·log(1 + t²/(n − 1)) of each row under each sign vector, shape (sign vectors, pairs).

    It grows with |t| and nothing else, and unlike t it can be compared between rows with different n
    (`have`). By r² = (Σ d)² / (n Σ d²) it is −n·log(1 − r²), which needs no variance: 0 where all differences
    are 0, and capped where they are all equal.
    """
    scale = have * (d**2).sum(axis=1)
    r2 = (signs @ d.T) ** 2 / np.where(scale > 0, scale, 1.0)
    return -have * np.log1p(-np.minimum(r2, 1 - 1e-12))


def _signs(n: int) -> np.ndarray:
    """Sign vectors, shape (vectors, n). The first sign stays +, for a vector and its negative agree."""
    if n <= EXACT_SEEDS:
        bits = np.arange(1 << (n - 1))[:, None] >> np.arange(n)[None, :]
        return 1.0 - 2.0 * (bits & 1)
    rng = np.random.Generator(np.random.Philox(n))
    drawn = rng.integers(0, 2, size=(DRAWN_SIGNS, n)) * 2.0 - 1.0
    drawn[0] = 1.0  # the observed vector belongs to its own reference set, so p is never 0
    return drawn


def effect_size(differences: Sequence[float]) -> float | None:
    """Mean over s.d. of the paired differences (Cohen's d_z); None below two or without spread."""
    d = np.asarray(differences, dtype=float)
    if d.size < 2:
        return None
    s = float(d.std(ddof=1))
    # The spread of equal numbers is rounding, not a measurement.
    return float(d.mean()) / s if s > 1e-12 else None


KINDS = ("ssl", "gan", "ready", "classical", "scratch")  # of contestants, in the order of the family's pairs
MOST_KINDS = 4  # six pairs; of five kinds the classical baseline is left out
FEWEST_PAIRS = 3  # where the kinds bring fewer, other contestants fill up


def default_pairs(kinds: Mapping[str, str], controls: Sequence[str], most: int) -> list[list[str]]:
    """The primary family where none is given: a rule that looks at names and their order only, never at results.

    `kinds`: contestants and what they are, one of KINDS, in the order of the arms. The first of each kind stands for
    it, and all of these are compared with each other. Where there is nothing trained from scratch, the first of
    `controls` stands in its place. Where that makes fewer than three pairs, the other contestants are added, each
    against what stands for scratch, then among each other. The first `most` of them.
    """
    first = {kind: next((name for name, k in kinds.items() if k == kind), None) for kind in KINDS}
    here = {kind: name for kind, name in first.items() if name is not None}
    base = here.get("scratch") or next(iter(controls), None)
    if len(here) > MOST_KINDS:
        here.pop("classical")
    stand = [name for kind, name in here.items() if kind != "scratch"]
    pairs = [list(two) for two in combinations(stand, 2)]
    pairs += [[name, base] for name in stand if base]
    if not stand and base and controls and base != controls[0]:
        pairs = [[base, controls[0]]]
    others = [name for name in kinds if name not in stand and name != base]
    more = [[name, base] for name in others if base]
    more += [list(two) for two in combinations([*stand, *others], 2) if list(two) not in pairs]
    if len(pairs) < FEWEST_PAIRS:
        pairs += more[: FEWEST_PAIRS - len(pairs)]
    return pairs[:most]
