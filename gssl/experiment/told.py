"""What was found in a data set, said once: a line about the user's own images, and what can make a verdict wrong."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gssl.data import values
from gssl.data.sources.folders import Told
from gssl.engine.progress import say

_said: set[str] = set()
_warned: set[str] | None = None  # what was warned of, while each is said once


def found(summary: dict[str, Any]) -> None:
    """The line of `Splits.summary` that says what there is and what is not read; once in a process."""
    line = summary.get("found")
    if line and line not in _said:
        _said.add(line)
        say(f"data: {line}")


def found_and_warnings(summary: dict[str, Any]) -> None:
    """The same, and the warnings about it."""
    found(summary)
    warnings(summary["warnings"])


def warnings(lines: Sequence[str]) -> None:
    """A line each."""
    for line in lines:
        if _warned is None or line not in _warned:
            say(f"warning: {line}")
        if _warned is not None:
            _warned.add(line)


@contextmanager
def each_once() -> Iterator[None]:
    """Many runs on the same data, as of a curve: a warning about these is said once."""
    global _warned
    before, _warned = _warned, set() if _warned is None else _warned
    try:
        yield
    finally:
        _warned = before


def other_range(weights: str, known: Any, summary: dict[str, Any]) -> None:
    """That weights were trained on images of another range of values than those of `Splits.summary`, where so."""
    own = summary.get("range")
    if known is None or own is None or known == own:
        return
    theirs = known if isinstance(known, str) else "[{:.6g},{:.6g}]".format(*known)
    say(
        f"note: weights={weights} learned from images whose values {values.words(known)} became black to white, here"
        f" {values.words(own)} do: each data set by its own; for the same, data.range={theirs}"
    )


def mapping(found: values.Mapping, network: str) -> None:
    """How the values of new images are mapped for a trained network, and what is likely wrong with that."""
    for text in [] if found.auto else found.texts(f"as {network} was trained"):
        say(f"note: {text}")
    for text in found.against(network):
        say(f"warning: {text}")


def skipped(lines: Sequence[str], total: int) -> None:
    """Files of a folder that were left out, as "path (Kind: why)": how many of each kind, and the first; one line."""
    if not lines:
        return
    kinds = Counter(line.rpartition(" (")[2].partition(":")[0].rstrip(")") for line in lines)
    listed = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    count = f"{len(lines):,} of {total:,} images cannot be read and {'is' if len(lines) == 1 else 'are'} left out"
    say(f"warning: {count} ({listed}), the first is {lines[0]}")


def left_out(found: Told) -> None:
    """What else a folder holds that is not read, a line."""
    if texts := found.texts():
        say(f"note: {'; '.join(texts)}")
    for warning in found.suspicious():
        say(f"warning: {warning}")
