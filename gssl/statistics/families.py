"""A family of paired comparisons that are tested together: adjusted p-values and levels of simultaneous intervals."""

from collections.abc import Mapping, Sequence

import numpy as np

from gssl.statistics import paired

ALPHA = 0.05


def levels(seeds: Sequence[int], alpha: float) -> list[float]:
    """The level of each pair's interval, widened (Bonferroni) so that all of the family hold together at 1 − alpha.

    `seeds`: per pair. Where failed runs leave pairs below six seeds beside pairs that are tested, the former divide
    among them what those tests leave of alpha: the family errs no more often for being split.
    """
    need = paired.seeds_needed(alpha)
    tested = [paired.attainable(n, alpha) for n in seeds if n >= need]
    few = len(seeds) - len(tested)
    rest = (alpha - max(tested, default=0.0)) / few if few else 0.0
    return [1 - (alpha / len(seeds) if n >= need else rest) for n in seeds]


def adjusted(
    differences: Sequence[Mapping[str, float]], tested: Sequence[bool], alpha: float = ALPHA
) -> list[float | None]:
    """max-T over the family; `differences`: per pair seed → difference; `tested`: whether a pair has a p-value at all.

    Pairs that a failed run left with too few seeds to be rejected do not burden the others: those are adjusted among
    each other, and the former over the whole family.
    """
    seeds = sorted({s for d in differences for s in d})
    rows = [[d.get(s, np.nan) for s in seeds] for d in differences]
    testable = [i for i, there in enumerate(tested) if there]
    enough = [i for i in testable if len(differences[i]) >= paired.seeds_needed(alpha)]
    out: list[float | None] = [None] * len(differences)
    for group in (testable, enough):
        if group:
            for i, p in zip(group, paired.max_t([rows[i] for i in group]), strict=True):
                out[i] = p
    return out
