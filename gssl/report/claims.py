"""Claims for `compare --check`: `simclr.linear@10 > random.linear@10 + 5`, `dcgan.kid < 0.05`; and the terms in them.

    claim  = term OP (number | term | term (+|-) number | term * number)
    term   = arm.probe@labels | arm.measure      labels: 10 (per class), 5i (images), 1% or 100% (of the labels), all
    OP     = >  >=  <  <=

The arm is all before the last dot. Scores (GAN-train and GAN-test too) are percent, differences between them points;
precision, recall, coverage and copied are fractions, times seconds, memory bytes. A claim holds only where its 95%
interval does, for scores over seeds and test images: of one term, or of two over the seeds and images that both have
(paired). Where there is no interval nothing holds, but what is counted and not sampled (FLOPs, images, steps): there
one run's value decides.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from gssl.config.arms import Arm
from gssl.config.registry import PROBE, reads_labels
from gssl.errors import UsageError
from gssl.report.model import Report, Score
from gssl.report.model_records import CostRow, GenerationRow, Interval
from gssl.report.scores import Cells, Gap, gap, without_predictions
from gssl.statistics import paired
from gssl.statistics.intervals import wilson
from gssl.words import count, points, shortened, tested, title

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


def term_in(text: str) -> Term:
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
    with one common seed, or several with the same difference (which show nothing about others, unless the measure is
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
    if own and own.kind not in ("t", "log_t") and len(found.per_seed) == 1:
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


def digits(value: float, term: Term) -> str:
    """A value in its written unit, with the digits to follow a computation by."""
    return f"{value:.2f}" if term.measure.what == "percent" else f"{value:.6g}"


def over_text(interval: Interval, n_seeds: int) -> str:
    """ "over 3 seeds", "over 6 seeds and 1,000 test images", "over 1,000 test images, one seed"."""
    if interval.kind == "two_way":
        images = tested(interval.items or 0, interval.grouped)
        alone = "one seed" if n_seeds == 1 else "nothing here depends on the seed"
        return (
            f"over {count(interval.n or 0, 'seed')} and {images}"
            if "seeds" in interval.over
            else f"over {images}, {alone}"
        )
    n = f"{interval.n:,} " if interval.n else ""
    what = "whose difference is the same" if interval.kind == "newcombe" else "that are all alike"
    alone = "one seed" if n_seeds == 1 else f"{count(n_seeds, 'seed')} {what}"
    return f"over {n}{interval.over}" + ("" if interval.kind in ("t", "log_t") else f", {alone}")


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


# ── claims ───────────────────────────────────────────────────────────────────────────────────────

FORM = (
    "'arm.probe@labels OP arm.probe@labels + points', 'arm.measure OP number' or '… OP arm.measure * number',"
    " e.g. 'simclr.linear@10 > random.linear@10 + 5' or 'dcgan.kid < 0.05'"
)
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
RIGHT = re.compile(rf"(?P<term>.*?\S)\s*(?P<sign>[+−*×-])\s*(?P<number>{NUMBER})")
MOST = {"percent": (100, "percent, 0 to 100"), "fraction": (1, "a fraction, 0 to 1")}


@dataclass(frozen=True)
class Claim:
    """`left op factor · right + offset`; with `right` None the offset is the number itself. In left's written unit."""

    text: str
    left: Term
    op: str
    right: Term | None
    offset: float
    factor: float = 1.0


Probes = Mapping[str, Sequence[str]]


def parse(
    claim: str, probes: Probes | None = None, label_budgets: Sequence[str] = (), measured: Probes | None = None
) -> Claim:
    """The claim in `claim`. Where `probes` ({arm: its probes}) is given, its terms must be among what will be
    evaluated at `label_budgets` (keys) and, where `measured` ({arm: its measures}) is, among those; else only the form
    is checked.

    Cheap and without torch, so a wrong claim can be refused before anything is trained.
    Raises UsageError naming the claim, and the form or what will be evaluated.
    """
    try:
        found = _read(claim)
        for term in (found.left, found.right):
            wrong = _not_evaluated(term, probes, label_budgets, measured) if term and probes is not None else ""
            if wrong:
                raise UsageError(wrong)
    except UsageError as error:
        raise UsageError(f"check {claim!r}: {error}") from error
    return found


def _read(claim: str) -> Claim:
    # The operator is the one outside a variant's brackets: simclr[ssl.temperature=0.2].linear@10 >= 60.
    sides = re.split(r"(>=|<=|>|<)(?![^\[]*\])", claim)
    if len(sides) != 3:
        raise UsageError(f"expected one of > >= < <= between two sides; write {FORM}")
    left, op, right = (s.strip() for s in sides)
    first = _term(left)
    if re.fullmatch(rf"[+-]?{NUMBER}", right):
        most, unit = MOST.get(first.measure.what, (math.inf, ""))
        if abs(float(right)) > most:
            raise UsageError(
                f"{first} is {unit}, so it cannot be held against {right}"
                + (f"; write {float(right) / 100:g}" if first.measure.what == "fraction" else "")
            )
        return Claim(claim, first, op, None, float(right))
    whole = SCORE.fullmatch(right) or OTHER.fullmatch(right)
    parts = None if whole else RIGHT.fullmatch(right)
    second = _term(parts["term"] if parts else right)
    if second.measure.what != first.measure.what:
        raise UsageError(f"{first} is {_kind(first)} and {second} {_kind(second)}: only the like can be compared")
    number = float(parts["number"]) if parts else 0.0
    if parts and parts["sign"] in "*×":
        return Claim(claim, first, op, second, 0.0, number)
    return Claim(claim, first, op, second, number if not parts or parts["sign"] == "+" else -number)


def _term(text: str) -> Term:
    try:
        return term_in(text)
    except UsageError as error:
        way = f"; write {FORM}" if str(error).startswith("cannot read") else ""
        raise UsageError(f"{error}{way}") from error


def _kind(term: Term) -> str:
    what = term.measure.what
    return {"percent": "a score in percent", "fraction": "a fraction", "time": "a time"}.get(what, what.upper())


def measures_of(arm: Arm, generated: bool = True) -> list[str]:
    """What will be measured of an arm beside its probes: generation where its last stage is a GAN and `generated`
    images are evaluated, cost where anything is trained. Of a file or a run directory it is not known before it is
    read."""
    made = arm.read or arm.family == "gan"
    conditional = arm.read or (made and reads_labels(arm.stages[-1]))
    found = [name for name in GENERATION if generated and made and (conditional or name not in CONDITIONAL)]
    return [*found, *(COST if arm.trained or arm.read else ())]


def _not_evaluated(term: Term, probes: Probes, label_budgets: Sequence[str], measured: Probes | None) -> str:
    """What is wrong with `term`, naming what will be evaluated; empty where nothing is."""
    if term.arm not in probes:
        return unknown("arm", term.arm, list(probes))
    if term.label_budget is None:
        has = measured[term.arm] if measured is not None else [term.name]
        if term.name in has:
            return ""
        if term.name in CONDITIONAL:
            why = f"{term.arm} has no class-conditional generator"
        elif term.name in GENERATION:
            why = f"{term.arm} has no generator, or none is evaluated (generation.images=0)"
        else:
            why = f"nothing of {term.arm} is trained"
        return f"{term} will not be measured: {why}" + (f"; it has {', '.join(has)}" if has else "")
    own = probes[term.arm]
    if term.name in own and term.label_budget in label_budgets:
        return ""
    near = get_close_matches(term.name, own, n=1) if term.name not in own else []
    meant = f"did you mean {near[0]!r}? " if near else ""
    has = f"{term.arm} is evaluated by {', '.join(own)} @ {', '.join(label_budgets)}" if own else "nothing evaluates it"
    return f"{term} will not be evaluated; {meant}{has}"


# ── whether it holds ─────────────────────────────────────────────────────────────────────────────


def in_report(claim: str, report: Report) -> None:
    """Raises UsageError where the report has no value for a term of `claim`, though no run of that arm failed.

    What a failed run may have taken along is no typing error: such a claim does not hold.
    """
    parsed = parse(claim)
    lost = {part.arm for part in report.failed} | {part.arm for part in report.missing}
    for term in (parsed.left, parsed.right):
        if term and term.arm not in lost and not row(report, term):
            raise UsageError(f"check {claim!r}: {absent(term, report)}")


def check(claim: str, report: Report, cells: Cells | None = None) -> tuple[bool, str]:
    """Whether `claim` holds in `report`, and one line that says so with the figures. cells: of its runs, for intervals
    over seeds and test images as the verdict has them.

    A term that no finished run brought makes the claim fail, with a line that says why it is not there.
    Raises UsageError for nothing but the form, which `parse` has checked before the first run.
    """
    parsed = parse(claim)
    left = row(report, parsed.left)
    right = row(report, parsed.right) if parsed.right else None
    for term, found in ((parsed.left, left), (parsed.right, right)):
        if term and not found:
            return False, f"does not hold: {claim} ({absent(term, report)})"
    assert left
    if right is None:
        got: Value | None = value(left, parsed.left.measure.scale)
        what = title(parsed.left.arm)
    else:
        assert parsed.right
        exact = between(cells, parsed.left, parsed.right, report.primary.metric, parsed.factor)
        got = paired_difference(left, right, parsed.left.measure, parsed.factor, exact)
        what = "difference" if parsed.factor == 1 else f"left − {parsed.factor:g} × right ="
    if got is None:
        return False, f"does not hold: {claim} (the two have no seed in common)"
    holds, spread = _decided(got, parsed)
    shown = figure(got.mean, parsed.left, sign=right is not None)
    return holds, f"{'holds' if holds else 'does not hold'}: {claim} ({what} {shown}, {spread})"


def _decided(got: Value, claim: Claim) -> tuple[bool, str]:
    """Whether the interval fulfils the claim, and the interval in words."""
    by_mean = _holds(got.mean, claim)
    i, term, n = got.interval, claim.left, got.n_seeds
    if i is None and term.measure.counted:
        return by_mean, f"{count(n, 'seed')}: counted, not sampled, so the value decides"
    if i is None:
        side = "the two have one seed in common" if claim.right and n == 1 else count(n, "seed")
        return False, f"no interval: {side}, and nothing shows how far another would be; more seeds would (seeds=6)"
    holds = all(_holds(end, claim) for end in (i.low, i.high))
    ends = " to ".join(_bare(end, term, claim.right is not None) for end in (i.low, i.high))
    text = f"95% interval {ends} {over_text(i, n)}"
    if by_mean and not holds:
        text += "; the mean fulfils it, the interval does not lie beyond the bound: more seeds narrow it"
    return holds, text


def _bare(number: float, term: Term, sign: bool) -> str:
    return points(number / 100, sign) if term.measure.what == "percent" else figure(number, term, sign)


def _holds(number: float, claim: Claim) -> bool:
    # Rounding must not decide 60.0 >= 60.
    same = math.isclose(number, claim.offset, rel_tol=1e-9, abs_tol=1e-10)
    return OPERATORS[claim.op](claim.offset if same else number, claim.offset)
