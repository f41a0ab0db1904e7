"""Formulas in words with the numbers put in: for `compare --explain`."""

from collections.abc import Sequence

import numpy as np

from gssl.report import claims
from gssl.report.claims import Row, Term, Value
from gssl.report.model import Difference, Report, Score
from gssl.report.model_records import GenerationRow
from gssl.report.verdict import adjusted_with, outcome
from gssl.statistics import paired
from gssl.statistics.families import ALPHA
from gssl.statistics.metric import METRICS
from gssl.words import count, p_text, points, word

NEED = paired.seeds_needed(ALPHA)
RULES = (
    f'"beats": {word(NEED)} seeds or more, the interval over seeds and test images at 1 − {p_text(ALPHA)[2:]} ÷ pairs'
    f" excludes 0, and the adjusted sign-flip p over seeds is at most {p_text(ALPHA)[2:]}. Where nothing depends on the"
    " seed the interval alone decides.",
    f'"is ahead": two to {word(NEED - 1)} seeds; the interval over seeds and test images and the t interval over seeds'
    f" alone, both at 1 − {p_text(ALPHA)[2:]} ÷ pairs, exclude 0. Beside pairs that are tested, such pairs divide among"
    f' them what the test leaves of {p_text(ALPHA)[2:]}. "No difference is shown": the rest. One seed: scores are only'
    " put side by side.",
)
OUTCOMES = {
    "beats": "beats",
    "ahead": "is ahead, which no test establishes",
    "none": "no difference is shown",
    "single": "one seed: nothing is concluded",
    "absent": "nothing is concluded",
}


def digits(value: float, term: Term) -> str:
    """A value in its written unit, with the digits to follow a computation by."""
    return f"{value:.2f}" if term.measure.what == "percent" else f"{value:.6g}"


def _mean(found: Value, term: Term) -> str:
    values = list(found.per_seed.values())
    if len(values) == 1:
        return f"the one seed's value, {digits(values[0], term)}"
    parts = " + ".join(digits(v, term) if v >= 0 else f"({digits(v, term)})" for v in values)
    return f"({parts}) / {len(values)} = {digits(found.mean, term)}"


def _spread(found: Value, term: Term) -> str:
    """x̄ ± t·s/√n with its numbers; there are two seeds or more."""
    values, n = list(found.per_seed.values()), len(found.per_seed)
    s, t = float(np.std(values, ddof=1)), paired.t_quantile(0.975, n - 1)
    half = t * s / n**0.5
    ends = f"{digits(found.mean - half, term)} to {digits(found.mean + half, term)}"
    return (
        f"mean ± t·s/√n with s = {digits(s, term)} over {n} seeds, t(.975, {n - 1}) = {t:.3f}:"
        f" ± {digits(half, term)}, 95% interval {ends}"
    )


def single(term: Term, row: Row, found: Value) -> list[str]:
    """How a score, a metric of a generator or a cost came about."""
    unit = f"{METRICS[row.metric].title}, percent" if isinstance(row, Score) else _unit(term)
    how = [f"Per seed ({unit}): " + ", ".join(f"seed {s}: {digits(v, term)}" for s, v in found.per_seed.items())]
    if isinstance(row, Score):
        draws = count(row.draws, "draw")
        over = f"{row.n_test:,} test images"
        how.append(f"A seed's score is the mean over at most {draws} of the labelled images, on {over}.")
    elif term.measure.part == "cost":
        what = "the largest of" if term.measure.metric == "memory" else "the sum over"
        how.append(f"A seed's cost is {what} its training stages; what evaluation took is not in it.")
    elif isinstance(row, GenerationRow):
        real = f"; real training images get {row.baseline:.4g}" if row.baseline is not None else ""
        n = f" on {row.n:,} {row.split} images" if row.n else ""
        how.append(f"Evaluated with {row.evaluator}{n}{real}.")
    how.append(f"Mean over {count(found.n_seeds, 'seed')}: {_mean(found, term)}")
    return [*how, _own(term, row, found)]


def _unit(term: Term) -> str:
    units = {"percent": "percent", "time": term.name, "memory": "bytes", "flops": "FLOPs"}
    return units.get(term.measure.what, term.measure.metric)


def _own(term: Term, row: Row, found: Value) -> str:
    i = found.interval
    if i and i.kind == "t":
        cut = ", cut to 0 to 100" if term.label_budget is not None else ""
        return f"Interval: {_spread(found, term)}{cut}"
    if i is None:
        return f"Interval: none, because {_alone(found)} not show how far another would be"
    if i.kind == "wilson":
        right = round((row.mean or 0.0) * (i.n or 0))
        ends = f"{digits(i.low, term)} to {digits(i.high, term)}"
        return f"Interval: Wilson's for {right} of {i.n} test images, 95%: {ends}; nothing about other seeds"
    ends = f"{digits(i.low, term)} to {digits(i.high, term)}"
    how = "crossed analysis of variance, Wilson's form" if i.kind == "two_way" else i.kind
    return f"Interval ({how}), 95%: {ends} {claims.over_text(i, found.n_seeds)}"


def _alone(found: Value) -> str:
    """ "one seed does", "six seeds that are all alike do"."""
    n = found.n_seeds
    return "one seed does" if n == 1 else f"{word(n)} seeds that are all alike do"


def pair(
    left: Term,
    right: Term,
    rows: Sequence[Row],
    found: Value,
    listed: Difference | None,
    report: Report,
) -> list[str]:
    """How a paired difference, its interval and its p came about."""
    scale, n = left.measure.scale, found.n_seeds
    how = [f"{left} − {right}, seed by seed:"]
    for seed, d in found.per_seed.items():
        a, b = (row.per_seed[seed] * scale for row in (rows[0], rows[1]))
        how.append(f"  seed {seed}: {digits(a, left)} − {digits(b, left)} = {'+' if d > 0 else ''}{digits(d, left)}")
    left_out = sorted(set(rows[0].per_seed) ^ set(rows[1].per_seed))
    if left_out:
        how.append(f"Left out, because only one of the two has it: seed {', '.join(left_out)}")
    how.append(f"Mean over {count(n, 'common seed')}: {_mean(found, left)}")
    i = found.interval
    if i and i.kind == "two_way":
        ends = f"{digits(i.low, left)} to {digits(i.high, left)}"
        how.append(f"Interval (crossed analysis of variance), 95%: {ends} {claims.over_text(i, n)}")
        part = listed.item_share if listed else None
        if part is not None:
            how.append(f"Of its variance {part:.0%} comes from the test images, the rest from the seeds")
        varies = paired.varies(list(found.per_seed.values()))
        return [*how, *(_tests(found, listed, report) if varies else [])]
    if not i or i.kind != "t":
        ends = f"{digits(i.low, left)} to {digits(i.high, left)}" if i else ""
        own = f"the two sides' own intervals over images, squared and added (Newcombe): {ends}" if i else "none"
        return [*how, f"Interval: {own}; {_alone(found)} not say how others would be, and there is no test"]
    how.append(f"Interval: {_spread(found, left)}")
    return [*how, *_tests(found, listed, report)]


def _tests(found: Value, listed: Difference | None, report: Report) -> list[str]:
    values = list(found.per_seed.values())
    n = len(values)
    p = paired.sign_flip(values)
    how = [
        f"Sign-flip test: {_vectors(p, n)} give a mean at least as far from 0: p {p_text(p)}"
        + (f"; {word(n)} seeds cannot reach .05, {word(NEED)} can" if n < NEED else "")
    ]
    size = paired.effect_size(values)
    if size is not None:
        how.append(f"Effect size d_z = mean / s = {size:.2f}")
    if not listed:
        return [*how, "The report does not list this pair: exploratory, not adjusted."]
    if listed.family != "primary":
        return [*how, "Family: exploratory, so p is not adjusted for the many pairs that could have been picked."]
    family = adjusted_with(listed, report)
    flipped = len({seed for d in family for seed in d.per_seed})
    adjusted = listed.p_adjusted
    if adjusted is not None and len(family) > 1:
        how.append(
            f"Adjusted over the {count(len(family), 'primary pair')} (Westfall and Young's max-T, step-down: one sign"
            f" vector flips all): {_vectors(adjusted, flipped)} give a largest statistic at least as large: p"
            f" {p_text(adjusted)}"
        )
    return [*how, f"In the verdict: {OUTCOMES[outcome(listed)]}."]


def _vectors(p: float, n: int) -> str:
    """ "2 of 2^6 = 64 sign vectors"; above 16 seeds they are drawn."""
    if n > paired.EXACT_SEEDS:
        return f"{round(p * paired.DRAWN_SIGNS):,} of {paired.DRAWN_SIGNS:,} drawn sign vectors"
    return f"{round(p * 2**n):,} of 2^{n} = {2**n:,} sign vectors"


def line(d: Difference) -> str:
    """A difference of the report in one line."""
    if d.mean is None:
        return f"{d.a} − {d.b}: no common seed"
    i, p = d.interval, d.p_adjusted if d.p_adjusted is not None else d.p
    ends = f"95% interval {points(i.low, True)} to {points(i.high, True)}" if i else "no interval"
    test = f", p {p_text(p)}" if p is not None else ""
    mean = f"{points(d.gap, sign=True)} points"
    return f"{d.a} − {d.b} = {mean} ({ends}{test}, {count(d.n_seeds, 'seed')})"
