"""Pairs of images, of which one is to be made from the other: `gan=pix2pix` learns it.

    {train,val,test}/NAME          A and B side by side in one file, A on the left; or such files alone
    {A,B}/{train,val,test}/NAME    two folders with the same names; also A/NAME and B/NAME, or {train,…}/{A,B}/NAME
    {images,masks}/, data.masks=…  as data=segmentation has them: the image is made from the classes of its mask

With data.pairs=super_resolution or colour any folder of images will do, for what an image is made from follows from it
(`gssl.data.pairs`). Class folders are read as such images; their classes are not.

data.direction says which is made from which: `a_to_b` or `b_to_a`. The one that is made is the image of a row, the
other its column `paired`. What is not in a part of its own is divided by the contents of files.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from gssl import schemas
from gssl.data import cache, decode, pairs
from gssl.data.images import Images
from gssl.data.opening import opened
from gssl.data.sources import DataSource, imagefolder, parts, segmentation
from gssl.data.sources.folders import Told, child, find_folder, images_below, is_image, one_line, some
from gssl.data.sources.pair_folders import PARTS, SIDES, has_masks, inner
from gssl.data.sources.wrong_files import refuse_or_note
from gssl.errors import UsageError
from gssl.words import count

LAYOUT = (
    "expected train/ (and val/, test/) with A and B side by side in each image, or folders A and B with the same names,"
    " or images/ and masks/"
)
WRONG = {
    "odd": ("images have an odd width", "A and B side by side must have one width each"),
    "size": ("pairs are of two sizes", "A and B must have one size"),
    "file": ("pairs cannot be read", "repair or remove them"),
}


class WrongPair(ValueError):
    """What is wrong with a pair: its kind in `WRONG`, and the text about this one."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Sides(NamedTuple):
    """Where the halves of one part are: `b` None, where they lie side by side in the images below `a`."""

    a: Path
    b: Path | None


@dataclass
class Files:
    """Paths of the pairs of a part; `b` None: `a` holds both halves."""

    a: list[str]
    b: list[str] | None


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Pairs of `data=paired`, decoded once.

    Errors: UsageError for a missing or empty folder, a part or an image of A without one of B, and (data.on_error=stop)
    odd widths, halves of two sizes and broken files.
    """
    root = find_folder("root", cfg.root, None)
    if root is None:
        raise UsageError(f"data.root: no folder given; {LAYOUT}")
    if (kind := _other(cfg, root)) is not None:
        return kind(cfg, progress)
    told = Told()
    root = inner(root, told)
    warnings: list[str] = []
    skipped: list[str] = []
    if cfg.range not in ("auto", "full", None):
        warnings.append("data.range: the images of paired are read by all that their files' type can hold")
    places = _places(root)
    _beside(root, told)
    loaded, keys = {}, []
    for name, sides in places.items():
        files = _files(sides, cfg, told, warnings, skipped)
        loaded[name], hashes = _load(files, cfg, progress, skipped)
        if name == "train":  # which comes first
            keys = hashes
    return DataSource(
        loaded["train"],
        loaded.get("test"),
        keys,
        None,
        loaded.get("val"),
        skipped,
        [*warnings, *told.suspicious()],
        told.texts(),
    )


# ── pairs that need no second picture ────────────────────────────────────────────────────────────


def _other(cfg: schemas.Data, root: Path) -> Callable[[schemas.Data, bool], DataSource] | None:
    """What reads these images; None where they are pairs of pictures. Raises UsageError for keys that nothing reads."""
    masked = cfg.masks is not None or has_masks(root)
    if cfg.pairs in pairs.MADE:
        for key in ("masks", "groups"):
            if getattr(cfg, key) is not None:
                raise UsageError(f"data.{key}: data.pairs={cfg.pairs} makes the input from the image; leave it out")
        return _alone
    if masked:
        return _with_masks
    if cfg.groups is not None:
        raise UsageError("data.groups: is for images with masks here; pairs that belong together go into one part")
    return None


def _with_masks(cfg: schemas.Data, progress: bool) -> DataSource:
    if cfg.direction == "b_to_a":
        raise UsageError("data.direction=b_to_a: images are made from masks here; for masks use data=segmentation")
    return segmentation.read(cfg, progress)


def _alone(cfg: schemas.Data, progress: bool) -> DataSource:
    """The images of a folder without their classes. Of super_resolution those that are smaller than data.size are an
    error, or with data.on_error=skip left out."""
    source = imagefolder.read(cfg, progress)
    keys = np.asarray(source.keys)
    found: dict[str, Any] = {}
    for name in ("train", "val", "test", "pretrain"):
        images: Images | None = getattr(source, name)
        if images is None:
            continue
        images = images.unlabelled()
        short = pairs.too_small(images, cfg.side) if cfg.pairs == "super_resolution" else np.zeros(0, np.int64)
        if len(short):
            text = pairs.small_text(images, short, cfg.side)
            if cfg.on_error == "stop" or len(short) == len(images):
                raise UsageError(text)
            source.warnings.append(f"data.root: {len(short)} of {len(images)} {name} images are too small: left out")
            source.skipped += [f"{images.name(int(i))} (smaller than data.size={cfg.side})" for i in short]
            kept = np.setdiff1d(np.arange(len(images)), short)
            keys = keys[kept] if name == "train" else keys
            images = images.subset(kept)
        found[name] = images
    return replace(source, keys=keys, **found)


# ── which files ──────────────────────────────────────────────────────────────────────────────────


def _beside(root: Path, told: Told) -> None:
    """Warns of images that lie beside the folders that are read."""
    both = _both(root)
    for folder in (root, *(both or ())):
        read_inside = folder is not None and (parts.named(folder, "train") or (both and folder == root))
        if folder is not None and read_inside and (loose := [f for f in os.listdir(folder) if is_image(f)]):
            told.warnings.append(f"data.root: {count(len(loose), 'image')} directly in {folder}: left out")


def _places(root: Path) -> dict[str, Sides]:
    """Where each part is, train first. Raises UsageError where there is none, or a folder A without B."""
    both = _both(root)
    if both is None:
        folders = {name: folder for name in PARTS if (folder := parts.named(root, name))} or {"train": root}
        places = {name: _both(folder) or Sides(folder, None) for name, folder in folders.items()}
    else:
        a, b = both
        assert b is not None
        own, other = ({name: found for name in PARTS if (found := parts.named(x, name))} for x in (a, b))
        for name in PARTS:
            if (name in own) != (name in other):
                has, lacks = (a, b) if name in own else (b, a)
                raise UsageError(f"data.root: {has} has a part {name} and {lacks} has none; {LAYOUT}")
        places = {name: Sides(own[name], other[name]) for name in own} or {"train": both}
    if "train" not in places:
        raise UsageError(f"data.root: {root} has {' and '.join(places)} and no train; {LAYOUT}")
    return places


def _both(folder: Path) -> Sides | None:
    a, b = (child(folder, name) for name in SIDES)
    if (a is None) != (b is None):
        has, lacks = SIDES if a else SIDES[::-1]
        raise UsageError(f"data.root: {folder} has a folder {has} and no folder {lacks}; {LAYOUT}")
    return None if a is None else Sides(a, b)


def _files(sides: Sides, cfg: schemas.Data, told: Told, warnings: list[str], skipped: list[str]) -> Files:
    """The pairs of a part. Raises UsageError where it is empty, or (data.on_error=stop) one half is missing."""
    mine = Told()
    names = {folder: images_below(folder, [], mine) for folder in sides if folder is not None}
    told.merge(mine)
    for place, own in names.items():
        if not own:
            raise UsageError(f"data.root: no images below {place}; {'; '.join([LAYOUT, *mine.texts()])}")
    if sides.b is None:
        return Files(cache.join(sides.a, names[sides.a]), None)
    known = [_by_stem(folder, own) for folder, own in names.items()]
    for (folder, other), (mine_by, others) in zip((sides, sides[::-1]), (known, known[::-1]), strict=True):
        alone = [f"{folder}/{name}" for stem, name in mine_by.items() if stem not in others]
        if alone and (cfg.on_error == "stop" or len(alone) == len(mine_by)):
            raise UsageError(
                f"data.root: {len(alone)} of {len(mine_by)} images of {folder} have no partner in {other}:"
                f" {some(alone)}; give both the same name, or leave them out with data.on_error=skip"
            )
        if alone:
            warnings.append(f"data.root: {len(alone)} images of {folder} have no partner: left out")
            skipped += [f"{path} (no partner)" for path in alone]
    common = sorted(known[0].keys() & known[1].keys())
    a, b = (cache.join(folder, [own[stem] for stem in common]) for folder, own in zip(names, known, strict=True))
    return Files(a, b)


def _by_stem(folder: Path, names: list[str]) -> dict[str, str]:
    """{path without its suffix: path}. Raises UsageError where two files would have one partner."""
    found: dict[str, str] = {}
    for name in names:
        stem = str(PurePosixPath(name).with_suffix(""))
        if stem in found:
            raise UsageError(f"data.root: {found[stem]} and {name} in {folder} would have one partner; rename one")
        found[stem] = name
    return found


# ── reading them ─────────────────────────────────────────────────────────────────────────────────


def _load(files: Files, cfg: schemas.Data, progress: bool, skipped: list[str]) -> tuple[Images, list[str]]:
    """(what is made, with the column `paired`; content hash of each pair)."""
    threads = decode.threads(cfg.workers)
    hashes = cache.contents_of(files.a, threads)
    if files.b is not None:
        hashes = [f"{a}{b}" for a, b in zip(hashes, cache.contents_of(files.b, threads), strict=True)]
    store = cache.entry(
        cache.entry_key("paired", cfg.side, cfg.direction, files.b is None, *hashes),
        lambda: 2 * decode.estimate(files.a, cfg.side),
        lambda writer: _write(writer, files, cfg, progress),
        about=str(Path(files.a[0]).parent),
    )
    wrong = [(kind, f"{files.a[i]} ({text})") for i, kind, text in store.meta["wrong"]]
    skipped += refuse_or_note(wrong, len(files.a), len(store), cfg.on_error, WRONG)
    kept = store.array("kept")
    made = files.a if files.b is None or cfg.direction == "b_to_a" else files.b
    labels = np.full(len(store), -1, dtype=np.int64)
    images = Images(store, np.arange(len(store)), labels, [], np.array(made)[kept])
    return images, [hashes[i] for i in kept]


def _write(writer: cache.Writer, files: Files, cfg: schemas.Data, progress: bool) -> None:
    """Decode all pairs into the entry. meta: `wrong`, a list of [position, kind, reason]; arrays: `kept`."""

    def read(i: int) -> tuple[np.ndarray, np.ndarray] | tuple[str, str]:
        return _try(files.a[i], None if files.b is None else files.b[i], cfg)

    wrong, kept = decode.write_twos(writer, len(files.a), read, "paired", "pairs", cfg, progress)
    writer.finish({"wrong": wrong}, {"kept": kept})


def _try(a: str, b: str | None, cfg: schemas.Data) -> tuple[np.ndarray, np.ndarray] | tuple[str, str]:
    try:
        return _decode(a, b, cfg)
    except WrongPair as error:
        return error.kind, str(error)
    except Exception as error:  # Pillow raises anything on malformed files, even struct.error
        return "file", one_line(f"{type(error).__name__}: {error}")


def _decode(a: str, b: str | None, cfg: schemas.Data) -> tuple[np.ndarray, np.ndarray]:
    """What is made, uint8 (h, w, 1 or 3), and what it is made from, (h, w, 3). Raises WrongPair, or as Pillow."""
    if b is None:
        whole = _picture(a)
        if whole.width % 2:
            raise WrongPair("odd", f"{whole.width}×{whole.height} px")
        half = whole.width // 2
        sides = [whole.crop((x, 0, x + half, whole.height)) for x in (0, half)]
    else:
        sides = [_picture(a), _picture(b)]
        if sides[0].size != sides[1].size:
            texts = [f"{side.width}×{side.height}" for side in sides]
            raise WrongPair("size", f"{texts[0]} px, and {b} {texts[1]}")
    goal = decode.target(*sides[0].size, cfg.side)
    if goal != sides[0].size:
        sides = [side.resize(goal, Image.Resampling.LANCZOS, reducing_gap=3.0) for side in sides]
    given, made = sides if cfg.direction == "a_to_b" else sides[::-1]
    pixels = np.array(made)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels, np.array(given.convert("RGB"))


def _picture(path: str) -> Image.Image:
    with opened(path) as file:
        return decode.picture(file, path, "full").copy()
