"""Histograms side by side, one panel per quantity: what a data set's images are like."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gssl.figures import style
from gssl.figures.figure import Data, Figure, Mark, grid_shape
from gssl.figures.style import LIGHT

BINS = 24
WIDE_RANGE = 30.0  # largest ÷ smallest from which bins are of equal ratios


@dataclass(frozen=True)
class Panel:
    """Values of one quantity; `line`: a value to mark, and what it is."""

    title: str
    axis: str
    values: Sequence[float]
    line: tuple[float, str] | None = None


def edges(values: np.ndarray) -> np.ndarray:
    """Ends of the bins: of equal ratios where values span a wide range, whole numbers where there are few of them."""
    low, high = float(values.min()), float(values.max())
    distinct = np.unique(values)
    if len(distinct) == 1:
        half = max(0.5, 0.1 * abs(low))
        return np.array([low - half, low + half])
    if low > 0 and high / low > WIDE_RANGE:
        return np.geomspace(low, high * 1.000001, BINS + 1)
    return np.linspace(low, high, min(BINS, max(4, len(distinct))) + 1)


def figure(name: str, panels: Sequence[Panel], caption: str, alt: str) -> Figure:
    """One panel per quantity; an empty one is left out."""
    shown = [panel for panel in panels if len(panel.values)]
    rows, columns = grid_shape(len(shown), 3)
    table: list[list[Any]] = []
    for panel in shown:
        own = np.asarray(panel.values, dtype=float)
        ends = edges(own)
        counts, _ = np.histogram(own, ends)
        table += [
            [panel.title, *row] for row in zip(ends[:-1].tolist(), ends[1:].tolist(), counts.tolist(), strict=True)
        ]

    def paint(canvas: Any) -> list[Mark]:
        axes = canvas.subplots(rows, columns, squeeze=False).ravel()
        marks: list[Mark] = []
        for ax, panel in zip(axes, shown, strict=False):
            marks += _panel(ax, panel)
        for ax in axes[len(shown) :]:
            ax.set_visible(False)
        return marks

    data = Data(["quantity", "from", "to", "images"], table)
    return Figure(name, paint, (style.WIDE, 1.9 * rows), caption, alt, data=data)


def _panel(ax: Any, panel: Panel) -> list[Mark]:
    own = np.asarray(panel.values, dtype=float)
    ends = edges(own)
    counts, _ = np.histogram(own, ends)
    log = len(ends) > 2 and not np.isclose(ends[1] - ends[0], ends[-1] - ends[-2])
    colour = style.look(0).colour
    ax.bar(ends[:-1], counts, np.diff(ends), align="edge", color=colour, alpha=0.75, linewidth=0)
    if log:
        ax.set_xscale("log")
        ax.minorticks_off()
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:,.4g}")
    else:
        ax.locator_params(axis="x", nbins=4)
    ax.locator_params(axis="y", nbins=3)
    ax.set_title(panel.title, color=LIGHT.ink)
    ax.set_xlabel(panel.axis)
    if panel.line and ends[0] <= panel.line[0] <= ends[-1]:
        ax.axvline(panel.line[0], color=LIGHT.muted, linewidth=style.LINE, linestyle=style.DASHED)
    marks = []
    for low, high, n in zip(ends[:-1].tolist(), ends[1:].tolist(), counts.tolist(), strict=True):
        middle = (low * high) ** 0.5 if log else (low + high) / 2
        text = f"{low:,.4g} to {high:,.4g} {panel.axis}: {n:,} image{'' if n == 1 else 's'}"
        marks += [Mark(ax, middle, n, text)] if n else []
    return marks
