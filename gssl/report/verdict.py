"""The report's sentences, generated from its numbers. What the numbers cannot carry is said, never left out.

Verbs are fixed: "beats" needs the paired test over seeds and the interval over seeds and test images, both for the
whole family (six seeds or more); with two to five seeds an arm "is ahead", which intervals describe and no test
establishes; with one seed scores are only put side by side.
"""

import re
from collections.abc import Mapping

from gssl.report.model import Difference, Report, Verdict
from gssl.report.model_records import Interval
from gssl.statistics.families import ALPHA
from gssl.statistics.metric import METRICS
from gssl.statistics.paired import seeds_needed, smallest_p
from gssl.words import (
    by_probe,
    count,
    either_way,
    label_budget_text,
    listed,
    p_text,
    points,
    span,
    tested,
    upper,
    word,
)

Pairs = list[Difference]

LEAST = 1e-4  # a level that further looks have left below this is none

# ── one comparison ───────────────────────────────────────────────────────────────────────────────


def against(report: Report, arm: str, probe: str, label_budget: str) -> list[tuple[str, float, Difference]]:
    """Arms that are compared with `arm` there, by how much they score above it, and the difference as it is listed."""
    here = [d for d in report.differences if (d.probe, d.label_budget) == (probe, label_budget)]
    above = [(d.a, d.mean, d) for d in here if d.b == arm and d.mean is not None]
    return above + [(d.b, -d.mean, d) for d in here if d.a == arm and d.mean is not None]


def decisive(d: Difference) -> Interval | None:
    """The interval that decides: of a primary pair the one that holds for the whole family; below six seeds, where that
    over seeds alone must exclude zero as well, the wider of the two."""
    both = [i for i in (d.simultaneous or d.interval, d.over_seeds) if i]
    few = d.n_seeds < seeds_needed() and not d.fixed
    return max(both if few else both[:1], key=lambda i: i.width, default=None)


def outcome(d: Difference, alpha: float = ALPHA) -> str:
    """A comparison's name: "beats", "ahead", "none" (no difference shown), "single" (one seed) or "absent"."""
    if d.mean is None:
        return "absent"
    if d.n_seeds < 2:
        return "single"
    i = decisive(d)
    if i is None or not i.excludes_zero:
        return "none"
    if d.fixed:  # nothing depends on the seed: there are only test items to be unsure about
        return "beats" if alpha >= LEAST else "ahead"
    if d.n_seeds < seeds_needed(alpha):
        return "ahead" if d.over_seeds and d.over_seeds.excludes_zero else "none"
    return "beats" if d.p is not None and p_of(d) <= alpha else "none"


def size(d: Difference, margin: float, alpha: float = ALPHA) -> str:
    """What the interval says about the smallest difference of interest: "at_least" (the difference is larger),
    "equivalent" (it is smaller, either way) or "undecided"."""
    i = decisive(d) if d.mean is not None and d.n_seeds > 1 else None
    if i is None:
        return "undecided"
    if i.low >= -margin and i.high <= margin:
        return "equivalent"
    shown = outcome(d, alpha) in ("beats", "ahead")
    return "at_least" if shown and max(i.low, -i.high) >= margin else "undecided"


def p_of(d: Difference) -> float:
    """After adjustment, where there was one; 1 where there is no test."""
    return next((p for p in (d.p_adjusted, d.p) if p is not None), 1.0)


def adjusted_with(d: Difference, report: Report) -> Pairs:
    """The pairs of the primary family over which the p of `d`, one of them, was adjusted: `families.adjusted`."""
    family = [other for other in report.differences if other.family == "primary" and other.p is not None]
    need = seeds_needed(report.primary.alpha)
    return family if d.n_seeds < need else [other for other in family if other.n_seeds >= need]


def sentence(d: Difference, report: Report) -> str:
    """One comparison of the primary family in one or two sentences."""
    names = report.titles
    kind, alpha = outcome(d, report.primary.alpha), report.primary.alpha
    with_labels = f"with {label_budget_text(d.label_budget)}"
    if kind == "absent":
        a, b = upper(names[d.a]), names[d.b]
        return f"{a} and {b}: no seed finished in both {with_labels}, so nothing is said about them."
    if kind == "single":
        return _single(d, report, names)
    if kind in ("beats", "ahead") and d.gap < 0:
        d = d.swapped()
    a, b, gap = names[d.a], names[d.b], points(abs(d.gap))
    spread = _spread(d, report)
    if kind == "none":
        alike = size(d, report.primary.margin, alpha) == "equivalent"
        what = f"differ by less than {_points(report)} points" if alike else "are not shown to differ"
        mean = f"{a} − {b}: {points(d.gap, sign=True)} points"
        return f"{upper(a)} and {b} {what} {with_labels} ({mean}; {by_probe(d.probe)}; {spread})."
    least = size(d, report.primary.margin, alpha) == "at_least"
    by = f"which {'is more' if least else 'may be less'} than the smallest difference of interest ({_points(report)})"
    verb = "beats" if kind == "beats" else "is ahead of"
    tail = ""
    if kind == "ahead":
        need = seeds_needed(alpha)
        tail = f" {upper(word(d.n_seeds))} seeds cannot establish it by a test; {word(need)} can."
    return f"{upper(a)} {verb} {b} by {gap} points {with_labels}, {by} ({by_probe(d.probe)}; {spread}).{tail}"


def _points(report: Report) -> str:
    """The smallest difference of interest: "0.5"."""
    return f"{100 * report.primary.margin:.3g}"


def over(i: Interval) -> str:
    """ "over 6 seeds and 1,000 test images"."""
    images = tested(i.items, i.grouped)
    return f"over {images}" if i.over == "test images" else f"over {count(i.n or 0, 'seed')} and {images}"


def _spread(d: Difference, report: Report) -> str:
    """The interval, the family's, and the test, in words."""
    i, wide = d.interval, d.simultaneous
    if not i:
        return f"{count(d.n_seeds, 'seed')}, no interval"
    text = f"95% interval {over(i)} {span(i)}"
    family = len(report.primary.pairs)
    if wide and family > 1:
        text += f"; {100 * wide.level:.3g}%, to hold for {word(family)} pairs together, {span(wide)}"
    if d.p is None:
        return text + "; nothing here depends on the seed"
    if d.n_seeds < seeds_needed(report.primary.alpha):
        return text
    together = len(adjusted_with(d, report)) if d.p_adjusted is not None else 1
    adjusted = f", adjusted over {word(together)} comparisons" if together > 1 else ""
    return f"{text}; sign-flip p over seeds {p_text(p_of(d))}{adjusted}"


def _single(d: Difference, report: Report, names: Mapping[str, str]) -> str:
    shown = []
    for arm in (d.a, d.b):
        row = report.row(arm, d.probe, d.label_budget)
        if row:
            shown.append(f"{names[arm]} {points(row.mean)}%" + (f" ({span(row.interval)})" if row else ""))
    i = d.interval
    both = f"; their difference is {points(d.gap, sign=True)} points ({span(i)})" if i else ""
    return (
        f"One seed, {label_budget_text(d.label_budget)}, {by_probe(d.probe)}: {' and '.join(shown)}{both}."
        " The 95% intervals are over test images; about other seeds nothing can be said."
    )


# ── the answer ───────────────────────────────────────────────────────────────────────────────────


def question(report: Report) -> str:
    """The question the report answers, where the plan brings none."""
    contestants = [a for a in report.arms if a.role == "contestant"]
    trained = [a.title for a in contestants if a.kind in ("ssl", "gan")]
    ready = [a.title for a in contestants if a.kind in ("ready", "classical")]
    on = f" on {report.data}" if report.data else ""
    label_budget = label_budget_text(report.primary.label_budget)
    if not trained and not ready:
        return f"What do {label_budget} buy{on}?" if label_budget != "all labels" else f"What do the labels buy{on}?"
    who = " or ".join(trained) if len(trained) < 3 else ", ".join(trained[:-1]) + f" or {trained[-1]}"
    if not trained:
        return f"{upper(' or '.join(ready))} or training from scratch{on}, with {label_budget}?"
    else_ = f", or {' or '.join(ready)}" if ready else ""
    return f"Does pretraining by {who}{else_} pay{on}, with {label_budget}?"


def base_of(report: Report) -> str | None:
    """What pretraining must pay against: training from scratch, else the first control of the family."""
    scratch = [a.name for a in report.arms if a.kind == "scratch" and a.role == "contestant"]
    paired = [name for pair in report.primary.pairs for name in pair]
    controls = [a.name for a in report.arms if a.role == "control" and a.name != "majority"]  # it predicts a constant
    return next((name for name in [*scratch, *controls] if name in paired), None)


def answer(report: Report) -> tuple[str, str]:
    """Yes, no or not shown, and for whom: one of yes | perhaps | perhaps not | no | not shown | open, and a sentence,
    in which ready-made networks and classical baselines stand, too.

    Yes takes an arm that was pretrained here and beats what it must pay against; no takes every such arm to be beaten
    by it or to be within the smallest difference of interest of it. `open`: there is nothing to answer from.
    """
    alpha, base = report.primary.alpha, base_of(report)
    names = report.titles
    kinds = {a.name: a.kind for a in report.arms}
    family = report.family
    label_budget = label_budget_text(report.primary.label_budget)
    pairs = [d.over(base) for d in family if base in (d.a, d.b)] if base else []
    pairs = [d for d in pairs if kinds[d.a] in ("ssl", "gan", "ready", "classical")]
    ours = [d for d in pairs if kinds[d.a] in ("ssl", "gan")] or pairs
    if base is None or not ours:
        return "open", _only_pairs(family, report, names, label_budget)
    if all(d.n_seeds < 2 for d in ours):
        rows = [(arm, report.row(arm)) for arm in (*(d.a for d in ours), base)]
        scores = [f"{names[arm]} {points(row.mean)}%" for arm, row in rows if row]
        text = f"One run of each method cannot say: with {label_budget} and one seed, {listed(scores)}."
        return "open", text + " Another seed may order them otherwise."
    word_ = _word(*_sorted(ours, report), alpha)
    against_ = "training from scratch" if kinds[base] == "scratch" else names[base]
    better, worse, alike, open_ = _sorted(pairs, report)
    parts = [f"{names[d.a]} {_verb(d, alpha)} {against_} by {_gap(d)}" for d in better]
    parts += [f"{against_} {_verb(d, alpha)} {names[d.a]} by {_gap(d.swapped())}" for d in worse]
    if alike:
        who = listed([names[d.a] for d in alike])
        parts.append(f"{who} and {against_} differ by less than {_points(report)} points")
    text = "; ".join(parts) + _unlike(report) + "."
    if word_ == "not shown":
        text = f"With {label_budget} {_cannot_tell(open_, names, against_)}{_unlike(report)}. {_scored(open_, names)}."
        text += f" {upper('; '.join(parts))}." if parts else ""
    else:
        text = f"{upper(word_)}: with {label_budget}, {text}"
        text += f" {upper(_cannot_tell(open_, names, against_))}: {_scored(open_, names)}." if open_ else ""
    return word_, first_use(text, report)


def first_use(text: str, report: Report) -> str:
    """Says at their first mention what the points are points of."""
    of = f"percentage points of test {METRICS[report.primary.metric].title}"
    return re.sub(r"(?<=\d )points\b", of, text, count=1)


def _cannot_tell(pairs: Pairs, names: Mapping[str, str], base: str) -> str:
    """ "we cannot tell whether SimCLR or DCGAN is better than training from scratch"."""
    who = listed([names[d.a] for d in pairs], "or")
    return f"we cannot tell whether {who} is better than {base}"


def _scored(pairs: Pairs, names: Mapping[str, str]) -> str:
    """ "SimCLR scored 1.2 points lower (plausibly 3.3 lower to 0.9 higher), DCGAN practically the same (1.9 …)"."""
    said = []
    for n, d in enumerate(pairs):
        much = f"{points(abs(d.gap))} points {'higher' if d.gap > 0 else 'lower'}"
        much = "practically the same" if points(d.gap) == "0.0" else much
        i = decisive(d)
        range_ = f" ({'' if n else 'plausibly '}{either_way(i)}" if i else ""
        # the test over seeds has not followed the interval
        range_ += ", but seeds disagree too much for a test)" if i and i.excludes_zero else ")" if i else ""
        said.append(f"{names[d.a]} {'' if n else 'scored '}{much}{range_}")
    return upper(", ".join(said))


def _sorted(pairs: Pairs, report: Report) -> tuple[Pairs, Pairs, Pairs, Pairs]:
    """Arms against what they must pay against: above it, below it, equivalent, undecided; the largest gain first."""
    alpha = report.primary.alpha
    shown = [d for d in pairs if outcome(d, alpha) in ("beats", "ahead")]
    better = sorted((d for d in shown if d.gap > 0), key=lambda d: -d.gap)
    worse = [d for d in shown if d.gap < 0]
    alike = [d for d in pairs if d not in shown and size(d, report.primary.margin, alpha) == "equivalent"]
    return better, worse, alike, [d for d in pairs if d not in shown + alike]


def _word(better: Pairs, worse: Pairs, alike: Pairs, open_: Pairs, alpha: float) -> str:
    """The answer of the arms that were pretrained here: "perhaps" and "perhaps not" where no test has decided it."""
    if better:
        return "yes" if any(outcome(d, alpha) == "beats" for d in better) else "perhaps"
    if open_:
        return "not shown"
    return "no" if all(outcome(d, alpha) == "beats" for d in worse) else "perhaps not"


def _gap(d: Difference) -> str:
    """ "4.2 points (plausibly 3.1 to 5.3)": by the interval that decides, or the sentence would contradict itself."""
    return f"{points(d.gap)} points (plausibly {span(decisive(d))})"


def _verb(d: Difference, alpha: float) -> str:
    return "beats" if outcome(d, alpha) == "beats" else "is ahead of"


def _only_pairs(family: Pairs, report: Report, names: Mapping[str, str], label_budget: str) -> str:
    """Where nothing is compared with training from scratch or a control: who beats whom."""
    if not report.primary.pairs:
        more = "add one that is pretrained, or scratch and random"
        return f"With {label_budget} these arms make no pair to compare: {more}."
    if not family:
        return f"With {label_budget} there is no finished pair of methods to compare."
    alpha = report.primary.alpha
    parts = []
    for d in family:
        kind = outcome(d, alpha)
        d = d.swapped() if d.gap < 0 and kind in ("beats", "ahead") else d
        a, b = names[d.a], names[d.b]
        if kind in ("beats", "ahead"):
            parts.append(f"{a} {_verb(d, alpha)} {b} by {_gap(d)}")
        else:
            parts.append(f"{_cannot_tell([d], names, b)}: {_scored([d], names)}")
    return first_use(f"With {label_budget}: {'; '.join(parts)}{_unlike(report)}.", report)


# ── the verdict ──────────────────────────────────────────────────────────────────────────────────


def verdict(report: Report) -> Verdict:
    """The answer and its sentences; the cautions are added by `cautions`."""
    primary = [d for d in report.differences if d.family == "primary"]
    word_, text = answer(report)
    return Verdict.model_validate(
        {
            "answer": word_,
            "headline": text,
            "cannot": _cannot(primary, report),
            "sentences": [sentence(d, report) for d in primary],
            "exploratory": _beside(report),
            "cautions": [],
        }
    )


def _unlike(report: Report) -> str:
    """The verdict says where the networks were not the same."""
    norms: dict[str, list[str]] = {}
    for arm in report.arms:
        if arm.backbone and arm.role == "contestant":
            own = f"the network {str(arm.backbone.get('name')).rpartition(':')[2]}"
            norms.setdefault(arm.backbone.get("norm") or own, []).append(arm.title)
    if len(norms) < 2:
        return ""
    usual = max(norms, key=lambda norm: len(norms[norm]))
    words = {"none": "no norm layers", "batch": "batch norm", "group": "group norm"}
    odd = [f"{listed(who)} with {words.get(norm, norm)}" for norm, who in norms.items() if norm != usual]
    return f" (not one network for all: {listed(odd)}, the others with {words.get(usual, usual)})"


def _cannot(primary: Pairs, report: Report) -> list[str]:
    names = report.titles
    pairs = [d for d in primary if d.n_seeds]
    if not primary:
        return []
    if not pairs:
        return ["Nothing is shown: no pair of the primary family has a seed that finished in both arms."]
    need = seeds_needed(report.primary.alpha)
    few = [d for d in pairs if d.n_seeds < need and not d.fixed]
    if not few:
        return []
    low, n = min(d.n_seeds for d in few), max(d.n_seeds for d in few)
    which = ""
    if len(few) < len(pairs):
        which = f" ({listed([names[d.a] + ' against ' + names[d.b] for d in few])})"
    least = f"{100 * report.primary.alpha:.3g} in 100"
    fewest = f"{word(need)} seeds are the fewest with which that chance falls to {least}"
    if n == 1:
        return [
            f"One seed{which} shows nothing about other seeds: another one may order the arms otherwise. The intervals"
            f" are over test images only. Two seeds give a first idea of the spread; for a test, {word(need)} are the"
            " fewest."
        ]
    seeds = upper(word(n)) if low == n else f"{upper(word(low))} to {word(n)}"
    luck = f"luck alone lets one of two equal arms win with all {word(n)} in {100 * smallest_p(n):.3g} of 100 cases"
    return [
        f"{seeds} seeds{which} cannot establish a difference between methods: {luck}, and {fewest}. Where an arm is"
        " called ahead, its intervals exclude zero, over seeds alone and over seeds and test images, widened for the"
        " number of comparisons; no test confirms it."
    ]


def _beside(report: Report) -> list[str]:
    """Each pretrained contestant against what the primary family leaves out, at the same labels: against what is not
    pretrained, and the one with the highest mean against the others, too, because a reader finds it in the table."""
    names = report.titles
    trained = [a.name for a in report.arms if a.role == "contestant" and a.pretrained]
    table = report.primary.probe, report.primary.label_budget
    means = {r.arm: r.mean for r in report.table if (r.probe, r.label_budget) == table}
    first = max((arm for arm in trained if means.get(arm) is not None), key=lambda arm: means[arm], default=None)
    out = []
    for arm in trained:
        parts = []
        for other, above, d in against(report, arm, *table):
            if d.family == "exploratory" and (other not in trained or arm == first):
                mine = d if d.a == arm else d.swapped()
                parts.append(f"{points(-above, sign=True)} points against {names[other]} ({span(mine.interval)})")
        if parts:
            out.append(f"{upper(names[arm])}: {listed(parts)}.")
    return out
