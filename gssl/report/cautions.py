"""What weakens a comparison and what it does not show, generated from the facts of its runs."""

from collections.abc import Sequence
from typing import Any

from gssl.report.model import Report, Score
from gssl.report.model_records import Alarm
from gssl.report.verdict import against, outcome
from gssl.statistics.metric import METRICS
from gssl.words import ONE_SETTING, by_probe, count, fixed_by, label_budget_text, listed, points, upper, word

FEW = 100  # test images below which one of them is worth more than a point
FEW_PER_CLASS = 10


def cautions(report: Report) -> list[str]:
    """Facts that weaken the comparison itself; empty where there are none."""
    names = report.titles
    out = _dead(report, names) + _data(report) + _plan(report)
    damaged = {a.name: [f for f in report.failed if f.arm == a.name and f.state == "damaged"] for a in report.arms}
    for a in report.arms:
        n = len(set(a.failed_seeds) - {f.seed for f in damaged[a.name]})
        if not n:
            continue
        left = f"its scores are over the {count(len(a.seeds), 'seed')} that did, which may be the better ones"
        out.append(f"{count(n, 'run')} of {a.title} did not finish; {left if a.seeds else 'it has no scores'}.")
    for a in report.arms:
        if runs := damaged[a.name]:
            is_ = "is damaged and" if len(runs) == 1 else "are damaged and"
            left = f"its scores are over {count(len(a.seeds), 'seed')}" if a.seeds else "it has no scores"
            which = f"{runs[0].path}: {runs[0].error}" + ("" if len(runs) == 1 else ", and more")
            out.append(f"{count(len(runs), 'run')} of {a.title} {is_} left out ({which}); {left}.")
    in_training = [found for found in report.alarms if found.step is not None]
    for name in dict.fromkeys(found.arm for found in in_training):
        mine = [found for found in in_training if found.arm == name]
        seeds = len({found.seed for found in mine})
        first = mine[0]
        out.append(
            f"{upper(names.get(name, name))} raised an alarm in {count(seeds, 'run')}, first at step"
            f" {first.step:,}: {first.alarm}."
        )
    readers = [a.title for a in report.arms if a.role == "reference"]
    if readers:
        verb = "uses" if len(readers) == 1 else "use"
        out.append(f"{upper(listed(readers))} {verb} the labels of all training images: a reference, never ranked.")
    out += _controls(report, names)
    if not any(a.role == "control" for a in report.arms):
        out.append("No control takes part: nothing shows what untrained features reach here.")
    if report.primary.fixed_by == "reader":
        out.append(f"What carries the verdict was chosen by {fixed_by(report.primary.fixed_by)}.")
    paired = {name for pair in report.primary.pairs for name in pair}
    for a in report.arms:
        if a.note.startswith("one network for all") or (a.name in paired and ONE_SETTING in a.note):
            out.append(f"{upper(a.title)}: {a.note}.")
    norms = {(a.backbone or {}).get("norm") for a in report.arms if a.backbone}
    if len(norms) > 1:
        allowed = " (allow_norm_diff=true)" if report.allow_norm_diff else ""
        found = "; ".join(
            f"{norm}: {listed([a.title for a in report.arms if (a.backbone or {}).get('norm') == norm])}"
            for norm in sorted(map(str, norms))
        )
        out.append(f"The methods' networks differ in their normalisation{allowed}. {upper(found)}.")
    shapes = {
        tuple((a.backbone or {}).get(k) for k in ("name", "width", "patch", "size")) for a in report.arms if a.backbone
    }
    if len(shapes) > 1:
        out.append("The methods do not use one and the same network: differences mix method and architecture.")
    return out


def dead(report: Report) -> dict[str, list[Alarm]]:
    """arm → the alarms of its generators that are dead by their evaluation on test images."""
    out: dict[str, list[Alarm]] = {}
    for found in report.alarms:
        if found.step is None:
            out.setdefault(found.arm, []).append(found)
    return out


def _dead(report: Report, names: dict[str, str]) -> list[str]:
    """A GAN whose training failed says nothing about GANs, so this comes first."""
    return [
        f"The generator of {names.get(arm, arm)} is dead in {count(len(mine), 'run')} (seed"
        f"{'s' * (len(mine) > 1)} {listed([str(found.seed) for found in mine])}): its scores are those of a training"
        f" that failed. Seed {mine[0].seed}, {mine[0].alarm}."
        for arm, mine in dead(report).items()
    ]


def _data(report: Report) -> list[str]:
    """What was found in the data; numbers of test images and the metric also where nothing was searched for."""
    findings, metric = report.findings, METRICS[report.primary.metric]
    kinds = {found.kind for found in findings}
    out = [found.text for found in findings]
    tests = [r.n_test for r in report.table if r.n_test]
    if tests and metric.per_item_mean and min(tests) < FEW and "few_test_images" not in kinds:
        n = min(tests)
        each = f"one of them is {100 / n:.2g} points"
        out.append(f"There are only {count(n, 'test image')}, and {each}: differences of a few points cannot be shown.")
    summaries = [found.summary for found in report.provenance.data]
    summaries = [s for s in summaries if (s.get("folds") or {}).get("fold") is None]
    sizes = [(s.get("class_counts") or {}).get("test") or [] for s in summaries]
    fewest = min((n for counts in sizes for n in counts if n), default=FEW_PER_CLASS)
    if metric.per_item_mean and fewest < FEW_PER_CLASS and "few_per_class" not in kinds:
        out.append(f"The smallest class has {count(fewest, 'test image')}: its scores rest on those.")
    if metric.per_item_mean and metric.of_classes is not None:
        why = "" if "imbalance" in kinds else " The classes are of very unequal size."
        out.append(
            f"Scores are {metric.title}: every class counts alike, however many images it has.{why} Always predicting"
            " the largest class is worth no more than chance."
        )
    elif "imbalance" in kinds and metric.of_classes is None:
        out.append(f"Scores are {metric.title} all the same, in which large classes count most.")
    return out


def _plan(report: Report) -> list[str]:
    """What was changed after scores could be seen, further looks at the scores, other uses of the test images."""
    plan, out = report.preregistration, []
    if plan:
        changes = [found.text for found in plan.changes]
        if plan.state == "changed":
            out += changes or [plan.text]
        elif plan.state == "unknown":
            out += [plan.text, *changes]
        if plan.looks > 1:
            seeds = listed([str(n) for n in plan.seeds_at_look or []])
            held = "no result can pass the test any more, so that everything here is exploratory"
            if not plan.exploratory:
                held = "a difference now needs stronger evidence than at the first look"
            out.append(f"Scores were looked at with {seeds} seeds: {held}.")
    if report.openings and others(report):
        own, n = upper(word(own_openings(report))), report.openings.runs
        out.append(
            f"{report.openings.text} {own} of the {n:,} are of this comparison: a choice by the scores of the others"
            " is a choice by these test images."
        )
    elif report.openings and report.openings.damage:
        out.append(report.openings.text)
    return out


def own_openings(report: Report) -> int:
    """Runs of this report that opened the test images; each fold's is one."""
    each = (folds_of(report) or {"count": 1})["count"]
    return each * sum(bool(run.test_openings) for run in report.provenance.runs)


def others(report: Report) -> int:
    """Runs of other comparisons that have opened the same test images, as far as they are on record."""
    return max(0, (report.openings.runs if report.openings else 0) - own_openings(report))


def _controls(report: Report, names: dict[str, str]) -> list[str]:
    """Arms that are not shown to be ahead of a control, a sentence per control."""
    primary = report.primary
    trained = {a.name for a in report.arms if a.role == "contestant" and a.pretrained}
    out = []
    for control in (a.name for a in report.arms if a.role == "control"):
        here = [
            (arm, mean, d)
            for arm, mean, d in against(report, control, primary.probe, primary.label_budget)
            if arm in trained and outcome(d) in ("none", "ahead", "beats")
        ]
        # by the rule that names a winner, so that cautions and verdict agree
        lost = [(arm, mean, d) for arm, mean, d in here if outcome(d) != "none" and mean < 0]
        behind = [
            f"{names[arm]} ({points(mean, sign=True)} points{'' if d.family == 'primary' else ', not adjusted'})"
            for arm, mean, d in lost
        ]
        level = [names[arm] for arm, _, d in here if outcome(d) == "none"]
        if behind:
            out.append(f"Behind {names[control]}, which learnt nothing: {listed(behind)}.")
        if level:
            out.append(f"Not shown to be ahead of {names[control]}, which learnt nothing: {listed(level)}.")
    return out


def limitations(report: Report) -> list[str]:
    """What a reader must not conclude, from the facts of these runs."""
    names = report.titles
    out = list(report.verdict.cannot)
    out += _covered(report)
    out += [f"{upper(a.title)}: {a.note}." for a in report.arms if a.note]
    if report.searches:
        searched = listed([f"{names[s.arm]} ({s.trials} trials)" for s in report.searches])
        lost = sum(row.state != "finished" for s in report.searches for row in s.rows)
        if lost:
            dark = sum(s.uncounted for s in report.searches)
            left = f"; what {count(dark, 'trial')} spent before it failed is not in the searches' cost" if dark else ""
            out.append(f"{count(lost, 'trial')} of the searches failed{left}.")
        rest = "; the other arms ran with their recipes as they are"
        out.append(f"Settings were searched, on validation images and with a seed of their own, for {searched}{rest}.")
    if report.generation:
        evaluators = listed(sorted({row.evaluator for row in report.generation}))
        out.append(
            f"Generated images are evaluated with {evaluators}; another evaluator may order the generators otherwise."
        )
    longest = max((c.seconds or 0 for c in report.compute if c.stage == "pretrain"), default=0)
    if longest:
        took = f"at most {longest:.0f} s" if longest < 180 else f"at most {longest / 60:.0f} min"
        took = "less than a second" if longest < 1 else took
        out.append(f"Pretraining took {took} per run; with more compute the order may change.")
    primary = report.primary
    family = count(len(primary.pairs), "comparison")
    out.append(
        f"Only {family} ({by_probe(primary.probe)}, {label_budget_text(primary.label_budget)}), fixed by"
        f" {fixed_by(primary.fixed_by)}, can carry the verdict; every other number is exploratory and not adjusted for"
        " the many that could have been picked."
    )
    out.append(
        f"Arms are evaluated by {by_probe(primary.probe)}. Settings are chosen on folds of the labels that a probe was"
        " given. Another probe may order the arms otherwise."
    )
    draws = [r for r in report.table if r.draw_sd]
    if draws:
        widest = max(draws, key=lambda r: r.draw_sd or 0.0)
        most = count(max(r.draws for r in draws), "draw")
        out.append(
            f"Each score is a mean over up to {most} of the labelled images, the same draws for all arms"
            f"{_fewer(report.table)}; single draws scatter by up to ±{points(widest.draw_sd or 0.0)} points (s.d., "
            f"{label_budget_text(widest.label_budget)})."
        )
    opened = [r for r in report.provenance.runs if (r.test_openings or 0) > 1]
    if opened:
        out.append(f"{count(len(opened), 'run')} opened the test images more than once.")
    if any(d.family == "primary" and d.n_seeds > 1 for d in report.differences):
        out.append(
            "The intervals assume that scores scatter about normally over seeds and test images, and the paired test"
            " that differences scatter as much upwards as downwards over seeds. Where an arm is lopsided over seeds (a"
            " few runs that fail badly), both claim too much (simulated in docs/statistics.md)."
        )
    out += _mismatched(report)
    if not report.planned_seeds:
        out.append("Read from finished runs: whether an arm's settings were searched before is not on record here.")
    if any(str(e.values.get("revision")).endswith("-dirty") for e in report.provenance.environments):
        out.append("Some runs were made by code with uncommitted changes (-dirty in Provenance).")
    if len(report.provenance.environments) > 1:
        out.append("The runs were made in more than one environment (see Provenance).")
    arms = [a for a in report.arms if report.planned_seeds]
    gone = {(m.arm, m.seed) for m in report.missing}
    gone |= {(a.name, s) for a in arms for s in a.failed_seeds}
    gaps = [f"{a.title} seed {s}" for a in arms for s in sorted(s or 0 for name, s in gone if name == a.name)]
    if gaps:
        out.append(f"Planned and not there: {listed(gaps[:12])}{' and more' if len(gaps) > 12 else ''}.")
    return out + report.notes


def _covered(report: Report) -> list[str]:
    """What the intervals cover, and what they do not."""
    over = {r.interval.over for r in report.table if r.interval}
    what = []
    if "seeds and test images" in over:
        what.append("other seeds (first weights, order of the images, which images are labelled)")
    if over:
        groups = any(found.summary.get("test_groups") for found in report.provenance.data)
        what.append("other test images of the same kind" + " (by groups that belong together)" * groups)
    name = f" ({report.data})" if report.data else ""
    if folds := folds_of(report):
        k = folds["count"]
        return [
            f"Each of the {folds['images']:,} labelled images was predicted by what had learnt from the other {k - 1}"
            f" of {k} folds, which every seed divides anew; label budgets count the labels of those folds, and all"
            f" labels means {k - 1} of {k} of them: a network that learns from all should do a little better. The"
            f" intervals cover {listed(what) or 'nothing'}, and are widened for folds learning from each other's images"
            f" (docs/statistics.md). There is one data set{name}.",
        ]
    if not what:
        return [f"One data set{name}: nothing here speaks about other data."]
    return [
        f"The intervals cover {listed(what)}. They do not cover another choice of the images for training and"
        f" validation, nor another data set: there is one{name}."
    ]


def folds_of(report: Report) -> dict[str, Any] | None:
    """How the labelled images were divided; None where there are test images that nothing learnt from."""
    return next((found.summary["folds"] for found in report.provenance.data if found.summary.get("folds")), None)


def _fewer(table: Sequence[Score]) -> str:
    """Probes that are fitted on the first draws only, because they take long."""
    most: dict[str, int] = {}
    for row in table:
        most[row.label_budget] = max(most.get(row.label_budget, 0), row.draws)
    short = {r.probe: r.draws for r in table if 0 < r.draws < most[r.label_budget]}
    names = [f"{name} only {'on the first' if n == 1 else f'on the first {n}'}" for name, n in short.items()]
    return f" ({listed(names)})" if names else ""


def _mismatched(report: Report) -> list[str]:
    """Transfer runs that evaluated weights which no finished pretraining run recorded."""
    runs = report.provenance.runs
    known = {h for r in runs if r.stage == "pretrain" for h in r.weights.values()}
    bad = [
        r
        for r in runs
        if r.stage == "transfer"
        and (r.source or {}).get("kind") == "run"
        and known
        and (r.source or {}).get("sha256")
        and (r.source or {})["sha256"] not in known
    ]
    return (
        [f"{count(len(bad), 'evaluated weights file')} match no hash that a pretraining run recorded."] if bad else []
    )
