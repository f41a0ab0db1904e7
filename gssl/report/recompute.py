"""A report's numbers once more from the run directories' files as they are now: for `compare --explain`. No torch.

A score is computed again from predictions.npz, which holds the predictions for every test item; result.json holds what
was computed then, and where the two disagree the file and the key are named.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from gssl.engine.files import read_json
from gssl.errors import Damaged
from gssl.report import scores
from gssl.report.claims import Row, Term, Value, digits
from gssl.report.consistency import PREDICTIONS
from gssl.report.model import Report, Score
from gssl.report.model_records import Interval
from gssl.report.scores import Cell, Predictions
from gssl.schemas.label_budgets import KEYS, label_budget_of, parse_label_budget
from gssl.statistics import paired
from gssl.statistics.intervals import wilson
from gssl.statistics.metric import METRICS

RESULT = "result.json"
STAGES = ("pretrain", "transfer", "evaluate")
TRAINING = ("pretrain-ssl", "train-gan")
SPENT = {"memory": "peak_memory_bytes"}  # a cost's key in result.json's `spent`, where it is another word
FIGURES = ("figures.{}", "conditional.{}.accuracy")  # of an evaluation


def sources(report: Report, folder: Path, term: Term, seeds: Iterable[str]) -> list[dict[str, Any]]:
    """The files that hold `term`, one entry per run: path, arm, seed, key (what of the file), values (as they stand
    there now; None where not) and state: read | gone | unreadable | without the key.

    Of a score also predictions (the file from which it was computed again, None where there is none) and conflicts: a
    sentence for every key of result.json that differs. Its values are the computed ones where there are some.
    """
    out = []
    metric = report.primary.metric
    for seed in seeds:
        own = [r for r in report.provenance.runs if r.arm == term.arm and str(r.seed) == seed]
        at = {stage: [located(r.path, folder) for r in own if r.stage == stage] for stage in STAGES}
        if term.measure.part == "table":
            files = [run / RESULT for run in at["transfer"]]
        elif term.measure.part == "cost":  # two arms may rest on one training run, which is listed under one of them
            trained = {run.resolve(): run for of in at["transfer"] for run in _trained(of, folder)}
            files = [run / RESULT for run in trained.values()]
        else:
            files = [run / RESULT for run in at["evaluate"]] or _evaluations(at["pretrain"])
        out += [_source(file, seed, term, metric) for file in files]
    return out


def _trained(run: Path, folder: Path) -> list[Path]:
    """The training runs that a run was made from: by its part.json, else by the source of its weights."""
    source = (_read(run / RESULT) or {}).get("source") or {}
    needed = [*((_read(run / "part.json") or {}).get("depends") or [])]
    needed += [source["path"]] if source.get("kind") == "run" and source.get("path") else []
    out = []
    for path in dict.fromkeys(needed):
        found = located(path, folder)
        if _stage(found) == "pretrain":
            out.append(found)
        out += _trained(found, folder)
    return out


def _stage(run: Path) -> str:
    part = _read(run / "part.json") or {}
    command = (_read(run / RESULT) or _read(run / "status.json") or {}).get("command")
    return str(part.get("stage") or ("pretrain" if command in TRAINING else command))


def _evaluations(runs: Iterable[Path]) -> list[Path]:
    """The newest of what `gssl evaluate --split test` left in each run."""
    found = [sorted((r / "evaluations").glob("test-*.json"), key=lambda f: f.stat().st_mtime_ns) for r in runs]
    return [files[-1] for files in found if files]


def _read(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; {} where it cannot be read, None where there is none."""
    try:
        found = read_json(path)
    except Damaged:
        return {}
    return None if found is None else found if isinstance(found, dict) else {}


def _source(path: Path, seed: str, term: Term, metric: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": str(path), "arm": term.arm, "seed": seed}
    document = _read(path)
    if not document:
        return entry | {
            "key": _key(term, metric),
            "values": None,
            "state": "gone" if document is None else "unreadable",
        }
    if term.label_budget is not None:
        found = _scored(path.parent, document, term)
        key, values = found.key(term, metric), found.values(metric)
        entry |= {"predictions": found.file, "conflicts": found.conflicts}
    else:
        key, values = _values(document, term)
    return entry | {"key": key, "values": values or None, "state": "read" if values else "without the key"}


# ── scores ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Scored:
    """What a transfer run holds of a term: its entries of result.json, and where `items` are known the rows of
    predictions.npz that belong to them; conflicts: sentences about what does not agree."""

    field: str  # scores | generated_scores
    entries: list[dict[str, Any]]
    rows: list[int]
    items: Predictions | None
    file: str | None
    conflicts: list[str]

    def key(self, term: Term, metric: str) -> str:
        return _key(term, metric).replace("scores[", f"{self.field}[")

    def values(self, metric: str) -> list[float]:
        """The metric per draw, in [0, 1]: computed again, else as result.json has it."""
        if self.items is not None:
            again = [counted(row, self.items) for row in self.rows]
            if all(metric in found for found in again):
                return [found[metric] for found in again]
        return [v for entry in self.entries if (v := scores.value_of(entry, metric)) is not None]


def _scored(run: Path, document: Mapping[str, Any], term: Term) -> Scored:
    about = (_read(run / "part.json") or {}).get("about") or {}
    alone = document.get("scores") or []
    # an arm that has generated images beside the real ones is evaluated with them
    mixed = "-with-" in str(about.get("written"))
    field, listed = ("generated_scores", document.get("generated_scores") or []) if mixed else ("scores", alone)
    positions = [
        i for i, s in enumerate(listed) if s.get("probe") == term.name and label_budget_of(s) == term.label_budget
    ]
    entries = [listed[i] for i in positions]
    file, found = run / PREDICTIONS, scores.read_predictions(run)
    conflicts = []
    if found is None and file.exists():
        conflicts.append(f"{file} cannot be read, or is not the one that status.json records")
    rows = [i + (len(alone) if mixed else 0) for i in positions]
    if found is not None and rows and rows[-1] >= len(found):
        conflicts.append(f"{file} holds {len(found)} rows, {run / RESULT} more {field}")
        found = None
    for i, position in enumerate(positions):
        known = counted(rows[i], found) if found is not None else _consistent(entries[i])
        said = PREDICTIONS if found is not None else "its correct / n_test"
        for name, value in known.items():
            stored = scores.value_of(entries[i], name)
            if stored is not None and not same(stored, value):
                where = f"{run / RESULT} {field}[{position}].{name} is {stored:.6g}"
                conflicts.append(f"{where}, {said} gives {value:.6g}")
    return Scored(field, entries, rows, found, str(file) if found is not None else None, conflicts)


def counted(row: int, items: Predictions) -> dict[str, float]:
    """The keys of a score that its predictions decide."""
    if items.stats is not None:
        stats = items.stats[row]
        return {name: m.value(stats) for name, m in METRICS.items() if name in items.metrics}
    assert items.right is not None
    assert items.labels is not None
    right = items.right[row]
    means = {name: m.item_weights(items.labels) for name, m in METRICS.items() if m.item_weights is not None}
    whole = {"correct": float(right.sum()), "n_test": float(len(right))}
    return {name: float(right @ w) if np.ptp(w) else float(right.mean()) for name, w in means.items()} | whole


def _consistent(entry: Mapping[str, Any]) -> dict[str, float]:
    """Without the predictions: what the number of correct ones says of the metric that is their mean."""
    if entry.get("correct") is None or not entry.get("n_test"):
        return {}
    mean = next(name for name, m in METRICS.items() if m.per_item_mean and m.of_classes is None)
    return {mean: entry["correct"] / entry["n_test"]}


def cell(files: Iterable[Mapping[str, Any]], term: Term, metric: str) -> Cell | None:
    """The term's cell once more, of all its files; None of what is no score, and where a file is not there."""
    if term.label_budget is None:
        return None
    out = Cell()
    for entry in files:
        if entry["state"] != "read":
            return None
        run, seed = Path(entry["path"]).parent, int(entry["seed"])
        found = _scored(run, _read(run / RESULT) or {}, term)
        values = found.values(metric)
        out.scores[seed] += [s | {metric: v} for s, v in zip(found.entries, values, strict=False)]
        if found.items is not None:
            out.add(seed, found.items, found.rows)
    return out


def means(files: Iterable[Mapping[str, Any]], term: Term) -> dict[str, float]:
    """{metric: mean over all draws of all seeds} where the predictions of all runs are there, else {}."""
    found: dict[str, list[float]] = {}
    for entry in files:
        run = Path(entry["path"]).parent
        scored = _scored(run, _read(run / RESULT) or {}, term)
        if scored.items is None:
            return {}
        for row in scored.rows:
            for metric, value in counted(row, scored.items).items():
                found.setdefault(metric, []).append(value)
    return {metric: fmean(values) for metric, values in found.items() if metric in METRICS}


def unvouched(files: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence where scores have no predictions beside them, else none."""
    bare = [f for f in files if f["state"] == "read" and "predictions" in f and f["predictions"] is None]
    if not bare:
        return []
    who = ", ".join(dict.fromkeys(f"{f['arm']} seed {f['seed']}" for f in bare))
    return [f"Only result.json supports the scores of {who}: there is no readable {PREDICTIONS}"]


def located(path: str, folder: Path) -> Path:
    """A run's directory: as it is recorded, else relative to a directory above the report (it moved, or the command
    is called from elsewhere)."""
    found = Path(path)
    if found.is_absolute() or found.exists():
        return found
    return next((parent / found for parent in folder.absolute().parents if (parent / found).exists()), found)


def _key(term: Term, metric: str = "") -> str:
    if term.label_budget is not None:
        of = dict(zip(KEYS, parse_label_budget(term.label_budget), strict=True))
        at = next(f"{key}={value:g}" for key, value in of.items() if value is not None)
        return f"scores[probe={term.name}, {at}].{metric}"
    name = term.measure.metric
    return f"spent.{SPENT.get(name, name)}" if term.measure.part == "cost" else FIGURES[0].format(name)


def _keys(document: Mapping[str, Any], term: Term) -> list[str]:
    """Where the value may stand: an evaluation is a file of its own, or a part's result.json holds it."""
    if term.measure.part == "cost":
        return [_key(term)]
    inside = "evaluation." if "evaluation" in document else ""
    return [inside + form.format(term.measure.metric) for form in FIGURES]


def _values(document: Mapping[str, Any], term: Term) -> tuple[str, list[float]]:
    """What of a result.json or an evaluation is the term, which is no score, and its value."""
    for key in _keys(document, term):
        value: Any = document
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, int | float):
            return key, [float(value)]
    return _key(term), []


def per_seed(files: Iterable[Mapping[str, Any]], term: Term) -> dict[str, float]:
    """{seed: value} in stored units, of the seeds whose files are all there: the mean over label draws, the sum over
    training stages, of memory the largest."""
    by_seed: dict[str, list[Mapping[str, Any]]] = {}
    for entry in files:
        by_seed.setdefault(entry["seed"], []).append(entry)
    combine = fmean if term.measure.part != "cost" else max if term.measure.metric == "memory" else sum
    out = {}
    for seed, entries in by_seed.items():
        if all(entry["values"] for entry in entries):
            out[seed] = float(combine([v for entry in entries for v in entry["values"]]))
    return out


def interval(values: Mapping[str, float], row: Row, found: Cell | None, metric: str) -> tuple[float, float] | None:
    """The interval of a row once more from per-seed values, of a score from its cell; None where it is over something
    that no file holds."""
    own, scored = row.interval, isinstance(row, Score)
    if own and own.kind == "two_way":
        again = scores.of_arm(found, metric, own.level) if found else None
        return (again.low, again.high) if again else None
    if own and own.kind == "log_t":
        positive = paired.positive_interval(list(values.values()))
        return (positive.low, positive.high) if positive else None
    over = paired.t_interval(list(values.values()))
    if over is not None and own and own.kind == "t":
        return (max(0.0, over.low), min(1.0, over.high)) if scored else (over.low, over.high)
    if own and own.n and own.kind == "wilson" and scored and values:
        return wilson(round(next(iter(values.values())) * own.n), own.n)
    return None


def same(a: float, b: float) -> bool:
    """Whether two numbers are one, computed twice."""
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)


def alike(ends: tuple[float, float], own: Interval) -> bool:
    """Whether the ends of an interval are those that are on record."""
    return same(ends[0], own.low) and same(ends[1], own.high)


def exact(left: Term, right: Term, parts: list[dict[str, Any]], metric: str) -> Interval | None:
    """The pair's interval from predictions; None where these are not all there."""
    if any(unvouched(part["files"]) for part in parts):
        return None
    one, two = (cell(part["files"], term, metric) for part, term in zip(parts, (left, right), strict=True))
    between = scores.gap(one, two, metric) if one and two else None
    return between.interval() if between else None


# ── what does not agree with the report ───────────────────────────────────────────────────────────


def disagreements(
    files: list[dict[str, Any]], row: Row, shown: Value, now: Mapping[str, float], term: Term
) -> list[str]:
    """A sentence for everything in which the files are not what the report says. `now`: `per_seed` of the files."""
    conflicts = [text for entry in files for text in entry.get("conflicts") or []]
    return [*_unread(files), *conflicts, *_moved(shown.per_seed, now, term), *_beside(row, files, term)]


def _unread(files: list[dict[str, Any]]) -> list[str]:
    texts = {"gone": "is gone", "unreadable": "cannot be read", "without the key": "no longer holds {key}"}
    return [f"{f['path']} {texts[f['state']].format(key=f['key'])}" for f in files if f["state"] in texts]


def _moved(before: Mapping[str, float], now: Mapping[str, float], term: Term) -> list[str]:
    """Seeds whose files give another number than the report, and those for which it names no file."""
    scale, out = term.measure.scale, []
    for seed, value in before.items():
        if seed in now and not same(now[seed] * scale, value):
            values = f"{digits(now[seed] * scale, term)}, the report {digits(value, term)}"
            out.append(
                f"{term}, seed {seed}: the files give {values} (report.json, per_seed of its {term.measure.part})"
            )
        elif seed not in now:
            out.append(f"{term}, seed {seed}: cannot be computed again, because its files are not there")
    return out


def _beside(row: Row, files: list[dict[str, Any]], term: Term) -> list[str]:
    """Other metrics of a row that the predictions do not give."""
    if not isinstance(row, Score):
        return []
    now = means(files, term)
    return [
        f"{term}: report.json's table has {name} {value:.6g}, predictions.npz gives {now[name]:.6g}"
        for name, value in row.metrics.items()
        if name in now and not same(value, now[name])
    ]
