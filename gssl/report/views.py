"""What every form of the report shows: the first screen and the tables.

The first screen is the answer in a word, the confidence in it and the facts of the comparison in a line, without
p-values; what the words rest on stands below it, in the tables.
"""

import json
from collections.abc import Sequence
from typing import Any

from gssl.report.advice import MOST_SHOWN
from gssl.report.cautions import dead
from gssl.report.model import AdviceGroup, Arm, Difference, Report, Score
from gssl.report.model_records import Interval
from gssl.report.verdict import base_of, decisive, outcome, size
from gssl.report.wording import duration, number, shown
from gssl.statistics.paired import seeds_needed
from gssl.words import count, label_budget_text, listed, p_text, points, tested, upper, word

MOST_PICTURES = 5_000_000  # characters of inlined pictures; what is beyond is named, so that the page opens
BUDGETED = ("flops", "images", "seconds")  # units of a budget that are measures of cost, too
ARROWS = {"low": "↓", "high": "↑", "one": "→ 1"}
COST_HEADS = {"flops": "FLOPs", "seconds": "wall time", "cpu_seconds": "CPU time", "memory": "peak memory"}
OWN = ("run", "random", "pixels", "majority", "position", "checkpoint")  # sources made here, or without weights

ANSWERS = {
    "yes": "Yes",
    "perhaps": "Perhaps",
    "perhaps not": "Perhaps not",
    "no": "No",
    "not shown": "Cannot tell yet",
}
LEAKS = ("test_in_training", "near_duplicates", "torn_groups")  # findings by which scores may be too high


# ── the answer ────────────────────────────────────────────────────────────────────────────────────


def short(report: Report) -> str:
    """The answer in a word or two; "" where the question asks for no yes or no."""
    word_ = str(report.verdict.answer)
    if word_ == "open":
        return "Cannot be said yet" if report.family and not _tested(report) and _seeds(report) < 2 else ""
    return ANSWERS[word_]


def headline(report: Report) -> str:
    """The headline without the word that `short` has said."""
    text = str(report.verdict.headline)
    start = f"{short(report)}: "
    return upper(text.removeprefix(start)) if text.startswith(start) else text


def _seeds(report: Report) -> int:
    return max((d.n_seeds for d in report.family), default=0)


def _tested(report: Report) -> bool:
    return any(d.n_seeds >= seeds_needed(report.primary.alpha) or d.fixed for d in report.family)


def confidence(report: Report) -> str:
    """How far the answer may be trusted, in one or two sentences."""
    family, answer = report.family, report.verdict.answer
    if not family:
        return ""
    alpha = report.primary.alpha
    need = word(seeds_needed(alpha))
    if _seeds(report) < 2:
        return f"None yet: with one seed nothing distinguishes a method from luck. {upper(need)} seeds can."
    if report.preregistration and report.preregistration.exploratory:
        text = "Not established: scores were looked at before with fewer seeds, and no test can be passed any more."
        return _but(report, text)
    kinds = [outcome(d, alpha) for d in family]
    if "beats" in kinds and answer in ("yes", "no", "open"):
        return _but(report, _named(report, family, alpha))
    if "ahead" in kinds:
        few = word(min(d.n_seeds for d in family if outcome(d, alpha) == "ahead"))
        return _but(report, f"Not established: {few} seeds give a hint, and {need} are needed to confirm it.")
    if answer == "no":
        return _but(report, "Well supported: the differences are shown to be too small to matter.")
    open_ = [d for d, kind in zip(family, kinds, strict=True) if kind == "none"]
    text = _reach(report, open_)
    return _but(report, text + (" What is said to beat something is well supported." if "beats" in kinds else ""))


def _reach(report: Report, pairs: list[Difference]) -> str:
    """How large a difference could still be, which way, and whose: by the intervals that the headline gives."""
    names = {a.name: "training from scratch" if a.kind == "scratch" else a.title for a in report.arms}
    kinds, base = {a.name: a.kind for a in report.arms}, base_of(report)
    here = [d.over(base) if base else d for d in pairs if base is None or base in (d.a, d.b)]
    known: list[tuple[Difference, Interval]] = [(d, i) for d in here if (i := decisive(d))]
    if not known:
        return "Undecided, not equal."
    (up, highest), (down, lowest) = max(known, key=lambda k: k[1].high), min(known, key=lambda k: k[1].low)
    high, low = highest.high, -lowest.low
    if base and kinds[base] == "scratch" and all(kinds[d.a] in ("ssl", "gan") for d, _ in known):
        ways = [f"help by up to {points(high)} points ({names[up.a]})"] if high > 0 else []
        ways += [f"hurt by up to {points(low)}{'' if ways else ' points'} ({names[down.a]})"] if low > 0 else []
        return f"Undecided, not equal: pretraining could still {' or '.join(ways)}."
    over, under = (f"{names[d.a]} could still score up to" for d in (up, down))
    ways = [f"{over} {points(high)} points higher than {names[up.b]}"] if high > 0 else []
    ways += [f"{under} {points(low)} points lower than {names[down.b]}"] if low > 0 else []
    return f"Undecided, not equal: {', or '.join(ways)}."


def _named(report: Report, family: list[Difference], alpha: float) -> str:
    """Where somebody wins: what that rests on, and what stays open beside it."""
    text = (
        "Well supported: what beats something here does so with other seeds and other test images of the same kind,"
        f" too. The risk that {'any of it' if len(family) > 1 else 'this'} is wrong is at most {100 * alpha:.2g}%"
    )
    margin = report.primary.margin
    small = [d for d in family if outcome(d, alpha) == "beats" and size(d, margin, alpha) != "at_least"]
    if len(small) == sum(outcome(d, alpha) == "beats" for d in family):
        text += f", though the gain may be below {100 * margin:.3g} points, too small to matter"
    return text + "."


def _but(report: Report, text: str) -> str:
    """What takes from it is said beside it; the cautions say it in full."""
    against = []
    if any(found.kind in LEAKS for found in report.findings):
        against.append("some test images are known from training")
    if dead(report):
        against.append("a generator is dead")
    plan = report.preregistration
    if plan and plan.state == "changed":
        against.append("the plan was changed after scores were there")
    elif plan and plan.state == "unknown":
        against.append("nothing shows that the comparisons were chosen before the scores were seen")
    return f"{text} But {listed(against)}: see the cautions." if against else text


# ── facts ────────────────────────────────────────────────────────────────────────────────────────


def facts(report: Report) -> list[tuple[str, str]]:
    """(what, text): the numbers that the answer rests on."""
    out = []
    tests = [r.n_test for r in report.table if r.n_test]
    if tests:
        few, many = min(tests), max(tests)
        out.append(("Test images", f"{few:,}" if few == many else f"{few:,} to {many:,}"))
    label_budget = report.primary.label_budget
    total = next((a.n_train for a in report.label_budgets if a.key == label_budget), None)
    per = label_budget_text(label_budget)
    if total:
        own = per if label_budget == "all" else per.replace("labels ", "").replace("label ", "")
        own = "" if label_budget.endswith("i") else f" ({own})"
        out.append(("Labels", f"{total:,.0f}{own}"))
    else:
        out.append(("Labels", per))
    n = max((len(a.seeds) for a in report.arms), default=0)
    if n > 1:
        out.append(("Seeds", f"{n} (everything repeated {n} times with other random numbers)"))
    elif n:
        out.append(("Seeds", "1 (nothing was repeated)"))
    if took := training(report):
        out.append(("Training", took))
    if net := network(report):
        out.append(("Network", net))
    if report.data:
        out.append(("Data", report.data))
    return out


def training(report: Report) -> str:
    """ "1.1 min per run for SimCLR and DCGAN; 14.0 min in all"; arms that took about as long stand together."""
    names = report.titles
    role = {a.name: a.role for a in report.arms}
    spent = {r.arm: r.mean for r in report.cost if r.metric == "seconds" and r.mean}
    groups: list[list[str]] = []
    for arm in sorted((arm for arm in spent if role.get(arm) != "reference"), key=lambda arm: spent[arm]):
        if groups and spent[arm] <= 1.1 * spent[groups[-1][0]]:
            groups[-1].append(arm)
        else:
            groups.append([arm])
    order = list(names)
    parts = [
        f"{duration(sum(spent[arm] for arm in who) / len(who))} a run for"
        f" {listed([names[arm] for arm in sorted(who, key=order.index)])}"
        for who in groups
    ]
    everything = sum(c.seconds or 0.0 for c in report.compute)
    total = [f"{duration(everything)} in all, including testing"] if everything else []
    return "; ".join([*parts, *total])


def network(report: Report) -> str:
    """ "small convolutional network, 16 channels wide"; "" where no run says, all of them where they differ."""
    nets = []
    for a in report.arms:
        net = a.backbone or {}
        if net.get("name"):
            name, width = net["name"], net.get("width")
            wide = f", width {width}" if width else ""
            if name == "convnet":
                name, wide = "small convolutional network", f", {width} channels wide" if width else ""
            nets.append(f"{name}{wide}")
    found = list(dict.fromkeys(nets))
    return found[0] if len(found) == 1 else f"not the same for all: {listed(found)}" if found else ""


def advice(report: Report) -> list[str]:
    """What to do, the first sentence first; empty where fewer than two arms have scores."""
    return report.advice.sentences if report.advice else []


def groups(report: Report) -> list[AdviceGroup]:
    """What more would buy."""
    return report.advice.groups if report.advice else []


def lead(report: Report) -> list[str]:
    """What to do: the advice without what more would buy."""
    grouped = [text for group in groups(report) for text in group.sentences]
    return [text for text in advice(report) if text not in grouped]


def chart_key(report: Report) -> str:
    """How to read the chart of the first screen."""
    repeated = max((len(a.seeds) for a in report.arms), default=0) > 1
    return f"{'dot: one run; bar: average' if repeated else 'bar: score'}; band: plausible range"


# ── scores ───────────────────────────────────────────────────────────────────────────────────────


def intervals(report: Report, rows: Sequence[Score] | None = None) -> str:
    """ "95% intervals over 6 seeds and 1,000 test images": what varies in the intervals of the table's rows."""
    kinds: dict[str, list[Any]] = {}
    for row in report.table if rows is None else rows:
        if row.interval:
            kinds.setdefault(row.interval.over, []).append(row.interval)
    parts = []
    for over, found in kinds.items():
        images = f"{_span({i.items for i in found})} {tested(None, found[0].grouped)}"
        parts.append(f"{_span({i.n for i in found})} seeds and {images}" if over != "test images" else images)
    if len(parts) > 1 and all(part.endswith(parts[-1]) for part in parts):  # the same images, without seeds
        parts[-1] = "these alone where nothing depends on the seed"
    return f"95% intervals over {' or '.join(parts)}" if parts else "no intervals"


def _span(n: set[int]) -> str:
    return f"{min(n):,}" if len(n) == 1 else f"{min(n):,} to {max(n):,}"


# ── differences ──────────────────────────────────────────────────────────────────────────────────


OUTCOMES = {"none": "no difference shown", "single": "one seed", "absent": "nothing"}


def difference(d: Difference, report: Report) -> dict[str, Any]:
    """A difference with its outcome and its relation to the smallest difference of interest, in words."""
    alpha, margin = report.primary.alpha, report.primary.margin
    kind, least = outcome(d, alpha), f"{100 * margin:.3g}"
    if kind in ("beats", "ahead"):
        winner = report.titles[d.a if d.gap > 0 else d.b]
        called = f"{winner} {'higher' if kind == 'beats' else 'ahead, not tested'}"
    else:
        called = OUTCOMES[kind]
    sizes = {"at_least": f"at least {least}", "equivalent": f"equivalent: below {least}", "undecided": "undecided"}
    return vars(d) | {
        "called": called,
        "size": sizes[size(d, margin, alpha)],
        "level": f"{100 * d.simultaneous.level:.3g}%" if d.simultaneous else "",
        "images": f"{100 * d.item_share:.0f}%" if d.item_share is not None else "–",
    }


def needed(report: Report) -> list[dict[str, Any]]:
    """Per primary pair: how wide its interval is now, what was to be shown, and how many seeds or images that takes."""
    means = {(d.a, d.b): d.mean for d in report.family}
    most, out = MOST_SHOWN, []
    for n in report.needs:
        seeds = "not alone" if not n.seeds or n.seeds > most or n.fixed else f"{n.seeds:,}"
        items = "not alone" if not n.items or n.items > most else f"{n.items:,}"
        texts = {"seeds_text": seeds, "items_text": items, "mean": means[n.a, n.b], "reached": n.now <= n.half}
        out.append(vars(n) | texts)
    return out


def registered(report: Report) -> list[tuple[str, str]]:
    """What was on record when, as (what, text)."""
    plan, out = report.preregistration, []
    if plan:
        out.append(("the plan", plan.text))
        times = (("first on record", plan.first), ("first score", plan.when_scored), ("as it is now", plan.recorded))
        out += [(name, when.replace("T", " ")) for name, when in times if when]
        out += [(f"changed: {found.kind.replace('_', ' ')}", found.text) for found in plan.changes]
        seeds = [str(n) for n in plan.seeds_at_look or []]
        if seeds:
            held = f"{count(len(seeds), 'look')}, at {listed(seeds)} seeds; the test of this one is held to a level of"
            out.append(("looks at the scores", f"{held} {p_text(plan.level)[2:]}"))
        if plan.record:
            out.append(("record", f"{plan.record}, line {plan.hash}"))
    if report.openings:
        out.append(("test images", report.openings.text))
    return out


# ── generation ───────────────────────────────────────────────────────────────────────────────────


def generation(report: Report) -> dict[str, Any]:
    """Arms against metrics, with the real-vs-real baselines; and in a sentence the evaluator, the split and the numbers
    of images."""
    rows = report.generation
    heads = list({r.metric: r for r in rows}.values())
    at = {(r.arm, r.metric): r for r in rows}
    baselines = {m: sorted({r.baseline for r in rows if r.metric == m and r.baseline is not None}) for _, m in at}
    kinds = dict.fromkeys((r.evaluator, r.split, r.n) for r in rows)
    said = [
        f"evaluator {name}, {count(n or 0, 'generated image')} against the {split} split" for name, split, n in kinds
    ]
    over = dict.fromkeys(r.interval.over for r in rows if r.interval)
    return {
        "heads": [{"metric": h.metric, "label": h.label, "arrow": ARROWS[h.better]} for h in heads],
        "intervals": f"over {' or '.join(over)}" if over else "none",
        "rows": [
            {"arm": a.name, "cells": [at.get((a.name, h.metric)) for h in heads]}
            for a in report.arms
            if any((a.name, h.metric) in at for h in heads)
        ],
        "baselines": [baselines[h.metric] for h in heads],
        "settings": "; ".join(said) if len(said) < 4 else f"{len(said)} settings, see every row",
    }


# ── compute ──────────────────────────────────────────────────────────────────────────────────────


def cost(report: Report) -> dict[str, Any]:
    """What each arm's training spent over all its stages, and its search beside it."""
    heads = [{"metric": m, "label": COST_HEADS.get(m, m)} for m in dict.fromkeys(r.metric for r in report.cost)]
    at = {(r.arm, str(r.metric)): r for r in report.cost}
    search = {s.arm: s for s in report.searches}
    rows = []
    for a in report.arms:
        if any((a.name, h["metric"]) in at for h in heads):
            cells = [at.get((a.name, h["metric"])) for h in heads]
            rows.append({"arm": a.name, "cells": cells, "stages": _stages(a), "search": search.get(a.name)})
    return {"heads": heads, "rows": rows, "searched": bool(search), "deviation": deviation(report)}


def _stages(arm: Arm) -> str:
    """ "simclr 50% (30.1 s) → dcgan 50%"; one stage alone is all of it."""
    parts = []
    for s in arm.stages:
        took = f" ({duration(s.seconds)})" if s.seconds is not None else ""
        part = f" {100 * s.fraction:.3g}%" if s.fraction is not None and len(arm.stages) > 1 else ""
        parts.append(f"{s.method or s.command}{part}{took}")
    return " → ".join(parts)


def deviation(report: Report) -> str:
    """How far the trained arms are from equal spending, in a sentence."""
    budget = report.budget
    metric = budget.unit if budget and budget.unit in BUDGETED else "flops"
    titles = {a.name: a.title for a in report.arms if a.stages}
    spent = {r.arm: r for r in report.cost if r.metric == metric and r.arm in titles and r.mean}
    if not spent:
        return ""
    if budget and budget.unit == metric and budget.value:
        off = {a: max(abs(v / budget.value - 1) for v in r.per_seed.values()) for a, r in spent.items()}
        worst = max(off, key=lambda a: off[a])
        return f"The largest deviation of a run from the budget is {100 * off[worst]:.2g}% ({titles[worst]})."
    if len(spent) < 2:
        return ""
    most, least = (pick(spent, key=lambda a: spent[a].mean or 0.0) for pick in (max, min))
    gap = 100 * ((spent[most].mean or 0.0) / (spent[least].mean or 1.0) - 1)
    what = "FLOPs" if metric == "flops" else metric
    if gap < 0.005:
        return f"All trained arms spent equal {what} (largest deviation below 0.01%)."
    return (
        f"The largest deviation between trained arms: {titles[most]} spent {gap:.2g}% more {what} than {titles[least]}."
    )


def compute(report: Report) -> list[dict[str, Any]]:
    """What each arm spent per stage, evaluation too: means over its runs, as texts with their numbers."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for c in report.compute:
        groups.setdefault((c.arm, c.stage), []).append(c)
    order = {a.name: i for i, a in enumerate(report.arms)}
    out = []
    for (arm, stage), runs in sorted(groups.items(), key=lambda g: (order.get(g[0][0], 99), g[0][1])):
        cells = []
        for key in STAGE_COLUMNS:
            known = [v for c in runs if (v := getattr(c, key)) is not None]
            mean = sum(known) / len(known) if known else None
            cells.append({"value": number(key, mean), "text": shown(key, mean)})
        out.append({"arm": arm, "stage": stage, "runs": len(runs), "cells": cells})
    return out


STAGE_COLUMNS = {
    "seconds": "wall time",
    "flops": "FLOPs",
    "images": "images",
    "steps": "steps",
    "peak_memory_bytes": "peak memory",
    "images_per_second": "images per s",
}


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────


def stability(report: Report) -> str:
    """All training runs in one sentence."""
    rows = report.stability
    if not rows:
        return "No training run is on record: nothing could diverge."
    total = {k: sum(getattr(r, k) for r in rows) for k in ("runs", "finished", "diverged", "collapsed", "failed")}
    bad = [f"{total[k]} {k}" for k in ("diverged", "collapsed", "failed")]
    runs = count(total["runs"], "training run")
    return f"Of {runs} {total['finished']} finished, {listed(bad)}. None is dropped; a collapsed run finished."


def trials(report: Report) -> list[dict[str, Any]]:
    """Trials per arm: those of its search, else one."""
    search = {s.arm: s for s in report.searches}
    return [{"arm": a.name, "search": search.get(a.name)} for a in report.arms]


def pictures(report: Report) -> list[dict[str, Any]]:
    """Pictures with their captions; beyond MOST_PICTURES characters a picture is only named."""
    titles = report.titles
    out, left = [], MOST_PICTURES
    for s in report.samples:
        step = f", step {s.step:,}" if s.step is not None else ""
        who = f"{titles.get(s.arm, s.arm)}, seed {s.seed}{step}"
        png = s.png if s.png and len(s.png) <= left else None
        left -= len(png or "")
        out.append(vars(s) | {"who": who, "png": png, "alt": s.alt or f"{s.kind.capitalize()}: {who}"})
    return out


# ── provenance ───────────────────────────────────────────────────────────────────────────────────


def flat(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as (dotted name, text) pairs; what is empty is left out."""
    if isinstance(tree, dict):
        return [pair for k, v in tree.items() for pair in flat(v, f"{prefix}.{k}" if prefix else str(k))]
    if tree is None or tree == "" or tree == []:
        return []
    if isinstance(tree, list):
        short = [str(v) for v in tree[:12]]
        return [(prefix, ", ".join(short) + (f" … ({len(tree)})" if len(tree) > 12 else ""))]
    return [(prefix, str(tree))]


def loads(report: Report) -> dict[str, int]:
    """Runs that were filled from weights, and how many of them had keys missing or unexpected."""
    found = [r.load_report for r in report.provenance.runs if r.load_report and r.load_report.get("loaded")]
    return {"runs": len(found), "partial": sum(bool(f.get("missing") or f.get("unexpected")) for f in found)}


def foreign(report: Report) -> list[dict[str, Any]]:
    """Weights that came from elsewhere, each with the number of runs that evaluated them or began from them."""
    found: dict[str, dict[str, Any]] = {}
    for r in report.provenance.runs:
        source = r.source or {}
        if source.get("kind", "run") not in OWN:
            items = flat(source)
            found.setdefault(json.dumps(items), {"arm": r.arm, "items": items, "runs": 0})["runs"] += 1
    return list(found.values())
