"""matrix.png: gains over sources (rows) and targets (columns), coloured by what their intervals show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from gssl.figures import style
from gssl.figures.figure import Data, Figure, Mark, wrapped
from gssl.figures.style import LIGHT

WIDTH, HEIGHT, GAP = 1.34, 0.62, 0.16  # inches of a cell, and between targets
LETTER, LINE = 0.078, 0.165  # inches of a letter of names and of a line of text
NAME, EDGE = 24, 0.12  # letters of a row's name in one line; inches around everything
STRONGEST = 4.0  # a gain so many times as far from 0 as its interval reaches towards 0 has the full colour


@dataclass(frozen=True)
class Column:
    """One label budget on one target; columns of a target stand side by side under its name. Texts as shown."""

    target: str
    about: Sequence[str]  # lines below the target's name: metric, probe
    label_budget: str


@dataclass(frozen=True)
class Cell:
    """gain, its interval and the score as they are shown; without a gain the score stands alone, and why in `about`.

    strength: gain ÷ how far its interval reaches towards 0, so that beyond 1 and −1 the interval does not contain 0;
    None without a gain.
    """

    score: str
    gain: str = ""
    interval: str = ""
    strength: float | None = None
    about: str = ""


def figure(
    rows: Sequence[str], columns: Sequence[Column], cells: Mapping[tuple[int, int], Cell], caption: str, heading: str
) -> Figure:
    """cells: (row, column) → what stands there; what is missing has a dash."""
    names = [wrapped(name, NAME) for name in rows]
    left = EDGE + LETTER * max((len(line) for name in names for line in name.split("\n")), default=0) + EDGE
    xs: list[float] = []
    for j, column in enumerate(columns):
        new = j > 0 and column.target != columns[j - 1].target
        xs.append(left if j == 0 else xs[-1] + WIDTH + GAP * new)
    groups = [list(own) for _, own in groupby(range(len(columns)), key=lambda j: columns[j].target)]
    heads = {own[0]: _head(columns[own[0]], len(own)) for own in groups}
    lines = max(about.count("\n") + 1 for _, about in heads.values())
    top = EDGE + LINE * (max(name.count("\n") for name, _ in heads.values()) + lines + 3)
    size = xs[-1] + WIDTH + EDGE, top + HEIGHT * len(rows) + 0.62

    def paint(canvas: Any) -> list[Mark]:
        ax = canvas.add_axes((0, 0, 1, 1))
        ax.set_axis_off()
        ax.set(xlim=(0, size[0]), ylim=(size[1], 0))
        for own in groups:
            _heads(ax, columns, xs, own, heads[own[0]], top, lines)
        marks = []
        for i, name in enumerate(names):
            y = top + HEIGHT * i
            ax.text(left - EDGE, y + HEIGHT / 2, name, ha="right", va="center", color=LIGHT.ink)
            for j, x in enumerate(xs):
                cell = cells.get((i, j))
                _cell(ax, x, y, cell)
                if cell:
                    said = " ".join(part for part in (cell.gain, f"({cell.interval})" * bool(cell.gain)) if part)
                    about = f"{rows[i]} on {columns[j].target}, {columns[j].label_budget}: {said} {cell.score}"
                    marks.append(Mark(ax, x + WIDTH / 2, y + HEIGHT / 2, about))
        _legend(ax, left, top + HEIGHT * len(rows) + 0.22)
        return marks

    table = [
        [rows[i], columns[j].target, columns[j].label_budget, cell.gain, cell.interval, cell.score]
        for (i, j), cell in sorted(cells.items())
    ]
    data = Data(["source", "target", "labels", "gain", "interval", "score"], table)
    return Figure("matrix", paint, size, caption, heading=heading, data=data, free=True)


def _head(column: Column, wide: int) -> tuple[str, str]:
    """The target's name and what is measured on it, in lines as wide as `wide` columns."""
    letters = round(wide * WIDTH / LETTER)
    about = "\n".join(wrapped(text, round(1.15 * letters)) for text in column.about)
    return wrapped(column.target, round(0.9 * letters)), about


def _heads(
    ax: Any,
    columns: Sequence[Column],
    xs: Sequence[float],
    own: Sequence[int],
    head: tuple[str, str],
    top: float,
    lines: int,
) -> None:
    """The target's name, what is measured on it in at most `lines`, a line below, and the label budgets above their
    columns. Names of all targets stand at one height."""
    (name, about), start, end = head, xs[own[0]], xs[own[-1]] + WIDTH
    line = top - LINE - 0.1
    ax.plot([start, end - 0.02], [line, line], color=LIGHT.muted, linewidth=style.THIN)
    above = line - 0.1 - 0.86 * LINE * lines
    small: dict[str, Any] = {"va": "top", "fontsize": style.SMALL, "linespacing": 1.25}
    ax.text(start, above + 0.04, about, color=LIGHT.muted, **small)
    ax.text(start, above, name, va="bottom", color=LIGHT.ink, fontweight="bold")
    for j in own:
        text = columns[j].label_budget
        ax.text(xs[j] + WIDTH / 2, top - 0.05, text, ha="center", va="bottom", color=LIGHT.ink, fontsize=style.SMALL)


def _cell(ax: Any, x: float, y: float, cell: Cell | None) -> None:
    strength = cell.strength if cell else None
    fill, ink = _colours(strength)
    if cell and (cell.gain or cell.score):
        _box(ax, x, y, WIDTH, HEIGHT, fill, edge=strength is None)
    middle = x + WIDTH / 2
    if cell is None:
        ax.text(middle, y + HEIGHT / 2, "–", ha="center", va="center", color=LIGHT.muted)
        return
    small: dict[str, Any] = {"ha": "center", "va": "center", "color": ink, "fontsize": style.TINY}
    if not cell.gain:
        ax.text(middle, y + (0.4 if cell.about else 0.5) * HEIGHT, cell.score, **small | {"fontsize": style.SMALL})
        ax.text(middle, y + 0.68 * HEIGHT, cell.about, **small | {"color": LIGHT.muted})
        return
    ax.text(middle, y + 0.24 * HEIGHT, cell.gain, **small | {"fontsize": style.TEXT, "fontweight": "bold"})
    ax.text(middle, y + 0.52 * HEIGHT, cell.interval, **small | {"fontsize": style.SMALL - 0.5})
    ax.text(middle, y + 0.79 * HEIGHT, cell.score, **small)


def _box(ax: Any, x: float, y: float, width: float, height: float, fill: Any, edge: bool = False) -> None:
    from matplotlib.patches import Rectangle

    line = LIGHT.rule if edge else "none"
    ax.add_patch(Rectangle((x + 0.02, y + 0.02), width - 0.04, height - 0.04, facecolor=fill, edgecolor=line))


def _colours(strength: float | None) -> tuple[Any, str]:
    """Of a cell and of its letters: nothing without a gain, grey where the interval contains 0."""
    import matplotlib

    if strength is None:
        return "none", LIGHT.ink
    if abs(strength) <= 1:
        return LIGHT.rule, LIGHT.ink
    far = min(abs(strength) - 1, STRONGEST - 1) / (STRONGEST - 1)
    place = style.FAINT_GAIN + (style.FULL_GAIN - style.FAINT_GAIN) * far
    fill = matplotlib.colormaps[style.GAINS](0.5 + (place if strength > 0 else -place))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in fill[:3]]
    light = sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return fill, LIGHT.ink if light > 0.2 else style.WHITE  # whichever has more contrast (WCAG)


def _legend(ax: Any, x: float, y: float) -> None:
    from matplotlib.textpath import TextPath

    texts = {-STRONGEST: "worse, clearly", -1.01: "worse", 0.0: "interval contains 0", 1.01: "better",
             STRONGEST: "better, clearly"}  # fmt: skip
    for strength, text in texts.items():
        _box(ax, x, y, 0.26, 0.2, _colours(strength)[0])
        ax.text(x + 0.3, y + 0.1, text, va="center", color=LIGHT.muted, fontsize=style.SMALL)
        x += 0.3 + float(TextPath((0, 0), text, size=style.SMALL).get_extents().width) / 72 + 0.24
