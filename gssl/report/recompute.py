"""A report's numbers once more from the run directories' files as they are now: for `compare --explain`. No torch."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from gssl.config.amounts import amount_key
from gssl.metrics.accuracy import wilson
from gssl.report import statistics
from gssl.report.terms import Term

RESULT = "result.json"
STAGES = ("pretrain", "transfer", "evaluate")
TRAINING = ("pretrain-ssl", "train-gan")
SPENT = {"memory": "peak_memory_bytes"}  # a cost's key in result.json's `spent`, where it is another word
FIGURES = ("figures.{}", "conditional.{}.accuracy")  # of an evaluation


def sources(report: Mapping[str, Any], folder: Path, term: Term, seeds: Iterable[str]) -> list[dict[str, Any]]:
    """The files that hold `term`, one entry per run: path, arm, seed, key (what of the file), values (as they stand
    there now; None where not) and state: read | gone | unreadable | without the key."""
    out = []
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
        out += [_source(file, seed, term) for file in files]
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
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _source(path: Path, seed: str, term: Term) -> dict[str, Any]:
    entry = {"path": str(path), "arm": term.arm, "seed": seed}
    document = _read(path)
    if not document:
        return entry | {"key": _key(term), "values": None, "state": "gone" if document is None else "unreadable"}
    about = (_read(path.with_name("part.json")) or {}).get("about") or {}
    key, values = _values(document, term, mixed="-with-" in str(about.get("written")))
    return entry | {"key": key, "values": values or None, "state": "read" if values else "without the key"}


def located(path: str, folder: Path) -> Path:
    """A run's directory: as it is recorded, else relative to a directory above the report (it moved, or the command
    is called from elsewhere)."""
    found = Path(path)
    if found.is_absolute() or found.exists():
        return found
    return next((parent / found for parent in folder.absolute().parents if (parent / found).exists()), found)


def _key(term: Term) -> str:
    if term.amount is not None:
        if term.amount == "all" or term.amount.endswith("%"):
            share = 1.0 if term.amount == "all" else float(term.amount[:-1]) / 100
            return f"scores[probe={term.name}, fraction={share:g}].accuracy"
        return f"scores[probe={term.name}, labels_per_class={term.amount}].accuracy"
    metric = term.measure.metric
    return f"spent.{SPENT.get(metric, metric)}" if term.measure.part == "cost" else FIGURES[0].format(metric)


def _places(document: Mapping[str, Any], term: Term) -> list[str]:
    """Where the value may stand: an evaluation is a file of its own, or a part's result.json holds it."""
    if term.measure.part == "cost":
        return [_key(term)]
    inside = "evaluation." if "evaluation" in document else ""
    return [inside + place.format(term.measure.metric) for place in FIGURES]


def _values(document: Mapping[str, Any], term: Term, mixed: bool = False) -> tuple[str, list[float]]:
    """What of a result.json or an evaluation is the term, and its values: one per draw of labels, else one."""
    key = _key(term)
    if term.amount is not None:
        # an arm that has generated images beside the real ones is judged with them
        field = "generated_scores" if mixed else "scores"
        key = key.replace("scores[", f"{field}[")
        found = [s for s in document.get(field) or [] if s.get("probe") == term.name]
        found = [s for s in found if amount_key(s.get("labels_per_class"), s.get("fraction")) == term.amount]
        return key, [float(s["accuracy"]) for s in found if s.get("accuracy") is not None]
    for place in _places(document, term):
        value: Any = document
        for name in place.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, int | float):
            return place, [float(value)]
    return key, []


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


def interval(values: Mapping[str, float], row: Mapping[str, Any]) -> tuple[float, float] | None:
    """The interval of a row once more from per-seed values; None where it is over something that no file holds."""
    over, own = statistics.t_interval(list(values.values())), row["interval"]
    if over is not None and own and own["kind"] == "t":
        shares = row.get("probe") is not None
        return (max(0.0, over.low), min(1.0, over.high)) if shares else (over.low, over.high)
    if own and own["kind"] == "wilson" and row.get("probe") is not None and values:
        return wilson(round(next(iter(values.values())) * own["n"]), own["n"])
    return None


def same(a: float, b: float) -> bool:
    """Whether two numbers are one, computed twice."""
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
