"""Folders of pairs of images, as their names tell: A and B, or images/ and masks/. No image is opened."""

from pathlib import Path

from gssl.data.sources import parts
from gssl.data.sources.folders import Told, child, folders_in, images_below

PARTS = ("train", "val", "test")
SIDES = ("A", "B")


def inner(root: Path, told: Told) -> Path:
    """`root`, or the only folder in it, as archives have it."""
    names = folders_in(root)
    if len(names) == 1 and names[0] not in SIDES and not parts.part_of(names[0]) and not parts.has_images(root):
        told.notes.append(f"{root / names[0]} is read, the only folder in {root}")
        return root / names[0]
    return root


def has_masks(root: Path) -> bool:
    """Whether a folder, or a part in it, has images/ and masks/."""
    home = parts.inner_of_masks(root, Told())
    folders = [home, *(folder for name in PARTS if (folder := parts.named(home, name)))]
    return any(child(folder, "images") and child(folder, "masks") for folder in folders)


def has_sides(root: Path) -> bool:
    """Whether a folder, or a part in it, has the folders A and B alone, and these have the same names of images."""
    home = inner(root, Told())
    folders = [home, *(folder for name in PARTS if (folder := parts.named(home, name)))]
    return any(_same_names(folder) for folder in folders)


def apart(root: Path) -> bool:
    """Whether A and B have parts of their own, so that they are no classes."""
    home = inner(root, Told())
    return all(parts.named(home / side, "train") for side in SIDES)


def _same_names(folder: Path) -> bool:
    if {name for name in folders_in(folder) if not parts.part_of(name)} != set(SIDES):
        return False
    a, b = ({str(Path(name).with_suffix("")) for name in images_below(folder / side, [])} for side in SIDES)
    return bool(a) and a == b
