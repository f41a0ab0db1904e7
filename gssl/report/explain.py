"""`gssl compare --explain KEY`: how a number of a finished report was computed, and from which files.

    KEY   a term (`simclr.linear@10`, `dcgan.kid`, `simclr.seconds`), a pair (`simclr.linear@10 - dcgan.linear@10`),
          verdict, primary or budget

The document (schema gssl.explain/1): key, report, value and how (sentences with the numbers put in), files (as
`recompute.sources` gives them), recomputed (from those files as they are now, in the unit written), agrees (null where
there is nothing to recompute) and warnings.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gssl.errors import UsageError
from gssl.report import claims, recompute, scores, wording
from gssl.report.claims import Row, Term, Value
from gssl.report.model import SCHEMA, Difference, Report, Score
from gssl.report.model_records import Interval
from gssl.report.verdict import outcome
from gssl.statistics import paired
from gssl.words import count, fixed_by, listed

NEWEST = "runs/compare"
WORDS = ("verdict", "primary", "budget")
PAIR = re.compile(r"(?P<left>\S+)\s+[−–-]\s+(?P<right>\S+)")


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
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
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
    warnings = [*_unread(files), *_conflicts(files), *_moved(shown.per_seed, now, term), *_beside(row, files, term)]
    how = [*wording.single(term, row, shown), *recompute.unvouched(files)]
    again, agrees = None, None
    if now.keys() >= row.per_seed.keys():
        again = sum(now.values()) / len(now)
        agrees = not warnings and recompute.same(again, row.mean or 0.0)
        ends = recompute.interval(now, row, recompute.cell(files, term, metric), metric)
        if agrees and ends and row.interval and not _alike(ends, row.interval):
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


def _alike(ends: tuple[float, float], own: Interval) -> bool:
    return recompute.same(ends[0], own.low) and recompute.same(ends[1], own.high)


def _conflicts(files: list[dict[str, Any]]) -> list[str]:
    """What a run's own files say otherwise of the same score."""
    return [text for entry in files for text in entry.get("conflicts") or []]


def _beside(row: Row, files: list[dict[str, Any]], term: Term) -> list[str]:
    """Other metrics of a row that the predictions do not give."""
    if not isinstance(row, Score):
        return []
    now = recompute.means(files, term)
    return [
        f"{term}: report.json's table has {name} {value:.6g}, predictions.npz gives {now[name]:.6g}"
        for name, value in row.metrics.items()
        if name in now and not recompute.same(value, now[name])
    ]


def _unread(files: list[dict[str, Any]]) -> list[str]:
    texts = {"gone": "is gone", "unreadable": "cannot be read", "without the key": "no longer holds {key}"}
    return [f"{f['path']} {texts[f['state']].format(key=f['key'])}" for f in files if f["state"] in texts]


def _moved(before: Mapping[str, float], now: Mapping[str, float], term: Term) -> list[str]:
    """Seeds whose files give another number than the report, and those for which it names no file."""
    scale, out = term.measure.scale, []
    for seed, value in before.items():
        if seed in now and not recompute.same(now[seed] * scale, value):
            values = f"{wording.digits(now[seed] * scale, term)}, the report {wording.digits(value, term)}"
            out.append(
                f"{term}, seed {seed}: the files give {values} (report.json, per_seed of its {term.measure.part})"
            )
        elif seed not in now:
            out.append(f"{term}, seed {seed}: cannot be computed again, because its files are not there")
    return out


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
    exact = _exact(left, right, parts, report.primary.metric)
    own = listed.interval if listed else exact
    if own:  # the table's rows alone cannot know how the two go together image by image
        shown = replace(shown, interval=own.times(scale))
    if listed and not _agree(listed, shown, scale):
        warnings.append("report.json's `differences` and its `table` disagree about this pair")
        agrees = False
    if agrees and listed and exact and own and not _alike((exact.low, exact.high), own):
        warnings.append(f"{left} − {right}: the files give another interval than report.json's `differences`")
        agrees = False
    return {
        "kind": "pair",
        "value": shown.mean,
        "shown": claims.figure(shown.mean, left, sign=True),
        "how": [*wording.pair(left, right, rows, shown, listed, report), *recompute.unvouched(files)],
        "files": files,
        "recomputed": again,
        "agrees": agrees,
        "warnings": warnings,
    }


def _exact(left: Term, right: Term, parts: list[dict[str, Any]], metric: str) -> Interval | None:
    """The pair's interval from predictions; None where these are not all there."""
    if any(recompute.unvouched(part["files"]) for part in parts):
        return None
    one, two = (recompute.cell(part["files"], term, metric) for part, term in zip(parts, (left, right), strict=True))
    between = scores.gap(one, two, metric) if one and two else None
    return between.interval() if between else None


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
    how += [wording.line(d) for d in _family(report)]
    value = f"{key}: {', '.join(pairs) or 'no pair'}"
    empty: dict[str, Any] = {"files": [], "recomputed": None, "agrees": None, "warnings": []}
    return {"kind": "primary", "value": value, "shown": value, "how": how, **empty}


def _family(report: Report) -> list[Difference]:
    return [d for d in report.differences if d.family == "primary"]


def _verdict(report: Report, folder: Path) -> dict[str, Any]:
    """Every pair of the primary family, each computed again, and which word its numbers allow."""
    how, files, warnings, agree = list(wording.RULES), [], [], []
    for d in _family(report):
        if d.mean is None:
            how.append(f"{d.a} − {d.b}: no seed finished in both arms, so nothing is concluded")
            continue
        two = [Term(arm, str(d.probe), d.label_budget) for arm in (d.a, d.b)]
        found = _pair(two[0], two[1], report, folder)
        how.append(f"{wording.line(d)}: {wording.OUTCOMES[outcome(d)]}")
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
