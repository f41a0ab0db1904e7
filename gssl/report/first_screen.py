"""The first screen of the report, the same in every form: the answer in a word, the confidence in it, the facts of the
comparison in a line. No p-values; what the words rest on stands below in the report."""

from gssl.report.cautions import dead
from gssl.report.model import AdviceGroup, Difference, Report
from gssl.report.model_records import Interval
from gssl.report.verdict import base_of, decisive, outcome, size
from gssl.report.wording import duration
from gssl.statistics.paired import seeds_needed
from gssl.words import label_budget_text, listed, points, upper, word

ANSWERS = {
    "yes": "Yes",
    "perhaps": "Perhaps",
    "perhaps not": "Perhaps not",
    "no": "No",
    "not shown": "Cannot tell yet",
}
LEAKS = ("test_in_training", "near_duplicates", "torn_groups")  # findings by which scores may be too high


def short(report: Report) -> str:
    """The answer in a word or two; "" where the question asks for no yes or no."""
    word_ = str(report.verdict.answer)
    if word_ == "open":
        return "Cannot be said yet" if report.family and not _tested(report) and _seeds(report) < 2 else ""
    return ANSWERS[word_]


def sentence(report: Report) -> str:
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


def key(report: Report) -> str:
    """How to read the chart of the first screen."""
    repeated = max((len(a.seeds) for a in report.arms), default=0) > 1
    return f"{'dot: one run; bar: average' if repeated else 'bar: score'}; band: plausible range"
