"""Heat maps of CKA: how alike the stages of networks arrange images."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gssl.figures import style
from gssl.figures.figure import Figure, wrapped
from gssl.figures.style import LIGHT

CELL = 0.72  # inches


class Similarity(NamedTuple):
    """CKA of the stages of one network (rows) with those of another; None where it is not defined."""

    rows: str
    columns: str
    matrix: Sequence[Sequence[float | None]]


def figure(found: Sequence[Similarity], heading: str) -> Figure:
    tables = [np.array(one.matrix, dtype=np.float64) for one in found]
    widths = [table.shape[1] for table in tables]
    height = max(table.shape[0] for table in tables)

    def paint(canvas: Any) -> list[Any]:
        axes = canvas.subplots(1, len(found), squeeze=False, gridspec_kw={"width_ratios": widths})[0]
        for ax, one, table in zip(axes, found, tables, strict=True):
            _table(ax, table)
            ax.set(ylabel=wrapped(one.rows, 24), xlabel=wrapped(one.columns, 36))
        return []

    text = (
        "Unbiased linear CKA of each stage's maps, averaged over their positions: 1, the two arrange the images alike;"
        " 0, they have nothing in common."
    )
    size = CELL * sum(widths) + 1.1 * len(found), CELL * height + 1
    return Figure("cka", paint, size, text, heading=heading)


def _table(ax: Any, table: np.ndarray) -> None:
    ax.imshow(table, cmap=style.SHADES, vmin=0, vmax=1, interpolation="nearest")
    for i, j in np.ndindex(*table.shape):
        value = "–" if np.isnan(table[i, j]) else f"{round(float(table[i, j]), 2) + 0:.2f}".replace("-", "−")
        colour = style.WHITE if table[i, j] > style.DARK_SHADE else LIGHT.ink
        ax.text(j, i, value, ha="center", va="center", color=colour)
    ax.set_facecolor(LIGHT.rule)
    names = [f"stage {i + 1}" for i in range(max(table.shape))]
    ax.set_xticks(range(table.shape[1]), names[: table.shape[1]], rotation=45, ha="right")
    ax.set_yticks(range(table.shape[0]), names[: table.shape[0]])
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
