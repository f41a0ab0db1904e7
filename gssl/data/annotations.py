"""Boxes in files: Pascal VOC, COCO json and YOLO folders, read into one form. No image is opened; no torch here.

VOC: `JPEGImages/`, `Annotations/NAME.xml`, and `ImageSets/Main/{train,val,test}.txt`, which list names; without lists
all are one part. COCO: `NAME.json` in the root, in `annotations/` or in a part's folder; images where it says, below
its folder or a part's. YOLO: `images/…` as `data.yaml` says and `labels/….txt`, lines of class, centre x and y, width
and height as fractions of the image.

Boxes are left, top, right, bottom in pixels, 0 at the image's edge. VOC counts pixels from 1, and its right and lower
edge belong to the box; files with a 0 count from 0. What is difficult in VOC and a crowd in COCO is neither found nor
missed.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml

from gssl.data.sources.folders import child, folders_in, images_below, is_image, some
from gssl.data.sources.parts import part_of
from gssl.errors import UsageError
from gssl.words import count

FIELDS = 6  # left, top, right, bottom, class, crowd
LARGEST = 2**30  # bytes of a file of annotations
PARTS = ("train", "val", "test")
LAYOUT = (
    "expected Pascal VOC (JPEGImages/, Annotations/, ImageSets/Main/), COCO (a json with images, annotations and"
    " categories beside the images) or YOLO (data.yaml, images/, labels/)"
)


@dataclass
class Annotated:
    """One image and its boxes (m, 6) float64; in fractions of the image where `relative`.

    size: (width, height) that the file of boxes gives for the image, None where it gives none. where: that file.
    """

    image: str
    boxes: np.ndarray
    where: str
    size: tuple[int, int] | None = None
    relative: bool = False


@dataclass
class Boxes:
    """A data set's boxes by part (train comes first), the names of their classes, and what is to be told."""

    layout: str
    classes: list[str]
    parts: dict[str, list[Annotated]]
    notes: list[str] = field(default_factory=list)


@dataclass
class Wrong:
    """Mistakes of one kind: the places, of which the first is named. Checked when everything has been read."""

    places: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        self.places.append(place)

    def refuse(self, one: str, many: str, advice: str) -> None:
        """Raises UsageError where there are any: "{count} {one or many}: {first places}; {advice}"."""
        if self.places:
            what = one if len(self.places) == 1 else many
            raise UsageError(f"data.root: {len(self.places):,} {what}: {some(self.places)}; {advice}")


def layout_of(root: Path) -> str | None:
    """voc | coco | yolo, by the names in a folder; None where it has boxes of neither kind."""
    if (root / "JPEGImages").is_dir() and (root / "Annotations").is_dir():
        return "voc"
    if _yaml(root) is not None:
        return "yolo"
    return "coco" if _jsons(root) else None


def read_boxes(root: Path) -> Boxes:
    """All boxes below `root`. Raises UsageError for what is missing or malformed, with the first path and the count."""
    layout = layout_of(root)
    if layout is None:
        raise UsageError(f"data.root: {root} has no boxes; {LAYOUT}")
    found = {"voc": _voc, "coco": _coco, "yolo": _yolo}[layout](root)
    if "train" not in found.parts:
        if len(found.parts) != 1:
            raise UsageError(f"data.root: {root} has {' and '.join(found.parts) or 'nothing'} and no train; {LAYOUT}")
        found.parts = {"train": next(iter(found.parts.values()))}
    order = [part for part in PARTS if part in found.parts]
    found.parts = {part: found.parts[part] for part in order}
    _check_order(found)
    if not sum(len(own.boxes) for own in found.parts["train"]):
        raise UsageError(
            f"data.root: none of the {len(found.parts['train'])} training images below {root} has a box, so there is"
            " nothing to learn; give boxes"
        )
    return found


def _check_order(found: Boxes) -> None:
    """Raises UsageError where right and lower edges are widths and heights, or widths and heights are edges."""
    each = [own for part in found.parts.values() for own in part if len(own.boxes) and not own.relative]
    if not each:
        return
    boxes = np.concatenate([own.boxes for own in each])
    if found.layout == "voc":
        if ((boxes[:, 2:4] < boxes[:, :2]).any(axis=1)).mean() > 0.5:
            raise UsageError(
                f"data.root: {int((boxes[:, 2:4] < boxes[:, :2]).any(axis=1).sum())} of {len(boxes)} boxes end before"
                f" they begin ({each[0].where}): this looks like x, y, width, height; write xmin, ymin, xmax, ymax"
            )
        return
    sized = [own for own in each if own.size is not None]
    over = [bool((own.boxes[:, 2:4] > np.array(own.size) + 1).any()) for own in sized]
    edges = [bool((own.boxes[:, 2:4] - own.boxes[:, :2] <= np.array(own.size) + 1).all()) for own in sized]
    ends = [bool((own.boxes[:, 2:4] - own.boxes[:, :2] > own.boxes[:, :2]).all()) for own in sized]
    if sized and np.mean(over) > 0.5 and all(edges) and all(ends):
        raise UsageError(
            f"data.root: in {sum(over)} of {len(sized)} images boxes end outside of the image ({sized[0].where}): this"
            " looks like left, top, right, bottom; COCO has left, top, width, height"
        )


def _numbers(rows: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, FIELDS)


def _unreadable(path: Path, error: object, expected: str) -> UsageError:
    return UsageError(f"data.root: {path} cannot be read ({' '.join(str(error).split())[:200]}); {expected}")


# ── Pascal VOC ───────────────────────────────────────────────────────────────────────────────────


def _voc(root: Path) -> Boxes:
    folder, pictures = root / "Annotations", root / "JPEGImages"
    names = images_below(pictures, [])
    by_stem = {os.path.splitext(name)[0]: name for name in names}
    listed = _listed(root / "ImageSets" / "Main")
    if not listed:
        stems = sorted(path.stem for path in folder.glob("*.xml") if not path.name.startswith("."))
        listed = {"train": stems}
    missing, bare = Wrong(), Wrong()
    parts: dict[str, list[Annotated]] = {}
    classes: set[str] = set()
    read: list[tuple[Annotated, list[str]]] = []
    for part, stems in listed.items():
        parts[part] = []
        for stem in stems:
            path = folder / f"{stem}.xml"
            if not path.is_file():
                bare.add(str(path))
                continue
            own, kinds = _xml(path)
            image = by_stem.get(stem) or _beside(own.image, pictures)
            if image is None:
                missing.add(f"{path} (no {pictures / (own.image or stem)})")
                continue
            own.image = str(pictures / image)
            classes |= set(kinds)
            read.append((own, kinds))
            parts[part].append(own)
    bare.refuse(
        "name of ImageSets/Main has no file of boxes",
        "names of ImageSets/Main have no file of boxes",
        "give one each, or take the names out of the lists",
    )
    missing.refuse(
        "file of boxes names an image that is not there",
        "files of boxes name an image that is not there",
        "give the images, or remove these files",
    )
    order = {name: i for i, name in enumerate(sorted(classes))}
    for own, kinds in read:
        own.boxes[:, 4] = [order[kind] for kind in kinds]
    notes = _from_one([own for own, _ in read])
    used = {own.image for own, _ in read}
    if loose := [name for name in names if str(pictures / name) not in used]:
        notes.append(f"{count(len(loose), 'image')} in {pictures} without boxes, or in no list ({some(loose)})")
    return Boxes("voc", sorted(classes), parts, notes)


def _listed(folder: Path) -> dict[str, list[str]]:
    """Names by part. trainval.txt is read where there is no train.txt; lists of single classes are not."""
    found = {}
    for part, names in (("train", ("train", "trainval")), ("val", ("val",)), ("test", ("test",))):
        path = next((folder / f"{name}.txt" for name in names if (folder / f"{name}.txt").is_file()), None)
        if path is None or (part == "val" and "train" in found and not (folder / "train.txt").is_file()):
            continue
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        found[part] = [line.split()[0] for line in lines if line.strip()]
    return {part: stems for part, stems in found.items() if stems}


def _beside(name: str, folder: Path) -> str | None:
    """What the file of boxes calls its image, where that is there."""
    own = os.path.basename(name)
    return own if own and (folder / own).is_file() and is_image(own) else None


def _xml(path: Path) -> tuple[Annotated, list[str]]:
    """The boxes of a file and the names of their classes, in the file's own counting of pixels."""
    expected = "expected Pascal VOC's <annotation> with <object>, <name> and <bndbox>"
    try:
        if path.stat().st_size > LARGEST >> 6:
            raise ValueError("too large")
        data = path.read_bytes()
        if b"<!ENTITY" in data:
            raise ValueError("it defines entities")
        tree = ElementTree.fromstring(data)
        rows, kinds = [], []
        for thing in tree.iter("object"):
            box = thing.find("bndbox")
            name = (thing.findtext("name") or "").strip()
            if box is None or not name:
                raise ValueError("an object without <name> or <bndbox>")
            edges = [float(box.findtext(key) or "nothing") for key in ("xmin", "ymin", "xmax", "ymax")]
            if not np.isfinite(edges).all():
                raise ValueError("a box of no numbers")
            rows.append([*edges, 0, float(int(thing.findtext("difficult") or 0) > 0)])
            kinds.append(" ".join(name.split()))
        sides = [int(float(tree.findtext(f"size/{key}") or 0)) for key in ("width", "height")]
    except (OSError, ValueError, OverflowError, ElementTree.ParseError) as error:
        raise _unreadable(path, error, expected) from error
    size = (sides[0], sides[1]) if min(sides) > 0 else None
    return Annotated(tree.findtext("filename") or "", _numbers(rows), str(path), size), kinds


def _from_one(read: list[Annotated]) -> list[str]:
    """Edges as everywhere else: pixels are counted from 1 in VOC, unless a 0 says otherwise.

    A box without area stays one: it is dropped later, with a warning.
    """
    boxes = [own.boxes for own in read if len(own.boxes)]
    if not boxes or min(own[:, :2].min() for own in boxes) < 1:
        return ["boxes count pixels from 0"] if boxes else []
    for own in boxes:
        there = (own[:, 2:4] > own[:, :2]).all(axis=1)
        own[there, :2] -= 1
    return []


# ── COCO ─────────────────────────────────────────────────────────────────────────────────────────


def _jsons(root: Path) -> list[Path]:
    """Files that may be COCO's, by the beginning of their text: in the root, annotations/ and the parts' folders."""
    folders = [root, root / "annotations"]
    folders += [root / name for name in folders_in(root) if part_of(name)] if root.is_dir() else []
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.json"))]
    return [path for path in found if not path.name.startswith(".") and _looks_like_coco(path)]


def _looks_like_coco(path: Path) -> bool:
    """Whether all three lists are named; one of them where the file is large, cut off or no JSON."""
    try:
        with open(path, "rb") as file:
            text = file.read(1 << 20)
            if large := os.fstat(file.fileno()).st_size > 1 << 20:
                file.seek(-(1 << 16), os.SEEK_END)
                text += file.read()
        named = [key in text for key in (b'"annotations"', b'"categories"', b'"images"')]
        if any(named) and not large:
            json.loads(text)
    except OSError:
        return False
    except (ValueError, RecursionError):
        return True  # whoever reads it says what is wrong
    return any(named) if large else all(named)


def _coco(root: Path) -> Boxes:
    parts, notes = dict[str, list[Annotated]](), list[str]()
    classes: list[str] | None = None
    for path in _jsons(root):
        text = _json(path)
        if not any("bbox" in own for own in text["annotations"][:50]) and text["annotations"]:
            notes.append(f"{path} has no boxes and is not read")
            continue
        part = _part_in(path, root)
        if part in parts:
            notes.append(f"{path} is not read: another file is the {part} part")
            continue
        names, parts[part] = _coco_part(path, text, root, part)
        if classes is not None and names != classes:
            raise UsageError(
                f"data.root: the categories of {path} ({some(names)}) are not those of the other files"
                f" ({some(classes)}); give all files the same"
            )
        classes = names
    return Boxes("coco", classes or [], parts, notes)


def _part_in(path: Path, root: Path) -> str:
    """Which part a file is of: by its name (instances_val2017.json) or its folder's; train where neither says."""
    words = [*re.split(r"[^A-Za-z]+", path.stem), path.parent.name if path.parent != root else ""]
    return next((part for part in map(part_of, words) if part in PARTS), "train")


def _json(path: Path) -> dict[str, Any]:
    expected = "expected COCO's {images, annotations, categories}"
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("too large")
        text = json.loads(path.read_bytes())
        if not all(isinstance(text[key], list) for key in ("images", "annotations", "categories")):
            raise ValueError("images, annotations or categories is no list")
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise _unreadable(path, error, expected) from error
    return text


def _coco_part(path: Path, text: dict[str, Any], root: Path, part: str) -> tuple[list[str], list[Annotated]]:
    """Names of the classes in the order of their ids, and the images of one file.

    Ids are any numbers; classes are 0, 1, … in their order. A category that is a supercategory's placeholder stays.
    """
    try:
        categories = sorted(((int(own["id"]), str(own["name"])) for own in text["categories"]), key=lambda own: own[0])
        pictures = {_id(own["id"]): own for own in text["images"]}
        rows: dict[str, list[list[float]]] = {own: [] for own in pictures}
        order = {_id(number): i for i, (number, _) in enumerate(categories)}
        unknown, loose = Wrong(), Wrong()
        for own in text["annotations"]:
            kind, picture = _id(own["category_id"]), _id(own["image_id"])
            if kind not in order:
                unknown.add(f"{own['category_id']} (annotation {own.get('id')})")
                continue
            if picture not in rows:
                loose.add(f"image_id {own['image_id']} (annotation {own.get('id')})")
                continue
            x, y, w, h = (float(value) for value in own["bbox"])
            if not np.isfinite([x, y, w, h]).all():
                raise ValueError("a box of no numbers")
            rows[picture].append([x, y, x + w, y + h, order[kind], float(bool(own.get("iscrowd", 0)))])
        names = [str(own["file_name"]) for own in pictures.values()]
        sizes = [(int(own.get("width") or 0), int(own.get("height") or 0)) for own in pictures.values()]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise _unreadable(path, reason, "expected bbox as [left, top, width, height] and file_name") from error
    for key, what, numbers in (
        ("categories", "id", [number for number, _ in categories]),
        ("categories", "name", [name for _, name in categories]),
        ("images", "id", [_id(own["id"]) for own in text["images"]]),
    ):
        twice = Wrong([f"{what} {own}" for own, many in Counter(numbers).items() if many > 1])
        place = f"of {key} in {path}"
        twice.refuse(
            f"{what} {place} stands there more than once",
            f"{what}s {place} stand there more than once",
            f"give each of {key} one of its own",
        )
    lacking = "a category_id that categories does not have"
    unknown.refuse(f"box in {path} has {lacking}", f"boxes in {path} have {lacking}", "add these categories")
    none = "of no image in images"
    loose.refuse(f"box in {path} is {none}", f"boxes in {path} are {none}", "add these images, or remove the boxes")
    folder = _home_of(names, path, root, part)
    missing = Wrong([str(folder / name) for name in names if not (folder / name).is_file()])
    what = f"of {count(len(names), 'image')} that {path} names"
    missing.refuse(f"{what} is not there", f"{what} are not there", "give the images, or leave them out of it")
    made = [
        Annotated(str(folder / name), _numbers(own), str(path), size if min(size) > 0 else None)
        for name, own, size in zip(names, rows.values(), sizes, strict=True)
    ]
    return [name for _, name in categories], made


def _id(value: Any) -> str:
    """An id, whether it is written as a number or as text: "7" in one list is 7 in another."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _home_of(names: list[str], path: Path, root: Path, part: str) -> Path:
    """The folder that file names are relative to: that in which the most of some of them are."""
    below = [root, *(root / name for name in folders_in(root))]
    if (pictures := child(root, "images")) is not None:
        below += [pictures / name for name in folders_in(pictures)]
    own = [folder for folder in below if part_of(folder.name) == part]
    candidates = [path.parent, *own, *below]
    few = names[:: max(1, len(names) // 20)]
    return max(candidates, key=lambda folder: sum((folder / name).is_file() for name in few))


# ── YOLO ─────────────────────────────────────────────────────────────────────────────────────────


def _yaml(root: Path) -> Path | None:
    """The file that names the classes, where labels/ are below the root."""
    for path in (root / "data.yaml", *sorted(root.glob("*.yaml")), *sorted(root.glob("*.yml"))):
        if path.is_file() and path.stat().st_size < 1 << 20 and re.search(rb"^names\s*:", path.read_bytes(), re.M):
            return path
    return None


def _yolo(root: Path) -> Boxes:
    path = _yaml(root)
    assert path is not None
    expected = "expected names: [cat, dog] and train: images/train in it"
    try:
        text = yaml.safe_load(path.read_bytes())
        given = text["names"]
        pairs = sorted((int(k), str(v)) for k, v in given.items()) if isinstance(given, dict) else None
        names = [name for _, name in pairs] if pairs else [str(name) for name in given]
        if not names or (pairs and [number for number, _ in pairs] != list(range(len(pairs)))):
            raise ValueError("names are not those of the classes 0, 1, …")
        if len(set(names)) < len(names):
            raise ValueError(f"two classes are called {next(n for n, many in Counter(names).items() if many > 1)}")
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _unreadable(path, error, expected) from error
    parts: dict[str, list[Annotated]] = {}
    bad, large, unknown, loose = Wrong(), Wrong(), Wrong(), Wrong()
    for part in PARTS:
        folder = _yolo_folder(root, text, part, path)
        if folder is None:
            continue
        files = images_below(folder, [])
        if not files:
            raise UsageError(f"data.root: no images below {folder}, which is the {part} part; {LAYOUT}")
        parts[part] = [_txt(str(folder / name), len(names), bad, large, unknown) for name in files]
        loose.places += _without_image(folder, parts[part])
    loose.refuse("file of boxes has no image", "files of boxes have no image", "give the images, or remove these files")
    columns, advice = "class, centre x, centre y, width, height", "correct these files (outlines of masks are not read)"
    bad.refuse(f"line is not {columns}", f"lines are not {columns}", advice)
    values, advice = "values that are no fractions in [0, 1]", "YOLO's boxes are divided by width and height"
    large.refuse(f"line has {values}", f"lines have {values}", advice)
    what = f"a class that {path} does not name"
    unknown.refuse(f"line has {what}", f"lines have {what}", f"there are {len(names)}, counted from 0")
    return Boxes("yolo", names, parts)


def _yolo_folder(root: Path, text: dict[str, Any], part: str, path: Path) -> Path | None:
    """The images of a part: where data.yaml says, else images/PART, PART/images or, to train on, images."""
    said = text.get(part)
    candidates = [root / "images" / part, root / part / "images", *([root / "images"] if part == "train" else [])]
    if isinstance(said, list):
        said = said[0] if len(said) == 1 else None
    if said:
        own = Path(str(said))
        base = [root, root / str(text.get("path") or ""), root / "images"]
        tail = [Path(*own.parts[i:]) for i in range(len(own.parts)) if own.parts[i] not in ("..", ".", "/")]
        candidates = [*(home / own for home in base), *(root / each for each in tail[:3])]
    found = next((folder for folder in candidates if folder.is_dir() and folder != root), None)
    if said and found is None:
        raise UsageError(f"data.root: {path} says {part}: {said}, and there is no such folder; correct the file")
    return found


def _labels_of(image: str) -> str:
    """images/…/NAME.jpg → labels/…/NAME.txt: the last folder called images."""
    parts = Path(image).parts
    at = [i for i, name in enumerate(parts[:-1]) if name == "images"]
    own = Path(*parts[: at[-1]], "labels", *parts[at[-1] + 1 :]) if at else Path(image)
    return str(own.with_suffix(".txt"))


def _without_image(folder: Path, read: list[Annotated]) -> list[str]:
    """The files of boxes of a part whose images are not there; lists of classes lie beside them."""
    own, known = Path(_labels_of(str(folder / "image"))).parent, {each.where for each in read}
    found = [] if own == folder else sorted(map(str, own.rglob("*.txt")))
    return [path for path in found if path not in known and not Path(path).name.startswith(("classes", "."))]


def _txt(image: str, count: int, bad: Wrong, large: Wrong, unknown: Wrong) -> Annotated:
    """The boxes of an image in fractions; none where it has no file."""
    where = _labels_of(image)
    try:
        lines: Iterable[str] = Path(where).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    except OSError as error:
        raise _unreadable(Path(where), error.strerror, "allow it") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{where}:{number}"
        try:
            kind, x, y, w, h = (float(value) for value in line.split())
            if not np.isfinite([kind, x, y, w, h]).all() or kind != int(kind):
                raise ValueError
        except ValueError:
            bad.add(place)
            continue
        if max(x, y, w, h) > 1 or min(x, y, w, h) < 0:
            large.add(f"{place} ({line.strip()[:60]})")
        elif not 0 <= kind < count:
            unknown.add(f"{place} (class {int(kind)})")
        else:
            rows.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2, kind, 0.0])
    return Annotated(image, _numbers(rows), where, relative=True)
