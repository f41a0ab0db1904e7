"""What to do, by a written rule from the report's numbers alone, and what more data or computing would buy.

The rule: of all arms with a score at the primary label budget, keep those not shown to be worse than the one with
the highest mean; of these take the one that cost least to train here. A control may come out of it: then nothing that
was tried is shown to beat it.
"""

from collections.abc import Mapping

from gssl.config.menus import trains
from gssl.config.registry import PROBE
from gssl.report.model import Advice, AdviceGroup, Behind, KeptArm, Need, Report, StepUp
from gssl.report.scores import Cells, gap
from gssl.report.verdict import outcome
from gssl.report.wording import duration
from gssl.statistics.paired import seeds_needed
from gssl.statistics.two_way import half_width, needed
from gssl.words import by_probe, count, label_budget_text, listed, points, span, tested, upper

DIGITS = 9  # means that agree in them are equal: of as many right answers, summed in another order
MOST_SHOWN = 100_000  # numbers of images or seeds above which "no number in reach" says more


def _means(report: Report, found: Cells) -> dict[str, float]:
    """Mean of every arm that may be used, at the primary label budget; references were trained with other labels."""
    at = report.primary.probe, report.primary.label_budget
    usable = {a.name for a in report.arms if a.role != "reference"}
    rows = [r for r in report.table if (r.probe, r.label_budget) == at and r.arm in usable]
    return {r.arm: r.mean for r in rows if (r.arm, *at) in found}


def _cost(report: Report, arm: str) -> tuple[float, float]:
    """What training an arm took here: FLOPs, then seconds; nothing where nothing was trained."""
    spent = {r.metric: r.mean for r in report.cost if r.arm == arm}
    return float(spent.get("flops") or 0.0), float(spent.get("seconds") or 0.0)


def advice(report: Report, found: Cells) -> Advice | None:
    """None where fewer than two arms have a score.

    An arm is shown to be worse where the interval over seeds and test items of its distance from the best excludes 0,
    at a level that holds for all arms together (Bonferroni; comparisons with the best, Hsu 1981), and where the two are
    a primary pair, the verdict says so as well.
    """
    means = _means(report, found)
    if len(means) < 2:
        return None
    probe, label_budget, metric = report.primary.probe, report.primary.label_budget, report.primary.metric
    best = max(means, key=lambda arm: round(means[arm], DIGITS))
    level = 1 - report.primary.alpha / (len(means) - 1)
    kept: list[KeptArm] = []
    for arm, mean in means.items():
        one, two = found[best, probe, label_budget], found[arm, probe, label_budget]
        between = gap(one, two, metric) if arm != best else None
        interval = between.interval(level) if between else None
        if arm == best or interval is None or interval.low <= 0 or _left_open(report, best, arm):
            flops, seconds = _cost(report, arm)
            behind = Behind(mean=between.mean, interval=interval) if between else None
            kept.append(KeptArm(arm=arm, mean=mean, behind=behind, flops=flops, seconds=seconds))
    use = min(kept, key=lambda k: (k.flops, k.seconds, -round(k.mean, DIGITS))).arm
    row = report.row(use)
    out = Advice(
        best=best,
        kept=kept,
        use=use,
        adapt=row.adapted_by if row else None,
        level=level,
        more_labels=_more_labels(report, found, use),
        sentences=[],
        groups=[],
    )
    higher, surer = _higher(report, out), _resolution(report)
    titled = (("To score higher", higher), ("To be more certain", surer))
    out.groups = [AdviceGroup(title=title, sentences=sentences) for title, sentences in titled if sentences]
    out.sentences = [*_first(report, out), *higher, *surer]
    return out


def _left_open(report: Report, best: str, arm: str) -> bool:
    """Whether the verdict compares the two and shows no difference: the advice must not know more."""
    both = [d for d in report.family if {d.a, d.b} == {best, arm}]
    return any(outcome(d, report.primary.alpha) == "none" for d in both)


def _more_labels(report: Report, found: Cells, arm: str) -> list[StepUp]:
    """What each larger label budget brings the arm over the one before it, from the primary one on: paired by seed."""
    probe, start, metric = report.primary.probe, report.primary.label_budget, report.primary.metric
    keys = [a.key for a in report.label_budgets]
    keys = keys[keys.index(start) :] if start in keys else []
    out = []
    for few, many in zip(keys, keys[1:], strict=False):
        one, two = found.get((arm, probe, many)), found.get((arm, probe, few))
        between = gap(one, two, metric) if one and two else None
        if between:
            step = {"mean": between.mean, "interval": between.interval()}
            out.append(StepUp.model_validate(step | {"from": few, "to": many}))
    return out


def _shown_names(report: Report) -> dict[str, str]:
    return {a.name: "training from scratch" if a.kind == "scratch" else a.title for a in report.arms}


def _first(report: Report, out: Advice) -> list[str]:
    """What to use and why; and where that is a control, that nothing is shown to beat it."""
    names = _shown_names(report)
    arm = next(a for a in report.arms if a.name == out.use)
    use = names[out.use]
    others = [k for k in out.kept if k.arm != out.use]
    label_budget = label_budget_text(report.primary.label_budget)
    how = _adapting(out.adapt)
    do = _skip(report, out) if arm.kind == "scratch" else f"Use {use}{how}"
    then = ". " if arm.kind == "scratch" else ": "
    if _seeds(report, out.best) < 2:
        text = f"For now {use}{how}, by one run of each method: {_one_run(names, out)}. Another seed may say otherwise."
    elif not others:
        few = _seeds(report, out.best) < seeds_needed(report.primary.alpha)
        by = "by more than these few seeds scatter" if few else "by more than chance explains"
        why = f"with {label_budget} everything else compared here scores lower, {by}."
        text = do + then + (upper(why) if then == ". " else why)
    elif out.use == out.best:
        why = f"{'Training from scratch' if then == '. ' else 'it'} has the highest score and costs least of the"
        rest = listed([names[k.arm] for k in others])
        text = f"{do}{then}{why} {count(len(out.kept), 'method')} that these runs cannot tell apart"
        text += f" (the other{'s' * (len(others) > 1)}: {rest})."
    else:
        text = f"{do}. {_saved(report, out)}. {upper(use)} is the cheapest of what these runs cannot tell apart."
    cost = _cost(report, out.use)[1]
    said = [text + (f" Training it took {_time(cost)} a run." if cost and out.use == out.best else "")]
    if arm.role == "control":
        said.append(f"Nothing here is shown to beat {use}, which learnt nothing from these images.")
    return said


def _skip(report: Report, out: Advice) -> str:
    """ "Skip pretraining: train the whole network directly on your labels", where that is what was compared."""
    by = out.adapt or {}
    whole = trains(max(by, key=lambda way: by[way]) if by else report.primary.probe)
    how = "the whole network directly on your labels" if whole else f"on your labels alone{_adapting(by)}"
    return f"Skip pretraining: train {how}"


def _saved(report: Report, out: Advice) -> str:
    """What the cheaper arm saves, and that the one with the highest score is not shown to be better."""
    (use, use_s), (best, best_s) = (_cost(report, arm) for arm in (out.use, out.best))
    name, kind = next((a.title, a.kind) for a in report.arms if a.name == out.best)
    lead = next((k.behind.mean for k in out.kept if k.arm == out.use and k.behind), 0.0)
    gain = f"scored {points(lead)} points higher but is not shown to be better"
    if points(lead) == "0.0":
        gain = "scored practically the same"
    what = f"{name} pretraining" if kind in ("ssl", "gan") else f"training {name}"
    if use == best == 0:
        return f"It costs no more than {name}, which {gain}"
    if use == 0:
        return f"This saves the {_time(best_s)} of {what}, which {gain}"
    return f"Its training takes {_time(use_s)} a run instead of the {_time(best_s)} of {what}, which {gain}"


def _time(seconds: float) -> str:
    """ "27 s", "0.4 s", "3.2 min"."""
    return f"{seconds:.0f} s" if 9.5 <= seconds < 100 else duration(seconds)


def _higher(report: Report, out: Advice) -> list[str]:
    """What more labels and more training would buy."""
    said = []
    for step in out.more_labels[:1]:
        range_ = f" (plausibly {span(step.interval)})" if step.interval else ""
        gain = f"{points(step.mean)} points{range_}"
        use = _shown_names(report)[out.use]
        if step.mean > 0:
            said.append(f"More labels: {_steps(report, step)} brings {use} {gain}{_beyond(report, step)}.")
        else:
            said.append(f"More labels are not shown to help: {_steps(report, step)} changed {use} by {gain}.")
    return said + _more_training(report, out)


def _seeds(report: Report, arm: str) -> int:
    """Seeds of an arm at the primary label budget."""
    row = report.row(arm)
    return row.n_seeds if row else 0


def _one_run(names: Mapping[str, str], out: Advice) -> str:
    if out.use == out.best:
        means = {k.arm: round(k.mean, DIGITS) for k in out.kept}
        same = [names[arm] for arm, mean in means.items() if arm != out.best and mean == means[out.best]]
        return f"no other scores higher ({listed(same)}: the same)" if same else "it has the highest score"
    return f"it costs least of what these test images cannot tell from {names[out.best]}"


def _steps(report: Report, step: StepUp) -> str:
    """ "going from 10 to 100 labels per class (100 to 1,000 labelled images)"."""
    sizes = {a.key: a.n_train for a in report.label_budgets}
    few, many = sizes.get(step.from_), sizes.get(step.to)
    images = f" ({few:,.0f} to {many:,.0f} labelled images)" if few and many else ""
    start, end = label_budget_text(step.from_), label_budget_text(step.to)
    if end.endswith(" labels per class"):
        start = start.removesuffix(" labels per class").removesuffix(" label per class")
    return f"going from {start} to {end}{images}"


def _beyond(report: Report, step: StepUp) -> str:
    """Where labels buy more than any choice between the arms of the verdict does, that is the news."""
    gaps = [abs(d.mean) for d in report.family if d.mean is not None]
    low = step.interval.low if step.interval else 0.0
    return ", more than any measured difference between the methods above" if gaps and low > max(gaps) else ""


def _adapting(by: Mapping[str, int] | None) -> str:
    if not by:
        return ""
    total = sum(by.values())
    first = max(by, key=lambda name: by[name])
    pooled = first in PROBE and PROBE[first].reads == "pooled"
    way = "a linear probe on its frozen features" if pooled else by_probe(first)
    return f" with {way}" + ("" if by[first] == total else f" (chosen in {by[first]} of {total} fits)")


def _more_training(report: Report, out: Advice) -> list[str]:
    """What the second half of the training brought, on validation images, of the best arm that was trained."""
    trained = [k.arm for k in sorted(out.kept, key=lambda k: -k.mean) if k.flops > 0]
    for arm in trained:
        gains = []
        for run in report.progress:
            points_ = sorted(run.points, key=lambda p: p.step)
            if run.arm == arm and len(points_) > 1:
                gains.append(points_[-1].value - points_[-2].value)
        if gains:
            mean = sum(gains) / len(gains)
            brought = f"the last doubling of its training brought {points(mean)} points on validation images"
            if mean <= report.primary.margin:
                return [f"{report.titles[arm]} was hardly improving any more: {brought}."]
            may = "raise its score" if arm == out.use else "change the answer"
            return [f"{report.titles[arm]} was still improving: {brought}, so training it longer may {may}."]
    return []


# ── what it would take to know more ──────────────────────────────────────────────────────────────


def needs(report: Report, found: Cells) -> list[Need]:
    """Per pair of the primary family: the part of its uncertainty that comes from the test items, and how many seeds
    (at these items) or items (at these seeds) bring the family's interval to ± `half`: the margin, or where the
    difference that was found is larger, that difference."""
    probe, label_budget, metric = report.primary.probe, report.primary.label_budget, report.primary.metric
    out = []
    for d in report.family:
        if not d.simultaneous:
            continue
        one, two = found.get((d.a, probe, label_budget)), found.get((d.b, probe, label_budget))
        between = gap(one, two, metric) if one and two else None
        if between is None or between.spread is None or between.spread.seeds < 2:
            continue
        level = d.simultaneous.level
        half = max(report.primary.margin, abs(between.mean))
        now = half_width(between.spread, level)
        seeds, items = needed(between.spread, half, level) if half > 0 else (None, None)
        out.append(
            Need(
                a=d.a,
                b=d.b,
                half=half,
                now=now,
                item_share=between.spread.item_share,
                seeds=seeds,
                items=items,
                fixed=between.spread.fixed,
            )
        )
    return out


def _resolution(report: Report) -> list[str]:
    """Which of seeds and test images leaves more open, and how many would settle the widest open pair."""
    open_ = [n for n in report.needs if n.now > n.half]
    if not report.needs:
        return []
    images = sum(n.item_share for n in report.needs) / len(report.needs)
    luck, number = "run-to-run luck", "the number of test images"
    larger, rest, do = (number, luck, "test on more images") if images > 0.5 else (luck, number, "repeat more often")
    said = f"{_tenths(max(images, 1 - images))} of the doubt comes from {larger}, the rest from {rest}: {do}."
    if not open_:
        return [said]
    worst = max(open_, key=lambda n: n.now / n.half)
    names = _shown_names(report)
    pair = f"{names[worst.a]} and {names[worst.b]}"
    d = next(d for d in report.family if (d.a, d.b) == (worst.a, worst.b))
    ways = []
    if worst.seeds and worst.seeds <= MOST_SHOWN and not worst.fixed:
        ways.append(f"about {worst.seeds:,} seeds in all (now {d.n_seeds:,})")
    if worst.items and worst.items <= MOST_SHOWN and d.simultaneous and d.simultaneous.items:
        what = tested(None, d.simultaneous.grouped)
        ways.append(f"about {worst.items:,} {what} (now {d.simultaneous.items:,})")
    gap = f"a difference as small as {points(worst.half)} points"
    text = f"To detect {gap} between {pair} you would need {' or '.join(ways)}."
    if not ways:
        both = "more of both, seeds and test images: neither alone is enough"
        text = f"To detect {gap} between {pair} you would need {both}."
    return [said, text]


def _tenths(part: float) -> str:
    """ "About 9/10", "Nearly all", "About half": `part` from 0.5 to 1."""
    tenths = round(10 * part)
    return "Nearly all" if tenths == 10 else "About half" if tenths == 5 else f"About {tenths}/10"
