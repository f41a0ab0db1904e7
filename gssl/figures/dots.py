"""Dots on lines, one line per thing: its mean, its interval, its seeds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gssl.figures import style
from gssl.figures.figure import Data, Figure, Mark, grid_shape
from gssl.figures.style import LIGHT, Look

ROW, LINE, AROUND = 0.27, 0.13, 0.75  # inches: of a row, of each further line of its name, of axis and title


@dataclass(frozen=True)
class Row:
    """One line of dots, in the unit of the axis; `strong`: its name is dark; `said`: of the mean when pointed at."""

    name: str
    look: Look
    mean: float
    said: str
    interval: tuple[float, float] | None = None
    seeds: dict[str, float] = field(default_factory=dict)
    strong: bool = True
    baseline: float | None = None  # a broken line across this row
    group: str = ""  # a thin line stands between groups


@dataclass(frozen=True)
class Panel:
    """Rows over one axis; `write`: a value as text."""

    rows: Sequence[Row]
    write: Callable[[float], str]
    title: str = ""
    axis: str = ""
    means: bool = True  # written beside the dots
    zero: bool = False  # the axis holds 0, with a line there
    bounds: tuple[float, float] = (-math.inf, math.inf)


def figure(name: str, panels: Sequence[Panel], alt: str, caption: str, data: Data) -> Figure:
    """Panels of dots, two side by side where there are several."""
    rows, columns = grid_shape(len(panels), 2)
    most = max(len(panel.rows) for panel in panels)
    further = max(row.name.count("\n") for panel in panels for row in panel.rows)
    height = AROUND + (ROW + LINE * further) * most if len(panels) == 1 else 0.1 + (0.8 + 0.26 * most) * rows
    width = style.WIDTH if len(panels) == 1 else style.WIDE

    def paint(canvas: Any) -> list[Mark]:
        axes = canvas.subplots(rows, columns, squeeze=False).ravel()
        marks: list[Mark] = []
        for ax, panel in zip(axes, panels, strict=False):
            marks += _panel(ax, panel, len(panels) > 1)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        return marks

    return Figure(name, paint, (width, height), caption, alt, data=data)


def values(heads: list[str], rows: Sequence[tuple[list[Any], Row]], unit: str) -> Data:
    """Means, ends of intervals and seeds, each row after its cells under `heads`."""
    seeds = list(dict.fromkeys(s for _, row in rows for s in row.seeds))
    tail = f" {unit}" if unit else ""
    return Data(
        [*heads, f"mean{tail}", f"low{tail}", f"high{tail}", *(f"seed {s}{tail}" for s in seeds)],
        [[*head, row.mean, *(row.interval or (None, None)), *(row.seeds.get(s) for s in seeds)] for head, row in rows],
    )


def _panel(ax: Any, panel: Panel, small: bool) -> list[Mark]:
    """Paint the rows from the top; returns the marks, means first."""
    means, seeds = [], []
    last = len(panel.rows) - 1
    for i, row in enumerate(panel.rows):
        y, colour, name = last - i, row.look.colour, row.name.replace("\n", " ")
        if row.interval:
            ax.plot(row.interval, [y, y], color=colour, linewidth=7, alpha=0.25, solid_capstyle="butt")
        if len(row.seeds) > 1:
            x = list(row.seeds.values())
            ax.plot(x, [y] * len(x), "o", color=colour, markersize=3.6, alpha=0.75, mew=0)
            seeds += [Mark(ax, v, y, f"{name}, seed {s}: {panel.write(v)}") for s, v in row.seeds.items()]
        if row.baseline is not None:
            ax.plot([row.baseline] * 2, [y - 0.42, y + 0.42], color=LIGHT.muted, linewidth=1.2, linestyle=style.DOTTED)
        ax.plot([row.mean] * 2, [y - 0.3, y + 0.3], color=colour, linewidth=2.4)
        means.append(Mark(ax, row.mean, y, row.said))
        if i and row.group != panel.rows[i - 1].group:
            ax.axhline(y + 0.5, color=LIGHT.rule, linewidth=style.THIN)
    ax.set_yticks(range(len(panel.rows)), [row.name for row in reversed(panel.rows)])
    for label, row in zip(ax.get_yticklabels(), reversed(panel.rows), strict=True):
        label.set_color(LIGHT.ink if row.strong else LIGHT.muted)
    ax.set_ylim(-0.6, len(panel.rows) - 0.4)
    ax.grid(False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.margins(x=0.08 if small else 0.05)
    if panel.means:
        _write_means(ax, panel)
    low, high = ax.get_xlim()
    room = 0.1 * (high - low) if panel.means else 0.0
    low, high = max(low, panel.bounds[0]), min(high + room, panel.bounds[1])
    if panel.zero:
        low, high = min(low, 0), max(high, 0)
        ax.axvline(0, color=LIGHT.ink, linewidth=0.9, zorder=1)
    ax.set_xlim(low, high)
    if small:
        ax.locator_params(axis="x", nbins=4)
    ax.set_xlabel(panel.axis)
    ax.set_title(panel.title, color=LIGHT.ink)
    return means + seeds


def _write_means(ax: Any, panel: Panel) -> None:
    """The mean in figures right of everything that its row drew."""
    for i, row in enumerate(panel.rows):
        right = max([row.mean, *(row.interval or ()), *row.seeds.values()])
        colour = LIGHT.ink if row.strong else LIGHT.muted
        at: dict[str, Any] = {"textcoords": "offset points", "va": "center", "color": colour}
        ax.annotate(panel.write(row.mean), (right, len(panel.rows) - 1 - i), (6, 0), **at)
