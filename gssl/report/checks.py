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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from gssl.errors import UsageError
from gssl.report.words import points, shortened, title

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
    amount: str  # as `judging.amount_key` writes it

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


Judged = Mapping[str, Sequence[str]]


def parse(claim: str, judged: Judged | None = None, amounts: Sequence[str] = ()) -> Claim:
    """The claim in `claim`. Where `judged` ({arm: its probes}) is given, both its scores must be among what
    will be judged at `amounts` (as `judging.amount_keys` writes them); else only the form is checked.

    Cheap and without torch, so a wrong claim can be refused before anything is trained.
    Raises UsageError naming the claim, and the form or what is judged.
    """
    # The operator is the one outside a variant's brackets: simclr[ssl.temperature=0.2].linear@10 >= 60.
    sides = re.split(r"(>=|<=|>|<)(?![^\[]*\])", claim)
    if len(sides) != 3:
        raise UsageError(f"check {claim!r}: expected one of > >= < <= between two sides; write {FORM}")
    left, op, right = (s.strip() for s in sides)
    first = _score(left, claim, judged, amounts)
    if re.fullmatch(NUMBER, right):
        return Claim(claim, first, op, None, float(right) / 100)
    parts = OFFSET.fullmatch(right)
    if not parts:
        raise UsageError(f"check {claim!r}: cannot read {right!r} on the right; write {FORM}")
    second = _score(parts["score"], claim, judged, amounts)
    offset = float(parts["points"] or 0) / 100 * (1 if parts["sign"] in (None, "+") else -1)
    return Claim(claim, first, op, second, offset)


def _score(text: str, claim: str, judged: Judged | None, amounts: Sequence[str]) -> Score:
    found = TERM.fullmatch(text)
    if not found:
        raise UsageError(f"check {claim!r}: cannot read {text!r}; write {FORM}")
    amount = found["amount"]
    if amount.endswith("%"):
        share = float(amount[:-1])
        if not 0 < share <= 100:
            raise UsageError(f"check {claim!r}: {amount} is no share of the labels; expected above 0% to 100%")
        amount = "all" if share == 100 else f"{share:g}%"
    elif amount != "all":
        amount = str(int(amount))
    score = Score(found["arm"], found["probe"], amount)
    if judged is not None:
        wrong = _not_judged(score, judged, amounts)
        if wrong:
            raise UsageError(f"check {claim!r}: {wrong}")
    return score


def _not_judged(score: Score, judged: Judged, amounts: Sequence[str]) -> str:
    """What is wrong with `score`, naming what is judged; empty where nothing is."""
    if score.arm not in judged:
        return _unknown("arm", score.arm, list(judged))
    probes = judged[score.arm]
    if score.probe in probes and score.amount in amounts:
        return ""
    near = get_close_matches(score.probe, probes, n=1) if score.probe not in probes else []
    meant = f"did you mean {near[0]!r}? " if near else ""
    has = f"{score.arm} is judged by {', '.join(probes)} @ {', '.join(amounts)}" if probes else "nothing judges it"
    return f"{score} will not be judged; {meant}{has}"


def _unknown(kind: str, name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}; {meant}known: {', '.join(known)}"


def check(claim: str, report: dict[str, Any], strict: bool = False) -> tuple[bool, str]:
    """Whether `claim` holds in `report`, and one line that says so with the figures.

    A score that no finished run brought makes the claim fail, with a line that says why it is not there.
    Raises UsageError for nothing but the form, which `parse` has checked before the first run.
    """
    from gssl.report.document import compare_rows

    parsed = parse(claim)
    rows = {(r["arm"], r["probe"], r["amount"]): r for r in report["table"]}
    left = rows.get((parsed.left.arm, parsed.left.probe, parsed.left.amount))
    right = rows.get((parsed.right.arm, parsed.right.probe, parsed.right.amount)) if parsed.right else None
    for score, row in ((parsed.left, left), (parsed.right, right)):
        if score and not row:
            return False, f"does not hold: {claim} ({_absent(score, report)})"
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


def _absent(score: Score, report: dict[str, Any]) -> str:
    """Why the report has no such score: a wrong name, a failure, or it was not asked for."""
    known = [a["name"] for a in report["arms"]] + [m["arm"] for m in (*report["failed"], *report["missing"])]
    known = list(dict.fromkeys(known))
    if score.arm not in known:
        return _unknown("arm", score.arm, known)
    text = f"no finished run has {score}"
    has = [f"{r['probe']}@{r['amount']}" for r in report["table"] if r["arm"] == score.arm]
    if has:
        text += f"; {score.arm} has {', '.join(has[:8])}"
    lost = [f for f in report["failed"] if f["arm"] == score.arm]
    if lost:
        first = next((f for f in lost if f["state"] == "failed"), lost[0])
        why = shortened(" ".join(str(first["error"] or "").split()), 160)
        text += f"; seed {first['seed']} {first['stage']}: {first['state']}{', ' + why if why else ''}"
    return text
