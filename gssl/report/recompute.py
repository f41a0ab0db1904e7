"""A report's numbers once more from the run directories' files as they are now: for `compare --explain`. No torch.

A score is counted again in predictions.npz, which holds every answer to every test image; result.json says what was
counted then, and where the two disagree the file and the key are named.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from gssl.report import answers, cells
from gssl.report.answers import METRICS, Answers
from gssl.report.cells import Cell
from gssl.report.terms import Term
from gssl.schemas.label_budgets import label_budget_key
from gssl.statistics import paired
from gssl.statistics.intervals import wilson

RESULT = "result.json"
STAGES = ("pretrain", "transfer", "evaluate")
TRAINING = ("pretrain-ssl", "train-gan")
SPENT = {"memory": "peak_memory_bytes"}  # a cost's key in result.json's `spent`, where it is another word
FIGURES = ("figures.{}", "conditional.{}.accuracy")  # of an evaluation


def sources(report: Mapping[str, Any], folder: Path, term: Term, seeds: Iterable[str]) -> list[dict[str, Any]]:
    """The files that hold `term`, one entry per run: path, arm, seed, key (what of the file), values (as they stand
    there now; None where not) and state: read | gone | unreadable | without the key.

    Of a score also predictions (the file in which it was counted again, None where there is none) and conflicts: a
    sentence for every key of result.json that says otherwise. Its values are the counted ones where there are some.
    """
    out = []
    metric = metric_of(report)
    for seed in seeds:
        own = [r for r in report["provenance"]["runs"] if r["arm"] == term.arm and str(r["seed"]) == seed]
        at = {stage: [located(r["path"], folder) for r in own if r["stage"] == stage] for stage in STAGES}
        if term.measure.part == "table":
            files = [run / RESULT for run in at["transfer"]]
        elif term.measure.part == "cost":  # two arms may share a training run, which stands under one of them
            trained = {run.resolve(): run for judged in at["transfer"] for run in _trained(judged, folder)}
            files = [run / RESULT for run in trained.values()]
        else:
            files = [run / RESULT for run in at["evaluate"]] or _evaluations(at["pretrain"])
        out += [_source(file, seed, term, metric) for file in files]
    return out


def metric_of(report: Mapping[str, Any]) -> str:
    """What the scores of a report are: accuracy, in older ones always."""
    return str(report["primary"].get("metric") or "accuracy")


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
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


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
    """What a transfer run says of a term: its entries of result.json, and of each the right answers (n,) bool in
    predictions.npz, where `file` is that; conflicts: sentences about what does not agree."""

    field: str  # scores | generated_scores
    entries: list[dict[str, Any]]
    right: list[np.ndarray]
    items: Answers | None
    file: str | None
    conflicts: list[str]

    def key(self, term: Term, metric: str) -> str:
        return _key(term, metric).replace("scores[", f"{self.field}[")

    def values(self, metric: str) -> list[float]:
        """The metric per draw, in [0, 1]: counted, else as result.json has it."""
        if self.items is not None:
            return [counted(row, self.items)[metric] for row in self.right]
        return [float(entry[metric]) for entry in self.entries if entry.get(metric) is not None]


def _scored(run: Path, document: Mapping[str, Any], term: Term) -> Scored:
    about = (_read(run / "part.json") or {}).get("about") or {}
    alone = document.get("scores") or []
    # an arm that has generated images beside the real ones is judged with them
    mixed = "-with-" in str(about.get("written"))
    field, listed = ("generated_scores", document.get("generated_scores") or []) if mixed else ("scores", alone)
    places = [
        i
        for i, s in enumerate(listed)
        if s.get("probe") == term.name
        and label_budget_key(s.get("labels_per_class"), s.get("fraction")) == term.label_budget
    ]
    entries = [listed[i] for i in places]
    file, found = run / answers.PREDICTIONS, answers.read(run)
    conflicts = []
    if found is None and file.exists():
        conflicts.append(f"{file} cannot be read")
    rows = [i + (len(alone) if mixed else 0) for i in places]
    if found is not None and rows and rows[-1] >= len(found.right):
        conflicts.append(f"{file} holds {len(found.right)} rows, {run / RESULT} more {field}")
        found = None
    right = [found.right[row] for row in rows] if found is not None else []
    for i, place in enumerate(places):
        known = counted(right[i], found) if found is not None else _consistent(entries[i])
        said = answers.PREDICTIONS if found is not None else "its correct / n_test"
        for name, value in known.items():
            if entries[i].get(name) is not None and not same(float(entries[i][name]), value):
                told = f"{run / RESULT} {field}[{place}].{name} is {entries[i][name]:.6g}"
                conflicts.append(f"{told}, {said} gives {value:.6g}")
    return Scored(field, entries, right, found, str(file) if found is not None else None, conflicts)


def counted(right: np.ndarray, items: Answers) -> dict[str, float]:
    """The keys of a score that its right answers (n,) decide."""
    balanced = float(right @ answers.weights(items.labels, "balanced_accuracy"))
    whole = {"correct": float(right.sum()), "n_test": float(len(right))}
    return {"accuracy": float(right.mean()), "balanced_accuracy": balanced} | whole


def _consistent(entry: Mapping[str, Any]) -> dict[str, float]:
    """Without the answers: what the number of right ones says of the accuracy."""
    if entry.get("correct") is None or not entry.get("n_test"):
        return {}
    return {"accuracy": entry["correct"] / entry["n_test"]}


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
            out.items = out.items or found.items
            if out.items.same_items(found.items):
                out.right[seed] = answers.mean_over_draws(np.stack(found.right))
    return out


def means(files: Iterable[Mapping[str, Any]], term: Term) -> dict[str, float]:
    """{metric: mean over all draws of all seeds} where the answers of all runs are there, else {}."""
    found: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for entry in files:
        run = Path(entry["path"]).parent
        scored = _scored(run, _read(run / RESULT) or {}, term)
        if scored.items is None:
            return {}
        for metric in METRICS:
            found[metric] += scored.values(metric)
    return {metric: fmean(values) for metric, values in found.items() if values}


def unvouched(files: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence where scores have no single answers beside them, else none."""
    bare = [f for f in files if f["state"] == "read" and "predictions" in f and f["predictions"] is None]
    if not bare:
        return []
    who = ", ".join(dict.fromkeys(f"{f['arm']} seed {f['seed']}" for f in bare))
    return [f"Nothing but result.json vouches for the scores of {who}: there is no readable {answers.PREDICTIONS}"]


def located(path: str, folder: Path) -> Path:
    """A run's directory: as it is recorded, else relative to a directory above the report (it moved, or the command
    is called from elsewhere)."""
    found = Path(path)
    if found.is_absolute() or found.exists():
        return found
    return next((parent / found for parent in folder.absolute().parents if (parent / found).exists()), found)


def _key(term: Term, metric: str = "accuracy") -> str:
    if term.label_budget is not None:
        if term.label_budget == "all" or term.label_budget.endswith("%"):
            share = 1.0 if term.label_budget == "all" else float(term.label_budget[:-1]) / 100
            return f"scores[probe={term.name}, fraction={share:g}].{metric}"
        return f"scores[probe={term.name}, labels_per_class={term.label_budget}].{metric}"
    name = term.measure.metric
    return f"spent.{SPENT.get(name, name)}" if term.measure.part == "cost" else FIGURES[0].format(name)


def _places(document: Mapping[str, Any], term: Term) -> list[str]:
    """Where the value may stand: an evaluation is a file of its own, or a part's result.json holds it."""
    if term.measure.part == "cost":
        return [_key(term)]
    inside = "evaluation." if "evaluation" in document else ""
    return [inside + place.format(term.measure.metric) for place in FIGURES]


def _values(document: Mapping[str, Any], term: Term) -> tuple[str, list[float]]:
    """What of a result.json or an evaluation is the term, which is no score, and its value."""
    for place in _places(document, term):
        value: Any = document
        for name in place.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, int | float):
            return place, [float(value)]
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


def interval(
    values: Mapping[str, float], row: Mapping[str, Any], judged: Cell | None = None, metric: str = "accuracy"
) -> tuple[float, float] | None:
    """The interval of a row once more from per-seed values, of a score from its cell; None where it is over something
    that no file holds."""
    if row["interval"] and row["interval"]["kind"] == "two_way":
        found = cells.of_arm(judged, metric, row["interval"]["level"]) if judged else None
        return (found["low"], found["high"]) if found else None
    over, own = paired.t_interval(list(values.values())), row["interval"]
    if over is not None and own and own["kind"] == "t":
        shares = row.get("probe") is not None
        return (max(0.0, over.low), min(1.0, over.high)) if shares else (over.low, over.high)
    if own and own["kind"] == "wilson" and row.get("probe") is not None and values:
        return wilson(round(next(iter(values.values())) * own["n"]), own["n"])
    return None


def same(a: float, b: float) -> bool:
    """Whether two numbers are one, computed twice."""
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
