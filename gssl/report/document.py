"""From runs to the document, report.json: arms, table, paired differences and what carries the verdict.

Sentences are made in `verdict`, `advice` and `cautions` from what stands here.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

import gssl
from gssl import words
from gssl.config import registry
from gssl.config.comparison_rules import MOST_PAIRS
from gssl.config.menus import CLASSICAL, CONTROLS, UNTRAINED, base, kind_of, probes_of, shared
from gssl.errors import UsageError
from gssl.report import advice, cautions, generation, records, verdict
from gssl.report.collect import Run
from gssl.report.consistency import Trained
from gssl.report.model import SCHEMA, Arm, Difference, LabelBudget, Primary, Report, Score, Verdict, clean
from gssl.report.model_records import Finding, Interval, Openings, Preregistration, Search, known
from gssl.report.scores import TASK, Cells, Gap, cells, doubts, gap, metrics_of, of_arm, top_of
from gssl.schemas.label_budgets import label_budget_key
from gssl.statistics import paired
from gssl.statistics.families import ALPHA, adjusted, levels
from gssl.statistics.metric import METRICS

MARGIN = 0.005  # smallest difference of interest where no plan says so: conf/compare.yaml has it for `gssl compare`
UNEQUAL = 2.0  # a class so many times as large as another: then every class counts alike

SENTENCES = ("question", "verdict", "advice", "limitations", "label_budgets")  # fields that hold texts

Rows = dict[tuple[str, str, str], Score]


def build(runs: Sequence[Run], plan: dict[str, Any], found: Cells | None = None) -> Report:
    """The report of `runs`; `found`: their cells, where they were read already.

    `plan` was fixed before anything was looked at. Its keys, all optional: `probe` and `labels_per_class`, `fraction`
    or `images_labelled` of the primary family, else by the rule of `menus.shared`; its `pairs` ([[a, b], …], at most
    six), `metric` (else the task's, by the class sizes), `margin` (smallest difference of interest, in [0, 1]), `arms`
    and `seeds` as planned (a list, or n for 0 … n − 1), `command`, `question`, `data` (a name), `titles` ({arm: shown
    name}), `described` ({arm: {family, stages, note, source, labels}}), `failed` ([{arm, seed, stage, error}, …] for
    parts that left no directory), `budget`, `searches`, `allow_norm_diff`, `notes` (sentences for the limitations),
    `cautions` (sentences that weaken the verdict), `preregistration`, `openings`.
    Raises UsageError for too many pairs, or for a pair with an unknown arm or the reference.
    """
    if isinstance(plan.get("seeds"), int):
        plan = plan | {"seeds": list(range(plan["seeds"]))}
    found = cells(runs) if found is None else found
    record = known(Preregistration, plan.get("preregistration") or {})
    registered = Preregistration.model_validate(record) if record else None
    arms = _arms(runs, plan)
    names = [a.name for a in arms]
    metric = plan.get("metric") or chosen_metric(runs, found)
    rows = _table(found, arms, metric)
    alpha = registered.alpha if registered and registered.alpha is not None else ALPHA
    primary = _primary(plan, arms, rows, metric, alpha)
    made = generation.rows(runs, names)
    roles = {a.name: a.role for a in arms}
    pairs = differences(found, roles, primary)
    pairs += generation.differences(made, [a.name for a in arms if a.role == "contestant"], runs)
    recorded = {
        "data": records.data_name(runs, plan),
        "seeds": sorted({r.seed for r in runs if r.seed is not None}),
        "planned_seeds": plan.get("seeds"),
        "generation": made,
        "generation_quality": generation.qualities(runs, made),
        "cost": records.cost(runs, names),
        "budget": plan.get("budget"),
        "progress": records.progress(runs),
        "stability": records.stability(runs, names),
        "searches": [known(Search, s) for s in plan.get("searches") or []],
        "curves": records.curves(runs),
        "samples": records.samples(runs),
        "compute": [records.spent(r) for r in runs if r.finished and r.result.get("spent")],
        "provenance": records.provenance(runs, plan),
        "findings": [known(Finding, f) for f in records.findings(runs)],
        "openings": known(Openings, plan["openings"]) if plan.get("openings") else None,
        "failed": records.failed(runs, plan),
        "alarms": records.alarms(runs),
        "missing": records.missing(runs, plan, names),
        "notes": list(plan.get("notes") or []),
    }
    report = Report.model_validate(
        {
            "schema": SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "gssl": gssl.__version__,
            "question": plan.get("question") or "",
            "verdict": Verdict(answer="open", headline="", cannot=[], sentences=[], exploratory=[], cautions=[]),
            "primary": primary,
            "arms": arms,
            "label_budgets": _label_budgets(found),
            "probes": list(dict.fromkeys(probe for _, probe, _ in rows)),
            "table": list(rows.values()),
            "differences": pairs,
            "preregistration": registered,
            "allow_norm_diff": bool(plan.get("allow_norm_diff")),
            "limitations": [],
            "needs": [],
            "advice": None,
        }
        | clean(recorded)
    )
    report.question = report.question or verdict.question(report)
    report.needs = advice.needs(report, found)
    report.advice = advice.advice(report, found)
    report.verdict = verdict.verdict(report)
    report.verdict.cautions = [*doubts(found), *cautions.cautions(report), *(plan.get("cautions") or [])]
    report.limitations = cautions.limitations(report)
    text = report.as_json()
    return Report.model_validate(text | {key: _said(report, text[key]) for key in SENTENCES if text.get(key)})


def _said(report: Report, value: Any) -> Any:
    """Sentences, and what holds them, in the words of what is predicted."""
    if isinstance(value, Mapping):
        return {key: _said(report, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_said(report, each) for each in value]
    return report.said(value) if isinstance(value, str) else value


def chosen_metric(runs: Sequence[Run], found: Cells) -> str:
    """The first metric that the scores have; where the largest class is more than twice the smallest, in the labels
    that are trained on or in those of the test items, the first that is a mean over classes: there a mean over items
    rewards predicting the largest class always. By sizes alone, never by scores."""
    first = next((s for cell in found.values() for draws in cell.scores.values() for s in draws), {})
    there = list(metrics_of(first)) or list(METRICS)
    sizes = [counts for run in runs for counts in ((run.result.get("data") or {}).get("class_counts") or {}).values()]
    labels = [cell.items.labels for cell in found.values() if cell.items is not None and cell.items.labels is not None]
    sizes += [np.bincount(of).tolist() for of in labels[:1]]
    if not METRICS[there[0]].per_item_mean or not any(unequal(counts) for counts in sizes):
        return there[0]
    return next((name for name in there if METRICS[name].of_classes is not None), there[0])


def unequal(counts: Sequence[int]) -> bool:
    """Whether the largest class that occurs is more than twice the smallest."""
    there = [n for n in counts if n]
    return len(there) > 1 and max(there) > UNEQUAL * min(there)


# ── arms ─────────────────────────────────────────────────────────────────────────────────────────


def _arms(runs: Sequence[Run], plan: dict[str, Any]) -> list[Arm]:
    planned = list(plan.get("arms") or [])
    seen = sorted({r.arm for r in runs} - set(planned))
    rank = {"contestant": 0, "control": 2, "reference": 3}
    arms = []
    trained = Trained(runs)
    for name in dict.fromkeys(planned + seen):
        mine = [r for r in runs if r.arm == name]
        behind = trained.of_arm(runs, name)
        described: dict[str, Any] = (plan.get("described") or {}).get(name) or {}
        described = described or next((r.part["about"] for r in mine if r.part.get("about")), {})
        kind = base(str(described.get("source") or name))
        labels = registry.reads_labels(kind) or bool(described.get("labels"))
        for r in [*mine, *behind]:
            labels |= bool(r.result.get("labels_used"))
        done = {r.seed for r in mine if r.stage == "transfer" and r.finished}
        lost = {r.seed for r in mine if not r.finished and r.stage in ("pretrain", "transfer")}
        lost |= {f.get("seed") for f in plan.get("failed") or [] if f.get("arm") == name}
        backbones = [r.result["backbone"] for r in reversed(behind) if r.finished and r.result.get("backbone")]
        family = described.get("family") or _family(kind, behind)
        arm: dict[str, Any] = {
            "name": name,
            "title": words.title(name, plan.get("titles")),
            "role": "control" if kind in CONTROLS else "reference" if labels else "contestant",
            "family": family,
            "kind": kind_of(kind, family),
            "stages": described.get("stages") or _stages(behind),
            "note": records.note(described, mine),
            "pretrained": kind not in (*UNTRAINED, *CONTROLS),
            "seeds": sorted(s for s in done if s is not None),
            "failed_seeds": sorted(s for s in lost - done if s is not None),
            "backbone": next(iter(backbones), None),
        }
        arms.append(Arm.model_validate(arm))
    # Contestants that were pretrained, then the others, the controls and the references; inside as planned.
    return sorted(arms, key=lambda a: rank[a.role] + (a.role == "contestant" and not a.pretrained))


def _family(kind: str, behind: Sequence[Run]) -> str:
    """gan | ssl | classical | file | none, where no plan says so."""
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
        found[method] = {"method": method, "command": "train-gan" if method in registry.GAN else "pretrain-ssl"}
    return [stage | {"fraction": 1 / len(found)} for stage in found.values()]


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def _label_budgets(found: Cells) -> list[LabelBudget]:
    sizes: dict[str, list[float]] = defaultdict(list)
    for (_, _, key), cell in found.items():
        sizes[key] += [s["n_train"] for draws in cell.scores.values() for s in draws if s.get("n_train")]
    listed = [LabelBudget(key=k, label=words.label_budget_text(k), n_train=_mean(v)) for k, v in sizes.items()]
    return sorted(listed, key=lambda a: (a.key == "all", a.n_train or 0.0))


def _table(found: Cells, arms: Sequence[Arm], metric: str) -> Rows:
    """One row per arm, probe and label budget, in the arms' order; mean, interval and per_seed are the metric's."""
    order = {a.name: i for i, a in enumerate(arms)}
    rows: Rows = {}
    for (arm, probe, label_budget), cell in sorted(found.items(), key=lambda item: order[item[0][0]]):
        per_seed = cell.per_seed(metric)
        if not per_seed:
            continue
        flat = [s for draws in cell.scores.values() for s in draws]
        by_draw = [[metrics_of(s)[metric] for s in d] for d in cell.scores.values() if len(d) > 1]
        scatter = [float(np.std(values, ddof=1)) for values in by_draw]
        taken = [c for s in flat for c in s.get("chosen_by_fold") or [s.get("chosen")] if c]
        beside = [metrics_of(s) for s in flat]
        rows[arm, probe, label_budget] = Score(
            arm=arm,
            role=arms[order[arm]].role,
            task=cell.task,
            probe=probe,
            label_budget=label_budget,
            metric=metric,
            mean=float(np.mean(list(per_seed.values()))),
            interval=of_arm(cell, metric),
            per_seed={str(seed): value for seed, value in per_seed.items()},
            n_seeds=len(per_seed),
            draws=max(len(draws) for draws in cell.scores.values()),
            draw_sd=_mean(scatter),
            n_train=_mean([s.get("n_train") for s in flat]),
            n_test=cell.n_test,
            validation=_mean([next(iter((s.get("validation") or {}).values()), s.get("val_accuracy")) for s in flat]),
            metrics={name: float(np.mean([m[name] for m in beside if name in m])) for name in beside[0]},
            components=_components([(s.get("components") or {}).get(metric) or {} for s in flat]),
            chosen=taken[:1],
            adapted_by=_adapted_by(taken),
        )
    return rows


def _adapted_by(taken: Sequence[dict[str, Any]]) -> dict[str, int] | None:
    """How often each way of adapting was chosen on validation folds, of a cell that had the choice."""
    names = [str(chosen["probe"]) for chosen in taken if "probe" in chosen]
    return {name: names.count(name) for name in sorted(set(names))} if names else None


def _components(entries: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Class → mean over those entries in which it is defined."""
    return {name: _mean([entry.get(name) for entry in entries]) for name in entries[0]}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [float(v) for v in values if v is not None]
    return float(np.mean(known)) if known else None


# ── what carries the verdict ─────────────────────────────────────────────────────────────────────


def _primary(plan: dict[str, Any], arms: Sequence[Arm], rows: Rows, metric: str, alpha: float) -> Primary:
    """What may carry the verdict: by the plan, and by rules over names where it says nothing."""
    probe, label_budget = shared(rows, plan.get("probe"))
    labels, fraction, images = (plan.get(key) for key in ("labels_per_class", "fraction", "images_labelled"))
    if (labels, fraction, images) != (None, None, None):
        label_budget = label_budget_key(labels if fraction is None else None, fraction, images)
    names = [a.name for a in arms]
    pairs = plan.get("pairs")
    if pairs is None:
        kinds = {a.name: a.kind for a in arms if a.role == "contestant"}
        if planned := plan.get("arms"):  # the report's order puts what is pretrained first
            kinds = {name: kinds[name] for name in [*planned, *kinds] if name in kinds}
        controls = [c for c in CONTROLS if c in names and c != "majority" and probes_of(c, [probe])]
        pairs = paired.default_pairs(kinds, controls[:1], MOST_PAIRS)
    if len(pairs) > MOST_PAIRS:
        raise UsageError(f"primary.pairs: a primary family has at most {MOST_PAIRS} pairs, not {len(pairs)}")
    unknown = [name for pair in pairs for name in pair if name not in names]
    if unknown:
        raise UsageError(f"primary.pairs: unknown arm {unknown[0]!r}; the arms are {', '.join(names)}")
    lines = [a.name for a in arms if a.role == "reference" and any(a.name in pair for pair in pairs)]
    if lines:
        raise UsageError(f"primary.pairs: {lines[0]!r} is a reference line and is never ranked: leave it out")
    return Primary(
        probe=probe,
        label_budget=label_budget,
        pairs=[list(pair) for pair in pairs],
        fixed_by=plan.get("fixed_by") or ("plan" if plan.get("pairs") is not None else "rule"),
        task=next((row.task for (_, p, _), row in rows.items() if p == probe), TASK),
        metric=metric,
        margin=plan.get("margin", MARGIN),
        alpha=alpha,
    )


# ── paired differences ───────────────────────────────────────────────────────────────────────────


def differences(found: Cells, roles: Mapping[str, str], primary: Primary) -> list[Difference]:
    """The primary family first, adjusted together at its alpha; then everything else, exploratory, not adjusted.

    What a difference is called is decided in `verdict.outcome`.
    """
    names = list(roles)
    pairs = [(a, b) for a, b in primary.pairs]
    made = [difference(found, a, b, primary.probe, primary.label_budget, primary.metric) for a, b in pairs]
    family = [d for d, _ in made]
    wide = levels([d.n_seeds for d in family], primary.alpha)
    together = adjusted([d.per_seed for d in family], [d.p is not None for d in family], primary.alpha)
    for (d, between), p, level in zip(made, together, wide, strict=True):
        d.family, d.p_adjusted = "primary", p
        d.simultaneous = between.interval(level) if between else None
        d.over_seeds = over_seeds(d, level)
    out = list(family)
    tables = dict.fromkeys((probe, label_budget) for _, probe, label_budget in found)
    for probe, label_budget in sorted(tables, key=lambda table: table[0] != primary.probe):
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                listed = (probe, label_budget) == (primary.probe, primary.label_budget)
                ranked = roles[a] == "contestant" and roles[b] != "reference"
                # a generator that was trained with all labels: fair against what has them all too
                ranked |= label_budget == "all" and (base(a) == b or base(b) == a)
                if (listed and ((a, b) in pairs or (b, a) in pairs)) or not ranked:
                    continue
                d, _ = difference(found, a, b, probe, label_budget, primary.metric)
                if d.mean is not None:
                    d.over_seeds = over_seeds(d, 0.95)
                    out.append(d)
    return out


def difference(
    found: Cells, a: str, b: str, probe: str, label_budget: str, metric: str
) -> tuple[Difference, Gap | None]:
    """a − b by one probe with one label budget; `mean` is None where no seed finished in both."""
    one, two = found.get((a, probe, label_budget)), found.get((b, probe, label_budget))
    between = gap(one, two, metric) if one and two else None
    return numbers(
        between, a=a, b=b, probe=probe, probes=[probe, probe], label_budget=label_budget, metric=metric
    ), between


def numbers(between: Gap | None, **names: Any) -> Difference:
    """Mean, interval over seeds and test images and the sign-flip test's p, which where nothing depends on the seed is
    None; of None nothing."""
    values = list(between.per_seed.values()) if between else []
    spread = between.spread if between else None
    fixed = bool(values) and (spread.fixed if spread else not paired.varies(values))
    return Difference(
        **names,
        mean=between.mean if between else None,
        interval=between.interval() if between else None,
        p=None if fixed or len(values) < 2 else paired.sign_flip(values),
        p_adjusted=None,
        simultaneous=None,
        effect_size=paired.effect_size(values),
        n_seeds=len(values),
        per_seed={str(seed): value for seed, value in between.per_seed.items()} if between else {},
        family="exploratory",
        fixed=fixed and len(values) > 1,
        item_share=spread.item_share if spread else None,
        over_seeds=None,
    )


def over_seeds(d: Difference, level: float) -> Interval | None:
    """The t interval over seeds alone: below six seeds, where nothing can be tested, it must exclude 0 as well."""
    own = paired.t_interval(list(d.per_seed.values()), level)
    if own is None or d.p is None:
        return None
    top = top_of(d.metric)  # no difference of two values within [0, top] is larger
    return Interval(kind="t", over="seeds", n=d.n_seeds, level=level, low=max(own.low, -top), high=min(own.high, top))
