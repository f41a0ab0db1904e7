"""Claims for `compare --check`: `simclr.linear@10 > random.linear@10 + 5`.

    claim  = score OP (score [(+|-) points] | points)
    score  = arm.probe@labels      labels: 10 (per class), 1% or 100% (of the labels), all
    OP     = >  >=  <  <=          points: accuracy in percent, 0 to 100

A claim holds where the means fulfil it: over the seeds that both scores have (paired), or over the score's
own seeds against a number. The line printed also says whether the 95% interval does, which is the stricter
reading: t over seeds, with one seed Newcombe's or Wilson's over test images. `strict=True` makes the interval
decide, and where there is no interval nothing holds.
"""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from gssl.errors import UsageError
from gssl.report.words import points, title

FORM = (
    "'arm.probe@labels OP arm.probe@labels + points' or '… OP points', e.g. 'simclr.linear@10 > random.linear@10 + 5'"
)
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
NUMBER = r"\d+(?:\.\d*)?|\.\d+"
TERM = re.compile(r"(?P<arm>\S+)\.(?P<probe>\w+)@(?P<amount>all|\d+(?:\.\d+)?%|\d+)")
OFFSET = re.compile(rf"(?P<score>\S+)(?:\s*(?P<sign>[+−-])\s*(?P<points>{NUMBER}))?")


@dataclass(frozen=True)
class Score:
    """One side of a claim: a row of the report's table."""

    arm: str
    probe: str
    amount: str  # as `document.amount_key` writes it

    def __str__(self) -> str:
        return f"{self.arm}.{self.probe}@{self.amount}"


@dataclass(frozen=True)
class Claim:
    """`left op right + offset`; with `right` None the offset is the number itself. Offsets are shares."""

    text: str
    left: Score
    op: str
    right: Score | None
    offset: float


def parse(claim: str, arms: Sequence[str] = (), probes: Sequence[str] = ()) -> Claim:
    """The claim in `claim`; known `arms` and `probes`, where given, are checked.

    Cheap and without torch, so a wrong claim can be refused before anything is trained.
    Raises UsageError naming the claim, the form and the nearest known name.
    """
    # The operator is the one outside a variant's brackets: simclr[ssl.temperature=0.2].linear@10 >= 60.
    sides = re.split(r"(>=|<=|>|<)(?![^\[]*\])", claim)
    if len(sides) != 3:
        raise UsageError(f"check {claim!r}: expected one of > >= < <= between two sides; write {FORM}")
    left, op, right = (s.strip() for s in sides)
    first = _score(left, claim, arms, probes)
    if re.fullmatch(NUMBER, right):
        return Claim(claim, first, op, None, float(right) / 100)
    parts = OFFSET.fullmatch(right)
    if not parts:
        raise UsageError(f"check {claim!r}: cannot read {right!r} on the right; write {FORM}")
    second = _score(parts["score"], claim, arms, probes)
    offset = float(parts["points"] or 0) / 100 * (1 if parts["sign"] in (None, "+") else -1)
    return Claim(claim, first, op, second, offset)


def _score(text: str, claim: str, arms: Sequence[str], probes: Sequence[str]) -> Score:
    found = TERM.fullmatch(text)
    if not found:
        raise UsageError(f"check {claim!r}: cannot read {text!r}; write {FORM}")
    for kind, name, known in (("arm", found["arm"], arms), ("probe", found["probe"], probes)):
        if known and name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.4)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"check {claim!r}: unknown {kind} {name!r}; {meant}known: {', '.join(known)}")
    amount = found["amount"]
    if amount.endswith("%"):
        share = float(amount[:-1])
        if not 0 < share <= 100:
            raise UsageError(f"check {claim!r}: {amount} is no share of the labels; expected above 0% to 100%")
        amount = "all" if share == 100 else f"{share:g}%"
    elif amount != "all":
        amount = str(int(amount))
    return Score(found["arm"], found["probe"], amount)


def check(claim: str, report: dict[str, Any], strict: bool = False) -> tuple[bool, str]:
    """Whether `claim` holds in `report`, and one line that says so with the figures.

    A score that no finished run brought makes the claim fail, with a line that says what is missing.
    Raises UsageError for a claim that cannot be read or that names an arm or probe the report does not know.
    """
    from gssl.report.document import compare_rows

    parsed = parse(claim, [a["name"] for a in report["arms"]], report["probes"])
    rows = {(r["arm"], r["probe"], r["amount"]): r for r in report["table"]}
    left = rows.get((parsed.left.arm, parsed.left.probe, parsed.left.amount))
    right = rows.get((parsed.right.arm, parsed.right.probe, parsed.right.amount)) if parsed.right else None
    for score, row in ((parsed.left, left), (parsed.right, right)):
        if score and not row:
            return False, f"does not hold: {claim} (no finished run has {score}{_instead(score, rows)})"
    assert left
    if right is None:
        found = {k: left[k] for k in ("mean", "interval", "n_seeds")}
        what, unit, sign = f"{title(parsed.left.arm)} {points(left['mean'])}", "%", False
    else:
        found = compare_rows(left, right)
        if found["mean"] is None:
            return False, f"does not hold: {claim} (the two scores share no seed)"
        what, unit, sign = f"difference {points(found['mean'], sign=True)}", " points", True
    holds_mean = _holds(found["mean"], parsed)
    interval = found["interval"]
    holds_interval = interval is not None and all(_holds(interval[end], parsed) for end in ("low", "high"))
    return (holds_interval if strict else holds_mean), _line(
        parsed, what + unit, found, holds_mean, holds_interval, strict, sign
    )


def _holds(value: float, claim: Claim) -> bool:
    # Scores are shares of counted images: rounding must not decide 60.0 >= 60.
    return OPERATORS[claim.op](round(value, 9), round(claim.offset, 9))


def _line(
    claim: Claim, what: str, found: dict[str, Any], by_mean: bool, by_interval: bool, strict: bool, sign: bool
) -> str:
    holds = by_interval if strict else by_mean
    i = found["interval"]
    if i is None:
        spread = "no interval"
    else:
        over = f"{i['n']} seeds" if i["kind"] == "t" else f"{i['n']:,} test images, one seed"
        spread = f"95% interval {points(i['low'], sign)} to {points(i['high'], sign)} over {over}"
        if by_mean and not by_interval:
            spread += "; the interval does not lie beyond the bound: on the mean alone"
        elif by_interval:
            spread += "; the interval holds too"
    return f"{'holds' if holds else 'does not hold'}: {claim.text} ({what}, {spread})"


def _instead(score: Score, rows: dict[tuple[str, str, str], Any]) -> str:
    has = [f"{p}@{k}" for a, p, k in rows if a == score.arm]
    return f"; {score.arm} has {', '.join(has[:8])}" if has else ""
