"""Images beside masks: what is labelled, what is predicted, with a legend of the classes."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gssl.figures import style
from gssl.figures.tiles import Row, Section, Tile, save_page
from gssl.statistics.metric import IGNORE

OPACITY = 0.6
WIDEST = 260  # pixels of a tile


def colours_of(count: int) -> list[str]:
    """Colours of `count` classes. Beyond the palette they repeat, mixed with grey."""
    found = list(style.CLASSES)
    while len(found) < count:
        found += [_mixed(colour) for colour in found[-len(style.CLASSES) :]]
    return found[:count]


def _mixed(colour: str) -> str:
    return "#" + "".join(f"{(part + 128) // 2:02x}" for part in style.rgb(colour))


def overlay(images: Tensor, masks: Tensor, classes: Sequence[str]) -> Tensor:
    """Masks (n, H, W) of class ids over `images` (n, 3, H, W) in [0, 1]; ignored pixels are grey."""
    table = torch.full((IGNORE + 1, 3), 0.0)
    table[:] = torch.tensor(style.rgb(style.IGNORED)) / 255
    for i, colour in enumerate(colours_of(len(classes))):
        table[i] = torch.tensor(style.rgb(colour)) / 255
    coloured = table[masks.long().cpu()].permute(0, 3, 1, 2)
    grey = images.float().cpu().mean(1, keepdim=True)
    return ((1 - OPACITY) * grey + OPACITY * coloured).clamp(0, 1)


def save_masks(
    title: str, text: str, images: Tensor, masks: dict[str, Tensor], classes: Sequence[str], path: Path,
    captions: Sequence[str] = (),
) -> None:  # fmt: skip
    """One row per image (n, 3, H, W): the image, then each of `masks` (n, H, W) over it under its name."""
    painted = {name: overlay(images, mask, classes) for name, mask in masks.items()}
    used = sorted({int(value) for mask in masks.values() for value in mask.unique().tolist()})
    named = [(colour, name) for colour, name in zip(colours_of(len(classes)), classes, strict=True)]
    legend = [named[value] for value in used if value < len(classes)]
    if IGNORE in used:
        legend.append((style.IGNORED, "not evaluated"))
    rows = []
    for i, image in enumerate(images):
        own: list[Tile | None] = [Tile(image, captions[i] if captions else "")]
        own += [Tile(found[i]) for found in painted.values()]
        rows.append(Row("", own))
    section = Section("Images and masks", text, rows, ["image", *masks], legend)
    save_page(title, "", [section], path, WIDEST)
