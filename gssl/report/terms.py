"""What a claim or a question may name: `simclr.linear@10`, `dcgan.kid`, `simclr.seconds`, and their values in a report.

    term   = arm.probe@labels | arm.measure      labels: 10 (per class), 1% or 100% (of the labels), all

The arm is all before the last dot. Values stand in the unit in which people write them: accuracies (GAN-train and
GAN-test too) in percent, precision, recall, coverage and copied as shares, times in seconds, memory in bytes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from gssl.errors import UsageError
from gssl.report.cells import Cells, Gap, gap, without_answers
from gssl.statistics import paired
from gssl.statistics.intervals import wilson
from gssl.words import count, points, shortened

NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
SCORE = re.compile(r"(?P<arm>\S+)\.(?P<name>\w+)@(?P<label_budget>all|\d+(?:\.\d+)?%|\d+)")
OTHER = re.compile(r"(?P<arm>\S+)\.(?P<name>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class Measure:
    """Where a measure's row is in the report and how its values are written.

    what: only values of the same can be compared. scale: the written value for one of the stored unit. counted: no
    sample, so that a single run's value is the value.
    """

    part: str  # table | generation | cost
    metric: str
    what: str  # accuracy | share | kid | … | time
    scale: float = 1.0
    counted: bool = False


ACCURACY = Measure("table", "accuracy", "accuracy", 100.0)
MEASURES: dict[str, Measure] = {
    **{name: Measure("generation", name, name) for name in ("kid", "fd", "density")},
    **{name: Measure("generation", name, "share") for name in ("precision", "recall", "coverage", "copied")},
    **{name: Measure("generation", name, "accuracy", 100.0) for name in ("gan_train", "gan_test")},
    **{name: Measure("cost", name, name, counted=True) for name in ("flops", "images", "steps")},
    "seconds": Measure("cost", "seconds", "time"),
    "minutes": Measure("cost", "seconds", "time", 1 / 60),
    "hours": Measure("cost", "seconds", "time", 1 / 3600),
    "cpu_seconds": Measure("cost", "cpu_seconds", "time"),
    "memory": Measure("cost", "memory", "memory"),
}
CONDITIONAL = ("gan_train", "gan_test")
GENERATION = tuple(name for name, m in MEASURES.items() if m.part == "generation")
COST = tuple(name for name, m in MEASURES.items() if m.part == "cost")


@dataclass(frozen=True)
class Term:
    """An accuracy (`name` is a probe, `amount` as `judging.amount_key` writes it) or a measure (`amount` is None)."""

    arm: str
    name: str
    label_budget: str | None = None

    def __str__(self) -> str:
        return f"{self.arm}.{self.name}" + (f"@{self.label_budget}" if self.label_budget is not None else "")

    @property
    def measure(self) -> Measure:
        return ACCURACY if self.label_budget is not None else MEASURES[self.name]


def parse(text: str) -> Term:
    """The term in `text`. Raises UsageError that says what cannot be read, without the name of who asked."""
    found = SCORE.fullmatch(text)
    if found:
        if found["name"] in MEASURES:
            raise UsageError(f"{found['name']} takes no labels; write {found['arm']}.{found['name']}")
        return Term(found["arm"], found["name"], _amount(found["label_budget"]))
    other = OTHER.fullmatch(text)
    if not other or "@" in other["name"]:
        raise UsageError(f"cannot read {text!r}")
    if other["name"] not in MEASURES:
        from gssl.config.registry import PROBE

        if other["name"] in PROBE:
            raise UsageError(f"cannot read {text!r}: a probe takes its labels, as in {text}@10")
        raise UsageError(unknown("measure", other["name"], list(MEASURES)))
    return Term(other["arm"], other["name"])


def _amount(text: str) -> str:
    if text == "all":
        return text
    if not text.endswith("%"):
        return str(int(text))
    share = float(text[:-1])
    if not 0 < share <= 100:
        raise UsageError(f"{text} is no share of the labels; expected above 0% to 100%")
    return "all" if share == 100 else f"{share:g}%"


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """ "unknown arm 'simlcr'; did you mean 'simclr'? known: …"."""
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}; {meant}known: {', '.join(known)}"


# ── values ───────────────────────────────────────────────────────────────────────────────────────


def row(report: Mapping[str, Any], term: Term) -> dict[str, Any] | None:
    """The report's row of `term`, in stored units: `per_seed` ({seed as text: value}), mean, interval, n_seeds.
    None where no finished run brought it."""
    found: dict[str, Any] | None
    if term.label_budget is not None:
        wanted = (term.arm, term.name, term.label_budget)
        found = next((r for r in report["table"] if (r["arm"], r["probe"], r["label_budget"]) == wanted), None)
    else:
        rows = report.get(term.measure.part) or []
        key = (term.arm, term.measure.metric)
        found = next((r for r in rows if (r["arm"], r["metric"]) == key), None)
    if not found or found["mean"] is None:
        return None
    return found | {"per_seed": {str(k): v for k, v in found["per_seed"].items() if v is not None}}


def value(found: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """A row's mean, interval, n_seeds and per_seed in the unit that is written."""
    interval = found["interval"]
    if interval:
        interval = interval | {end: interval[end] * scale for end in ("low", "high")}
    per_seed = {seed: v * scale for seed, v in found["per_seed"].items()}
    return {"mean": found["mean"] * scale, "interval": interval, "n_seeds": len(per_seed), "per_seed": per_seed}


def between(found: Cells | None, left: Term, right: Term, metric: str, factor: float = 1.0) -> Gap | None:
    """left − factor · right from the runs' single answers; None of what is no score, and where a cell is not there."""
    if found is None or left.label_budget is None or right.label_budget is None:
        return None
    one, two = (found.get((t.arm, t.name, str(t.label_budget))) for t in (left, right))
    return gap(one, two, metric, factor) if one and two else None


def paired_difference(
    left: Mapping[str, Any], right: Mapping[str, Any], measure: Measure, factor: float = 1.0, exact: Gap | None = None
) -> dict[str, Any] | None:
    """left − factor · right over the seeds that both rows have, as `measure` is written; None where they share none.

    exact: the same from single answers (`between`), with an interval over seeds and test items. Scores without it get
    one that takes both sides' items as independent, which is rather wide. Other measures: t over the paired
    differences; with one shared seed, or several that are all alike (which show nothing about others, unless the
    measure is counted), each side's own interval over images, squared and added (Newcombe's method 10; for what is no
    share Zou & Donner 2008, "Construction of confidence limits about effect measures"), where both have one. Of
    accuracies the interval is cut to what can be.
    """
    if measure.part == "table":
        exact = exact or without_answers(left, right, factor)
        if exact is None:
            return None
        per_seed = {str(seed): d for seed, d in exact.per_seed.items()}
        told = {"mean": exact.mean, "interval": exact.interval(), "n_seeds": len(per_seed), "per_seed": per_seed}
        return value(told, measure.scale)
    shares = measure.what == "accuracy"
    one, two = left["per_seed"], right["per_seed"]
    seeds = [seed for seed in one if seed in two]
    if not seeds:
        return None
    differences = {seed: one[seed] - factor * two[seed] for seed in seeds}
    mean = sum(differences.values()) / len(seeds)
    over = paired.t_interval(list(differences.values()))
    interval = None
    if over is not None and (measure.counted or paired.varies(list(differences.values()))):
        low, high = (max(-factor, over.low), min(1.0, over.high)) if shares else (over.low, over.high)
        interval = _interval("t", "seeds", len(seeds), low, high)
    else:
        one_side, other_side = _ends(left, seeds[0]), _ends(right, seeds[0])
        if one_side and other_side:
            (a, n_a), (b, n_b) = one_side, other_side
            moved = paired.newcombe(a, (b[0] * factor, b[1] * factor, b[2] * factor))
            counts = [n for n in (n_a, n_b) if n]
            interval = _interval("newcombe", "test images", min(counts, default=None), moved.low, moved.high)
    found = {"mean": mean, "interval": interval, "n_seeds": len(seeds), "per_seed": differences}
    return value(found, measure.scale)


def _interval(kind: str, over: str, n: int | None, low: float, high: float) -> dict[str, Any]:
    return {"kind": kind, "over": over, "n": n, "level": 0.95, "low": low, "high": high}


def _ends(found: Mapping[str, Any], seed: str) -> tuple[tuple[float, float, float], int | None] | None:
    """One seed's value with its own interval over images: of an accuracy always, else where the row has just it."""
    at = found["per_seed"][seed]
    if found.get("n_test"):
        low, high = wilson(round(at * found["n_test"]), found["n_test"])
        return (at, low, high), found["n_test"]
    own = found["interval"]
    if own and own["kind"] != "t" and len(found["per_seed"]) == 1:
        return (at, own["low"], own["high"]), own.get("n")
    return None


# ── how they are written ─────────────────────────────────────────────────────────────────────────

SIZES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def figure(number: float, term: Term, sign: bool = False) -> str:
    """A value in the term's written unit, with its unit; a difference with its sign."""
    what = term.measure.what
    if what == "accuracy":
        return points(number / 100, sign) + (" points" if sign else "%")
    plus = "+" if sign and number > 0 else ""
    if what in ("flops", "memory"):
        size, letter = next(((s, letter) for s, letter in SIZES if abs(number) >= s), (1.0, ""))
        text = f"{number / size:.4g} {letter}{'FLOPs' if what == 'flops' else 'B'}"
    elif what in ("images", "steps"):
        text = f"{number:,.0f} {what}"
    elif what == "time":
        unit = {"minutes": " min", "hours": " h"}.get(term.name, " s")
        text = f"{number:.4g}{unit}"
    else:
        text = f"{number:.4g}"
    return plus + text.replace("-", "−", 1)


def over_text(interval: Mapping[str, Any], n_seeds: int) -> str:
    """ "over 3 seeds", "over 6 seeds and 1,000 test images", "over 1,000 test images, one seed"."""
    if interval["kind"] == "two_way":
        images = count(interval["items"], "test image")
        alone = "one seed" if n_seeds == 1 else "nothing here depends on the seed"
        return (
            f"over {count(interval['n'], 'seed')} and {images}"
            if "seeds" in interval["over"]
            else f"over {images}, {alone}"
        )
    n = f"{interval['n']:,} " if interval.get("n") else ""
    alone = "one seed" if n_seeds == 1 else f"{count(n_seeds, 'seed')} that are all alike"
    return f"over {n}{interval['over']}" + ("" if interval["kind"] == "t" else f", {alone}")


def absent(term: Term, report: Mapping[str, Any]) -> str:
    """Why the report has no such value: a wrong name, a failure, or it was not asked for."""
    known = [a["name"] for a in report["arms"]] + [m["arm"] for m in (*report["failed"], *report["missing"])]
    known = list(dict.fromkeys(known))
    if term.arm not in known:
        return unknown("arm", term.arm, known)
    text = f"no finished run has {term}"
    has = [
        str(t) for t in every(report) if t.arm == term.arm and (t.label_budget is None) == (term.label_budget is None)
    ]
    if has:
        text += f"; {term.arm} has {', '.join(name.removeprefix(f'{term.arm}.') for name in has[:8])}"
    lost = [f for f in report["failed"] if f["arm"] == term.arm]
    if lost:
        first = next((f for f in lost if f["state"] == "failed"), lost[0])
        why = shortened(" ".join(str(first["error"] or "").split()), 160)
        text += f"; seed {first['seed']} {first['stage']}: {first['state']}{', ' + why if why else ''}"
    return text


def every(report: Mapping[str, Any]) -> list[Term]:
    """All terms that have a value in the report."""
    found = [Term(r["arm"], r["probe"], r["label_budget"]) for r in report["table"]]
    for part in ("generation", "cost"):
        rows = [(r["arm"], r["metric"]) for r in report.get(part) or [] if r["mean"] is not None]
        found += [Term(arm, metric) for arm, metric in rows if metric in MEASURES]
    return found
