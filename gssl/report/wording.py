"""Formulas in words with the numbers put in: for `compare --explain`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gssl.report import terms
from gssl.report.terms import Term
from gssl.report.verdict import ALPHA, adjusted_with, outcome
from gssl.statistics import paired
from gssl.words import count, p_text, points, word

NEED = paired.seeds_needed(ALPHA)
RULES = (
    f'"beats": {word(NEED)} seeds or more, the interval over seeds and test images at 1 − {p_text(ALPHA)[2:]} ÷ pairs'
    f" excludes 0, and the adjusted sign-flip p over seeds is at most {p_text(ALPHA)[2:]}. Where nothing depends on the"
    " seed the interval alone decides.",
    f'"is ahead": two to {word(NEED - 1)} seeds; the interval over seeds and test images and the t interval over seeds'
    f" alone, both at 1 − {p_text(ALPHA)[2:]} ÷ pairs, exclude 0; beside pairs that are tested, such pairs share what"
    f' the test leaves of {p_text(ALPHA)[2:]}. "No difference is shown": the rest. One seed: scores are only put'
    " side by side.",
)
OUTCOMES = {
    "beats": "beats",
    "ahead": "is ahead, which no test establishes",
    "none": "no difference is shown",
    "single": "one seed: nothing is concluded",
    "absent": "nothing is said",
}


def plain(value: float, term: Term) -> str:
    """A value in its written unit, with the digits to follow a computation by."""
    return f"{value:.2f}" if term.measure.what == "accuracy" else f"{value:.6g}"


def _mean(told: Mapping[str, Any], term: Term) -> str:
    values = list(told["per_seed"].values())
    if len(values) == 1:
        return f"the one seed's value, {plain(values[0], term)}"
    parts = " + ".join(plain(v, term) if v >= 0 else f"({plain(v, term)})" for v in values)
    return f"({parts}) / {len(values)} = {plain(told['mean'], term)}"


def _spread(told: Mapping[str, Any], term: Term) -> str:
    """x̄ ± t·s/√n with its numbers; there are two seeds or more."""
    values, n = list(told["per_seed"].values()), len(told["per_seed"])
    s, t = float(np.std(values, ddof=1)), paired.t_quantile(0.975, n - 1)
    half = t * s / n**0.5
    ends = f"{plain(told['mean'] - half, term)} to {plain(told['mean'] + half, term)}"
    return (
        f"mean ± t·s/√n with s = {plain(s, term)} over {n} seeds, t(.975, {n - 1}) = {t:.3f}:"
        f" ± {plain(half, term)}, 95% interval {ends}"
    )


def single(term: Term, row: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """How a score, a figure of a generator or a cost came about."""
    unit = "percent of the test images" if term.label_budget is not None else _unit(term)
    how = [f"Per seed ({unit}): " + ", ".join(f"seed {s}: {plain(v, term)}" for s, v in told["per_seed"].items())]
    if term.label_budget is not None:
        draws = count(row["draws"], "draw")
        over = f"{row['n_test']:,} test images"
        how.append(f"A seed's score is the mean over at most {draws} of the labelled images, judged on {over}.")
    elif term.measure.part == "cost":
        what = "the largest of" if term.measure.metric == "memory" else "the sum over"
        how.append(f"A seed's cost is {what} its training stages; what judging took is not in it.")
    elif row.get("evaluator"):
        floor = f"; real training images get {row['baseline']:.4g}" if row.get("baseline") is not None else ""
        n = f" on {row['n']:,} {row['split']} images" if row.get("n") else ""
        how.append(f"Judged by {row['evaluator']}{n}{floor}.")
    how.append(f"Mean over {count(told['n_seeds'], 'seed')}: {_mean(told, term)}")
    return [*how, _own(term, row, told)]


def _unit(term: Term) -> str:
    units = {"accuracy": "percent", "time": term.name, "memory": "bytes", "flops": "FLOPs"}
    return units.get(term.measure.what, term.measure.metric)


def _own(term: Term, row: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    i = told["interval"]
    if i and i["kind"] == "t":
        cut = ", cut to 0 to 100" if term.label_budget is not None else ""
        return f"Interval: {_spread(told, term)}{cut}"
    if i is None:
        return f"Interval: none, for {_alone(told)} not show how far another would be"
    if i["kind"] == "wilson":
        right = round(row["mean"] * i["n"])
        ends = f"{plain(i['low'], term)} to {plain(i['high'], term)}"
        return f"Interval: Wilson's for {right} of {i['n']} test images, 95%: {ends}; nothing about other seeds"
    ends = f"{plain(i['low'], term)} to {plain(i['high'], term)}"
    how = "crossed analysis of variance, Wilson's form" if i["kind"] == "two_way" else i["kind"]
    return f"Interval ({how}), 95%: {ends} {terms.over_text(i, told['n_seeds'])}"


def _alone(told: Mapping[str, Any]) -> str:
    """ "one seed does", "six seeds that are all alike do"."""
    n = told["n_seeds"]
    return "one seed does" if n == 1 else f"{word(n)} seeds that are all alike do"


def pair(
    left: Term,
    right: Term,
    rows: Sequence[Mapping[str, Any] | None],
    told: Mapping[str, Any],
    listed_as: Mapping[str, Any] | None,
    report: Mapping[str, Any],
) -> list[str]:
    """How a paired difference, its interval and its p came about."""
    assert rows[0] and rows[1]
    scale, n = left.measure.scale, told["n_seeds"]
    how = [f"{left} − {right}, seed by seed:"]
    for seed, d in told["per_seed"].items():
        a, b = (row["per_seed"][seed] * scale for row in (rows[0], rows[1]))
        how.append(f"  seed {seed}: {plain(a, left)} − {plain(b, left)} = {'+' if d > 0 else ''}{plain(d, left)}")
    left_out = sorted(set(rows[0]["per_seed"]) ^ set(rows[1]["per_seed"]))
    if left_out:
        how.append(f"Left out, for only one of the two has it: seed {', '.join(left_out)}")
    how.append(f"Mean over {count(n, 'shared seed')}: {_mean(told, left)}")
    i = told["interval"]
    if i and i["kind"] == "two_way":
        ends = f"{plain(i['low'], left)} to {plain(i['high'], left)}"
        how.append(f"Interval (crossed analysis of variance), 95%: {ends} {terms.over_text(i, n)}")
        share = (listed_as or {}).get("item_share")
        if share is not None:
            how.append(f"Of its variance {share:.0%} comes from the test images, the rest from the seeds")
        varies = paired.varies(list(told["per_seed"].values()))
        return [*how, *(_tests(told, listed_as, report) if varies else [])]
    if not i or i["kind"] != "t":
        ends = f"{plain(i['low'], left)} to {plain(i['high'], left)}" if i else ""
        own = f"the two sides' own intervals over images, squared and added (Newcombe): {ends}" if i else "none"
        return [*how, f"Interval: {own}; {_alone(told)} not say how others would be, and there is no test"]
    how.append(f"Interval: {_spread(told, left)}")
    return [*how, *_tests(told, listed_as, report)]


def _tests(told: Mapping[str, Any], listed_as: Mapping[str, Any] | None, report: Mapping[str, Any]) -> list[str]:
    values = list(told["per_seed"].values())
    n = len(values)
    p = paired.sign_flip(values)
    how = [
        f"Sign-flip test: {_vectors(p, n)} give a mean at least as far from 0: p {p_text(p)}"
        + (f"; {word(n)} seeds cannot reach .05, {word(NEED)} can" if n < NEED else "")
    ]
    size = paired.effect_size(values)
    if size is not None:
        how.append(f"Effect size d_z = mean / s = {size:.2f}")
    if not listed_as:
        return [*how, "The report does not list this pair: exploratory, not adjusted."]
    if listed_as["family"] != "primary":
        return [*how, "Family: exploratory, so p is not adjusted for the many pairs that could have been picked."]
    family = adjusted_with(listed_as, report)
    flipped = len({seed for d in family for seed in d["per_seed"]})
    adjusted = listed_as["p_adjusted"]
    if adjusted is not None and len(family) > 1:
        how.append(
            f"Adjusted over the {count(len(family), 'primary pair')} (Westfall and Young's max-T, step-down: one sign"
            f" vector flips all): {_vectors(adjusted, flipped)} give a largest statistic at least as large: p"
            f" {p_text(adjusted)}"
        )
    return [*how, f"In the verdict: {OUTCOMES[outcome(dict(listed_as))]}."]


def _vectors(p: float, n: int) -> str:
    """ "2 of 2^6 = 64 sign vectors"; above 16 seeds they are drawn."""
    if n > paired.EXACT_SEEDS:
        return f"{round(p * paired.DRAWN_SIGNS):,} of {paired.DRAWN_SIGNS:,} drawn sign vectors"
    return f"{round(p * 2**n):,} of 2^{n} = {2**n:,} sign vectors"


def line(d: Mapping[str, Any]) -> str:
    """A difference of the report in one line."""
    if d["mean"] is None:
        return f"{d['a']} − {d['b']}: no shared seed"
    i, p = d["interval"], d["p_adjusted"] if d.get("p_adjusted") is not None else d["p"]
    ends = f"95% interval {points(i['low'], True)} to {points(i['high'], True)}" if i else "no interval"
    test = f", p {p_text(p)}" if p is not None else ""
    mean = f"{points(d['mean'], sign=True)} points"
    return f"{d['a']} − {d['b']} = {mean} ({ends}{test}, {count(d['n_seeds'], 'seed')})"
