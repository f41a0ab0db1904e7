"""Diagrams of diagnostics as PNG files: confusion, reliability, map of features, CKA, corruptions.

Colours are told apart by colour-blind eyes too, and beside each stands a marker, a number or a name.
"""

import contextlib
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gssl.statistics.intervals import wilson

DPI = 120
INK, SOFT, FAINT = "0.1", "0.4", "0.85"
# Petroff 2021, arXiv:2107.02270: ten colours chosen for all kinds of sight; the grey one last
COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd", "#94a4a2",
)  # fmt: skip
MARKERS = "osD^vPX<>p"
NUMBERS, NAMES = 12, 100  # up to so many classes a cell has its number, a row its name
NAMED = 20  # up to so many classes the map's points are coloured and named
NEAR = 15  # points around one, of which those of its own class are counted
LETTERS = 18  # of a class's name
ROUNDS = 1000  # of t-SNE


def confusion(matrix: np.ndarray, classes: list[str], title: str, path: Path) -> None:
    """Counts (C, C), rows true, with each class's accuracy and its Wilson interval at the side."""
    count, n = len(matrix), matrix.sum(1)
    share = np.where(n[:, None] > 0, matrix / np.maximum(n, 1)[:, None], np.nan)
    cell = 1.1 if count <= 3 else 0.6 if count <= NUMBERS else 0.34 if count <= NAMED else max(0.14, 6 / count)
    cell = min(cell, 14 / count)
    side, wide, gap = count * cell, 3.0, 0.15
    with drawing(8 if cell >= 0.3 else 6.5) as Figure:
        figure = Figure(figsize=(side + wide + gap, side))
        axes = figure.add_axes((0, 0, side / (side + wide + gap), 1))
        from matplotlib.colors import PowerNorm

        norm = PowerNorm(0.5, 0, 1)  # small shares of confusion are what one looks for
        axes.imshow(share, cmap="Blues", norm=norm, aspect="auto", interpolation="nearest")
        names = [short(name) for name in classes] if count <= NAMES else []
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.set(ylabel="true class", xlabel="what the probe said")
        axes.xaxis.set_label_position("top")
        if count <= NUMBERS:
            for i, j in np.ndindex(*matrix.shape):
                if matrix[i, j]:
                    colour = "white" if norm(share[i, j]) > 0.6 else INK
                    axes.text(j, i, f"{matrix[i, j]:,}", color=colour, ha="center", va="center")
        right = figure.add_axes(((side + gap) / (side + wide + gap), 0, wide / (side + wide + gap), 1))
        _per_class(right, matrix, texts=cell >= 0.3)
        text = "Colour: share of the true class, by its square root. Whiskers: 95% Wilson intervals."
        finish(figure, title, text + _most(matrix, classes), path)


def _per_class(axes: Any, matrix: np.ndarray, texts: bool) -> None:
    """A dot and an interval per class, in the matrix's rows."""
    n, right = matrix.sum(1), np.diag(matrix)
    rows = np.flatnonzero(n)
    spans = np.array([wilson(int(right[row]), int(n[row])) for row in rows])
    axes.hlines(rows, spans[:, 0], spans[:, 1], color=COLOURS[0], linewidth=1.5)
    axes.plot(right[rows] / n[rows], rows, "o", color=COLOURS[0], markersize=5 if texts else 3, clip_on=False)
    for row in rows if texts else ():
        axes.text(1.04, row, f"{right[row] / n[row]:.1%}", va="center", color=INK)
        axes.text(1.24, row, f"of {n[row]:,}", va="center", color=SOFT)
    overall = float(right.sum() / max(n.sum(), 1))
    axes.axvline(overall, color=SOFT, linewidth=1, linestyle="--", zorder=0)
    axes.set(xlim=(0, 1), ylim=(len(matrix) - 0.5, -0.5), yticks=[])
    axes.set_xticks([0, 0.5, 1], ["0", "50%", "100%"])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_title(f"accuracy of each class; all: {overall:.1%}", loc="left", color=INK)


def _most(matrix: np.ndarray, classes: list[str]) -> str:
    """The three largest cells beside the diagonal, in words; shares of the true class."""
    n = matrix.sum(1)
    share = np.where(n[:, None] > 0, matrix / np.maximum(n, 1)[:, None], 0.0)
    np.fill_diagonal(share, 0)
    cells = np.argsort(-share, axis=None, kind="stable")[:3]
    found = [(*divmod(int(cell), len(matrix)), share.flat[cell]) for cell in cells if share.flat[cell] > 0]
    if not found:
        return ""
    return " Most often: " + ", ".join(f"{short(classes[i])} → {short(classes[j])} {s:.0%}" for i, j, s in found) + "."


def reliability(found: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """A diagram per probe; `found`: as result.json's `calibration`, each with its `name`."""
    rows, columns = shape(len(found))
    with drawing() as Figure:
        figure = Figure(figsize=(3.6 * columns, 4.4 * rows), layout="constrained")
        grid = figure.subplots(2 * rows, columns, squeeze=False, gridspec_kw={"height_ratios": [3.2, 1] * rows})
        for axes in grid.flat:
            axes.set_visible(False)
        for place, one in enumerate(found):
            row, column = divmod(place, columns)
            upper, lower = grid[2 * row, column], grid[2 * row + 1, column]
            _reliable(upper, lower, one)
            if column == 0:
                upper.set_ylabel("share that is right")
                lower.set_ylabel("answers")
        text = (
            "Of answers given with a confidence p, a share p should be right (the dashed line). Points: answers in"
            f" {len(found[0]['bins'])} bins of equal width, with 95% Wilson intervals; below them how many there are."
        )
        finish(figure, title, text, path)


def _reliable(upper: Any, lower: Any, one: dict[str, Any]) -> None:
    """Accuracy against confidence, and below it how many answers there are of each confidence."""
    bins = [b for b in one["bins"] if b["count"]]
    given, right = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
    spans = np.array([wilson(round(b["accuracy"] * b["count"]), b["count"]) for b in bins])
    upper.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle="--")
    upper.text(0.96, 0.04, "too sure", color=SOFT, ha="right")
    upper.text(0.04, 0.92, "not sure enough", color=SOFT)
    upper.vlines(given, spans[:, 0], spans[:, 1], color=COLOURS[0], linewidth=1.4, clip_on=False)
    upper.plot(given, right, "o", color=COLOURS[0], markersize=4.5, clip_on=False)
    upper.set_title(f"{one['name']}\nECE {one['ece']:.3f}", loc="left", color=INK)
    upper.set(xlim=(0, 1), ylim=(0, 1))
    upper.tick_params(labelbottom=False)
    edges, share = [b["low"] for b in one["bins"]], [b["count"] / one["n"] for b in one["bins"]]
    lower.bar(edges, share, width=1 / len(edges), align="edge", color="0.7", edgecolor="white", linewidth=0.5)
    lower.set(xlim=(0, 1), xlabel="confidence")
    lower.yaxis.set_major_formatter("{x:.0%}")
    for axes in (upper, lower):
        axes.set_visible(True)
        axes.spines[["right", "top"]].set_visible(False)


def feature_map(
    points: np.ndarray, labels: np.ndarray, classes: list[str], thumbnails: Tensor, title: str, path: Path
) -> None:
    """Features (n, d) in two dimensions by t-SNE (van der Maaten & Hinton 2008, on cosines).

    Up to 20 classes: a colour, a marker and a name for each, by `labels` (n,). Else `thumbnails` (m, 3, S, S), of the
    first m points.
    """
    place = embedded(points)
    known = labels >= 0
    with drawing() as Figure:
        figure = Figure(figsize=(8, 7))
        axes = figure.add_axes((0, 0, 1, 1))
        if known.any() and len(classes) <= NAMED:
            _coloured(axes, place, labels, classes)
            text = "One point per image."
        else:
            from matplotlib.offsetbox import AnnotationBbox, OffsetImage

            axes.scatter(place[:, 0], place[:, 1], s=3, color="0.75", linewidths=0)
            for xy, image in zip(place, thumbnails, strict=False):
                picture = OffsetImage(image.permute(1, 2, 0).numpy(), zoom=24 / image.shape[-1])
                axes.add_artist(AnnotationBbox(picture, tuple(xy), frameon=False))
            text = f"One point per image, of which {min(len(place), len(thumbnails)):,} are shown."
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(FAINT)
        axes.margins(0.04)
        text += " Neighbours have features of nearly the same direction; distances between groups say little (t-SNE)."
        finish(figure, title, text, path)


def _coloured(axes: Any, place: np.ndarray, labels: np.ndarray, classes: list[str]) -> None:
    """Points by class, its name where it is most among itself."""
    from matplotlib.patheffects import withStroke

    near = np.linalg.norm(place[:, None] - place, axis=2).argsort(axis=1, kind="stable")[:, :NEAR]
    own = (labels[near] == labels[:, None]).sum(1)
    for c, name in enumerate(classes):
        mine = np.flatnonzero(labels == c)
        if not len(mine):
            continue
        colour, marker = COLOURS[c % len(COLOURS)], MARKERS[(c + c // len(COLOURS)) % len(MARKERS)]
        axes.scatter(*place[mine].T, s=20, color=colour, marker=marker, linewidths=0, alpha=0.85, label=short(name))
        text = axes.text(*place[mine[own[mine].argmax()]], short(name), ha="center", va="center", color=INK, zorder=3)
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white", alpha=0.8)])
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, markerscale=1.5)


def embedded(points: np.ndarray) -> np.ndarray:
    """(n, d) features of n >= 5 images to (n, 2) places by t-SNE of unit rows; always the same ones."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    unit = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    if np.ptp(unit, axis=0).max() < 1e-6:  # a collapsed network: everything is in one place
        return np.zeros((len(unit), 2))
    perplexity = min(30.0, (len(unit) - 1) / 3)
    start = "pca" if min(unit.shape) >= 2 else "random"
    # one thread: the same sums on every machine, and on a busy one no waiting for each other a thousand times
    with threadpool_limits(1):
        place: np.ndarray = TSNE(2, perplexity=perplexity, init=start, random_state=0, max_iter=ROUNDS).fit_transform(
            unit
        )
    return place


def cka(panels: Sequence[tuple[str, str, Any]], title: str, path: Path) -> None:
    """Heat maps of CKA between stages: (rows' name, columns' name, matrix of floats or None) each."""
    tables = [np.array(matrix, dtype=np.float64) for _, _, matrix in panels]
    widths = [table.shape[1] for table in tables]
    tall = max(table.shape[0] for table in tables)
    with drawing() as Figure:
        figure = Figure(figsize=(0.72 * sum(widths) + 1.1 * len(panels), 0.72 * tall + 1), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False, gridspec_kw={"width_ratios": widths})[0]
        for axes, (rows, columns, _), table in zip(grid, panels, tables, strict=True):
            axes.imshow(table, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
            for i, j in np.ndindex(*table.shape):
                value = "–" if np.isnan(table[i, j]) else f"{round(float(table[i, j]), 2) + 0:.2f}".replace("-", "−")
                axes.text(j, i, value, ha="center", va="center", color="white" if table[i, j] > 0.6 else INK)
            axes.set_facecolor(FAINT)
            axes.set_xticks(
                range(table.shape[1]), [f"stage {i + 1}" for i in range(table.shape[1])], rotation=45, ha="right"
            )
            axes.set_yticks(range(table.shape[0]), [f"stage {i + 1}" for i in range(table.shape[0])])
            axes.tick_params(length=0)
            axes.set(ylabel=wrapped(rows, 24), xlabel=wrapped(columns, 36))
            axes.spines[:].set_visible(False)
        text = (
            "Unbiased linear CKA of each stage's maps, averaged over their places: 1, the two arrange the images alike;"
            " 0, they have nothing in common."
        )
        finish(figure, title, text, path)


def corruptions(found: dict[str, Any], names: Sequence[str], n_classes: int, title: str, path: Path) -> None:
    """Accuracy against strength, a line per kind, for each probe; `found`: as result.json's `corruptions`."""
    probes = found["probes"]
    rows, columns = shape(len(probes))
    strengths = [0, *found["strengths"]]
    with drawing() as Figure:
        figure = Figure(figsize=(3.6 * columns + 1.4, 3.6 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(probes) :]:
            axes.set_visible(False)
        for axes, one, name in zip(grid.flat, probes, names, strict=False):
            axes.axhline(1 / n_classes, color=SOFT, linewidth=1, linestyle=":", label="guessing")
            for i, kind in enumerate(found["kinds"]):
                line = [one["clean"], *one["accuracy"][kind]]
                style = dict(color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], markersize=4.5)
                axes.plot(strengths, line, label=kind.replace("_", " "), linewidth=1.6, **style)
            axes.set_title(f"{name}\nclean {one['clean']:.1%}, mean of all {one['mean']:.1%}", loc="left", color=INK)
            axes.set(ylim=(0, 1), xlabel="strength")
            axes.set_xticks(strengths, ["clean", *map(str, strengths[1:])])
            axes.yaxis.set_major_formatter("{x:.0%}")
            axes.grid(axis="y", color=FAINT, linewidth=0.8)
            axes.tick_params(labelbottom=True)
            axes.spines[["right", "top"]].set_visible(False)
        grid[0, 0].set_ylabel("accuracy")
        handles = grid[0, 0].get_legend_handles_labels()
        grid[0, -1].legend(*handles, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
        text = "Test images with a common corruption (after Hendrycks & Dietterich 2019, arXiv:1903.12261)."
        finish(figure, title, text, path)


# ── what they share ──────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def drawing(letters: float = 9) -> Iterator[Any]:
    """matplotlib's `Figure` with our settings; `letters`: size of the text in points."""
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "font.size": letters,
        "axes.titlesize": letters + 1,
        "axes.edgecolor": SOFT,
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # names in scripts that the font does not have
        yield Figure


def finish(figure: Any, title: str, text: str, path: Path) -> None:
    """Write the figure under a heading and a text that explains it."""
    figure.draw_without_rendering()  # now everything has its place
    figure.set_layout_engine("none")  # which is not looked for again
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()  # inches
    letters = max(40, round(box.width * 72 / 4.9))
    bold, below = wrapped(title, round(letters * 0.72)), wrapped(text, letters)
    x, y = box.x0 / width, box.y1 + 0.12
    lower = figure.text(x, y / height, below, va="bottom", color=SOFT, fontsize=9, linespacing=1.25)
    y += (below.count("\n") + 1) * 0.165 + 0.06
    upper = figure.text(x, y / height, bold, va="bottom", color=INK, fontsize=12, fontweight="bold")
    ends = [part.get_window_extent().transformed(figure.dpi_scale_trans.inverted()) for part in (lower, upper)]
    whole = box.union([box, *ends]).padded(0.15)
    figure.savefig(path, dpi=DPI, bbox_inches=whole, facecolor="white")


def shape(panels: int) -> tuple[int, int]:
    """Rows and columns of small multiples."""
    columns = 2 if panels == 4 else min(panels, 3)
    return -(-panels // columns), columns


def wrapped(text: str, letters: int) -> str:
    return "\n".join(textwrap.wrap(text, letters))


def short(name: str, letters: int = LETTERS) -> str:
    """`name`, or its beginning and an ellipsis."""
    return name if len(name) <= letters else name[: letters - 1] + "…"
