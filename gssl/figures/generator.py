"""Sections of generator.png: samples, ways through the latent space, neighbours, what a discriminator answers to.

Everything is given; `gssl.experiment.generator_examples` computes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from gssl.figures import style
from gssl.figures.figure import Figure, Mark
from gssl.figures.tiles import Row, Section, Tile, heat, joined, overlay, tiles

LETTERS = 14  # of a class's name
BRIGHT = 4  # times an even distribution of attention: maps below it everywhere stay dark
Rows = Sequence[tuple[str, Sequence[Tensor]]]  # name, blocks of images (n, 3, S, S) side by side


@dataclass(frozen=True)
class ClassSamples:
    """Generated images of a class, one per latent vector, and real ones that were not trained on."""

    name: str
    made: Tensor
    real: Tensor


class Copies(NamedTuple):
    """The fraction of samples that are nearer to a training image than nearly all held-out images, its interval, and
    that fraction of the held-out images themselves."""

    fraction: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True)
class Neighbours:
    """Samples with their nearest training images.

    left, right: per row a sample at random and one of the closest, as indices; images: sample → image; nearest: sample
    → its neighbours (k, 3, S, S); distances: sample → (k,); usual: distances of held-out images to their nearest
    training images (h,); near: of all samples (n,).
    """

    left: Sequence[int]
    right: Sequence[int]
    images: dict[int, Tensor]
    nearest: dict[int, Tensor]
    distances: dict[int, np.ndarray]
    usual: np.ndarray
    near: np.ndarray
    bank: int
    evaluator: str
    note: str
    copied: Copies


@dataclass(frozen=True)
class Saliency:
    """Images (n, 3, S, S) of one kind, the maps of their logits (n, h, w) and the logits."""

    name: str
    images: Tensor
    maps: Tensor
    logits: Sequence[float]


@dataclass(frozen=True)
class Attention:
    """Images (n, 3, S, S) and the attention from each of `positions` (row, column) in them, (n, positions, h, w)."""

    name: str
    images: Tensor
    maps: Tensor
    positions: Sequence[tuple[int, int]]
    gamma: float


def short(name: str) -> str:
    return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"


def samples(made: Sequence[Tensor], real: Tensor) -> Section:
    """`made`: rows of samples."""
    rows = [Row("samples" if i == 0 else "", tiles(part)) for i, part in enumerate(made)]
    text = "Every sample from a z of its own, none picked. Below them real images that were not trained on."
    return Section("Samples", text, [*rows, Row("real images", tiles(real))])


def class_samples(found: Sequence[ClassSamples], classes: int) -> Section:
    rows = [Row(short(one.name), [*tiles(one.made), None, *tiles(one.real)]) for one in found]
    text = (
        "One row per class; one column is one z: what stays the same down a column is what z decides, what changes is"
        " what the class decides. Right: real images of the class that were not trained on."
    )
    few = "" if len(found) == classes else f" {len(found)} of {classes} classes are shown."
    return Section("Samples of each class", text + few, rows)


def interpolations(found: Rows) -> Section:
    steps = len(found[0][1][0])
    text = (
        f"Spherical interpolation from z₁ to z₂ in {steps} steps of equal angle, two pairs in each row. Smooth changes"
        " through plausible images speak for a learnt space; jumps between a few fixed images speak against it."
    )
    heads = ["z₁", *[""] * (steps - 2), "z₂"]
    return Section("Between two latent vectors", text, _rows(found), [*heads, "", *heads])


def between_classes(found: Rows) -> Section:
    steps = len(found[0][1][0])
    text = (
        "z stays, the class goes evenly from the first to the second: the scales and offsets that it sets in the"
        " generator's norm layers. Two z in each row."
    )
    heads = ["first", *[""] * (steps - 2), "second"]
    return Section("Between two classes", text, _rows(found), [*heads, "", *heads])


def directions(found: Rows, at: Sequence[float], latent: int, class_name: str) -> Section:
    """`at`: standard deviations along a direction, the same in every row; `class_name` may be empty."""
    heads = [f"{x:+.0f}σ".replace("-", "−") if x else "0" for x in at]
    of_class = f" of class {short(class_name)}" if class_name else ""
    text = (
        "Closed-form factorisation of the first layer W, the norm behind it included (SeFa, arXiv:2007.06600): the"
        " directions in which a step of z moves it most are the top eigenvectors of WᵀW. Beside each its fraction of"
        f" the sum of all; a direction at random has {1 / latent:.1%}. Along a row z goes from −{at[-1]:.0f} to"
        f" +{at[-1]:.0f} standard deviations in this direction and stays in all others, for two samples{of_class}. A"
        " direction that does the same to both means something."
    )
    return Section("Main directions of the latent space", text, _rows(found), [*heads, "", *heads])


def neighbours(found: Neighbours) -> Section:
    rows, usual, copied = [], found.usual, found.copied
    for pair in zip(found.left, found.right, strict=True):
        blocks: list[list[Tile | None]] = []
        for i in pair:
            closest = zip(found.nearest[i], found.distances[i], strict=True)
            sample = Tile(found.images[i], f"{float((usual < found.near[i]).mean()):.0%} nearer")
            blocks.append([sample, None, *(Tile(x, f"{d:#.3g}") for x, d in closest)])
        rows.append(Row("", joined(blocks)))
    count = len(found.distances[found.left[0]])
    more = "more than chance: copies where a sample looks like its neighbour; blank samples are near everything too."
    text = (
        f"Left {len(found.left)} samples at random, right the {len(found.right)} of {len(found.near)} samples that are"
        f" nearest to a training image, each with the {count} nearest of {found.bank:,} training images and their"
        f" distances in the features of the evaluator {found.evaluator}{found.note}. Under a sample: how many held-out"
        " real images are nearer to a training image than it is. Held-out images are usually"
        f" {np.median(usual):.3g} away, 5% of them below {np.quantile(usual, 0.05):.3g}. {copied.fraction:.0%} of the"
        f" samples (95% interval {copied.low:.0%} to {copied.high:.0%}) are as near as the nearest {copied.chance:.0%}"
        f" of held-out images: {more if copied.low > copied.chance else 'no sign of copying.'}"
    )
    heads = [[name, "", "nearest", *[""] * (count - 1)] for name in ("any sample", "closest")]
    chart = histogram(usual, found.near, found.evaluator).image()
    return Section("Nearest training images of samples", text, rows, [*heads[0], "", *heads[1]], chart=chart)


def histogram(held: np.ndarray, made: np.ndarray, evaluator: str) -> Figure:
    """Distances to the nearest training image, of held-out images and of samples."""
    edges = np.linspace(0, max(held.max(), made.max(), 1e-9) * 1.02, 50).tolist()

    def paint(canvas: Any) -> list[Mark]:
        ax = canvas.subplots()
        colours = (style.LIGHT.control, style.LIGHT.series[1])
        for values, colour, name in zip((held, made), colours, ("held-out real images", "samples"), strict=True):
            weights = np.full(len(values), 1 / len(values))
            ax.hist(values, edges, weights=weights, color=colour, alpha=0.6, label=f"{name} ({len(values):,})")
        low = float(np.quantile(held, 0.05))
        ax.axvline(low, color=style.LIGHT.ink, linestyle=style.DASHED, linewidth=1, label="nearest 5% of held-out")
        ax.set(yticks=[], xlabel=f"distance to the nearest training image ({evaluator})", xlim=(0, edges[-1]))
        ax.spines["left"].set_visible(False)
        ax.grid(False)
        ax.legend()
        return []

    return Figure("distances", paint, (7.5, 1.8), "")


def saliency(found: Sequence[Saliency], copies: int, noise: float) -> Section:
    rows = []
    for one in found:
        row: list[Tile | None] = []
        size = one.images.shape[-1]
        for image, coloured, logit in zip(one.images, heat(one.maps, size), one.logits, strict=True):
            row += [Tile(image, f"logit {logit:+.2f}".replace("-", "−")), Tile(coloured)]
        rows.append(Row(one.name, row))
    text = (
        "Images, each with its saliency map: |∂ logit / ∂ pixel| summed over the colours, of the gradient's mean over"
        f" {copies} copies with noise of deviation {noise:g} (SmoothGrad, arXiv:1706.03825). Where it is light, a small"
        " change moves the answer most; each map has a scale of its own. The higher the logit, the more real the image"
        " is to the discriminator. The real images were not trained on."
    )
    return Section(SALIENCY, text, rows)


SALIENCY = "What the discriminator's answer depends on"


def attention(found: Sequence[Attention]) -> Section:
    rows, gammas = [], {}
    for one in found:
        blocks = [_attended(x, part, one.positions) for x, part in zip(one.images, one.maps, strict=True)]
        rows.append(Row(one.name, joined(blocks)))
        gammas[one.name.partition(",")[0]] = one.gamma
    text = (
        "An image, and what the self-attention block reads from the ringed position: the lighter, the more of its"
        " attention (in squares, for keys are pooled 2×2; white is the map's largest weight, and at least"
        f" {BRIGHT} times an even one). Under each map the largest weight ÷ an even one: ×1 attends to everything"
        " alike. What the block reads is added with a learnt weight γ that starts at 0: "
    )
    text += ", ".join(f"{value:.2g} ({name})" for name, value in gammas.items()).replace("-", "−")
    return Section("Where self-attention reads", text + ".", rows)


def _attended(image: Tensor, maps: Tensor, positions: Sequence[tuple[int, int]]) -> list[Tile | None]:
    """An image, and for each of `positions` its attention map, of `maps` (positions, h, w), over it."""
    height, width = maps.shape[1:]
    even = 1 / (4 * (height // 2) * (width // 2))
    row: list[Tile | None] = [Tile(image)]
    colours = overlay(image, heat(maps, image.shape[-1], BRIGHT * even))
    for (i, j), part, tile in zip(positions, maps, colours, strict=True):
        row.append(Tile(tile, f"×{float(part.max()) / even:.1f}", ((i + 0.5) / height, (j + 0.5) / width)))
    return row


RECONSTRUCTIONS = "Images and what the generator makes of their codes"


def reconstructions(images: Tensor, made: Tensor, source: str) -> Section:
    """`source`: the file that holds the encoder's last layer."""
    text = (
        f"Images that were not trained on. The encoder E is the exported backbone, its last layer from {source}. Only"
        " the adversarial objective asks an image and its reconstruction to be alike: expect images of the same kind,"
        " not the same image."
    )
    return Section(RECONSTRUCTIONS, text, [Row("image", tiles(images)), Row("G(E(image))", tiles(made))])


def left_out(title: str, reason: str) -> Section:
    return Section(title, f"Left out: {reason}")


def _rows(found: Rows) -> list[Row]:
    return [Row(name, joined([tiles(block) for block in blocks])) for name, blocks in found]
