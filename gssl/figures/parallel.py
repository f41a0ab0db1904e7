"""Parallel coordinates: an upright axis per setting and one for the result; a line is a combination of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any

from gssl.figures import style
from gssl.figures.figure import Data, Figure, Mark
from gssl.figures.style import LIGHT

LOG_FROM = 20.0  # a positive axis whose largest value is so many times the smallest has a logarithmic scale
MOST_TICKS = 9


@dataclass(frozen=True)
class Axis:
    """Values of one thing in the order of the lines: numbers, or names (None: absent)."""

    name: str
    values: Sequence[Any]
    numeric: bool = field(init=False)

    def __post_init__(self) -> None:
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)
        object.__setattr__(self, "numeric", numbers)

    def heights(self) -> list[float]:
        """Of each line on the axis, in [0, 1]."""
        if not self.numeric:
            order = self._names()
            return [0.5 if len(order) == 1 else order.index(self._text(v)) / (len(order) - 1) for v in self.values]
        scaled = [self._scale(v) for v in self.values]
        low, high = min(scaled), max(scaled)
        return [0.5 if high == low else (v - low) / (high - low) for v in scaled]

    def ticks(self) -> list[tuple[float, str]]:
        """(height, text); of many values only some."""
        found = sorted(dict(zip(map(self._text, self.values), self.heights(), strict=True)).items(), key=lambda t: t[1])
        step = max(1, -(-(len(found) - 1) // (MOST_TICKS - 1)))
        kept = [*found[:-1:step], found[-1]] if len(found) > 1 else found
        return [(height, text) for text, height in kept]

    def _names(self) -> list[str]:
        return list(dict.fromkeys(map(self._text, self.values)))

    def _scale(self, value: float) -> float:
        low, high = min(self.values), max(self.values)
        return log(value) if low > 0 and high >= LOG_FROM * low else float(value)

    def _text(self, value: Any) -> str:
        return "–" if value is None else f"{value:.4g}" if self.numeric else str(value)


def figure(
    name: str, axes: Sequence[Axis], best: int, caption: str, said: Sequence[str] = (), heading: str = ""
) -> Figure:
    """Lines over `axes`, the one number `best` in colour and last; `said`: what each says when pointed at."""
    heights = [axis.heights() for axis in axes]
    count = len(axes[0].values)
    behind: Any = {"facecolor": LIGHT.paper, "alpha": 0.8, "edgecolor": "none", "pad": 0.6}  # lines end at the words

    def paint(canvas: Any) -> list[Mark]:
        ax = canvas.subplots()
        ax.set_axis_off()
        ax.set_xlim(-0.15, len(axes) - 0.85)
        ax.set_ylim(-0.06, 1.14)
        for x, axis in enumerate(axes):
            ax.plot([x, x], [0, 1], color=LIGHT.rule, linewidth=style.STRONG, zorder=1)
            ax.text(x, 1.08, axis.name, ha="center", color=LIGHT.ink, fontsize=style.SMALL)
            for height, text in axis.ticks():
                ax.text(x + 0.03, height + 0.02, text, color=LIGHT.muted, fontsize=style.SMALL, zorder=5, bbox=behind)
        marks = []
        for line in sorted(range(count), key=lambda i: i == best):
            ys = [column[line] for column in heights]
            colour = style.look(0).colour if line == best else LIGHT.control
            width = style.STRONG if line == best else style.THIN
            ax.plot(
                range(len(axes)), ys, color=colour, linewidth=width, marker="o", markersize=3, zorder=2 + (line == best)
            )
            if said:
                marks += [Mark(ax, x, y, said[line]) for x, y in enumerate(ys)]
        return marks

    rows = [list(row) for row in zip(*(axis.values for axis in axes), strict=True)]
    width = style.WIDTH if len(axes) < 4 else style.WIDE
    return Figure(name, paint, (width, 3.0), caption, caption, heading, Data([axis.name for axis in axes], rows))
