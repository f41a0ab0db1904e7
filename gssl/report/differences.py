"""Paired differences between arms: the primary family, adjusted together, and everything else beside it.

What a difference is called is decided in `verdict.outcome`, from what stands here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gssl.config.menus import base
from gssl.report.cells import Cells, Gap, gap
from gssl.statistics import paired

ALPHA = 0.05

EMPTY: dict[str, Any] = {
    "mean": None,
    "interval": None,
    "p": None,
    "effect_size": None,
    "n_seeds": 0,
    "per_seed": {},
    "fixed": False,
    "item_share": None,
}


def difference(
    found: Cells, a: str, b: str, probe: str, label_budget: str, metric: str
) -> tuple[dict[str, Any], Gap | None]:
    """a − b by one probe with one label budget; `mean` is None where no seed finished in both."""
    one, two = found.get((a, probe, label_budget)), found.get((b, probe, label_budget))
    between = gap(one, two, metric) if one and two else None
    told = {"a": a, "b": b, "metric": metric, "probe": probe, "probes": [probe, probe], "label_budget": label_budget}
    return told | (numbers(between) if between else dict(EMPTY)), between


def numbers(between: Gap) -> dict[str, Any]:
    """Mean, interval over seeds and test items, and the sign-flip test's p: None where nothing depends on the seed."""
    values = list(between.per_seed.values())
    spread = between.spread
    fixed = spread.fixed if spread else not paired.varies(values)
    return {
        "mean": between.mean,
        "interval": between.interval(),
        "p": None if fixed or len(values) < 2 else paired.sign_flip(values),
        "effect_size": paired.effect_size(values),
        "n_seeds": len(values),
        "per_seed": {str(seed): value for seed, value in between.per_seed.items()},
        "fixed": fixed and len(values) > 1,
        "item_share": spread.item_share if spread else None,
    }


def differences(
    found: Cells, arms: Sequence[Mapping[str, Any]], primary: Mapping[str, Any], alpha: float = ALPHA
) -> list[dict[str, Any]]:
    """The primary family first, adjusted together at `alpha`; then everything else, exploratory, not adjusted."""
    role = {a["name"]: a["role"] for a in arms}
    names = list(role)
    at = (primary["probe"], primary["label_budget"], primary["metric"])
    made = [difference(found, a, b, *at) for a, b in primary["pairs"]]
    family, gaps = [d for d, _ in made], [g for _, g in made]
    levels = _levels(family, alpha)
    for d, between, p, level in zip(family, gaps, adjusted(family, alpha), levels, strict=True):
        d |= {"family": "primary", "p_adjusted": p, "simultaneous": between.interval(level) if between else None}
        d |= {"over_seeds": _over_seeds(d, level)}
    out = list(family)
    listed = {(a, b, *at[:2]) for a, b in primary["pairs"]}
    tables = dict.fromkeys((probe, label_budget) for _, probe, label_budget in found)
    for probe, label_budget in sorted(tables, key=lambda table: table[0] != primary["probe"]):
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                same = (a, b, probe, label_budget) in listed or (b, a, probe, label_budget) in listed
                ranked = role[a] == "contestant" and role[b] != "reference"
                # generated images have read all labels: fair against what has them all too
                ranked |= label_budget == "all" and base(a) == b or base(b) == a and label_budget == "all"
                if same or not ranked:
                    continue
                d, _ = difference(found, a, b, probe, label_budget, primary["metric"])
                if d["mean"] is not None:
                    own = {"p_adjusted": None, "simultaneous": None, "over_seeds": _over_seeds(d, 0.95)}
                    out.append(d | {"family": "exploratory", **own})
    return out


def _over_seeds(d: Mapping[str, Any], level: float) -> dict[str, Any] | None:
    """The t interval over seeds alone: below six seeds, where nothing can be tested, it must exclude 0 as well."""
    own = paired.t_interval(list(d["per_seed"].values()), level)
    if own is None or d["p"] is None:
        return None
    return {"kind": "t", "over": "seeds", "n": d["n_seeds"], "level": level, "low": own.low, "high": own.high}


def _levels(family: Sequence[Mapping[str, Any]], alpha: float) -> list[float]:
    """The level of each pair's interval, widened (Bonferroni) so that all of the family hold together at 1 − alpha.

    Where failed runs leave pairs below six seeds beside pairs that are tested, the former share what those tests leave
    of alpha: the family errs no more often for being split.
    """
    need = paired.seeds_needed(alpha)
    tested = [paired.attainable(d["n_seeds"], alpha) for d in family if d["n_seeds"] >= need]
    few = len(family) - len(tested)
    shared = (alpha - max(tested, default=0.0)) / few if few else 0.0
    return [1 - (alpha / len(family) if d["n_seeds"] >= need else shared) for d in family]


def adjusted(family: Sequence[Mapping[str, Any]], alpha: float = ALPHA) -> list[float | None]:
    """max-T over the family. Pairs that a failed run left with too few seeds to be rejected at all do not
    burden the others: those are adjusted among each other, and the former over the whole family."""
    seeds = sorted({s for d in family for s in d["per_seed"]})
    rows = [[d["per_seed"].get(s, np.nan) for s in seeds] for d in family]
    testable = [i for i, d in enumerate(family) if d["p"] is not None]
    enough = [i for i in testable if family[i]["n_seeds"] >= paired.seeds_needed(alpha)]
    out: list[float | None] = [None] * len(family)
    for group in (testable, enough):
        if group:
            for i, p in zip(group, paired.max_t([rows[i] for i in group]), strict=True):
                out[i] = p
    return out
