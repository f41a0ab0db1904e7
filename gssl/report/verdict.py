"""The report's sentences, generated from its numbers. What the numbers cannot carry is said, never left out.

Verbs are fixed: "beats" needs the paired test and its interval (six seeds or more); with two to five seeds an
arm "is ahead", which the interval describes and no test establishes; with one seed scores are only put side
by side.
"""

from collections.abc import Mapping
from typing import Any

from gssl.report.statistics import seeds_needed, smallest_p
from gssl.report.words import amount_text, count, listed, p_text, points, span, upper, word

ALPHA = 0.05
# ── one comparison ───────────────────────────────────────────────────────────────────────────────


def excludes_zero(d: dict[str, Any]) -> bool:
    i = d["interval"]
    return bool(i) and (i["low"] > 0 or i["high"] < 0)


def against(report: dict[str, Any], arm: str, probe: str, amount: str) -> list[tuple[str, float, dict[str, Any]]]:
    """Who was compared with `arm` there, by how much it scored above `arm`, and the difference as it is written."""
    here = [d for d in report["differences"] if (d["probe"], d["amount"]) == (probe, amount) and d["mean"] is not None]
    turned = [(d["b"], -d["mean"], d) for d in here if d["a"] == arm]
    return [(d["a"], d["mean"], d) for d in here if d["b"] == arm] + turned


def outcome(d: dict[str, Any]) -> str:
    """A comparison's name: "beats", "ahead", "none" (no difference shown), "single" or "absent"."""
    if d["mean"] is None:
        return "absent"
    alike = d["p"] is None and d.get("metric", "accuracy") == "accuracy"  # seeds that vary nothing
    if d["n_seeds"] < 2 or alike:
        return "single"
    if not excludes_zero(d):
        return "none"
    if d["n_seeds"] < seeds_needed(ALPHA):
        widened = d.get("simultaneous")
        return "ahead" if widened is None or excludes_zero({"interval": widened}) else "none"
    return "beats" if _p(d) <= ALPHA else "none"


def _p(d: dict[str, Any]) -> float:
    return float(d["p_adjusted"] if d.get("p_adjusted") is not None else d["p"])


def adjusted_with(d: Mapping[str, Any], report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pairs of the primary family over which the p of `d`, one of them, was adjusted: `document._adjusted`."""
    family = [other for other in report["differences"] if other["family"] == "primary" and other["p"] is not None]
    need = seeds_needed(ALPHA)
    return family if d["n_seeds"] < need else [other for other in family if other["n_seeds"] >= need]


def sentence(d: dict[str, Any], report: dict[str, Any]) -> str:
    """One comparison of the primary family in one or two sentences."""
    names = {a["name"]: a["title"] for a in report["arms"]}
    a, b, kind = names[d["a"]], names[d["b"]], outcome(d)
    with_labels = f"with {amount_text(d['amount'])}"
    if kind == "absent":
        return f"{upper(a)} against {b}: no seed finished in both arms {with_labels}, so nothing is said."
    if kind == "single":
        return _single(d, report, a, b)
    turn = d["mean"] < 0 and kind != "none"
    if turn:
        a, b = b, a
        d = d | {"a": d["b"], "b": d["a"], "probes": d["probes"][::-1]}
    n = d["n_seeds"]
    i = d["interval"]
    low, high = (-i["high"], -i["low"]) if turn else (i["low"], i["high"])
    spread = f"paired 95% t interval {points(low)} to {points(high)}, {count(n, 'seed')}"
    if kind == "none" and n < seeds_needed(ALPHA) and excludes_zero(d):  # the widened one has decided
        level = f"{100 * d['simultaneous']['level']:.3g}%"
        spread += f"; as one of {word(len(report['primary']['pairs']))} pairs ({level}) {span(d['simultaneous'])}"
    p = _p(d)
    together = len(adjusted_with(d, report)) if d.get("p_adjusted") is not None else 1
    adjusted = f", adjusted over {word(together)} comparisons" if together > 1 else ""
    # Below six seeds nothing is tested, and the plain p shows how far the seeds could take it.
    test = f"sign-flip p {p_text(p if n >= seeds_needed(ALPHA) else d['p'])}"
    gap = points(abs(d["mean"]))
    judged = _judged(d)
    if kind == "beats":
        return f"{upper(a)} beats {b} by {gap} points {with_labels} ({judged}, {spread}; {test}{adjusted})."
    if kind == "ahead":
        need = seeds_needed(ALPHA)
        own = _own_intervals(d, report)
        return (
            f"{upper(a)} is ahead of {b} by {gap} points {with_labels} ({judged}, {spread}; {test}: "
            f"{word(n)} seeds cannot reach .05, {word(need)} can).{own}"
        )
    tail = f"; {test}{adjusted}" if n >= seeds_needed(ALPHA) else ""
    return (
        f"Between {a} and {b} no difference is shown {with_labels} "
        f"(mean difference {points(d['mean'], sign=True)} points, {judged}, {spread}{tail})."
    )


def _judged(d: dict[str, Any]) -> str:
    one, two = d["probes"]
    return f"{one} probe" if one == two else f"{one} against {two} probe"


def _row(report: dict[str, Any], arm: str, probe: str, amount: str) -> dict[str, Any] | None:
    wanted = (arm, probe, amount)
    return next((r for r in report["table"] if (r["arm"], r["probe"], r["amount"]) == wanted), None)


def _own_intervals(d: dict[str, Any], report: dict[str, Any]) -> str:
    """Whether the arms' own intervals overlap: descriptive, and said to be."""
    rows = [_row(report, d[k], p, d["amount"]) for k, p in zip("ab", d["probes"], strict=True)]
    ends = [r["interval"] for r in rows if r and r["interval"] and r["interval"]["kind"] == "t"]
    if len(ends) < 2:
        return ""
    apart = ends[0]["low"] > ends[1]["high"] or ends[1]["low"] > ends[0]["high"]
    shown = " and ".join(span(e) for e in ends)
    return f" The two arms' own 95% t intervals {'are separate' if apart else 'overlap'} ({shown})."


def _single(d: dict[str, Any], report: dict[str, Any], a: str, b: str) -> str:
    one, two = (_row(report, d[k], p, d["amount"]) for k, p in zip("ab", d["probes"], strict=True))
    if not one or not two:
        return f"{upper(a)} against {b}: a score is missing."
    seed = next(iter(d["per_seed"]))
    shown = []
    for row in (one, two):
        per_seed = {str(k): v for k, v in row["per_seed"].items()}
        own = row["interval"] if row["interval"] and row["interval"]["kind"] == "wilson" else None
        shown.append(f"{points(per_seed[seed])}%" + (f" ({span(own)})" if own else ""))
    over = d["interval"]
    images = f" over {count(over['n'], 'test image')}" if over else ""
    both = f"; their difference is {points(d['mean'], sign=True)} points ({span(over)}){images}" if over else ""
    seeds = "One seed" if d["n_seeds"] == 1 else f"{upper(word(d['n_seeds']))} seeds that are all alike"
    return (
        f"{seeds}, {amount_text(d['amount'])}, {_judged(d)}: {a} scored {shown[0]}, {b} {shown[1]}{both}. "
        "Those are 95% Wilson intervals over test images; about other seeds nothing can be said."
    )


# ── the verdict ──────────────────────────────────────────────────────────────────────────────────


def question(report: dict[str, Any]) -> str:
    """The question the report answers, where the plan brings none."""
    trained = [a["title"] for a in report["arms"] if a["role"] == "contestant" and a["pretrained"]]
    on = f" on {report['data']}" if report["data"] else ""
    amount = amount_text(report["primary"]["amount"])
    if not trained:
        return f"What do {amount} buy{on}?" if amount != "all labels" else f"What do the labels buy{on}?"
    who = " or ".join(trained) if len(trained) < 3 else ", ".join(trained[:-1]) + f" or {trained[-1]}"
    return f"Does {who} pretraining pay{on}, with {amount}?"


def verdict(report: dict[str, Any]) -> dict[str, Any]:
    """`headline` (one sentence), `cannot` (what these runs cannot show), `sentences` (the primary family) and
    `exploratory` (beside it). `limits` adds the cautions."""
    primary = [d for d in report["differences"] if d["family"] == "primary"]
    return {
        "headline": _headline(primary, report),
        "cannot": _cannot(primary, {a["name"]: a["title"] for a in report["arms"]}),
        "sentences": [sentence(d, report) for d in primary],
        "exploratory": _beside(report),
    }


def _headline(primary: list[dict[str, Any]], report: dict[str, Any]) -> str:
    names = {a["name"]: a["title"] for a in report["arms"]}
    amount = amount_text(report["primary"]["amount"])
    told = [d for d in primary if d["mean"] is not None]
    if not told:
        return f"With {amount} there is no finished pair of arms to compare."
    if all(outcome(d) == "single" for d in told):
        paired = {name for d in told for name in (d["a"], d["b"])}
        arms = [a["name"] for a in report["arms"] if a["name"] in paired]
        probes = {d[k]: p for d in told for k, p in zip("ab", d["probes"], strict=True)}
        rows = [_row(report, arm, probes[arm], report["primary"]["amount"]) for arm in arms]
        scores = [f"{names[r['arm']]} {points(r['mean'])}%" for r in rows if r]
        if told[0]["n_seeds"] > 1:
            return f"With {amount} and seeds that are all alike: {listed(scores)}. They cannot tell a method from luck."
        return f"With {amount} and one seed: {listed(scores)}. One seed cannot tell a method from luck."
    parts = [_told(d, names) for d in told if outcome(d) in ("beats", "ahead")]
    level = [f"{names[d['a']]} and {names[d['b']]}" for d in told if outcome(d) == "none"]
    if level:
        parts.append("between " + listed([", between ".join(level)]) + " no difference is shown")
    lone = [f"{names[d['a']]} and {names[d['b']]}" for d in told if outcome(d) == "single"]
    if lone:
        parts.append("of " + listed(lone) + " nothing is said, for nothing shows how seeds scatter")
    n = sorted({d["n_seeds"] for d in told})
    seeds = f"{word(n[0])} seed{'' if n[0] == 1 else 's'}" if len(n) == 1 else f"{word(n[0])} to {word(n[-1])} seeds"
    return f"With {amount} and {seeds}, {'; '.join(parts)}{_unlike(report)}."


def _told(d: dict[str, Any], names: dict[str, str]) -> str:
    """ "SimCLR beats DCGAN by 4.2 points (95% interval 3.1 to 5.3, p = .031)"."""
    a, b, low, high = d["a"], d["b"], d["interval"]["low"], d["interval"]["high"]
    if d["mean"] < 0:
        a, b, low, high = b, a, -high, -low
    found = f"95% interval {points(low)} to {points(high)}"
    if outcome(d) == "beats":
        found += f", p {p_text(_p(d))}"
        verb = "beats"
    else:  # below six seeds nothing is tested
        verb = "is ahead of"
    return f"{names[a]} {verb} {names[b]} by {points(abs(d['mean']))} points ({found})"


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


def _cannot(primary: list[dict[str, Any]], names: dict[str, str]) -> list[str]:
    told = [d for d in primary if d["n_seeds"]]
    if not told:
        return ["Nothing is shown: no pair of the primary family has a seed that finished in both arms."]
    need = seeds_needed(ALPHA)
    few = [d for d in told if d["n_seeds"] < need]
    if not few:
        return []
    low, n = min(d["n_seeds"] for d in few), max(d["n_seeds"] for d in few)
    which = ""
    if len(few) < len(told):
        which = f" ({listed([names[d['a']] + ' against ' + names[d['b']] for d in few])})"
    fewest = f"{word(need)} seeds are the fewest with which it can reach .05"
    if n == 1:
        return [
            f"With one seed{which} nothing can be said about seeds: another one may order the arms "
            "otherwise. The intervals are over test images only. Two seeds give a first idea of the spread; "
            f"a paired test needs more, and {fewest}."
        ]
    seeds = upper(word(n)) if low == n else f"{upper(word(low))} to {word(n)}"
    return [
        f"{seeds} seeds{which} cannot establish a difference between methods: the smallest p that the paired "
        f"sign-flip test can give with {word(n)} is {p_text(smallest_p(n))[2:]}, and {fewest}. The t "
        "intervals describe the spread of these runs, assuming it is normal; who is called ahead has an interval, "
        "widened for the number of comparisons, that excludes zero."
    ]


def _beside(report: dict[str, Any]) -> list[str]:
    """Each pretrained contestant against what the primary family leaves out, at the same labels: against what is not
    pretrained, and the one with the highest mean against the others, too, for a reader sees it in the table."""
    names = {a["name"]: a["title"] for a in report["arms"]}
    trained = [a["name"] for a in report["arms"] if a["role"] == "contestant" and a["pretrained"]]
    game = report["primary"]["probe"], report["primary"]["amount"]
    means = {r["arm"]: r["mean"] for r in report["table"] if (r["probe"], r["amount"]) == game}
    first = max((arm for arm in trained if means.get(arm) is not None), key=lambda arm: means[arm], default=None)
    out = []
    for arm in trained:
        told = []
        for other, above, d in against(report, arm, *game):
            if d["family"] == "exploratory" and (other not in trained or arm == first):
                i = d["interval"]
                if i and d["b"] == arm:  # written the other way round
                    i = i | {"low": -i["high"], "high": -i["low"]}
                told.append(f"{points(-above, sign=True)} points against {names[other]} ({span(i)})")
        if told:
            out.append(f"{upper(names[arm])}: {listed(told)}.")
    return out
