"""Confusion matrix with each class's accuracy and its interval at the side."""

from typing import Any

import numpy as np

from gssl.figures import style
from gssl.figures.figure import Figure
from gssl.figures.style import LIGHT
from gssl.statistics.intervals import wilson

NUMBERS, NAMES = 12, 100  # up to so many classes a cell has its number, a row its name
LARGE = 0.3  # inches of a cell beside which text has room
BESIDE, GAP = 3.0, 0.15  # inches
LETTERS = 18  # of a class's name
COLOUR = LIGHT.series[0]


def figure(matrix: np.ndarray, classes: list[str], heading: str) -> Figure:
    """Counts (C, C), rows true."""
    count = len(matrix)
    cell = 1.1 if count <= 3 else 0.6 if count <= NUMBERS else 0.34 if count <= 20 else max(0.14, 6 / count)
    cell = min(cell, 14 / count)
    side, large = count * cell, cell >= LARGE
    width = side + BESIDE + GAP

    def paint(canvas: Any) -> list[Any]:
        _matrix(canvas.add_axes((0, 0, side / width, 1)), matrix, classes)
        _per_class(canvas.add_axes(((side + GAP) / width, 0, BESIDE / width, 1)), matrix, large)
        return []

    text = "Colour: fraction of the true class, by its square root. Whiskers: 95% Wilson intervals."
    text += _largest(matrix, classes)
    letters = style.SMALL if large else style.TINY
    return Figure("confusion", paint, (width, side), text, heading=heading, text=letters, free=True)


def fractions(matrix: np.ndarray) -> np.ndarray:
    """Each row divided by its sum, NaN where a class has no image."""
    n = matrix.sum(1)[:, None]
    found: np.ndarray = np.where(n > 0, matrix / np.maximum(n, 1), np.nan)
    return found


def _matrix(ax: Any, matrix: np.ndarray, classes: list[str]) -> None:
    from matplotlib.colors import PowerNorm

    norm, table = PowerNorm(0.5, 0, 1), fractions(matrix)  # small fractions of confusion are what one looks for
    ax.imshow(table, cmap=style.SHADES, norm=norm, aspect="auto", interpolation="nearest")
    names = [short(name) for name in classes] if len(matrix) <= NAMES else []
    ax.set_xticks(range(len(names)), names, rotation=90)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.grid(False)
    ax.set(ylabel="true class", xlabel="predicted class")
    ax.xaxis.set_label_position("top")
    if len(matrix) <= NUMBERS:
        for i, j in np.ndindex(*matrix.shape):
            if matrix[i, j]:
                dark = norm(table[i, j]) > style.DARK_SHADE
                colour = style.WHITE if dark else LIGHT.ink
                ax.text(j, i, f"{matrix[i, j]:,}", color=colour, ha="center", va="center")


def _per_class(ax: Any, matrix: np.ndarray, texts: bool) -> None:
    """A dot and an interval per class, in the matrix's rows."""
    n, right = matrix.sum(1), np.diag(matrix)
    rows = np.flatnonzero(n)
    spans = np.array([wilson(int(right[row]), int(n[row])) for row in rows])
    ax.hlines(rows, spans[:, 0], spans[:, 1], color=COLOUR, linewidth=1.5)
    ax.plot(right[rows] / n[rows], rows, "o", color=COLOUR, markersize=5 if texts else 3, clip_on=False)
    for row in rows if texts else ():
        ax.text(1.04, row, f"{right[row] / n[row]:.1%}", va="center", color=LIGHT.ink)
        ax.text(1.24, row, f"of {n[row]:,}", va="center", color=LIGHT.muted)
    overall = float(right.sum() / max(n.sum(), 1))
    ax.axvline(overall, color=LIGHT.muted, linewidth=1, linestyle=style.DASHED, zorder=0)
    ax.set(xlim=(0, 1), ylim=(len(matrix) - 0.5, -0.5), yticks=[])
    ax.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
    ax.spines["left"].set_visible(False)
    ax.set_title(f"accuracy of each class; all: {overall:.1%}", color=LIGHT.ink)


def _largest(matrix: np.ndarray, classes: list[str]) -> str:
    """The three largest cells beside the diagonal, in words."""
    table = np.nan_to_num(fractions(matrix))
    np.fill_diagonal(table, 0)
    cells = np.argsort(-table, axis=None, kind="stable")[:3]
    found = [(*divmod(int(cell), len(matrix)), table.flat[cell]) for cell in cells if table.flat[cell] > 0]
    if not found:
        return ""
    return " Most often: " + ", ".join(f"{short(classes[i])} → {short(classes[j])} {s:.0%}" for i, j, s in found) + "."


def short(name: str, letters: int = LETTERS) -> str:
    """`name`, or its beginning and an ellipsis."""
    return name if len(name) <= letters else name[: letters - 1] + "…"
