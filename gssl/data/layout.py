"""What a folder holds, from the names in it and the heads of some files: nothing is decoded, torch is not imported."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from gssl import words
from gssl.data import captions
from gssl.data.opening import opened
from gssl.data.sources import hf_files, labels_csv, pair_folders, parts, shards
from gssl.data.sources.films import ANIMATED, FILMS, Film, films_below
from gssl.data.sources.folders import SUFFIXES, Told, child, class_of, folders_in, images_below, is_image, unread
from gssl.errors import UsageError

SIZES = (32, 48, 64, 96, 128)  # sides in pixels that are chosen from
LOOKED_AT = 200  # files whose heads tell the size
WALKED = 20_000  # files that these are taken from
GOOD = ("good", "ok", "normal")  # names of class folders that others may be defects of
NAMED = 6  # classes that are named with their counts
TRIED = 12  # animated pictures, frame folders, or images of pairs, that are looked into


@dataclass(frozen=True)
class Layout:
    """A folder as data: the name of its source, the keys of `data` that say where what is, and in words.

    smallest: labelled images of the smallest class; None where there are masks, or no labels. spare: a folder with some
    unlabelled images, fewer than labelled ones, so that nothing is pretrained on them unless it is asked for.
    """

    name: str  # imagefolder | segmentation | detection | anomaly | fake | imagetext | hf | video | …
    keys: dict[str, str | list[str]]
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
        text = f"{root}: {words.count(count, 'image')} with masks{_parts(found if named['train'] else {})}"
        return Layout("segmentation", {"root": root}, [text])
    if (boxed := _boxes(folder)) is not None:
        return boxed
    if pair_folders.has_sides(folder) and pair_folders.apart(folder):
        raise UsageError(f"{root}: holds pairs of images, A and B, and no labels to compare by; {_translate(root)}")
    if (films := _films(folder)) is not None:
        return films
    if (captioned := _with_captions(folder)) is not None:
        return _captioned(root, captioned)
    home = parts.inner(folder)
    if anomaly_layout(home):
        return _anomalies(root, home)
    if (generators := _generators(home)) and len(generators) > 1:
        return _fakes(root, home, generators)
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
    if not classes and not loose and (archives := shards.below(folder)):
        return Layout("webdataset", {"root": root}, [f"{root}: {_archives(folder, archives)}"])
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
    lines += _good_beside(own.train, sorted(classes))
    if pair_folders.has_sides(folder):
        lines.append(f"{root}: A and B have the same names; where these are pairs and no classes, {_translate(root)}")
    keys: dict[str, str | list[str]] = {"root": root}
    spare = None
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


def _translate(root: str) -> str:
    return f"`gssl train-gan gan=pix2pix data=paired data.root={root}` learns to make one from the other"


def _with_captions(folder: Path) -> Path | None:
    """The folder, or the only one in it, as archives have it, that has a captions.csv with classes."""
    for _ in range(parts.DEEPEST):
        if captions.classed(folder):
            return folder
        inside = folders_in(folder)
        if len(inside) != 1:
            return None
        folder = folder / inside[0]
    return None


def _captioned(root: str, home: Path) -> Layout:
    """A captions.csv with classes."""
    pairs = captions.read(home, None, Told()).pairs
    labelled = Counter(pair.label for pair in pairs if pair.label and pair.split in (None, "train"))
    if len(labelled) < 2:
        raise UsageError(f"{root}: {captions.TABLE} has no two classes of training images, which a comparison needs")
    count = sum(len(pair.captions) for pair in pairs)
    text = f"{root}: {len(pairs):,} images with {count:,} captions, of {len(labelled):,} classes"
    return Layout("imagetext", {"root": root}, [text], min(labelled.values()))


def anomaly_layout(root: Path) -> bool:
    """Whether a folder has MVTec's layout: one for training that holds good images alone, and one to test on."""
    train, test = parts.named(root, "train"), parts.named(root, "test")
    if train is None or test is None or parts.has_images(train):
        return False
    return [name.lower() for name in parts.classes_in(train)] == ["good"]


def _good_beside(train: Path, classes: Sequence[str]) -> list[str]:
    """Where a class is called good: that there is a task which learns from good images alone."""
    good = next((name for name in classes if name.lower() in GOOD), None)
    if good is None:
        return []
    others = [name for name in classes if name != good]
    bad = str(train / others[0]) if len(others) == 1 else "a folder of the others, one for each kind of defect"
    return [
        f"to find what is unlike {good}/, learning from it alone: data=anomaly data.good={train / good} data.bad={bad}"
    ]


def _archives(folder: Path, found: list[Path]) -> str:
    """How many tar archives there are, and for what; whoever reads them says what is in them."""
    noun = "tar archive" if len(found) == 1 else "tar archives"
    counts = [f"{len(own):,} for {part}" for part, own in shards.divided(folder, found, []).items()]
    size = sum(os.path.getsize(path) for path in found)
    return f"{len(found):,} {noun} of samples, as WebDataset has them ({', '.join(counts)}; {size / 1e6:,.0f} MB)"


def _masks(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def _boxes(folder: Path) -> Layout | None:
    """Pascal VOC, COCO json or YOLO folders; None where there are no boxes."""
    from gssl.data import annotations  # NumPy: not for what no folder is asked for

    names = folders_in(folder)
    home = next((at for at in (folder, *(folder / name for name in names[:1])) if annotations.layout_of(at)), None)
    if home is None or (home != folder and len(names) > 1):
        return None
    found = annotations.read_boxes(home)
    counts = {part: len(own) for part, own in found.parts.items()}
    boxes = sum(len(own.boxes) for own in found.parts["train"])
    more = "".join(f", {count:,} for {part}" for part, count in counts.items() if part != "train")
    kinds = f"{len(found.classes)} classes" if len(found.classes) > 1 else f"the class {found.classes[0]}"
    many = f"{boxes:,} {'box' if boxes == 1 else 'boxes'}"
    text = f"{folder}: {words.count(counts['train'], 'image')} with {many} of {kinds}{more}"
    return Layout("detection", {"root": str(folder)}, [text])


def _generators(home: Path) -> list[str]:
    """The generators of a folder with real/ and fake/, each in a folder of its own; [] of other folders."""
    real, fake = child(home, "real"), child(home, "fake")
    if real is None or fake is None or parts.has_images(fake) or not parts.has_images(real):
        return []
    return parts.classes_in(fake)


def _fakes(root: str, home: Path, generators: list[str]) -> Layout:
    """Real images and those of several generators, the last of which is held out."""
    counts = {name: len(images_below(home / "fake" / name, [])) for name in generators}
    made = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    real = len(images_below(home / "real", []))
    text = f"{root}: {real:,} real images and those of {len(counts)} generators ({made})"
    held = f"{generators[-1]} is tested on and not learned from; data.held_out=[…] names others"
    return Layout("fake", {"root": root, "held_out": generators[-1:]}, [text, held])


# ── films ────────────────────────────────────────────────────────────────────────────────────────


def _films(folder: Path) -> Layout | None:
    """Films in class folders: video files, animated pictures where there are no others, or frame folders."""
    films, kind, more = films_below(folder), "films", ""
    named = [film for film in films if film.name.lower().endswith(FILMS)]
    if named or _animated(folder, films):
        films = named or films
    elif _frame_folders(folder, films) or _listed_folders(folder):
        kind = "frame folders"
        more = f"; each is read as a film; as single images: data=imagefolder data.root={folder}"
    else:
        return None
    by_part: dict[str, Counter[str]] = {}
    for film in films:
        part, name = _in_part(film)
        by_part.setdefault(part, Counter())[class_of(name) if "/" in name else ""] += 1
    train = by_part.get("train", Counter())
    counted = f"{train.total():,} {kind}"
    if "" not in train and train:
        counted += f" in {_counted(train, films=True)}"
    counted += "".join(f", {own.total():,} for {part}" for part, own in by_part.items() if part != "train")
    return Layout("video", {"root": str(folder)}, [f"{folder}: {counted}{more}"])


def _in_part(film: Film) -> tuple[str, str]:
    """The part that a film is of, and its name within it."""
    first, _, rest = film.name.partition("/")
    part = parts.part_of(first) if "/" in rest else None
    return (part, rest) if part else ("train", film.name)


def _animated(folder: Path, films: Sequence[Film]) -> bool:
    """Whether all pictures below a folder are of formats that can move, and those that are looked at do."""
    if not films or not all(film.name.lower().endswith(ANIMATED) for film in films):
        return False
    if len(films) < len(images_below(folder, [])):
        return False
    for film in films[:: max(1, len(films) // TRIED)]:
        try:
            with opened(str(folder / film.name), whole=False) as picture:
                if getattr(picture, "n_frames", 1) < 2:
                    return False
        except Exception:  # whoever decodes it says so
            continue
    return True


def _frame_folders(folder: Path, films: Sequence[Film]) -> bool:
    """Whether CLASS/FILM/ holds the numbered frames of a film, in all folders: two or more classes (an archive's only
    folder is none), two or more films in each, numbers without gaps, and pictures of one size."""
    if not films or any(not film.folder for film in films) or (folder / "labels.csv").is_file():
        return False
    inside = [(part, *name.split("/")) for part, name in map(_in_part, films)]
    if any(len(place) != 3 or parts.part_of(place[1]) or parts.part_of(place[2]) for place in inside):
        return False
    counts = Counter(place[:2] for place in inside)
    if len({name for _, name in counts}) < 2 or min(counts.values()) < 2:
        return False
    if sum(len(film.files) for film in films) < len(images_below(folder, [])):
        return False
    return all(_numbered(folder, film) for film in films[:: max(1, len(films) // TRIED)])


def _numbered(folder: Path, film: Film) -> bool:
    """Whether its pictures are numbered without a gap, and the first and the last are of one size."""
    found = [re.search(r"(\d+)$", Path(name).stem) for name in film.files]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) < len(found) or max(numbers) - min(numbers) + 1 != len(set(numbers)) or len(numbers) < 2:
        return False
    try:
        with opened(str(folder / film.files[0])) as first, opened(str(folder / film.files[-1])) as last:
            return bool(first.size == last.size)
    except Exception:  # whoever decodes it says so
        return True


def _listed_folders(folder: Path) -> bool:
    """Whether a labels.csv lists folders: films as their frames."""
    table = folder / "labels.csv"
    try:
        rows = labels_csv.clips(table, folder) if table.is_file() else []
    except UsageError:  # whoever reads it says so
        return False
    return bool(rows) and all((folder / row.name).is_dir() for row in rows[:TRIED])


def _anomalies(root: str, home: Path) -> Layout:
    """Good images to learn from, and kinds of defects among those that are tested on."""
    train, test = parts.named(home, "train"), parts.named(home, "test")
    assert train is not None and test is not None
    kinds = Counter(class_of(name) for name in images_below(test, []) if "/" in name)
    counted = ", ".join(f"{name} {kinds[name]:,}" for name in sorted(kinds))
    count = len(images_below(train, []))
    return Layout(
        "anomaly", {"root": root}, [f"{root}: {count:,} good images, tested on {kinds.total():,} ({counted})"]
    )


def _listed(folder: Path, home: Path, table: Path) -> Layout:
    """A labels.csv: images below the folder that it does not list are unlabelled ones."""
    rows = labels_csv.read(table, base=home, found=True)
    labels = Counter(str(label) for label in rows["train"].labels)
    lines = [f"{table}: {sum(labels.values()):,} labelled images of {_counted(labels, 'classes')}"]
    lines[0] += "".join(f", {len(rows[part].names):,} for {part}" for part in ("val", "test") if part in rows)
    listed = {os.path.normpath(name) for part in rows.values() for name in part.names}
    rest = [name for name in images_below(home, []) if os.path.normpath(name) not in listed]
    keys: dict[str, str | list[str]] = {"root": str(folder)}
    spare = None
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
    if count and _side_by_side(folder):
        return UsageError(
            f"{folder}: {count:,} images without labels, all twice as wide as high; where each holds A and B side by"
            f" side, {_translate(str(folder))}"
        )
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


def _counted(classes: Counter[str], what: str = "class folders", films: bool = False) -> str:
    """`2 class folders (cat 50, dog 30)`, or of many how many images, or films, they have."""
    if len(classes) <= NAMED:
        return f"{len(classes)} {what} ({', '.join(f'{name} {classes[name]:,}' for name in sorted(classes))})"
    counts = sorted(classes.values())
    many = f"{counts[0]:,} " + (f"to {counts[-1]:,} " if counts[0] < counts[-1] else "")
    return f"{len(classes)} {what} of {many}{'films' if films else 'images'}{' each' * (counts[0] == counts[-1])}"


def _parts(found: Mapping[str, Path]) -> str:
    """What other parts a split folder has."""
    others = [path for part, path in found.items() if part != "train"]
    listed = [(path, len(images_below(path / "images" if _masks(path) else path, []))) for path in others]
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


def _side_by_side(folder: Path) -> bool:
    """Whether some of its images are all twice as wide as high."""
    sizes = []
    for path in islice(_walked(folder), TRIED):
        try:
            with opened(path) as image:
                sizes.append(image.size)
        except Exception:  # whoever decodes it says so
            return False
    return bool(sizes) and all(width == 2 * height for width, height in sizes)


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
