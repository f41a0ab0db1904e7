"""From runs to the report's document (report.json). Numbers only; the sentences are made in `verdict`.

The document's keys are described in report.schema.json.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

import gssl
from gssl.config import registry
from gssl.config.amounts import amount_key
from gssl.errors import UsageError
from gssl.metrics.accuracy import wilson
from gssl.report import generation, limits, records, spent, statistics, verdict, words
from gssl.report.collect import Run
from gssl.report.judging import CONTROLS, PLAIN, UNTRAINED, base, probe_for, probes_of, shared

SCHEMA = "gssl.report/2"
MOST_PAIRS = 3

Rows = dict[tuple[str, str, str], dict[str, Any]]


def build(runs: Sequence[Run], plan: dict[str, Any]) -> dict[str, Any]:
    """The report of `runs`.

    `plan` was fixed before anything was looked at. Its keys, all optional: `probe` and `labels_per_class` (or
    `fraction`) of the primary family, else by the rule of `judging.shared`; its `pairs` ([[a, b], …], at most
    3), `arms` and `seeds` as planned (a list, or n for 0 … n − 1), `command`, `question`, `data` (a name),
    `titles` ({arm: shown name}), `described` ({arm: {world, stages, note, source, labels}}), `failed` ([{arm, seed,
    stage, error}, …] for parts that left no directory), `budget`, `searches`, `allow_norm_diff`, `notes` (sentences for
    the limitations).
    Raises UsageError for more than three pairs, or for a pair with an unknown arm or the reference line.
    """
    if isinstance(plan.get("seeds"), int):
        plan = plan | {"seeds": list(range(plan["seeds"]))}
    scores = _scores(runs)
    arms = _arms(runs, plan)
    names = [a["name"] for a in arms]
    rows = _table(scores, arms)
    amounts = _amounts(scores)
    primary = _primary(plan, arms, rows)
    differences = _differences(rows, arms, primary, names)
    made = generation.rows(runs, names)
    differences += generation.differences(made, [a["name"] for a in arms if a["role"] == "contestant"])
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
        "amounts": amounts,
        "probes": list(dict.fromkeys(probe for _, probe, _ in rows)),
        "table": list(rows.values()),
        "differences": differences,
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
        "failed": records.failed(runs, plan),
        "alarms": records.alarms(runs),
        "missing": records.missing(runs, plan, names),
        "allow_norm_diff": bool(plan.get("allow_norm_diff")),
        "notes": list(plan.get("notes") or []),
        "limitations": [],
    }
    report["question"] = plan.get("question") or verdict.question(report)
    report["verdict"] = verdict.verdict(report) | {"cautions": limits.cautions(report)}
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


# ── scores ───────────────────────────────────────────────────────────────────────────────────────


def _scores(runs: Sequence[Run]) -> dict[tuple[str, str, str], dict[int, list[dict[str, Any]]]]:
    """(arm, probe, amount) → seed → the scores of its label draws."""
    out: dict[tuple[str, str, str], dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.stage != "transfer":
            continue
        # an arm that has generated images beside the real ones is judged with them
        mixed = "-with-" in str((run.part.get("about") or {}).get("written"))
        for s in run.result.get("generated_scores" if mixed else "scores") or []:
            if s.get("accuracy") is not None:
                key = (run.arm, str(s["probe"]), amount_key(s.get("labels_per_class"), s.get("fraction")))
                out[key][run.seed or 0].append(s)
    return out


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
                "world": told.get("world") or _world(kind, behind),
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


def _world(kind: str, behind: Sequence[Run]) -> str:
    """gan | ssl | plain | file | none, where no plan says so."""
    if kind in (*UNTRAINED, *CONTROLS):
        return "none"
    if kind in PLAIN:
        return "plain"
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


def _amounts(scores: dict[Any, Any]) -> list[dict[str, Any]]:
    sizes: dict[str, list[float]] = defaultdict(list)
    for (_, _, amount), seeds in scores.items():
        sizes[amount] += [s["n_train"] for draws in seeds.values() for s in draws if s.get("n_train")]
    found = [
        {"key": k, "label": words.amount_text(k), "n_train": float(np.mean(v)) if v else None} for k, v in sizes.items()
    ]
    return sorted(found, key=lambda a: (a["key"] == "all", a["n_train"] or 0.0))


def _table(scores: dict[Any, Any], arms: list[dict[str, Any]]) -> Rows:
    """One row per arm, probe and amount, in the arms' order."""
    order = {a["name"]: i for i, a in enumerate(arms)}
    role = {a["name"]: a["role"] for a in arms}
    rows: Rows = {}
    for (arm, probe, amount), seeds in sorted(scores.items(), key=lambda item: order[item[0][0]]):
        per_seed = {seed: float(np.mean([s["accuracy"] for s in draws])) for seed, draws in sorted(seeds.items())}
        flat = [s for draws in seeds.values() for s in draws]
        n_test = min((int(s["n_test"]) for s in flat if s.get("n_test")), default=0)
        first = flat[0]
        rows[arm, probe, amount] = {
            "arm": arm,
            "role": role[arm],
            "probe": probe,
            "amount": amount,
            "labels_per_class": first.get("labels_per_class"),
            "fraction": first.get("fraction"),
            "mean": float(np.mean(list(per_seed.values()))),
            "interval": _interval(list(per_seed.values()), n_test),
            "per_seed": per_seed,
            "n_seeds": len(per_seed),
            "draws": max(len(draws) for draws in seeds.values()),
            "draw_sd": _mean([float(np.std([s["accuracy"] for s in d], ddof=1)) for d in seeds.values() if len(d) > 1]),
            "n_train": _mean([s.get("n_train") for s in flat]),
            "n_test": n_test,
            "validation": _mean([s.get("val_accuracy") for s in flat]),
            "balanced": _mean([s.get("balanced_accuracy") for s in flat]),
            "chosen": [s.get("chosen") for s in flat if s.get("chosen")][:1],
        }
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [float(v) for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _interval(values: list[float], n_test: int) -> dict[str, Any] | None:
    """Over seeds (t) where there are two, else over test images (Wilson); cut to [0, 1]."""
    over_seeds = statistics.t_interval(values)
    if over_seeds and statistics.varies(values):
        return {
            "kind": "t",
            "over": "seeds",
            "n": len(values),
            "level": 0.95,
            "low": max(0.0, over_seeds.low),
            "high": min(1.0, over_seeds.high),
        }
    if not n_test:
        return None
    low, high = wilson(round(values[0] * n_test), n_test)[-2:]
    return {"kind": "wilson", "over": "test images", "n": n_test, "level": 0.95, "low": low, "high": high}


# ── differences ──────────────────────────────────────────────────────────────────────────────────


def _primary(plan: dict[str, Any], arms: list[dict[str, Any]], rows: Rows) -> dict[str, Any]:
    """What may carry the verdict: by the plan, and by rules over names where it says nothing."""
    probe, amount = shared(rows, plan.get("probe"))
    given = plan.get("labels_per_class") is not None or plan.get("fraction") is not None
    if given:
        labels = plan.get("labels_per_class") if plan.get("fraction") is None else None
        amount = amount_key(labels, plan.get("fraction"))
    contestants = [a["name"] for a in arms if a["role"] == "contestant"]
    pretrained = [a["name"] for a in arms if a["role"] == "contestant" and a["pretrained"]]
    names = [a["name"] for a in arms]
    others = [n for n in contestants if n not in pretrained]
    pairs = plan.get("pairs")
    if pairs is None:
        worlds = {a["name"]: a["world"] for a in arms}
        controls = [c for c in CONTROLS if c in names and probes_of(c, [probe])]
        pairs = statistics.default_pairs({n: worlds[n] for n in pretrained}, others, controls[:1], MOST_PAIRS)
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
        "amount": amount,
        "pairs": [list(pair) for pair in pairs],
        "fixed_by": plan.get("fixed_by") or ("plan" if plan.get("pairs") is not None else "rule"),
    }


def _differences(
    rows: Rows, arms: list[dict[str, Any]], primary: dict[str, Any], names: list[str]
) -> list[dict[str, Any]]:
    """The primary family first, adjusted together; then everything else, exploratory, not adjusted."""
    role = {a["name"]: a["role"] for a in arms}
    family = [difference(rows, a, b, primary["probe"], primary["amount"]) for a, b in primary["pairs"]]
    for found, p in zip(family, _adjusted(family), strict=True):
        found |= {"family": "primary", "p_adjusted": p, "simultaneous": _simultaneous(found, family)}
    out = list(family)
    listed = {(a, b, primary["probe"], primary["amount"]) for a, b in primary["pairs"]}
    games = dict.fromkeys((p, k) for _, p, k in rows)
    for probe, amount in sorted(games, key=lambda game: game[0] != primary["probe"]):
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                same = (a, b, probe, amount) in listed or (b, a, probe, amount) in listed
                ranked = role[a] == "contestant" and role[b] != "reference"
                # generated images have read all labels: fair against what has them all too
                ranked |= amount == "all" and base(a) == b or base(b) == a and amount == "all"
                if same or not ranked:
                    continue
                found = difference(rows, a, b, probe, amount)
                if found["mean"] is not None:
                    out.append(found | {"family": "exploratory", "p_adjusted": None, "simultaneous": None})
    return out


def difference(rows: Rows, a: str, b: str, probe: str, amount: str) -> dict[str, Any]:
    """a − b at one probe and amount over the seeds that both have; `mean` is None where there are none."""
    one = rows.get((a, probe_for(a, probe), amount))
    two = rows.get((b, probe_for(b, probe), amount))
    out = compare_rows(one, two) if one and two else dict(EMPTY)
    probes = [probe_for(a, probe), probe_for(b, probe)]
    return {"a": a, "b": b, "metric": "accuracy", "probe": probe, "probes": probes, "amount": amount, **out}


EMPTY: dict[str, Any] = {
    "mean": None,
    "interval": None,
    "p": None,
    "effect_size": None,
    "n_seeds": 0,
    "per_seed": {},
}


def compare_rows(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Paired difference of two table rows: t over shared seeds, with one seed Newcombe over images."""
    first, second = ({str(k): v for k, v in row["per_seed"].items()} for row in (one, two))
    seeds = [s for s in first if s in second]
    values = [first[s] - second[s] for s in seeds]
    if not seeds:
        return dict(EMPTY)
    over_seeds = statistics.t_interval(values)
    interval: dict[str, Any] | None = None
    varies = statistics.varies(values)
    if over_seeds and varies:
        interval = {
            "kind": "t",
            "over": "seeds",
            "n": len(seeds),
            "level": 0.95,
            "low": max(-1.0, over_seeds.low),
            "high": min(1.0, over_seeds.high),
        }
    elif one["n_test"] and two["n_test"]:
        parts = [_interval([d[seeds[0]]], r["n_test"]) for d, r in ((first, one), (second, two))]
        ends = [(d[seeds[0]], p["low"], p["high"]) for d, p in zip((first, second), parts, strict=True) if p]
        found = statistics.newcombe(ends[0], ends[1])
        interval = {
            "kind": "newcombe",
            "over": "test images",
            "n": min(one["n_test"], two["n_test"]),
            "level": 0.95,
            "low": found.low,
            "high": found.high,
        }
    return {
        "mean": float(np.mean(values)),
        "interval": interval,
        "p": statistics.sign_flip(values) if varies else None,
        "effect_size": statistics.effect_size(values),
        "n_seeds": len(seeds),
        "per_seed": dict(zip(seeds, values, strict=True)),
    }


def _simultaneous(found: dict[str, Any], family: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The t interval of one of a family's pairs, widened (Bonferroni) so that all of them hold together at 95%.

    Below six seeds, where nothing can be tested, it decides who is said to be ahead: by the plain intervals of three
    pairs one of three equal arms would be in every eighth comparison. Where failed runs leave such pairs beside pairs
    that are tested, the former share what those tests leave of the 5%: the family errs no more often for being split.
    """
    need = statistics.seeds_needed(verdict.ALPHA)
    tested = [statistics.attainable(d["n_seeds"], verdict.ALPHA) for d in family if d["n_seeds"] >= need]
    if found["n_seeds"] < need:
        level = 1 - (verdict.ALPHA - max(tested, default=0.0)) / (len(family) - len(tested))
    else:
        level = 1 - verdict.ALPHA / len(family)
    over_seeds = statistics.t_interval(list(found["per_seed"].values()), level)
    if over_seeds is None or found["p"] is None:
        return None
    ends = {"low": max(-1.0, over_seeds.low), "high": min(1.0, over_seeds.high)}
    return {"kind": "t", "over": "seeds", "n": found["n_seeds"], "level": level, **ends}


def _adjusted(family: list[dict[str, Any]]) -> list[float | None]:
    """max-T over the family. Pairs that a failed run left with too few seeds to be rejected at all do not
    burden the others: those are adjusted among each other, and the former over the whole family."""
    seeds = sorted({s for d in family for s in d["per_seed"]})
    rows = [[d["per_seed"].get(s, np.nan) for s in seeds] for d in family]
    testable = [i for i, d in enumerate(family) if d["p"] is not None]
    enough = [i for i in testable if family[i]["n_seeds"] >= statistics.seeds_needed(verdict.ALPHA)]
    out: list[float | None] = [None] * len(family)
    for group in (testable, enough):
        if group:
            for i, p in zip(group, statistics.max_t([rows[i] for i in group]), strict=True):
                out[i] = p
    return out
