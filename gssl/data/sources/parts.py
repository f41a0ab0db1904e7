"""How a folder of images is divided: its parts for training, validation, testing and pretraining, or class folders.

Parts go by many names, in any case (`Training`, `valid`, `test_set`). A folder of such a name that holds images as the
class folders beside it do is a class. An archive's folder that holds nothing but one folder is looked into. No torch
here; nothing is opened.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gssl.data.sources.folders import Told, folders_in, is_image, some
from gssl.errors import UsageError

PARTS = {
    "train": ("train", "training", "trn", "trainval"),
    "val": ("validation", "val", "valid", "dev", "validate"),
    "test": ("test", "testing", "tst", "evaluation"),
    "pretrain": ("unlabelled", "unlabeled", "unsupervised", "pretrain", "pretraining"),
}
SAID = {known: part for part, own in PARTS.items() for known in own}
FILLER = ("dataset", "data", "set", "images", "image", "imgs", "img", "split", "folder", "photos", "pictures", "seg")
DEEPEST = 4  # folders that are looked into for the first one that holds more than one folder


@dataclass
class Parts:
    """Folders of a data set's parts; train: of class folders, or of loose images. pretrain: of unlabelled images.

    root: data.root, or the folder in it that holds everything. exclude: folders in `train` that are no classes.
    """

    root: Path
    train: Path
    val: Path | None = None
    test: Path | None = None
    pretrain: Path | None = None

    @property
    def exclude(self) -> list[Path]:
        return [path for path in (self.val, self.test, self.pretrain) if path is not None]

    @property
    def split(self) -> bool:
        """Whether training images have a folder of their own."""
        return self.train != self.root


def part_of(name: str) -> str | None:
    """Which part a folder of this name is: `Training` → train, `test_set` → test; None for every other name."""
    text = re.sub(r"(19|20)\d\d$", "", name.lower())  # train2017
    words = [word for word in re.split(r"[^a-z]+", text) if word and word not in FILLER]
    if len(words) != 1 or re.search(r"\d", text):
        return None
    word = words[0]
    for filler in FILLER:  # trainset
        word = word.removesuffix(filler) if word.removesuffix(filler) in SAID else word
    return SAID.get(word)


def named(root: Path, part: str) -> Path | None:
    """The folder in `root` that is that part by its name, the usual name first."""
    names = [name for name in folders_in(root) if part_of(name) == part]
    return root / _usual(part, names) if names else None


def _usual(part: str, names: Sequence[str]) -> str:
    """Of several folders of one part the one with the most usual name."""
    known = PARTS[part]

    def rank(name: str) -> tuple[bool, int, str]:
        low = name.lower()
        return name != part, known.index(low) if low in known else len(known), name

    return min(names, key=rank)


def find(root: Path, told: Told | None = None) -> Parts:
    """The parts of a folder. told: gets how it was understood. Raises UsageError where there is no part to train on."""
    told = Told() if told is None else told
    root = inner(root, told)
    by_part: dict[str, list[str]] = {}
    others: list[str] = []
    for name in folders_in(root, told):
        part = part_of(name)
        if part:
            by_part.setdefault(part, []).append(name)
        elif holds_images(root / name):
            others.append(name)
    chosen = {part: _usual(part, names) for part, names in by_part.items()}
    classes = {part: classes_in(root / name) for part, name in chosen.items()}
    if "train" in chosen and (classes["train"] or not _is_class(root, chosen, others)):
        for part, names in by_part.items():
            for name in sorted(set(names) - {chosen[part]}):
                told.warnings.append(f"{root / name} is not read: {chosen[part]}/ is the {part} part")
        return _divided(root, chosen, classes, others, told)
    found = Parts(root, root)
    for part in ("val", "test"):  # beside class folders: only where they have these classes, too
        if part not in chosen:
            continue
        if set(classes[part]) & set(others):
            setattr(found, part, root / chosen[part])
        elif others or "train" in chosen:
            told.notes.append(f"{chosen[part]}/ is read as a class, as the folders beside it are")
    if "train" in chosen:
        told.notes.append(f"{chosen['train']}/ holds no folders, as those beside it do not: it is read as a class")
    elif not others and classes.get("val") and classes.get("test"):
        both = f"{chosen['val']}/ and {chosen['test']}/"
        raise UsageError(f"data.root: {root} has {both} and no train/; give a folder with train/, or data.train=FOLDER")
    if "pretrain" in chosen:
        found.pretrain = root / chosen["pretrain"]
    _say(found, told)
    return found


def _divided(root: Path, chosen: dict[str, str], classes: dict[str, list[str]], others: list[str], told: Told) -> Parts:
    """Parts of a folder that has one for training."""
    folders = {part: inner_of_part(root / name, told) for part, name in chosen.items()}
    if others:
        known = set(classes["train"])
        again = " of the same names" if set(others) & known else ""
        told.warnings.append(
            f"{len(others)} folders beside {chosen['train']}/ are not read{again} ({some(others)}); where all are"
            f" classes, {chosen['train']} too: data.train={root}"
        )
    found = Parts(root, folders["train"], folders.get("val"), folders.get("test"), folders.get("pretrain"))
    _say(found, told)
    return found


def _is_class(root: Path, chosen: dict[str, str], others: list[str]) -> bool:
    """Whether a folder called train, with loose images and no class folders, is a class among others."""
    return bool(others) and has_images(root / chosen["train"])


def _say(found: Parts, told: Told) -> None:
    """How names of parts were understood, where they are not the usual ones."""
    for part in ("train", "val", "test"):
        folder = getattr(found, part)
        if folder is None or folder == found.root:
            continue
        if folder.name != part:
            told.notes.append(f"{folder.relative_to(found.root)}/ is the {part} part")


def inner(root: Path, told: Told | None = None) -> Path:
    """`root`, or the folder in it that holds everything where there is nothing else, as archives have it."""
    at = root
    for _ in range(DEEPEST):
        if has_images(at) or (at / "labels.csv").is_file() or (at / "classes.json").is_file():
            break
        names = [name for name in folders_in(at) if holds_images(at / name) or not any((at / name).iterdir())]
        if len(names) != 1 or part_of(names[0]) in ("train", "pretrain"):  # an empty folder may be a class
            break
        at = at / names[0]
        inside = folders_in(at)
        several = sum(holds_images(at / name) for name in inside) > 1
        if several or (at / "labels.csv").is_file() or any(part_of(name) == "train" for name in inside):
            if told is not None:
                told.notes.append(f"{at} is read, the only folder in {root}")
            return at
    return root


def inner_of_masks(root: Path, told: Told) -> Path:
    """`root`, or the only folder in it where that has images/ and masks/, or parts that do."""
    names = folders_in(root)
    if len(names) == 1 and not has_images(root) and not (root / "classes.json").is_file() and not part_of(names[0]):
        inside = set(folders_in(root / names[0]))
        if {"images", "masks"} <= inside or any(part_of(name) == "train" for name in inside):
            told.notes.append(f"{root / names[0]} is read, the only folder in {root}")
            return root / names[0]
    return root


def inner_of_part(folder: Path, told: Told) -> Path:
    """`folder`, or the only folder in it where that has its name, too: train/train/cat."""
    names = folders_in(folder)
    same = len(names) == 1 and part_of(names[0]) == part_of(folder.name)
    if same and not has_images(folder) and classes_in(folder / names[0]):
        told.notes.append(f"{folder / names[0]} is read, the only folder in {folder}")
        return folder / names[0]
    return folder


def classes_in(folder: Path) -> list[str]:
    """Folders in it that hold images."""
    return [name for name in folders_in(folder) if holds_images(folder / name)]


def classes_in_but(folder: Path, exclude: list[Path]) -> bool:
    """Whether it has images besides those of the folders `exclude` in it."""
    return has_images(folder) or any(folder / name not in exclude for name in classes_in(folder))


def has_images(folder: Path) -> bool:
    """Whether there are images directly in it."""
    try:
        with os.scandir(folder) as entries:
            return any(is_image(entry.name) for entry in entries)
    except OSError:
        return False


def holds_images(folder: Path) -> bool:
    """Whether there are images in it, at any depth; links are followed, and not back to where they lie."""
    home = folder.parent.resolve()
    seen = {home, *home.parents}
    left = [folder]
    while left:
        at = left.pop()
        real = at.resolve()
        if real in seen:
            continue
        seen.add(real)
        if has_images(at):
            return True
        left += [at / name for name in folders_in(at)]
    return False
