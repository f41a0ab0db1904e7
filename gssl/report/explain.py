"""`gssl compare --explain KEY`: how a number of a finished report was computed, and from which files.

    KEY   a term (`simclr.linear@10`, `dcgan.kid`, `simclr.seconds`), a pair (`simclr.linear@10 - dcgan.linear@10`),
          verdict, primary or budget

The document (schema gssl.explain/1): key, report, value and how (sentences with the numbers put in), files (as
`recompute.sources` gives them), recomputed (from those files as they are now, in the unit written), agrees (null where
there is nothing to recompute) and warnings.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.report import claims, recompute
from gssl.report.claims import Row, Term, Value, digits, over_text
from gssl.report.model import SCHEMA, Difference, Report, Score
from gssl.report.model_records import GenerationRow
from gssl.report.verdict import adjusted_with, outcome
from gssl.report.wording import interval_method
from gssl.statistics import paired
from gssl.statistics.families import ALPHA
from gssl.statistics.metric import METRICS
from gssl.words import count, fixed_by, listed, p_text, points, word

NEWEST = "runs/compare"
WORDS = ("verdict", "primary", "budget")
PAIR = re.compile(r"(?P<left>\S+)\s+[−–-]\s+(?P<right>\S+)")
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


def find(folder: str | Path | None) -> Path:
    """The report.json in `folder`, else the newest below runs/compare. Raises UsageError where there is none."""
    if folder is not None:
        path = Path(folder) / "report.json"
        if not path.is_file():
            raise UsageError(f"hydra.run.dir={folder}: holds no report.json; expected the directory of a comparison")
        return path
    found = list(Path(NEWEST).glob("*/report.json"))
    if not found:
        raise UsageError(f"no report in {NEWEST}; run gssl compare first, or say where one is by hydra.run.dir=DIR")
    return max(found, key=lambda path: path.stat().st_mtime)


def explain(key: str, path: Path) -> dict[str, Any]:
    """The explanation of `key` in the report at `path`, as a document. Raises UsageError for a key it does not have."""
    report = _report(path)
    wanted = key.strip()
    if wanted == "verdict":
        found = _verdict(report, path.parent)
    elif wanted == "primary":
        found = _primary(report)
    elif wanted == "budget":
        found = _budget(report, path.parent)
    else:
        found = _number(wanted, report, path)
    return {"schema": "gssl.explain/1", "key": wanted, "report": str(path), **found}


def _report(path: Path) -> Report:
    found = read_json(path)
    if found is None:
        raise UsageError(f"{path}: cannot be read (no such file)")
    schema = str(found.get("schema")) if isinstance(found, dict) else ""
    if schema != SCHEMA and schema.startswith("gssl.report/"):
        raise UsageError(f"{path}: is a report of {schema}, this version reads {SCHEMA}; make it again by runs=…")
    if schema != SCHEMA:
        raise UsageError(f"{path}: is no report of gssl compare; expected schema {SCHEMA}")
    try:
        return Report.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: is no whole report of gssl compare ({where}: {first['msg']})") from error


def _number(key: str, report: Report, path: Path) -> dict[str, Any]:
    pair = PAIR.fullmatch(key)
    try:
        left = claims.term_in(pair["left"] if pair else key)
        right = claims.term_in(pair["right"]) if pair else None
    except UsageError:
        raise _nearest(key, report, path) from None
    for term in (left, right):
        if term and not claims.row(report, term):
            raise _nearest(key, report, path)
    if right is None:
        return _single(left, report, path.parent)
    if left.measure.what != right.measure.what:
        raise UsageError(f"--explain {key!r}: only the like can be compared, such as {left} - ARM.{left.name}")
    return _pair(left, right, report, path.parent)


def _nearest(key: str, report: Report, path: Path) -> UsageError:
    known = [*WORDS, *map(str, claims.every(report))]
    sides = key.split(" - ") if PAIR.fullmatch(key) else [key]
    near = list(dict.fromkeys(name for s in sides if s not in known for name in get_close_matches(s, known, 3, 0.5)))
    meant = f"the nearest: {', '.join(near)}" if near else f"some that it has: {', '.join(known[:6])}"
    return UsageError(f"--explain {key!r}: {path} has no such number; {meant}")


# ── one number ───────────────────────────────────────────────────────────────────────────────────


def _single(term: Term, report: Report, folder: Path) -> dict[str, Any]:
    row = claims.row(report, term)
    assert row
    scale = term.measure.scale
    metric = report.primary.metric
    files = recompute.sources(report, folder, term, row.per_seed)
    now = recompute.per_seed(files, term)
    shown = claims.value(row, scale)
    warnings = recompute.disagreements(files, row, shown, now, term)
    how = [*_of_one(term, row, shown), *recompute.unvouched(files)]
    again, agrees = None, None
    if now.keys() >= row.per_seed.keys():
        again = sum(now.values()) / len(now)
        agrees = not warnings and recompute.same(again, row.mean or 0.0)
        ends = recompute.interval(now, row, recompute.cell(files, term, metric), metric)
        if agrees and ends and row.interval and not recompute.alike(ends, row.interval):
            if recompute.unvouched(files):
                how.append("Its interval rests on predictions that are not there any more: not computed again")
            else:
                agrees = False
    elif now:
        agrees = False
    return {
        "kind": term.measure.part if term.label_budget is None else "score",
        "value": shown.mean,
        "shown": claims.figure(shown.mean, term),
        "how": how,
        "files": files,
        "recomputed": None if again is None else again * scale,
        "agrees": agrees,
        "warnings": warnings,
    }


# ── a pair ───────────────────────────────────────────────────────────────────────────────────────


def _pair(left: Term, right: Term, report: Report, folder: Path) -> dict[str, Any]:
    rows = [found for term in (left, right) if (found := claims.row(report, term))]
    assert len(rows) == 2
    scale = left.measure.scale
    shown = claims.paired_difference(rows[0], rows[1], left.measure)
    if shown is None:
        raise UsageError(f"--explain '{left} - {right}': the two have no seed in common, so there is no difference")
    parts = [_single(term, report, folder) for term in (left, right)]
    files = [entry for part in parts for entry in part["files"]]
    warnings = [text for part in parts for text in part["warnings"]]
    both = [recompute.per_seed(part["files"], term) for part, term in zip(parts, (left, right), strict=True)]
    common = [seed for seed in shown.per_seed if seed in both[0] and seed in both[1]]
    again, agrees = None, None
    if len(common) == len(shown.per_seed):
        again = scale * sum(both[0][seed] - both[1][seed] for seed in common) / len(common)
        agrees = not warnings and recompute.same(again, shown.mean)
    elif any(both):
        agrees = False
    listed = _listed(left, right, report)
    exact = recompute.exact(left, right, parts, report.primary.metric)
    own = listed.interval if listed else exact
    if own:  # the table's rows alone cannot know how the two go together image by image
        shown = replace(shown, interval=own.times(scale))
    if listed and not _agree(listed, shown, scale):
        warnings.append("report.json's `differences` and its `table` disagree about this pair")
        agrees = False
    if agrees and listed and exact and own and not recompute.alike((exact.low, exact.high), own):
        warnings.append(f"{left} − {right}: the files give another interval than report.json's `differences`")
        agrees = False
    return {
        "kind": "pair",
        "value": shown.mean,
        "shown": claims.figure(shown.mean, left, sign=True),
        "how": [*_of_two(left, right, rows, shown, listed, report), *recompute.unvouched(files)],
        "files": files,
        "recomputed": again,
        "agrees": agrees,
        "warnings": warnings,
    }


def _agree(listed: Difference, shown: Value, scale: float) -> bool:
    """Whether a listed difference is that of the table's rows: its mean and, of two seeds or more, its p."""
    if not recompute.same(listed.gap * scale, shown.mean):
        return False
    return listed.p is None or recompute.same(listed.p, paired.sign_flip(list(shown.per_seed.values())))


def _listed(left: Term, right: Term, report: Report) -> Difference | None:
    """The pair among the report's differences, as left − right, whichever of the two stands first there."""
    metric = left.measure.metric if left.label_budget is None else report.primary.metric
    wanted = [(t.arm, t.name if t.label_budget is not None else None) for t in (left, right)]
    for d in report.differences:
        if d.metric != metric or d.mean is None:
            continue
        probes = d.probes or [None, None]
        sides = [(d.a, probes[0]), (d.b, probes[1])]
        label_budgets = {left.label_budget or "", right.label_budget or ""}
        if sides in (wanted, wanted[::-1]) and label_budgets == {d.label_budget}:
            return d if sides == wanted else d.swapped()
    return None


# ── formulas in words, with the numbers put in ────────────────────────────────────────────────────


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


def _of_one(term: Term, row: Row, found: Value) -> list[str]:
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
    return [*how, _interval_of(term, row, found)]


def _unit(term: Term) -> str:
    units = {"percent": "percent", "time": term.name, "memory": "bytes", "flops": "FLOPs"}
    return units.get(term.measure.what, term.measure.metric)


def _interval_of(term: Term, row: Row, found: Value) -> str:
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
    how = f"{interval_method(row.metric)}, Wilson's form" if i.kind == "two_way" else i.kind
    how = "t over seeds on the logarithmic scale" if i.kind == "log_t" else how
    return f"Interval ({how}), 95%: {ends} {over_text(i, found.n_seeds)}"


def _alone(found: Value) -> str:
    """ "one seed does", "six seeds with the same value do"."""
    n = found.n_seeds
    return "one seed does" if n == 1 else f"{word(n)} seeds with the same value do"


def _of_two(
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
        how.append(f"Interval ({interval_method(rows[0].metric)}), 95%: {ends} {over_text(i, n)}")
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


def _line(d: Difference) -> str:
    """A difference of the report in one line."""
    if d.mean is None:
        return f"{d.a} − {d.b}: no common seed"
    i, p = d.interval, d.p_adjusted if d.p_adjusted is not None else d.p
    ends = f"95% interval {points(i.low, True)} to {points(i.high, True)}" if i else "no interval"
    test = f", p {p_text(p)}" if p is not None else ""
    mean = f"{points(d.gap, sign=True)} points"
    return f"{d.a} − {d.b} = {mean} ({ends}{test}, {count(d.n_seeds, 'seed')})"


# ── verdict, primary, budget ─────────────────────────────────────────────────────────────────────


def _primary(report: Report) -> dict[str, Any]:
    primary = report.primary
    pairs = [f"{a} − {b}" for a, b in primary.pairs]
    key = f"{primary.probe}@{primary.label_budget}"
    how = [
        f"The primary family was fixed by {fixed_by(primary.fixed_by)}: the {primary.probe} probe at"
        f" {primary.label_budget}, {count(len(pairs), 'pair')}{': ' + listed(pairs) if pairs else ''}.",
        "Only these carry the verdict, and their p-values are adjusted together (max-T); all else is exploratory.",
    ]
    how += [_line(d) for d in _family(report)]
    value = f"{key}: {', '.join(pairs) or 'no pair'}"
    empty: dict[str, Any] = {"files": [], "recomputed": None, "agrees": None, "warnings": []}
    return {"kind": "primary", "value": value, "shown": value, "how": how, **empty}


def _family(report: Report) -> list[Difference]:
    return [d for d in report.differences if d.family == "primary"]


def _verdict(report: Report, folder: Path) -> dict[str, Any]:
    """Every pair of the primary family, each computed again, and which word its numbers allow."""
    how, files, warnings, agree = list(RULES), [], [], []
    for d in _family(report):
        if d.mean is None:
            how.append(f"{d.a} − {d.b}: no seed finished in both arms, so nothing is concluded")
            continue
        two = [Term(arm, str(d.probe), d.label_budget) for arm in (d.a, d.b)]
        found = _pair(two[0], two[1], report, folder)
        how.append(f"{_line(d)}: {OUTCOMES[outcome(d)]}")
        files += [entry for entry in found["files"] if entry not in files]
        warnings += [text for text in found["warnings"] if text not in warnings]
        agree.append(found["agrees"])
    return {
        "kind": "verdict",
        "value": report.verdict.headline,
        "shown": report.verdict.headline,
        "how": [*how, *report.verdict.cannot, *recompute.unvouched(files)],
        "files": files,
        "recomputed": None,
        "agrees": None if not agree or None in agree else all(agree),
        "warnings": warnings,
    }


def _budget(report: Report, folder: Path) -> dict[str, Any]:
    """What every arm was given and what its training runs' files say that it spent."""
    budget = report.budget
    unit = budget.unit if budget and budget.unit in claims.COST else "flops"
    how = [f"Given: {budget.text}." if budget else "The report names no budget: its runs were only read."]
    files: list[dict[str, Any]] = []
    warnings: list[str] = []
    agree: list[bool | None] = []
    for arm in report.arms:
        term = Term(arm.name, unit)
        row = claims.row(report, term)
        if not row:
            continue
        found = _single(term, report, folder)
        part = ""
        if budget and budget.unit == unit and budget.value:
            part = f", {(row.mean or 0.0) / budget.value:.1%} of the budget"
        stages = [f"{s.method} {s.fraction or 0.0:.0%}" for s in arm.stages]
        chain = f" ({', then '.join(stages)})" if len(stages) > 1 else ""
        seeds = count(len(row.per_seed), "seed")
        how.append(f"{arm.name}{chain} spent {found['shown']} on average over {seeds}{part}.")
        files += found["files"]
        warnings += found["warnings"]
        agree.append(found["agrees"])
    value = budget.text if budget else "none"
    agrees = None if not agree or None in agree else all(agree)
    found = {"files": files, "recomputed": None, "agrees": agrees, "warnings": warnings}
    return {"kind": "budget", "value": value, "shown": value, "how": how, **found}


# ── for people ───────────────────────────────────────────────────────────────────────────────────


def text(found: Mapping[str, Any]) -> str:
    """The document as it is printed."""
    lines = [f"{found['key']}: {found['shown']}", f"report: {found['report']}", "", "how"]
    lines += [f"  {sentence}" for sentence in found["how"]]
    if found["files"]:
        lines += ["", "files"]
    for entry in found["files"]:
        values = ", ".join(f"{v:.6g}" for v in entry["values"] or [])
        shown = values if entry["state"] == "read" else f"({entry['state']})"
        where = f"{entry['arm']} seed {entry['seed']}  {entry['path']}  {entry['key']}"
        lines.append(f"  {where}  {shown}")
    lines += [""] + [f"warning: {warning}" for warning in found["warnings"]]
    lines.append(_agreement(found))
    return "\n".join(lines)


def _agreement(found: Mapping[str, Any]) -> str:
    if found["agrees"] is None:
        return "recomputed: nothing to compute again" if not found["files"] else "recomputed: the files are not there"
    again = "" if found["recomputed"] is None else f" {found['recomputed']:.6g}"
    result = "agrees with the report" if found["agrees"] else "does NOT agree with the report"
    return f"recomputed from these files{':' + again + ',' if again else ':'} {result}"
