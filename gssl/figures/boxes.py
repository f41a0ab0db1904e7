"""Images with boxes of objects, each in its class's colour, with a legend of the classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gssl.figures import style
from gssl.figures.masks import colours_of
from gssl.figures.tiles import Row, Section, Tile, save_page

WIDEST = 320  # pixels of a tile
LINE = 2  # pixels of a box's edge
CROSSED = 1  # of the diagonals of a wrong box


class Shown(NamedTuple):
    """Boxes to draw: edges (m, 4) in pixels of the image, classes (m,), and which are crossed out (m,) bool."""

    edges: np.ndarray
    classes: np.ndarray
    wrong: np.ndarray


def drawn(image: Tensor, boxes: Shown, colours: Sequence[str]) -> Tensor:
    """`image` (3, H, W) in [0, 1], enlarged by a whole factor up to `WIDEST`, with the boxes on it."""
    factor = max(1, WIDEST // image.shape[2])
    pixels = (image.float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels).resize(
        (image.shape[2] * factor, image.shape[1] * factor), Image.Resampling.NEAREST
    )
    pen = ImageDraw.Draw(picture)
    for edges, kind, wrong in zip(boxes.edges.tolist(), boxes.classes.tolist(), boxes.wrong.tolist(), strict=True):
        left, top, right, bottom = (round(value * factor) for value in edges)
        right, bottom = max(left, right - 1), max(top, bottom - 1)  # the last pixel inside
        pen.rectangle((left, top, right, bottom), outline=style.rgb(colours[kind]), width=LINE)
        if wrong:
            for line in ((left, top, right, bottom), (left, bottom, right, top)):
                pen.line(line, fill=style.rgb(colours[kind]), width=CROSSED)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def save_boxes(
    title: str, sections: Sequence[tuple[str, str, Sequence[Tensor], dict[str, Sequence[Shown]], Sequence[str]]],
    classes: Sequence[str], path: Path,
) -> None:  # fmt: skip
    """Sections of (heading, text, images (3, H, W), boxes of each image by what they are, a caption per image): a row
    per image, once under each name."""
    colours = colours_of(len(classes))
    legend = list(zip(colours, classes, strict=True))
    made = []
    for heading, text, images, boxes, captions in sections:
        rows = []
        for i, image in enumerate(images):
            own: list[Tile | None] = [
                Tile(drawn(image, each[i], colours), captions[i] if n == 1 else "")
                for n, each in enumerate(boxes.values())
            ]
            rows.append(Row("", own))
        made.append(Section(heading, text, rows, list(boxes), legend))
    save_page(title, "", made, path, WIDEST)
