"""Images of a data set as points that lie near each other where features are alike, some of them ringed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gssl.figures import style
from gssl.figures.confusion import short
from gssl.figures.figure import MOST_MARKS, Data, Figure, Mark
from gssl.figures.style import LIGHT

NAMED = 20  # up to so many classes have a colour and a name each
RINGS = {"suspect": "label suspect", "outlier": "outlier"}


def figure(points: Sequence[dict[str, Any]], classes: Sequence[str], caption: str, alt: str) -> Figure:
    """`points`: dicts with x, y, label (or None), file and mark (suspect, outlier or None)."""
    x = np.array([point["x"] for point in points], dtype=float)
    y = np.array([point["y"] for point in points], dtype=float)
    named = [name for name in classes if any(point["label"] == name for point in points)]
    coloured = 0 < len(named) <= NAMED

    def paint(canvas: Any) -> list[Mark]:
        ax = canvas.subplots()
        dots: dict[str, Any] = {"s": 9, "linewidths": 0, "alpha": 0.8}
        for i, name in enumerate(named if coloured else []):
            mine = [k for k, point in enumerate(points) if point["label"] == name]
            look = style.look(i)
            ax.scatter(x[mine], y[mine], color=look.colour, marker=look.marker, label=short(name), **dots)
        rest = [k for k, point in enumerate(points) if not (coloured and point["label"] in named)]
        if rest:
            label = "no label" if coloured else None
            ax.scatter(x[rest], y[rest], color=LIGHT.control, marker="o", label=label, **dots)
        for kind, name in RINGS.items():
            mine = [k for k, point in enumerate(points) if point["mark"] == kind]
            if mine:
                ring: dict[str, Any] = {"marker": "o" if kind == "suspect" else "s", "s": 46, "linewidths": 1.1}
                ax.scatter(x[mine], y[mine], facecolors="none", edgecolors=LIGHT.ink, label=name, **ring)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        ax.margins(0.03)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=5, markerscale=1.2, handletextpad=0.2)
        order = sorted(range(len(points)), key=lambda k: points[k]["mark"] is None)[:MOST_MARKS]
        return [Mark(ax, x[k], y[k], _said(points[k])) for k in order]

    rows = [[point["file"], point["label"], point["mark"], point["x"], point["y"]] for point in points]
    size = style.WIDE, style.WIDE * 0.72
    return Figure("map", paint, size, caption, alt, data=Data(["file", "label", "mark", "x", "y"], rows))


def _said(point: dict[str, Any]) -> str:
    name = point["file"].rsplit("/", 1)[-1]
    label = f", {point['label']}" if point["label"] else ""
    return f"{name}{label}" + (f" ({RINGS[point['mark']]})" if point["mark"] else "")
