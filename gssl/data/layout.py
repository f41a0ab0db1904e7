"""What a folder holds, from the names in it and the heads of some files: nothing is decoded, torch is not imported."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gssl.data.sources import hf_files, labels_csv
from gssl.data.sources.folders import SUFFIXES, child, images_below
from gssl.errors import UsageError

UNLABELLED = ("unlabelled", "unlabeled", "pretrain")  # names of folders whose images have no labels
SIZES = (32, 48, 64, 96, 128)  # sides in pixels that are chosen from
MOST = 64  # pixels without a GPU: larger images take hours where these take minutes
LOOKED_AT = 200  # files whose heads tell the size
WALKED = 20_000  # files that these are taken from
NAMED = 6  # classes that are named with their counts


@dataclass(frozen=True)
class Layout:
    """A folder as data: the name of its source, the keys of `data` that say where what is, and in words.

    smallest: labelled images of the smallest class; None where there are masks, or no labels.
    """

    name: str  # imagefolder | segmentation
    keys: dict[str, str]
    lines: list[str] = field(default_factory=list)
    smallest: int | None = None


def look(folder: Path) -> Layout:
    """What `folder` holds that can be compared on. Raises UsageError where nothing in it has labels."""
    root = str(folder)
    if _masks(folder) or any(_masks(folder / part) for part in ("train", "val", "test")):
        where = folder / "train" if _masks(folder / "train") else folder
        count = len(images_below(where / "images", []))
        return Layout("segmentation", {"root": root}, [f"{root}: {count:,} images with masks{_parts(folder)}"])
    table = folder / "labels.csv"
    if table.is_file():
        return _listed(folder, table)
    train = child(folder, "train") or folder
    inside = next((found for name in UNLABELLED if (found := child(folder, name))), None)
    beside = next((found for name in UNLABELLED if (found := child(folder.absolute().parent, name))), None)
    other = [part for name in ("test", "val") if (part := child(folder, name))] if train != folder else []
    names = images_below(train, [path for path in (inside, *other) if path])
    classes = Counter(name.split("/", 1)[0] for name in names if "/" in name)
    loose = len(names) - sum(classes.values())
    if not classes and not loose and hf_files.holds_tables(folder):
        return Layout("hf", {"root": root}, [f"{root}: Parquet or Arrow files of a Hugging Face data set"])
    if not classes:
        raise _nothing(folder, loose, inside)
    if len(classes) == 1:
        only = next(iter(classes))
        raise UsageError(
            f"{root}: all labelled images are in one folder, {only}/, and a comparison needs two classes or more; if"
            f" {only}/ holds the classes, give {train / only}"
        )
    lines = [f"{root}: {sum(classes.values()):,} images in {_counted(classes)}{_parts(folder)}"]
    keys = {"root": root}
    if (pool := inside or (beside if beside and beside.resolve() != folder.resolve() else None)) is not None:
        count = len(images_below(pool, []))
        if count:
            keys["pretrain"] = str(pool)
            lines.append(f"{pool}: {count:,} unlabelled images, for pretraining; data.pretrain=null leaves them out")
    elif loose and train == folder:
        keys["pretrain"] = root
        lines.append(
            f"{root}: {loose:,} images in no class folder, for pretraining; data.pretrain=null leaves them out"
        )
    return Layout("imagefolder", keys, lines, min(classes.values()))


def _masks(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def _listed(folder: Path, table: Path) -> Layout:
    """A labels.csv: images below the folder that it does not list are unlabelled ones."""
    rows = labels_csv.read(table)
    labels = Counter(str(label) for label in rows["train"].labels)
    lines = [f"{table}: {sum(labels.values()):,} labelled images of {_counted(labels, 'classes')}"]
    lines[0] += "".join(f", {len(rows[part].names):,} for {part}" for part in ("val", "test") if part in rows)
    listed = {os.path.normpath(name) for part in rows.values() for name in part.names}
    rest = [name for name in images_below(folder, []) if os.path.normpath(name) not in listed]
    keys = {"root": str(folder)}
    if "pretrain" in rows:
        lines.append(f"{table}: {len(rows['pretrain'].names):,} images without a label, for pretraining")
    elif rest:
        keys["pretrain"] = str(folder)
        lines.append(
            f"{folder}: {len(rest):,} images that labels.csv does not list, for pretraining; data.pretrain=null leaves"
            " them out"
        )
    return Layout("imagefolder", keys, lines, min(labels.values()))


def _nothing(folder: Path, loose: int, inside: Path | None) -> UsageError:
    """Why there is nothing to compare on."""
    count = loose or (len(images_below(inside, [])) if inside else 0)
    if count:
        return UsageError(
            f"{folder}: {count:,} images and no labels: a comparison needs some; put images into one folder per class,"
            f" or write {folder / 'labels.csv'} with the columns path,label. Without labels: gssl pretrain-ssl"
            f" data=imagefolder data.root={folder}"
        )
    return UsageError(
        f"{folder}: no images in it; expected one folder per class with files that end in {', '.join(SUFFIXES[:4])} or"
        " the like"
    )


def _counted(classes: Counter[str], what: str = "class folders") -> str:
    """`2 class folders (cat 50, dog 30)`, or of many how many images they have."""
    if len(classes) <= NAMED:
        return f"{len(classes)} {what} ({', '.join(f'{name} {classes[name]:,}' for name in sorted(classes))})"
    counts = sorted(classes.values())
    return f"{len(classes)} {what} of {counts[0]:,} to {counts[-1]:,} images"


def _parts(folder: Path) -> str:
    """What other parts a split folder has."""
    found = [name for name in ("val", "test") if (folder / "train").is_dir() and (folder / name).is_dir()]
    return "".join(f", {name}/ with {len(images_below(folder / name, [])):,}" for name in found)


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────


def shorter_sides(folders: Sequence[Path]) -> list[int]:
    """The shorter sides in pixels of some images below the folders, ascending; broken files are left out."""
    from PIL import Image

    paths = [path for folder in folders for path in _walked(folder)]
    sides = []
    for path in paths[:: max(1, -(-len(paths) // LOOKED_AT))]:
        try:
            with Image.open(path) as image:
                sides.append(min(image.size))
        except Exception:  # whoever decodes it says so; Pillow raises anything on malformed files
            continue
    return sorted(sides)


def _walked(root: Path) -> Iterator[Path]:
    """Paths of at most so many images below a folder, in the order of their names."""
    count = 0
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)
                count += 1
        if count >= WALKED:
            return


def chosen_size(sides: Sequence[int], most: int = SIZES[-1]) -> int:
    """Of SIZES up to `most` the largest that half of the images have (`sides` ascending); the smallest without any."""
    middle = sides[len(sides) // 2] if sides else 0
    return max((size for size in SIZES if size <= min(middle, most)), default=SIZES[0])
