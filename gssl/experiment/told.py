"""What was found in a data set, said once: a line about the user's own images, and what can make a verdict wrong."""

from typing import Any

from gssl.engine.progress import say

_said: set[str] = set()


def found(summary: dict[str, Any]) -> None:
    """The line of `Splits.summary` that says what there is and what is not read; once in a process."""
    line = summary.get("found")
    if line and line not in _said:
        _said.add(line)
        say(f"data: {line}")


def found_and_warnings(summary: dict[str, Any]) -> None:
    """The same, and the warnings about it."""
    found(summary)
    for warning in summary["warnings"]:
        say(f"warning: {warning}")
