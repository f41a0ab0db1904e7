"""Claims for `compare --check`: `simclr.linear@10 > random.linear@10 + 5`, `dcgan.kid < 0.05`.

    claim  = term OP (number | term | term (+|-) number | term * number)
    term   = arm.probe@labels | arm.measure       see `gssl.report.terms`
    OP     = >  >=  <  <=

Scores are percent, differences between them points; every other measure stands in its own unit. A claim holds
only where its 95% interval does, for scores over seeds and test images: of one term, or of two over the seeds and
images that both have (paired). Where there is no interval nothing holds, but what is counted and not sampled (FLOPs,
images, steps): there one run's value decides.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from gssl.config.arms import Arm
from gssl.config.registry import reads_labels
from gssl.errors import UsageError
from gssl.report import terms
from gssl.report.model import Report
from gssl.report.scores import Cells
from gssl.report.terms import CONDITIONAL, COST, GENERATION, NUMBER, Term, Value
from gssl.words import count, points, title

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
    whole = terms.SCORE.fullmatch(right) or terms.OTHER.fullmatch(right)
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
        return terms.parse(text)
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
        return terms.unknown("arm", term.arm, list(probes))
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
        if term and term.arm not in lost and not terms.row(report, term):
            raise UsageError(f"check {claim!r}: {terms.absent(term, report)}")


def check(claim: str, report: Report, cells: Cells | None = None) -> tuple[bool, str]:
    """Whether `claim` holds in `report`, and one line that says so with the figures. cells: of its runs, for intervals
    over seeds and test images as the verdict has them.

    A term that no finished run brought makes the claim fail, with a line that says why it is not there.
    Raises UsageError for nothing but the form, which `parse` has checked before the first run.
    """
    parsed = parse(claim)
    left = terms.row(report, parsed.left)
    right = terms.row(report, parsed.right) if parsed.right else None
    for term, found in ((parsed.left, left), (parsed.right, right)):
        if term and not found:
            return False, f"does not hold: {claim} ({terms.absent(term, report)})"
    assert left
    if right is None:
        got: Value | None = terms.value(left, parsed.left.measure.scale)
        what = title(parsed.left.arm)
    else:
        assert parsed.right
        exact = terms.between(cells, parsed.left, parsed.right, report.primary.metric, parsed.factor)
        got = terms.paired_difference(left, right, parsed.left.measure, parsed.factor, exact)
        what = "difference" if parsed.factor == 1 else f"left − {parsed.factor:g} × right ="
    if got is None:
        return False, f"does not hold: {claim} (the two have no seed in common)"
    holds, spread = _decided(got, parsed)
    shown = terms.figure(got.mean, parsed.left, sign=right is not None)
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
    text = f"95% interval {ends} {terms.over_text(i, n)}"
    if by_mean and not holds:
        text += "; the mean fulfils it, the interval does not lie beyond the bound: more seeds narrow it"
    return holds, text


def _bare(number: float, term: Term, sign: bool) -> str:
    return points(number / 100, sign) if term.measure.what == "percent" else terms.figure(number, term, sign)


def _holds(value: float, claim: Claim) -> bool:
    # Rounding must not decide 60.0 >= 60.
    same = math.isclose(value, claim.offset, rel_tol=1e-9, abs_tol=1e-10)
    return OPERATORS[claim.op](claim.offset if same else value, claim.offset)
