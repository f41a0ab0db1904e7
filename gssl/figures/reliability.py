"""Reliability diagrams: how often answers of each confidence are right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gssl.figures import style
from gssl.figures.figure import Figure, grid_shape
from gssl.figures.style import LIGHT
from gssl.statistics.intervals import wilson

COLOUR = LIGHT.series[0]


@dataclass(frozen=True)
class Bin:
    """Answers with a confidence from `low` on: how many, their mean confidence, the fraction that is right."""

    low: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Of one probe; `n`: answers in all its bins, which are of equal width."""

    name: str
    ece: float
    n: int
    bins: Sequence[Bin]


def figure(found: Sequence[Calibration], heading: str) -> Figure:
    """A diagram per probe."""
    rows, columns = grid_shape(len(found))

    def paint(canvas: Any) -> list[Any]:
        ratios = {"height_ratios": [3.2, 1] * rows}
        grid = canvas.subplots(2 * rows, columns, squeeze=False, gridspec_kw=ratios)
        for ax in grid.flat:
            ax.set_visible(False)
        for position, one in enumerate(found):
            row, column = divmod(position, columns)
            upper, lower = grid[2 * row, column], grid[2 * row + 1, column]
            _accuracy(upper, one)
            _counts(lower, one)
            if column == 0:
                upper.set_ylabel("fraction that is right")
                lower.set_ylabel("answers")
        return []

    text = (
        "Of answers given with a confidence p, a fraction p should be right (the broken line). Points: answers in"
        f" {len(found[0].bins)} bins of equal width, with 95% Wilson intervals; below them how many there are."
    )
    return Figure("reliability", paint, (3.6 * columns, 4.4 * rows), text, heading=heading)


def _accuracy(ax: Any, one: Calibration) -> None:
    bins = [(b.confidence, b.accuracy, b.count) for b in one.bins if b.count]
    given, right = [b[0] for b in bins], [b[1] for b in bins]
    spans = np.array([wilson(round((accuracy or 0) * count), count) for _, accuracy, count in bins])
    ax.plot([0, 1], [0, 1], color=LIGHT.muted, linewidth=1, linestyle=style.DASHED)
    ax.text(0.96, 0.04, "overconfident", color=LIGHT.muted, ha="right")
    ax.text(0.04, 0.92, "underconfident", color=LIGHT.muted)
    ax.vlines(given, spans[:, 0], spans[:, 1], color=COLOUR, linewidth=1.4, clip_on=False)
    ax.plot(given, right, "o", color=COLOUR, markersize=4.5, clip_on=False)
    ax.set_title(f"{one.name}\nECE {one.ece:.3f}", color=LIGHT.ink)
    ax.set(xlim=(0, 1), ylim=(0, 1), visible=True)
    ax.tick_params(labelbottom=False)


def _counts(ax: Any, one: Calibration) -> None:
    edges, fractions = [b.low for b in one.bins], [b.count / one.n for b in one.bins]
    ax.bar(edges, fractions, width=1 / len(edges), align="edge", color=style.BARS, edgecolor=style.WHITE, linewidth=0.5)
    ax.set(xlim=(0, 1), xlabel="confidence", visible=True)
    ax.yaxis.set_major_formatter("{x:.0%}")
