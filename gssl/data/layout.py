"""What a folder holds, from the names in it and the heads of some files: nothing is decoded, torch is not imported."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gssl.data.opening import opened
from gssl.data.sources import hf_files, labels_csv, parts
from gssl.data.sources.folders import SUFFIXES, Told, class_of, images_below, is_image, unread
from gssl.errors import UsageError

SIZES = (32, 48, 64, 96, 128)  # sides in pixels that are chosen from
MOST = 64  # pixels without a GPU: larger images take hours where these take minutes
LOOKED_AT = 200  # files whose heads tell the size
WALKED = 20_000  # files that these are taken from
NAMED = 6  # classes that are named with their counts


@dataclass(frozen=True)
class Layout:
    """A folder as data: the name of its source, the keys of `data` that say where what is, and in words.

    smallest: labelled images of the smallest class; None where there are masks, or no labels. spare: a folder with some
    unlabelled images, fewer than labelled ones, so that nothing is pretrained on them unless it is asked for.
    """

    name: str  # imagefolder | segmentation
    keys: dict[str, str]
    lines: list[str] = field(default_factory=list)
    smallest: int | None = None
    spare: str | None = None


def look(folder: Path) -> Layout:
    """What `folder` holds that can be compared on. Raises UsageError where nothing in it has labels."""
    root = str(folder)
    home = parts.inner_of_masks(folder, Told())
    named = {part: parts.named(home, part) for part in ("train", "val", "test")}
    if _masks(home) or any(path is not None and _masks(path) for path in named.values()):
        where = named["train"] if named["train"] and _masks(named["train"]) else home
        count = len(images_below(where / "images", []))
        found = {part: path for part, path in named.items() if path}
        text = f"{root}: {count:,} images with masks{_parts(found if named['train'] else {})}"
        return Layout("segmentation", {"root": root}, [text])
    home = parts.inner(folder)
    table = home / "labels.csv"
    if table.is_file():
        return _listed(folder, home, table)
    told = Told()
    own = parts.find(folder, told)
    beside = parts.named(folder.absolute().parent, "pretrain")
    told_files = Told()
    names = images_below(own.train, own.exclude, told_files)
    classes = Counter(class_of(name) for name in names if "/" in name)
    loose = len(names) - sum(classes.values())
    if not classes and not loose and hf_files.holds_tables(folder):
        return Layout("hf", {"root": root}, [f"{root}: Parquet or Arrow files of a Hugging Face data set"])
    if not classes:
        raise _nothing(folder, loose, own.pretrain, told_files)
    if len(classes) == 1:
        only = next(iter(classes))
        raise UsageError(
            f"{root}: all labelled images are in one folder, {only}/, and a comparison needs two classes or more; if"
            f" {only}/ holds the classes, give {own.train / only}"
        )
    more = {part: path for part, path in (("val", own.val), ("test", own.test)) if path}
    lines = [f"{root}: {sum(classes.values()):,} images in {_counted(classes)}{_parts(more)}"]
    keys, spare = {"root": root}, None
    pool = own.pretrain or (beside if beside and beside.resolve() != folder.resolve() else None)
    count = len(images_below(pool, [])) if pool is not None else 0
    if pool is not None and count:
        keys["pretrain"] = str(pool)
        lines.append(f"{pool}: {count:,} unlabelled images, for pretraining; data.pretrain=null leaves them out")
    elif loose and pool is None and own.train == folder:
        text = f"{root}: {loose:,} images in no class folder"
        if loose >= sum(classes.values()):
            keys["pretrain"] = root
            lines.append(f"{text}, for pretraining; data.pretrain=null leaves them out")
        else:  # pretraining would have these few and none of the labelled ones
            spare = root
            lines.append(f"{text} are left out; data.pretrain={root} pretrains on them alone")
    return Layout("imagefolder", keys, lines, min(classes.values()), spare)


def _masks(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def _listed(folder: Path, home: Path, table: Path) -> Layout:
    """A labels.csv: images below the folder that it does not list are unlabelled ones."""
    rows = labels_csv.read(table, base=home, found=True)
    labels = Counter(str(label) for label in rows["train"].labels)
    lines = [f"{table}: {sum(labels.values()):,} labelled images of {_counted(labels, 'classes')}"]
    lines[0] += "".join(f", {len(rows[part].names):,} for {part}" for part in ("val", "test") if part in rows)
    listed = {os.path.normpath(name) for part in rows.values() for name in part.names}
    rest = [name for name in images_below(home, []) if os.path.normpath(name) not in listed]
    keys, spare = {"root": str(folder)}, None
    if blank := rows.get(labels_csv.UNLABELLED):
        count = len(blank.names)
        lines.append(f"{table}: {count:,} images without a label, for pretraining beside the labelled ones")
    if "pretrain" in rows:
        lines.append(f"{table}: {len(rows['pretrain'].names):,} images of the split pretrain")
    elif rest and not blank:
        text = f"{home}: {len(rest):,} images that labels.csv does not list"
        if len(rest) >= sum(labels.values()):
            keys["pretrain"] = str(home)
            lines.append(f"{text}, for pretraining; data.pretrain=null leaves them out")
        else:
            spare = str(home)
            lines.append(f"{text} are left out; data.pretrain={home} pretrains on them alone")
    return Layout("imagefolder", keys, lines, min(labels.values()), spare)


def _nothing(folder: Path, loose: int, inside: Path | None, told: Told) -> UsageError:
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
        f" the like{''.join(f'; {text}' for text in told.texts())}"
    )


def _counted(classes: Counter[str], what: str = "class folders") -> str:
    """`2 class folders (cat 50, dog 30)`, or of many how many images they have."""
    if len(classes) <= NAMED:
        return f"{len(classes)} {what} ({', '.join(f'{name} {classes[name]:,}' for name in sorted(classes))})"
    counts = sorted(classes.values())
    return f"{len(classes)} {what} of {counts[0]:,} to {counts[-1]:,} images"


def _parts(found: Mapping[str, Path]) -> str:
    """What other parts a split folder has."""
    listed = ((path, len(images_below(path, []))) for part, path in found.items() if part != "train")
    return "".join(f", {path.name}/ with {count:,}" for path, count in listed)


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────


def shorter_sides(folders: Sequence[Path]) -> list[int]:
    """The shorter sides in pixels of some images below the folders, ascending; broken files are left out."""

    paths = [path for folder in folders for path in _walked(folder)]
    sides = []
    for path in paths[:: max(1, -(-len(paths) // LOOKED_AT))]:
        try:
            with opened(path) as image:
                sides.append(min(image.size))
        except Exception:  # whoever decodes it says so; Pillow raises anything on malformed files
            continue
    return sorted(sides)


def _walked(root: Path) -> Iterator[Path]:
    """Paths of at most so many images below a folder, in the order of their names."""
    count = 0
    for folder, subfolders, files in os.walk(root):
        if folder != str(root) and unread(folder):
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if is_image(name):
                yield Path(folder, name)
                count += 1
        if count >= WALKED:
            return


def chosen_size(sides: Sequence[int], most: int = SIZES[-1]) -> int:
    """Of SIZES up to `most` the largest that half of the images have (`sides` ascending); the smallest without any."""
    middle = sides[len(sides) // 2] if sides else 0
    return max((size for size in SIZES if size <= min(middle, most)), default=SIZES[0])
