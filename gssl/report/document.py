"""From runs to the report's document (report.json). Numbers only; the sentences are made in `verdict` and `advice`.

The document's keys are described in report.schema.json.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

import gssl
from gssl import words
from gssl.config import registry
from gssl.config.comparing import MOST_PAIRS
from gssl.config.menus import CLASSICAL, CONTROLS, UNTRAINED, base, kind_of, probes_of, shared
from gssl.errors import UsageError
from gssl.report import advice, generation, limits, records, spent, verdict
from gssl.report.cells import Cells, cells, doubts, of_arm
from gssl.report.collect import Run
from gssl.report.differences import ALPHA, differences
from gssl.schemas.label_budgets import label_budget_key
from gssl.statistics import paired

SCHEMA = "gssl.report/3"
MARGIN = 0.005  # smallest difference of interest where no plan says so: conf/compare.yaml has it for `gssl compare`
UNEQUAL = 2.0  # a class so many times as large as another: then every class counts alike

Rows = dict[tuple[str, str, str], dict[str, Any]]


def build(runs: Sequence[Run], plan: dict[str, Any], found: Cells | None = None) -> dict[str, Any]:
    """The report of `runs`; `found`: their cells, where they were read already.

    `plan` was fixed before anything was looked at. Its keys, all optional: `probe` and `labels_per_class` (or
    `fraction`) of the primary family, else by the rule of `judging.shared`; its `pairs` ([[a, b], …], at most
    six), `metric` (accuracy | balanced_accuracy, else by the class sizes), `margin` (smallest difference of interest,
    in [0, 1]), `arms` and `seeds` as planned (a list, or n for 0 … n − 1), `command`, `question`, `data` (a name),
    `titles` ({arm: shown name}), `described` ({arm: {world, stages, note, source, labels}}), `failed` ([{arm, seed,
    stage, error}, …] for parts that left no directory), `budget`, `searches`, `allow_norm_diff`, `notes` (sentences for
    the limitations), `cautions` (sentences that weaken the verdict), `preregistration`, `openings`.
    Raises UsageError for too many pairs, or for a pair with an unknown arm or the reference line.
    """
    if isinstance(plan.get("seeds"), int):
        plan = plan | {"seeds": list(range(plan["seeds"]))}
    found = cells(runs) if found is None else found
    arms = _arms(runs, plan)
    names = [a["name"] for a in arms]
    metric = plan.get("metric") or chosen_metric(runs, found)
    rows = _table(found, arms, metric)
    primary = _primary(plan, arms, rows) | {"metric": metric}
    registered = dict(plan.get("preregistration") or {})
    primary |= {"margin": plan.get("margin", MARGIN), "alpha": registered.get("alpha", ALPHA)}
    made = generation.rows(runs, names)
    pairs = differences(found, arms, primary, primary["alpha"])
    pairs += generation.differences(made, [a["name"] for a in arms if a["role"] == "contestant"], runs)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "gssl": gssl.__version__,
        "data": records.data_name(runs, plan),
        "question": "",
        "verdict": {},
        "primary": primary,
        "arms": arms,
        "seeds": sorted({r.seed for r in runs if r.seed is not None}),
        "planned_seeds": plan.get("seeds"),
        "label_budgets": _amounts(found),
        "probes": list(dict.fromkeys(probe for _, probe, _ in rows)),
        "table": list(rows.values()),
        "differences": pairs,
        "generation": made,
        "cost": spent.cost(runs, names),
        "budget": plan.get("budget"),
        "progress": spent.progress(runs),
        "stability": spent.stability(runs, names),
        "searches": list(plan.get("searches") or []),
        "curves": records.curves(runs),
        "samples": records.samples(runs),
        "compute": [records.spent(r) for r in runs if r.finished and r.result.get("spent")],
        "provenance": records.provenance(runs, plan),
        "findings": records.findings(runs),
        "preregistration": registered or None,
        "openings": plan.get("openings"),
        "failed": records.failed(runs, plan),
        "alarms": records.alarms(runs),
        "missing": records.missing(runs, plan, names),
        "allow_norm_diff": bool(plan.get("allow_norm_diff")),
        "notes": list(plan.get("notes") or []),
        "limitations": [],
    }
    report["question"] = plan.get("question") or verdict.question(report)
    report["needs"] = advice.needs(report, found)
    report["advice"] = advice.advice(report, found)
    report["verdict"] = verdict.verdict(report)
    report["verdict"]["cautions"] = [*doubts(found), *limits.cautions(report), *(plan.get("cautions") or [])]
    report["limitations"] = limits.limitations(report)
    return clean(report)


def clean(value: Any) -> Any:
    """`value` as JSON can hold it: non-finite numbers become None, NumPy's and paths plain."""
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [clean(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def chosen_metric(runs: Sequence[Run], found: Cells) -> str:
    """balanced_accuracy where the largest class is more than twice the smallest, in the labels that are trained on or
    in those that judge: there plain accuracy rewards who always says the majority. By sizes alone, never by scores."""
    sizes = [counts for run in runs for counts in ((run.result.get("data") or {}).get("class_counts") or {}).values()]
    sizes += [np.bincount(cell.items.labels).tolist() for cell in found.values() if cell.items is not None][:1]
    return "balanced_accuracy" if any(unequal(counts) for counts in sizes) else "accuracy"


def unequal(counts: Sequence[int]) -> bool:
    """Whether the largest class that occurs is more than twice the smallest."""
    there = [n for n in counts if n]
    return len(there) > 1 and max(there) > UNEQUAL * min(there)


# ── arms ─────────────────────────────────────────────────────────────────────────────────────────


def _arms(runs: Sequence[Run], plan: dict[str, Any]) -> list[dict[str, Any]]:
    planned = list(plan.get("arms") or [])
    seen = sorted({r.arm for r in runs} - set(planned))
    rank = {"contestant": 0, "control": 2, "reference": 3}
    arms = []
    trained = spent.Trained(runs)
    for name in dict.fromkeys(planned + seen):
        mine = [r for r in runs if r.arm == name]
        behind = trained.of_arm(runs, name)
        told: dict[str, Any] = (plan.get("described") or {}).get(name) or {}
        told = told or next((r.part["about"] for r in mine if r.part.get("about")), {})
        kind = base(str(told.get("source") or name))
        reads = registry.reads_labels(kind) or bool(told.get("labels"))
        for r in [*mine, *behind]:
            reads |= bool(r.result.get("labels_used"))
        role = "control" if kind in CONTROLS else "reference" if reads else "contestant"
        done = {r.seed for r in mine if r.stage == "transfer" and r.finished}
        lost = {r.seed for r in mine if not r.finished and r.stage in ("pretrain", "transfer")}
        lost |= {f.get("seed") for f in plan.get("failed") or [] if f.get("arm") == name}
        backbones = [r.result["backbone"] for r in reversed(behind) if r.finished and r.result.get("backbone")]
        arms.append(
            {
                "name": name,
                "title": words.title(name, plan.get("titles")),
                "role": role,
                "family": (family := told.get("family") or _family(kind, behind)),
                "kind": kind_of(kind, family),
                "stages": told.get("stages") or _stages(behind),
                "note": records.note(told, mine),
                "pretrained": kind not in (*UNTRAINED, *CONTROLS),
                "seeds": sorted(s for s in done if s is not None),
                "failed_seeds": sorted(s for s in lost - done if s is not None),
                "backbone": next(iter(backbones), None),
            }
        )
    # Contestants that were pretrained, then the others, the controls and the line; inside as planned.
    return sorted(arms, key=lambda a: rank[a["role"]] + (a["role"] == "contestant" and not a["pretrained"]))


def _family(kind: str, behind: Sequence[Run]) -> str:
    """gan | ssl | plain | file | none, where no plan says so."""
    if kind in (*UNTRAINED, *CONTROLS):
        return "none"
    if kind in CLASSICAL:
        return "classical"
    methods = [str(r.result.get("method") or r.arm) for r in behind]
    if methods or kind in registry.SSL or kind in registry.GAN:
        return "gan" if registry.GAN.keys() & {*methods[:1], kind} else "ssl"
    return "file"


def _stages(behind: Sequence[Run]) -> list[dict[str, Any]]:
    """What was trained, the first stage first, each method once."""
    found = {}
    for run in reversed(behind):
        method = str(run.result.get("method") or run.arm)
        command = "train-gan" if method in registry.GAN else "pretrain-ssl"
        found[method] = {"method": method, "command": command, "share": 1.0}
    return [stage | {"share": 1 / len(found)} for stage in found.values()]


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def _amounts(found: Cells) -> list[dict[str, Any]]:
    sizes: dict[str, list[float]] = defaultdict(list)
    for (_, _, label_budget), cell in found.items():
        sizes[label_budget] += [s["n_train"] for draws in cell.scores.values() for s in draws if s.get("n_train")]
    listed = [
        {"key": k, "label": words.label_budget_text(k), "n_train": float(np.mean(v)) if v else None}
        for k, v in sizes.items()
    ]
    return sorted(listed, key=lambda a: (a["key"] == "all", a["n_train"] or 0.0))


def _table(found: Cells, arms: list[dict[str, Any]], metric: str) -> Rows:
    """One row per arm, probe and label budget, in the arms' order; mean, interval and per_seed are the metric's."""
    order = {a["name"]: i for i, a in enumerate(arms)}
    role = {a["name"]: a["role"] for a in arms}
    rows: Rows = {}
    for (arm, probe, label_budget), cell in sorted(found.items(), key=lambda item: order[item[0][0]]):
        per_seed = cell.per_seed(metric)
        if not per_seed:
            continue
        flat = [s for draws in cell.scores.values() for s in draws]
        scatter = [float(np.std([s[metric] for s in d], ddof=1)) for d in cell.scores.values() if len(d) > 1]
        taken = [s["chosen"] for s in flat if s.get("chosen")]
        rows[arm, probe, label_budget] = {
            "arm": arm,
            "role": role[arm],
            "probe": probe,
            "label_budget": label_budget,
            "labels_per_class": flat[0].get("labels_per_class"),
            "fraction": flat[0].get("fraction"),
            "mean": float(np.mean(list(per_seed.values()))),
            "interval": of_arm(cell, metric),
            "per_seed": per_seed,
            "n_seeds": len(per_seed),
            "draws": max(len(draws) for draws in cell.scores.values()),
            "draw_sd": _mean(scatter),
            "n_train": _mean([s.get("n_train") for s in flat]),
            "n_test": cell.n_test,
            "validation": _mean([s.get("val_accuracy") for s in flat]),
            "accuracy": _mean([s.get("accuracy") for s in flat]),
            "balanced": _mean([s.get("balanced_accuracy") for s in flat]),
            "chosen": taken[:1],
            "adapted_by": _adapted_by(taken),
        }
    return rows


def _adapted_by(taken: Sequence[dict[str, Any]]) -> dict[str, int] | None:
    """How often each way of adapting was chosen on validation folds, of a cell that had the choice."""
    names = [str(chosen["probe"]) for chosen in taken if "probe" in chosen]
    return {name: names.count(name) for name in sorted(set(names))} if names else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [float(v) for v in values if v is not None]
    return float(np.mean(known)) if known else None


# ── what carries the verdict ─────────────────────────────────────────────────────────────────────


def _primary(plan: dict[str, Any], arms: list[dict[str, Any]], rows: Rows) -> dict[str, Any]:
    """What may carry the verdict: by the plan, and by rules over names where it says nothing."""
    probe, label_budget = shared(rows, plan.get("probe"))
    given = plan.get("labels_per_class") is not None or plan.get("fraction") is not None
    if given:
        labels = plan.get("labels_per_class") if plan.get("fraction") is None else None
        label_budget = label_budget_key(labels, plan.get("fraction"))
    names = [a["name"] for a in arms]
    pairs = plan.get("pairs")
    if pairs is None:
        kinds = {a["name"]: a["kind"] for a in arms if a["role"] == "contestant"}
        if planned := plan.get("arms"):  # the report's order puts what is pretrained first
            kinds = {name: kinds[name] for name in [*planned, *kinds] if name in kinds}
        controls = [c for c in CONTROLS if c in names and c != "majority" and probes_of(c, [probe])]
        pairs = paired.default_pairs(kinds, controls[:1], MOST_PAIRS)
    if len(pairs) > MOST_PAIRS:
        raise UsageError(f"primary.pairs: a primary family has at most {MOST_PAIRS} pairs, not {len(pairs)}")
    unknown = [name for pair in pairs for name in pair if name not in names]
    if unknown:
        raise UsageError(f"primary.pairs: unknown arm {unknown[0]!r}; the arms are {', '.join(names)}")
    lines = [a["name"] for a in arms if a["role"] == "reference" and any(a["name"] in pair for pair in pairs)]
    if lines:
        raise UsageError(f"primary.pairs: {lines[0]!r} is a reference line and is never ranked: leave it out")
    return {
        "probe": probe,
        "label_budget": label_budget,
        "pairs": [list(pair) for pair in pairs],
        "fixed_by": plan.get("fixed_by") or ("plan" if plan.get("pairs") is not None else "rule"),
    }
