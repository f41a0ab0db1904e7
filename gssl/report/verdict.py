"""The report's sentences, generated from its numbers. What the numbers cannot carry is said, never left out.

Verbs are fixed: "beats" needs the paired test over seeds and the interval over seeds and test images, both for the
whole family (six seeds or more); with two to five seeds an arm "is ahead", which intervals describe and no test
establishes; with one seed scores are only put side by side.
"""

import re
from collections.abc import Mapping
from typing import Any

from gssl.report.differences import ALPHA
from gssl.statistics.paired import seeds_needed, smallest_p
from gssl.words import count, either_way, label_budget_text, listed, metric_text, p_text, points, span, upper, word
from gssl.words import judge as judged_by

Evaluated = list[dict[str, Any]]

LEAST = 1e-4  # a level that further looks have left below this is none

# ── one comparison ───────────────────────────────────────────────────────────────────────────────


def excludes_zero(i: Mapping[str, Any] | None) -> bool:
    return bool(i) and (i["low"] > 0 or i["high"] < 0)  # type: ignore[index]


def against(report: dict[str, Any], arm: str, probe: str, label_budget: str) -> list[tuple[str, float, dict[str, Any]]]:
    """Who was compared with `arm` there, by how much it scored above `arm`, and the difference as it is written."""
    here = [
        d
        for d in report["differences"]
        if (d["probe"], d["label_budget"]) == (probe, label_budget) and d["mean"] is not None
    ]
    turned = [(d["b"], -d["mean"], d) for d in here if d["a"] == arm]
    return [(d["a"], d["mean"], d) for d in here if d["b"] == arm] + turned


def decisive(d: Mapping[str, Any]) -> dict[str, Any] | None:
    """The interval that decides: of a primary pair the one that holds for the whole family; below six seeds, where that
    over seeds alone must exclude zero as well, the wider of the two."""
    both = [i for i in (d["simultaneous"] or d["interval"], d.get("over_seeds")) if i]
    few = d["n_seeds"] < seeds_needed() and not d.get("fixed")
    return max(both if few else both[:1], key=lambda i: i["high"] - i["low"], default=None)


def outcome(d: Mapping[str, Any], alpha: float = ALPHA) -> str:
    """A comparison's name: "beats", "ahead", "none" (no difference shown), "single" (one seed) or "absent"."""
    if d["mean"] is None:
        return "absent"
    if d["n_seeds"] < 2:
        return "single"
    if not excludes_zero(decisive(d)):
        return "none"
    if d.get("fixed"):  # nothing depends on the seed: there are only test items to be unsure about
        return "beats" if alpha >= LEAST else "ahead"
    if d["n_seeds"] < seeds_needed(alpha):
        return "ahead" if excludes_zero(d.get("over_seeds")) else "none"
    return "beats" if d["p"] is not None and p_of(d) <= alpha else "none"


def size(d: Mapping[str, Any], margin: float, alpha: float = ALPHA) -> str:
    """What the interval says about the smallest difference of interest: "at_least" (the difference is larger),
    "equivalent" (it is smaller, either way) or "undecided"."""
    i = decisive(d) if d["mean"] is not None and d["n_seeds"] > 1 else None
    if i is None:
        return "undecided"
    if i["low"] >= -margin and i["high"] <= margin:
        return "equivalent"
    shown = outcome(d, alpha) in ("beats", "ahead")
    return "at_least" if shown and max(i["low"], -i["high"]) >= margin else "undecided"


def p_of(d: Mapping[str, Any]) -> float:
    return float(d["p_adjusted"] if d.get("p_adjusted") is not None else d["p"])


def adjusted_with(d: Mapping[str, Any], report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pairs of the primary family over which the p of `d`, one of them, was adjusted: `differences.adjusted`."""
    family = [other for other in report["differences"] if other["family"] == "primary" and other["p"] is not None]
    need = seeds_needed(_alpha(report))
    return family if d["n_seeds"] < need else [other for other in family if other["n_seeds"] >= need]


def _alpha(report: Mapping[str, Any]) -> float:
    return float(report["primary"].get("alpha") or ALPHA)


def _margin(report: Mapping[str, Any]) -> float:
    return float(report["primary"].get("margin") or 0.0)


def turned(d: dict[str, Any]) -> dict[str, Any]:
    """b − a instead of a − b."""

    def other(i: dict[str, Any] | None) -> dict[str, Any] | None:
        return i and i | {"low": -i["high"], "high": -i["low"]}

    ends = {key: other(d.get(key)) for key in ("interval", "simultaneous", "over_seeds")}
    return d | {"a": d["b"], "b": d["a"], "mean": -d["mean"], "probes": d["probes"][::-1], **ends}


def sentence(d: dict[str, Any], report: dict[str, Any]) -> str:
    """One comparison of the primary family in one or two sentences."""
    names = {a["name"]: a["title"] for a in report["arms"]}
    kind, alpha = outcome(d, _alpha(report)), _alpha(report)
    with_labels = f"with {label_budget_text(d['label_budget'])}"
    if kind == "absent":
        a, b = upper(names[d["a"]]), names[d["b"]]
        return f"{a} and {b}: no seed finished in both {with_labels}, so nothing is said about them."
    if kind == "single":
        return _single(d, report, names)
    if kind in ("beats", "ahead") and d["mean"] < 0:
        d = turned(d)
    a, b, gap = names[d["a"]], names[d["b"]], points(abs(d["mean"]))
    spread = _spread(d, report)
    if kind == "none":
        alike = size(d, _margin(report), alpha) == "equivalent"
        what = f"differ by less than {_points(report)} points" if alike else "are not shown to differ"
        mean = f"{a} − {b}: {points(d['mean'], sign=True)} points"
        return f"{upper(a)} and {b} {what} {with_labels} ({mean}; {judged_by(d['probe'])}; {spread})."
    least = size(d, _margin(report), alpha) == "at_least"
    by = f"which {'is more' if least else 'may be less'} than the smallest difference of interest ({_points(report)})"
    verb = "beats" if kind == "beats" else "is ahead of"
    tail = ""
    if kind == "ahead":
        need = seeds_needed(alpha)
        tail = f" {upper(word(d['n_seeds']))} seeds cannot establish it by a test; {word(need)} can."
    return f"{upper(a)} {verb} {b} by {gap} points {with_labels}, {by} ({judged_by(d['probe'])}; {spread}).{tail}"


def _points(report: Mapping[str, Any]) -> str:
    """The smallest difference of interest: "0.5"."""
    return f"{100 * _margin(report):.3g}"


def over(i: Mapping[str, Any]) -> str:
    """ "over 6 seeds and 1,000 test images"."""
    images = count(i["items"], "test image") if i.get("items") else "test images"
    return f"over {images}" if i["over"] == "test images" else f"over {count(i['n'], 'seed')} and {images}"


def _spread(d: dict[str, Any], report: dict[str, Any]) -> str:
    """The interval, the family's, and the test, in words."""
    i, wide = d["interval"], d["simultaneous"]
    if not i:
        return f"{count(d['n_seeds'], 'seed')}, no interval"
    text = f"95% interval {over(i)} {span(i)}"
    family = len(report["primary"]["pairs"])
    if wide and family > 1:
        text += f"; {100 * wide['level']:.3g}%, to hold for {word(family)} pairs together, {span(wide)}"
    if d["p"] is None:
        return text + "; nothing here depends on the seed"
    if d["n_seeds"] < seeds_needed(_alpha(report)):
        return text
    together = len(adjusted_with(d, report)) if d.get("p_adjusted") is not None else 1
    adjusted = f", adjusted over {word(together)} comparisons" if together > 1 else ""
    return f"{text}; sign-flip p over seeds {p_text(p_of(d))}{adjusted}"


def row_of(report: Mapping[str, Any], arm: str, probe: str, label_budget: str) -> dict[str, Any] | None:
    wanted = (arm, probe, label_budget)
    return next((r for r in report["table"] if (r["arm"], r["probe"], r["label_budget"]) == wanted), None)


def _single(d: dict[str, Any], report: dict[str, Any], names: Mapping[str, str]) -> str:
    shown = []
    for arm in (d["a"], d["b"]):
        row = row_of(report, arm, d["probe"], d["label_budget"])
        if row:
            shown.append(f"{names[arm]} {points(row['mean'])}%" + (f" ({span(row['interval'])})" if row else ""))
    i = d["interval"]
    both = f"; their difference is {points(d['mean'], sign=True)} points ({span(i)})" if i else ""
    return (
        f"One seed, {label_budget_text(d['label_budget'])}, {judged_by(d['probe'])}: {' and '.join(shown)}{both}. The 95% intervals"
        " are over test images; about other seeds nothing can be said."
    )


# ── the answer ───────────────────────────────────────────────────────────────────────────────────


def question(report: dict[str, Any]) -> str:
    """The question the report answers, where the plan brings none."""
    contestants = [a for a in report["arms"] if a["role"] == "contestant"]
    trained = [a["title"] for a in contestants if a["kind"] in ("ssl", "gan")]
    ready = [a["title"] for a in contestants if a["kind"] in ("ready", "classical")]
    on = f" on {report['data']}" if report["data"] else ""
    label_budget = label_budget_text(report["primary"]["label_budget"])
    if not trained and not ready:
        return f"What do {label_budget} buy{on}?" if label_budget != "all labels" else f"What do the labels buy{on}?"
    who = " or ".join(trained) if len(trained) < 3 else ", ".join(trained[:-1]) + f" or {trained[-1]}"
    if not trained:
        return f"{upper(' or '.join(ready))} or training from scratch{on}, with {label_budget}?"
    else_ = f", or {' or '.join(ready)}" if ready else ""
    return f"Does pretraining by {who}{else_} pay{on}, with {label_budget}?"


def base_of(report: Mapping[str, Any]) -> str | None:
    """What pretraining must pay against: training from scratch, else the first control of the family."""
    scratch = [a["name"] for a in report["arms"] if a["kind"] == "scratch" and a["role"] == "contestant"]
    paired = [name for pair in report["primary"]["pairs"] for name in pair]
    told = [a["name"] for a in report["arms"] if a["role"] == "control" and a["name"] in paired]
    controls = [name for name in told if name != "majority"]  # a constant answer is no measure of pretraining
    return next((name for name in [*scratch, *controls] if name in paired), None)


def answer(report: dict[str, Any]) -> dict[str, Any]:
    """Yes, no or not shown, and for whom. `word`: yes | perhaps | perhaps not | no | not shown | open; `text`: one
    sentence, in which ready-made networks and classical baselines stand, too.

    Yes takes an arm that was pretrained here and beats what it must pay against; no takes every such arm to be beaten
    by it or to be within the smallest difference of interest of it. `open`: there is nothing to answer from.
    """
    alpha, base = _alpha(report), base_of(report)
    names = {a["name"]: a["title"] for a in report["arms"]}
    kinds = {a["name"]: a["kind"] for a in report["arms"]}
    family = [d for d in report["differences"] if d["family"] == "primary" and d["mean"] is not None]
    label_budget = label_budget_text(report["primary"]["label_budget"])
    told = [d if d["b"] == base else turned(d) for d in family if base in (d["a"], d["b"])]
    told = [d for d in told if kinds[d["a"]] in ("ssl", "gan", "ready", "classical")]
    ours = [d for d in told if kinds[d["a"]] in ("ssl", "gan")] or told
    if base is None or not ours:
        return {"word": "open", "text": _only_pairs(family, report, names, label_budget)}
    if all(d["n_seeds"] < 2 for d in ours):
        row = {arm: row_of(report, arm, report["primary"]["probe"], report["primary"]["label_budget"]) for arm in names}
        scores = [f"{names[arm]} {points(r['mean'])}%" for d in ours for arm in [d["a"]] if (r := row[arm])]
        scores += [f"{names[base]} {points(row[base]['mean'])}%"] if row[base] else []  # type: ignore[index]
        text = f"One run of each method cannot say: with {label_budget} and one seed, {listed(scores)}."
        return {"word": "open", "text": text + " Another seed may order them otherwise."}
    word_ = _word(*_sorted(ours, report), alpha)
    against_ = "training from scratch" if kinds[base] == "scratch" else names[base]
    better, worse, alike, open_ = _sorted(told, report)
    parts = [f"{names[d['a']]} {_verb(d, alpha)} {against_} by {_gap(d)}" for d in better]
    parts += [f"{against_} {_verb(d, alpha)} {names[d['a']]} by {_gap(turned(d))}" for d in worse]
    if alike:
        who = listed([names[d["a"]] for d in alike])
        parts.append(f"{who} and {against_} differ by less than {_points(report)} points")
    text = "; ".join(parts) + _unlike(report) + "."
    if word_ == "not shown":
        text = f"With {label_budget} {_cannot_tell(open_, names, against_)}{_unlike(report)}. {_scored(open_, names)}."
        text += f" {upper('; '.join(parts))}." if parts else ""
    else:
        text = f"{upper(word_)}: with {label_budget}, {text}"
        text += f" {upper(_cannot_tell(open_, names, against_))}: {_scored(open_, names)}." if open_ else ""
    return {"word": word_, "text": first_use(text, report)}


def first_use(text: str, report: Mapping[str, Any]) -> str:
    """Says at their first mention what the points are points of."""
    of = f"percentage points of test {metric_text(report['primary']['metric'])}"
    return re.sub(r"(?<=\d )points\b", of, text, count=1)


def _cannot_tell(told: Evaluated, names: Mapping[str, str], base: str) -> str:
    """ "we cannot tell whether SimCLR or DCGAN is better than training from scratch"."""
    who = listed([names[d["a"]] for d in told], "or")
    return f"we cannot tell whether {who} is better than {base}"


def _scored(told: Evaluated, names: Mapping[str, str]) -> str:
    """ "SimCLR scored 1.2 points lower (plausibly 3.3 lower to 0.9 higher), DCGAN practically the same (1.9 …)"."""
    said = []
    for n, d in enumerate(told):
        much = f"{points(abs(d['mean']))} points {'higher' if d['mean'] > 0 else 'lower'}"
        much = "practically the same" if points(d["mean"]) == "0.0" else much
        i = decisive(d)
        range_ = f" ({'' if n else 'plausibly '}{either_way(i)}" if i else ""
        # the test over seeds has not followed the interval
        range_ += ", but seeds disagree too much for a test)" if excludes_zero(i) else ")" if i else ""
        said.append(f"{names[d['a']]} {'' if n else 'scored '}{much}{range_}")
    return upper(", ".join(said))


def _sorted(told: Evaluated, report: dict[str, Any]) -> tuple[Evaluated, Evaluated, Evaluated, Evaluated]:
    """Arms against what they must pay against: above it, below it, equivalent, undecided; the largest gain first."""
    alpha = _alpha(report)
    shown = [d for d in told if outcome(d, alpha) in ("beats", "ahead")]
    better = sorted((d for d in shown if d["mean"] > 0), key=lambda d: -d["mean"])
    worse = [d for d in shown if d["mean"] < 0]
    alike = [d for d in told if d not in shown and size(d, _margin(report), alpha) == "equivalent"]
    return better, worse, alike, [d for d in told if d not in shown + alike]


def _word(better: Evaluated, worse: Evaluated, alike: Evaluated, open_: Evaluated, alpha: float) -> str:
    """The answer of the arms that were pretrained here: "perhaps" and "perhaps not" where no test has decided it."""
    if better:
        return "yes" if any(outcome(d, alpha) == "beats" for d in better) else "perhaps"
    if open_:
        return "not shown"
    return "no" if all(outcome(d, alpha) == "beats" for d in worse) else "perhaps not"


def _gap(d: dict[str, Any]) -> str:
    """ "4.2 points (plausibly 3.1 to 5.3)": by the interval that decides, or the sentence would contradict itself."""
    return f"{points(d['mean'])} points (plausibly {span(decisive(d))})"


def _verb(d: Mapping[str, Any], alpha: float) -> str:
    return "beats" if outcome(d, alpha) == "beats" else "is ahead of"


def _only_pairs(
    family: list[dict[str, Any]], report: dict[str, Any], names: Mapping[str, str], label_budget: str
) -> str:
    """Where nothing is compared with training from scratch or a control: who beats whom."""
    if not report["primary"]["pairs"]:
        return f"With {label_budget} these arms make no pair to compare: add one that is pretrained, or scratch and random."
    if not family:
        return f"With {label_budget} there is no finished pair of methods to compare."
    alpha = _alpha(report)
    parts = []
    for d in family:
        kind = outcome(d, alpha)
        d = turned(d) if d["mean"] < 0 and kind in ("beats", "ahead") else d
        a, b = names[d["a"]], names[d["b"]]
        if kind in ("beats", "ahead"):
            parts.append(f"{a} {_verb(d, alpha)} {b} by {_gap(d)}")
        else:
            parts.append(f"{_cannot_tell([d], names, b)}: {_scored([d], names)}")
    return first_use(f"With {label_budget}: {'; '.join(parts)}{_unlike(report)}.", report)


# ── the verdict ──────────────────────────────────────────────────────────────────────────────────


def verdict(report: dict[str, Any]) -> dict[str, Any]:
    """`answer` (yes | perhaps | perhaps not | no | not shown | open), `headline` (one sentence), `cannot` (what these
    runs cannot show), `sentences` (the primary family) and `exploratory` (beside it). `limits` adds the cautions."""
    primary = [d for d in report["differences"] if d["family"] == "primary"]
    found = answer(report)
    return {
        "answer": found["word"],
        "headline": found["text"],
        "cannot": _cannot(primary, report),
        "sentences": [sentence(d, report) for d in primary],
        "exploratory": _beside(report),
    }


def _unlike(report: dict[str, Any]) -> str:
    """The verdict says where the networks were not the same."""
    norms: dict[str, list[str]] = {}
    for arm in report["arms"]:
        if arm["backbone"] and arm["role"] == "contestant":
            norms.setdefault(str(arm["backbone"].get("norm")), []).append(arm["title"])
    if len(norms) < 2:
        return ""
    usual = max(norms, key=lambda norm: len(norms[norm]))
    words = {"none": "no norm layers", "batch": "batch norm", "group": "group norm"}
    odd = [f"{listed(who)} with {words.get(norm, norm)}" for norm, who in norms.items() if norm != usual]
    return f" (not one network for all: {listed(odd)}, the others with {words.get(usual, usual)})"


def _cannot(primary: list[dict[str, Any]], report: dict[str, Any]) -> list[str]:
    names = {a["name"]: a["title"] for a in report["arms"]}
    told = [d for d in primary if d["n_seeds"]]
    if not primary:
        return []
    if not told:
        return ["Nothing is shown: no pair of the primary family has a seed that finished in both arms."]
    need = seeds_needed(_alpha(report))
    few = [d for d in told if d["n_seeds"] < need and not d.get("fixed")]
    if not few:
        return []
    low, n = min(d["n_seeds"] for d in few), max(d["n_seeds"] for d in few)
    which = ""
    if len(few) < len(told):
        which = f" ({listed([names[d['a']] + ' against ' + names[d['b']] for d in few])})"
    share = f"{100 * _alpha(report):.3g} in 100"
    fewest = f"{word(need)} seeds are the fewest with which that chance falls to {share}"
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


def _beside(report: dict[str, Any]) -> list[str]:
    """Each pretrained contestant against what the primary family leaves out, at the same labels: against what is not
    pretrained, and the one with the highest mean against the others, too, for a reader sees it in the table."""
    names = {a["name"]: a["title"] for a in report["arms"]}
    trained = [a["name"] for a in report["arms"] if a["role"] == "contestant" and a["pretrained"]]
    table = report["primary"]["probe"], report["primary"]["label_budget"]
    means = {r["arm"]: r["mean"] for r in report["table"] if (r["probe"], r["label_budget"]) == table}
    first = max((arm for arm in trained if means.get(arm) is not None), key=lambda arm: means[arm], default=None)
    out = []
    for arm in trained:
        told = []
        for other, above, d in against(report, arm, *table):
            if d["family"] == "exploratory" and (other not in trained or arm == first):
                mine = d if d["a"] == arm else turned(d)
                told.append(f"{points(-above, sign=True)} points against {names[other]} ({span(mine['interval'])})")
        if told:
            out.append(f"{upper(names[arm])}: {listed(told)}.")
    return out
