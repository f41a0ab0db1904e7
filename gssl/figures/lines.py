"""Lines over an axis with bands: scores over labels or compute, curves of training, accuracy over strength."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gssl.figures import style
from gssl.figures.figure import Data, Figure, Mark, grid_shape
from gssl.figures.style import LIGHT, Look


@dataclass(frozen=True)
class Line:
    """One line; lines of one `name` are one thing (seeds of an arm), named once.

    `said`: index of a point → what it says when pointed at; `crosses`: (x, y, text) of alarms on the line.
    """

    name: str
    look: Look
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    strong: bool = True  # drawn above the others, its name bold
    markers: bool = True
    ends: bool = False  # a large marker at the end, small ones before it
    said: dict[int, str] = field(default_factory=dict)
    crosses: Sequence[tuple[float, float, str]] = ()


@dataclass(frozen=True)
class Panel:
    """Lines over one pair of axes; `level`: (name, look, y) of a horizontal line; `ticks`: x → label.

    Where there is a title, y_axis stands at the left of a row of panels, else above the only panel.
    """

    lines: Sequence[Line]
    title: str = ""
    x_axis: str = ""
    y_axis: str = ""
    log: bool = False
    ticks: dict[float, str] = field(default_factory=dict)
    bounds: tuple[float, float] = (-math.inf, math.inf)
    level: tuple[str, Look, float] | None = None
    write_x: Callable[[float], str] | None = None


def figure(
    name: str,
    panels: Sequence[Panel],
    caption: str,
    *,
    alt: str = "",
    heading: str = "",
    data: Data | None = None,
    height: float = 2.8,
    shape: tuple[int, int] | None = None,
    width: float | None = None,
    share_y: Any = False,
) -> Figure:
    """One panel with names beside the ends of its lines, or small multiples with one legend below them.

    `height`: of one row of panels, inches; small multiples whose lines are one thing each have no legend.
    """
    rows, columns = shape or grid_shape(len(panels), 4 if len(panels) % 4 == 0 else 3)
    width = width or (style.WIDTH if len(panels) == 1 else style.WIDE)

    def paint(canvas: Any) -> list[Mark]:
        axes = canvas.subplots(rows, columns, squeeze=False, sharey=share_y).ravel()
        marks: list[Mark] = []
        for ax, panel in zip(axes, panels, strict=False):
            marks += _panel(ax, panel)
        for i, (ax, panel) in enumerate(zip(axes, panels, strict=False)):  # common axes show what all of them need
            low, high = ax.get_ylim()
            ax.set_ylim(max(low, panel.bounds[0]), min(high, panel.bounds[1]))
            if len(panels) == 1:
                _names(ax, panel)
            elif i % columns == 0:
                ax.set_ylabel(panel.y_axis)
        for i, ax in enumerate(axes):
            ax.set_visible(i < len(panels) and bool(panels[i].lines))
        if len(panels) > 1 and any(len({line.name for line in panel.lines}) > 1 for panel in panels):
            _legend(canvas, panels, columns)
        return marks

    return Figure(name, paint, (width, height * rows), caption, alt, heading, data or Data([], []))


def _panel(ax: Any, panel: Panel) -> list[Mark]:
    """Paint the lines; returns the marks, crosses first."""
    marks, crosses = [], []
    if panel.log:
        ax.set_xscale("log")
    for line in panel.lines:
        colour, x, y = line.look.colour, line.x, line.y
        if len(line.low):
            band = style.BAND if line.strong else style.FAINT_BAND
            ax.fill_between(x, line.low, line.high, color=colour, alpha=band, linewidth=0)
        marker: dict[str, Any] = {}
        if line.markers:
            size = 4.5 if line.strong else 3.5
            marker = {"marker": line.look.marker, "markersize": size, "mec": LIGHT.paper, "mew": 0.7}
        if line.ends:
            marker = {"marker": ".", "markersize": 4}
        width = style.STRONG if line.strong and line.markers else style.LINE
        ax.plot(
            x,
            y,
            color=colour,
            linestyle=line.look.dashes,
            linewidth=width,
            zorder=2 + line.strong,
            label=line.name,
            **marker,
        )
        if line.ends:
            ax.plot(x[-1:], y[-1:], line.look.marker, color=colour, markersize=7, mec=LIGHT.paper, mew=1, zorder=4)
        for at, height, text in line.crosses:
            ax.plot([at], [height], "X", color=colour, markersize=7, mec=LIGHT.paper, mew=0.9, zorder=5)
            crosses.append(Mark(ax, at, height, text))
        marks += [Mark(ax, x[i], y[i], text) for i, text in line.said.items()]
    if panel.level:
        _, look, level = panel.level
        ax.axhline(level, color=look.colour, linestyle=look.dashes, linewidth=style.LINE)
    _axes(ax, panel)
    return crosses + marks


def _axes(ax: Any, panel: Panel) -> None:
    if panel.ticks:
        ax.set_xticks(sorted(panel.ticks), [panel.ticks[x] for x in sorted(panel.ticks)])
        ax.grid(False, axis="x")
    elif panel.write_x:
        write = panel.write_x
        ax.xaxis.set_major_formatter(lambda x, _: write(x))
        if not panel.log:
            ax.locator_params(axis="x", nbins=4)
    if panel.log:
        ax.minorticks_off()
    ax.set_xlabel(panel.x_axis)
    ax.set_title(panel.title or panel.y_axis, color=LIGHT.ink if panel.title else LIGHT.muted)
    ax.locator_params(axis="y", nbins=6 if panel.ticks else 4)


def _names(ax: Any, panel: Panel) -> None:
    """Names beside the lines' ends, tied to them by thin lines of their colour."""
    ends: dict[str, tuple[float, float, Look, bool]] = {}  # name → x, y
    for name in dict.fromkeys(line.name for line in panel.lines):
        mine = [line for line in panel.lines if line.name == name]
        y = sum(line.y[-1] for line in mine) / len(mine)
        if math.isfinite(y):
            ends[name] = max(line.x[-1] for line in mine), y, mine[0].look, mine[0].strong
    left, right = ax.get_xlim()
    furthest = max((x for x, *_ in ends.values()), default=right)
    if panel.level:
        ends[panel.level[0]] = furthest, panel.level[2], panel.level[1], False
    low, high = ax.get_ylim()
    gap = (high - low) * 0.075
    heights = spread([y for _, y, *_ in ends.values()], gap, low + gap / 2, high - gap / 2)
    for (name, (x, y, look, strong)), height in zip(ends.items(), heights, strict=True):
        # A line that ends early is named where it ends.
        at = 1.03 if x > 0.8 * furthest else (x - left) / (right - left) + 0.03
        arrow = {
            "arrowstyle": "-",
            "color": look.colour,
            "linewidth": 0.9,
            "relpos": (0, 0.5),
            "shrinkA": 1,
            "shrinkB": 3,
        }
        ax.annotate(
            name,
            (x, y),
            (at, (height - low) / (high - low)),
            textcoords="axes fraction",
            va="center",
            color=LIGHT.ink if strong else LIGHT.muted,
            fontweight="bold" if strong else "normal",
            arrowprops=arrow,
        )


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near `wanted`, at least `gap` apart and inside [low, high] where there is room for that."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [wanted[i] for i in order]
    for _ in range(200):
        for k in range(len(placed) - 1):
            short = gap - (placed[k + 1] - placed[k])
            if short > 1e-9:
                placed[k] -= short / 2
                placed[k + 1] += short / 2
        placed = [min(max(p, low), high) for p in placed]
    out = [0.0] * len(wanted)
    for k, i in enumerate(order):
        out[i] = placed[k]
    return out


def _legend(canvas: Any, panels: Sequence[Panel], columns: int) -> None:
    """One for all panels, below them."""
    from matplotlib.lines import Line2D

    found: dict[str, tuple[Look, str]] = {}
    for panel in panels:
        for line in panel.lines:
            found.setdefault(line.name, (line.look, line.look.marker if line.markers else ""))
        if panel.level:
            found.setdefault(panel.level[0], (panel.level[1], ""))
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dashes, marker=marker, markersize=4.5, linewidth=style.LINE)
        for look, marker in found.values()
    ]
    canvas.legend(handles, list(found), loc="outside lower center", ncols=min(len(found), 2 * columns, 6))


def thousands(x: float) -> str:
    """20000 → "20k"."""
    return f"{x / 1e6:g}M" if x >= 1e6 else f"{x / 1e3:g}k" if x >= 1e4 else f"{x:g}"
