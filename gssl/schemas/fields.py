"""Fields of the schemas: a type and, as metadata, what a type cannot say. No field ever has a value.

`choices`, `min`, `max` (inclusive), `above`, `below` (exclusive) and, for lists, `least` or `length` and `ascending`.
Bounds of a list hold for each of its elements.
"""

from dataclasses import field
from typing import Any

from omegaconf import MISSING


def choice(*names: str) -> Any:
    """A string that must be one of `names`."""
    return field(default=MISSING, metadata={"choices": names})


def number(min: float | None = None, max: float | None = None, above: float | None = None) -> Any:
    """A number with inclusive bounds `min`, `max` or an exclusive lower bound `above`."""
    return field(default=MISSING, metadata={"min": min, "max": max, "above": above})


def numbers(
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    below: float | None = None,
    least: int = 0,
    length: int | None = None,
    ascending: bool = False,
) -> Any:
    """A list of at least `least` or exactly `length` numbers, each within the bounds; `ascending`: a ≤ b."""
    bounds = {"min": min, "max": max, "above": above, "below": below}
    meta = {**bounds, "least": least, "length": length, "ascending": ascending}
    return field(default=MISSING, metadata=meta)
