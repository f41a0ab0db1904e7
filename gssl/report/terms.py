"""What a claim or a question may name: `simclr.linear@10`, `dcgan.kid`, `simclr.seconds`, and their values in a report.

    term   = arm.probe@labels | arm.measure      labels: 10 (per class), 5i (images), 1% or 100% (of the labels), all

The arm is all before the last dot. Values stand in the unit in which people write them: scores (GAN-train and GAN-test
too) in percent, precision, recall, coverage and copied as fractions, times in seconds, memory in bytes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from gssl.errors import UsageError
from gssl.report.model import Report, Score
from gssl.report.model_records import CostRow, GenerationRow, Interval
from gssl.report.scores import Cells, Gap, gap, without_predictions
from gssl.statistics import paired
from gssl.statistics.intervals import wilson
from gssl.words import count, points, shortened

NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
SCORE = re.compile(r"(?P<arm>\S+)\.(?P<name>\w+)@(?P<label_budget>all|\d+(?:\.\d+)?%|\d+i|\d+)")
OTHER = re.compile(r"(?P<arm>\S+)\.(?P<name>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class Measure:
    """Where a measure's row is in the report and how its values are written.

    what: only values of the same can be compared. scale: the written value for one of the stored unit. counted: no
    sample, so that a single run's value is the value.
    """

    part: str  # table | generation | cost
    metric: str
    what: str  # percent | fraction | kid | … | time
    scale: float = 1.0
    counted: bool = False


SCORED = Measure("table", "", "percent", 100.0)
MEASURES: dict[str, Measure] = {
    **{name: Measure("generation", name, name) for name in ("kid", "fd", "density")},
    **{name: Measure("generation", name, "fraction") for name in ("precision", "recall", "coverage", "copied")},
    **{name: Measure("generation", name, "percent", 100.0) for name in ("gan_train", "gan_test")},
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
    """A score (`name` is a probe, `label_budget` a key of `label_budgets`) or a measure (`label_budget` is None)."""

    arm: str
    name: str
    label_budget: str | None = None

    def __str__(self) -> str:
        return f"{self.arm}.{self.name}" + (f"@{self.label_budget}" if self.label_budget is not None else "")

    @property
    def measure(self) -> Measure:
        return SCORED if self.label_budget is not None else MEASURES[self.name]


def parse(text: str) -> Term:
    """The term in `text`. Raises UsageError that says what cannot be read, without the name of who asked."""
    found = SCORE.fullmatch(text)
    if found:
        if found["name"] in MEASURES:
            raise UsageError(f"{found['name']} takes no labels; write {found['arm']}.{found['name']}")
        return Term(found["arm"], found["name"], _label_budget(found["label_budget"]))
    other = OTHER.fullmatch(text)
    if not other or "@" in other["name"]:
        raise UsageError(f"cannot read {text!r}")
    if other["name"] not in MEASURES:
        from gssl.config.registry import PROBE

        if other["name"] in PROBE:
            raise UsageError(f"cannot read {text!r}: a probe takes its labels, as in {text}@10")
        raise UsageError(unknown("measure", other["name"], list(MEASURES)))
    return Term(other["arm"], other["name"])


def _label_budget(text: str) -> str:
    if text == "all":
        return text
    if text.endswith("i"):
        return f"{int(text[:-1])}i"
    if not text.endswith("%"):
        return str(int(text))
    percent = float(text[:-1])
    if not 0 < percent <= 100:
        raise UsageError(f"{text} is no part of the labels; expected above 0% to 100%")
    return "all" if percent == 100 else f"{percent:g}%"


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """ "unknown arm 'simlcr'; did you mean 'simclr'? known: …"."""
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}; {meant}known: {', '.join(known)}"


# ── values ───────────────────────────────────────────────────────────────────────────────────────


Row = Score | GenerationRow | CostRow


@dataclass(frozen=True)
class Value:
    """A number of the report, or a difference of two, in the unit that is written."""

    mean: float
    interval: Interval | None
    per_seed: dict[str, float]

    @property
    def n_seeds(self) -> int:
        return len(self.per_seed)

    def times(self, factor: float) -> "Value":
        interval = self.interval and self.interval.times(factor)
        return Value(self.mean * factor, interval, {seed: v * factor for seed, v in self.per_seed.items()})


def row(report: Report, term: Term) -> Row | None:
    """The report's row of `term`, in stored units. None where no finished run brought it."""
    if term.label_budget is not None:
        return report.row(term.arm, term.name, term.label_budget)
    rows: Sequence[GenerationRow | CostRow] = report.generation if term.measure.part == "generation" else report.cost
    key = (term.arm, term.measure.metric)
    return next((r for r in rows if (r.arm, r.metric) == key and r.mean is not None), None)


def value(found: Row, scale: float) -> Value:
    """A row in the unit that is written."""
    return Value(found.mean or 0.0, found.interval, found.per_seed).times(scale)


def between(found: Cells | None, left: Term, right: Term, metric: str, factor: float = 1.0) -> Gap | None:
    """left − factor · right from the runs' predictions; None of what is no score, and where a cell is not there."""
    if found is None or left.label_budget is None or right.label_budget is None:
        return None
    one, two = (found.get((t.arm, t.name, str(t.label_budget))) for t in (left, right))
    return gap(one, two, metric, factor) if one and two else None


def paired_difference(
    left: Row, right: Row, measure: Measure, factor: float = 1.0, exact: Gap | None = None
) -> Value | None:
    """left − factor · right over the seeds that both rows have, as `measure` is written; None where there is no such.

    exact: the same from predictions (`between`), with an interval over seeds and test items. Scores without it get one
    that takes both sides' items as independent, which is rather wide. Other measures: t over the paired differences;
    with one common seed, or several that are all alike (which show nothing about others, unless the measure is
    counted), each side's own interval over images, squared and added (Newcombe's method 10; for what is no proportion
    Zou & Donner 2008, "Construction of confidence limits about effect measures"), where both have one. Of percentages
    the interval is cut to what can be.
    """
    if isinstance(left, Score) and isinstance(right, Score):
        exact = exact or without_predictions(left, right, factor)
        if exact is None:
            return None
        per_seed = {str(seed): d for seed, d in exact.per_seed.items()}
        return Value(exact.mean, exact.interval(), per_seed).times(measure.scale)
    one, two = left.per_seed, right.per_seed
    seeds = [seed for seed in one if seed in two]
    if not seeds:
        return None
    differences = {seed: one[seed] - factor * two[seed] for seed in seeds}
    mean = sum(differences.values()) / len(seeds)
    over = paired.t_interval(list(differences.values()))
    interval = None
    if over is not None and (measure.counted or paired.varies(list(differences.values()))):
        bounded = measure.what == "percent"
        low, high = (max(-factor, over.low), min(1.0, over.high)) if bounded else (over.low, over.high)
        interval = _interval("t", "seeds", len(seeds), low, high)
    else:
        one_side, other_side = _ends(left, seeds[0]), _ends(right, seeds[0])
        if one_side and other_side:
            (a, n_a), (b, n_b) = one_side, other_side
            moved = paired.newcombe(a, (b[0] * factor, b[1] * factor, b[2] * factor))
            counts = [n for n in (n_a, n_b) if n]
            interval = _interval("newcombe", "test images", min(counts, default=None), moved.low, moved.high)
    return Value(mean, interval, differences).times(measure.scale)


def _interval(kind: Literal["t", "newcombe"], over: str, n: int | None, low: float, high: float) -> Interval:
    return Interval(kind=kind, over=over, n=n, level=0.95, low=low, high=high)


def _ends(found: Row, seed: str) -> tuple[tuple[float, float, float], int | None] | None:
    """One seed's value with its own interval over images: of a score always, else where the row has just it."""
    at = found.per_seed[seed]
    if isinstance(found, Score) and found.n_test:
        low, high = wilson(round(at * found.n_test), found.n_test)
        return (at, low, high), found.n_test
    own = found.interval
    if own and own.kind != "t" and len(found.per_seed) == 1:
        return (at, own.low, own.high), own.n
    return None


# ── how they are written ─────────────────────────────────────────────────────────────────────────

SIZES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def figure(number: float, term: Term, sign: bool = False) -> str:
    """A value in the term's written unit, with its unit; a difference with its sign."""
    what = term.measure.what
    if what == "percent":
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


def over_text(interval: Interval, n_seeds: int) -> str:
    """ "over 3 seeds", "over 6 seeds and 1,000 test images", "over 1,000 test images, one seed"."""
    if interval.kind == "two_way":
        images = count(interval.items or 0, "test image")
        alone = "one seed" if n_seeds == 1 else "nothing here depends on the seed"
        return (
            f"over {count(interval.n or 0, 'seed')} and {images}"
            if "seeds" in interval.over
            else f"over {images}, {alone}"
        )
    n = f"{interval.n:,} " if interval.n else ""
    alone = "one seed" if n_seeds == 1 else f"{count(n_seeds, 'seed')} that are all alike"
    return f"over {n}{interval.over}" + ("" if interval.kind == "t" else f", {alone}")


def absent(term: Term, report: Report) -> str:
    """Why the report has no such value: a wrong name, a failure, or it was not asked for."""
    known = [a.name for a in report.arms] + [f.arm for f in report.failed] + [m.arm for m in report.missing]
    known = list(dict.fromkeys(known))
    if term.arm not in known:
        return unknown("arm", term.arm, known)
    text = f"no finished run has {term}"
    has = [
        str(t) for t in every(report) if t.arm == term.arm and (t.label_budget is None) == (term.label_budget is None)
    ]
    if has:
        text += f"; {term.arm} has {', '.join(name.removeprefix(f'{term.arm}.') for name in has[:8])}"
    lost = [f for f in report.failed if f.arm == term.arm]
    if lost:
        first = next((f for f in lost if f.state == "failed"), lost[0])
        why = shortened(" ".join(str(first.error or "").split()), 160)
        text += f"; seed {first.seed} {first.stage}: {first.state}{', ' + why if why else ''}"
    return text


def every(report: Report) -> list[Term]:
    """All terms that have a value in the report."""
    found = [Term(r.arm, r.probe, r.label_budget) for r in report.table]
    rows: list[GenerationRow | CostRow] = [*report.generation, *report.cost]
    return found + [Term(r.arm, r.metric) for r in rows if r.mean is not None and r.metric in MEASURES]
