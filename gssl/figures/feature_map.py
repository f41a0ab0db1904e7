"""Images as points in two dimensions, near each other where their features are alike."""

from typing import Any

import numpy as np
from torch import Tensor

from gssl.figures import style
from gssl.figures.confusion import short
from gssl.figures.figure import Figure
from gssl.figures.style import LIGHT

NAMED = 20  # up to so many classes the points are coloured and named
NEAR = 15  # points around one, of which those of its own class are counted
THUMBNAIL = 24  # pixels
FAINT = 0.6  # opacity of points below thumbnails


def figure(positions: np.ndarray, labels: np.ndarray, classes: list[str], thumbnails: Tensor, heading: str) -> Figure:
    """`positions` (n, 2) of images, such as `gssl.metrics.tsne` finds.

    Up to 20 classes: a colour, a marker and a name for each, by `labels` (n,). Else `thumbnails` (m, 3, H, W), of the
    first m images.
    """
    coloured = bool((labels >= 0).any()) and len(classes) <= NAMED

    def paint(canvas: Any) -> list[Any]:
        ax = canvas.add_axes((0, 0, 1, 1))
        if coloured:
            _classes(ax, positions, labels, classes)
        else:
            _thumbnails(ax, positions, thumbnails)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set(visible=True, color=LIGHT.rule)
        ax.margins(0.04)
        return []

    shown = "" if coloured else f", of which {min(len(positions), len(thumbnails)):,} are shown"
    text = (
        f"One point per image{shown}. Neighbours have features of nearly the same direction; distances between groups"
        " say little (t-SNE)."
    )
    return Figure("map", paint, (8, 7), text, heading=heading, free=True)


def _classes(ax: Any, positions: np.ndarray, labels: np.ndarray, classes: list[str]) -> None:
    """Points by class, its name where it is most among itself."""
    from matplotlib.patheffects import withStroke

    near = np.linalg.norm(positions[:, None] - positions, axis=2).argsort(axis=1, kind="stable")[:, :NEAR]
    own = (labels[near] == labels[:, None]).sum(1)
    for c, name in enumerate(classes):
        mine = np.flatnonzero(labels == c)
        if not len(mine):
            continue
        look = style.look(c)
        dots: dict[str, Any] = {"color": look.colour, "marker": look.marker, "s": 20, "linewidths": 0, "alpha": 0.85}
        ax.scatter(*positions[mine].T, label=short(name), **dots)
        x, y = positions[mine[own[mine].argmax()]]
        text = ax.text(x, y, short(name), ha="center", va="center", color=LIGHT.ink, zorder=3)
        text.set_path_effects([withStroke(linewidth=2.5, foreground=style.WHITE, alpha=0.8)])
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), markerscale=1.5)


def _thumbnails(ax: Any, positions: np.ndarray, thumbnails: Tensor) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    ax.scatter(positions[:, 0], positions[:, 1], s=3, color=LIGHT.control, alpha=FAINT, linewidths=0)
    for position, image in zip(positions, thumbnails, strict=False):
        picture = OffsetImage(image.permute(1, 2, 0).numpy(), zoom=THUMBNAIL / image.shape[-1])
        ax.add_artist(AnnotationBbox(picture, tuple(position), frameon=False))
