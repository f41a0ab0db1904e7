"""Accuracy on corrupted images against the strength of the corruption."""

from collections.abc import Sequence
from dataclasses import dataclass

from gssl.figures import lines, style
from gssl.figures.figure import Figure, grid_shape


@dataclass(frozen=True)
class Robustness:
    """One probe: accuracy on clean images, and for each kind of corruption at each strength; fractions of 1."""

    name: str
    clean: float
    mean: float
    accuracy: dict[str, Sequence[float]]


def figure(found: Sequence[Robustness], strengths: Sequence[int], n_classes: int, heading: str) -> Figure:
    """A panel per probe, a line per kind."""
    at: list[float] = [0, *strengths]
    guessing = ("guessing", style.Look(style.CONTROL, style.DOTTED, ""), 100 / n_classes)
    rows, columns = grid_shape(len(found))
    panels = [
        lines.Panel(
            [
                lines.Line(kind.replace("_", " "), style.look(i), at, [100 * v for v in (one.clean, *values)])
                for i, (kind, values) in enumerate(one.accuracy.items())
            ],
            f"{one.name}\nclean {one.clean:.1%}, mean of all {one.mean:.1%}",
            "strength",
            "accuracy, %",
            ticks={x: str(x) if x else "clean" for x in at},
            bounds=(-2, 102),
            level=guessing,
        )
        for one in found
    ]
    text = "Test images with a common corruption (after Hendrycks & Dietterich 2019, arXiv:1903.12261)."
    return lines.figure(
        "corruptions",
        panels,
        text,
        heading=heading,
        height=3.4,
        shape=(rows, columns),
        width=3.6 * columns + (1.4 if len(panels) == 1 else 0),
        share_y=True,
    )
