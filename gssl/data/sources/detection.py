"""Images with boxes of objects: Pascal VOC, COCO json or YOLO folders, told apart by what lies there.

`gssl.data.annotations` reads the boxes. Images without a box are kept: they show what is none. Boxes without area are
dropped and counted. data.groups says which images belong together, as in `data=segmentation`. Images are stored at
data.size, and boxes in pixels of the stored images.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gssl import schemas
from gssl.data import annotations, cache, decode
from gssl.data.annotations import Annotated, Boxes
from gssl.data.columns import column_hash
from gssl.data.images import Images
from gssl.data.opening import opened
from gssl.data.sources import DataSource, imagefolder
from gssl.data.sources.folders import Told, find_folder, folders_in, one_line, some
from gssl.data.sources.grouping import grouping
from gssl.data.sources.segmentation import goal
from gssl.data.sources.wrong_files import refuse_or_note
from gssl.data.values import Mapping, Range, stored
from gssl.errors import UsageError
from gssl.words import count

SLACK = 1.0  # pixels that a box may reach over the edge of its image: roundings
WRONG = {  # images that are wrong in one way, and what to do about them
    "size": ("images have another size than their file of boxes says", "boxes must be those of the image, upright"),
    "outside": (
        f"images have boxes that reach more than {SLACK:g} pixel over the edge",
        "correct these boxes, or clip them with data.on_error=skip",
    ),
    "file": ("images cannot be read", "repair or remove them"),
}


class Wrong(Exception):
    """What is wrong with an image: a key of `WRONG`, and the text about this one."""


class Read(NamedTuple):
    """An image as it is stored, its boxes in its pixels, and how many boxes had no area or were clipped."""

    image: np.ndarray
    boxes: np.ndarray
    empty: int
    clipped: int


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Images and boxes of `data=detection`, decoded once; data.pretrain may name images without boxes.

    Errors: UsageError for missing folders and malformed files of boxes, training images without any box, and
    (data.on_error=stop) broken images, images of another size than said and boxes outside of their image.
    """
    root = find_folder("root", cfg.root, None)
    if root is None:
        raise UsageError(f"data.root: no folder given; {annotations.LAYOUT}")
    told, warnings, skipped = Told(), list[str](), list[str]()
    root = inner(root, told)
    found = annotations.read_boxes(root)
    told.notes += found.notes
    mapping = Mapping(cfg.range)
    loaded, keys = {}, list[str]()
    pretrain = None
    for part, own in found.parts.items():
        loaded[part], hashes = _load(part, own, found, cfg, root, mapping, progress, skipped, warnings)
        if part == "train":  # which comes first
            keys = hashes
            if (folder := find_folder("pretrain", cfg.pretrain, root)) is not None:
                pretrain = imagefolder.unlabelled(folder, cfg, progress, skipped, told, mapping)
    warnings += [*told.suspicious(), *mapping.warnings()]
    texts = [*told.texts(), *mapping.texts()]
    return DataSource(loaded["train"], loaded.get("test"), keys, pretrain, loaded.get("val"), skipped, warnings, texts)


def inner(root: Path, told: Told) -> Path:
    """`root`, or the only folder in it where that has boxes and `root` has none."""
    names = folders_in(root)
    if annotations.layout_of(root) is None and len(names) == 1 and annotations.layout_of(root / names[0]):
        told.notes.append(f"{root / names[0]} is read, the only folder in {root}")
        return root / names[0]
    return root


def _load(
    part: str,
    given: list[Annotated],
    found: Boxes,
    cfg: schemas.Data,
    root: Path,
    mapping: Mapping,
    progress: bool,
    skipped: list[str],
    warnings: list[str],
) -> tuple[Images, list[str]]:
    """(images with boxes, the content hash of each image's file)."""
    given = sorted(given, key=lambda own: own.image)
    paths = [own.image for own in given]
    if len(set(paths)) < len(paths):
        twice = [path for path, other in zip(paths[1:], paths, strict=False) if path == other]
        raise UsageError(
            f"data.root: {count(len(twice), 'image')} twice in the {part} part: {some(twice)}; name each once"
        )
    threads = decode.threads(cfg.workers)
    hashes = cache.contents_of(paths, threads, lambda n: decode.bar(f"reading {n:,} files", n, progress))
    values = mapping.of(part, paths, hashes, threads)
    boxes = [(own.size, own.relative, column_hash(own.boxes).hex()) for own in given]
    settings = ["detection", cfg.size, cfg.on_error, *([] if values is None else [values])]
    store = cache.entry(
        cache.entry_key(*settings, *boxes, *hashes),
        lambda: decode.estimate(paths, cfg.side),
        lambda writer: _write(writer, given, cfg, values, progress),
        about=str(root),
    )
    wrong = [(kind, f"{paths[i]} ({text})") for i, kind, text in store.meta["wrong"]]
    skipped += refuse_or_note(wrong, len(paths), len(store), cfg.on_error, WRONG, must=("outside",))
    for key, text in (
        ("empty", "without an area, the first in {}: left out"),
        ("clipped", f"more than {SLACK:g} pixel over the edge of the image, the first in {{}}: clipped"),
    ):
        if own := store.meta[key]:
            many = sum(own.values())
            warnings.append(
                f"data.root: {many} box{'' if many == 1 else 'es'} {text.format(given[int(next(iter(own)))].where)}"
            )
    kept = store.array("kept")
    group_of = grouping(cfg.groups, root)
    groups = None if group_of is None else np.array([group_of(Path(paths[i])) for i in kept])
    labels = np.full(len(store), -1, dtype=np.int64)
    images = Images(store, np.arange(len(store)), labels, found.classes, np.array(paths)[kept], groups)
    return images, [hashes[i] for i in kept]


def _write(
    writer: cache.Writer, given: list[Annotated], cfg: schemas.Data, values: Range | None, progress: bool
) -> None:
    """Decode all images into the entry.

    meta: `wrong`, a list of [position, kind, reason]; `empty` and `clipped`, boxes by position; arrays: `kept`.
    """

    def work(start: int) -> list[Read | Wrong]:
        return [_try(own, cfg, values or "full") for own in given[start : start + decode.CHUNK]]

    wrong: list[tuple[int, str, str]] = []
    kept: list[int] = []
    counts: dict[str, dict[str, int]] = {"empty": {}, "clipped": {}}
    with decode.bar(f"decoding {len(given):,} images", len(given), progress) as advance:
        for start, results in decode.windowed(work, range(0, len(given), decode.CHUNK), decode.threads(cfg.workers)):
            for position, own in enumerate(results, start):
                if isinstance(own, Wrong):
                    wrong.append((position, *own.args))
                    continue
                kept.append(position)
                for key, count in (("empty", own.empty), ("clipped", own.clipped)):
                    if count:
                        counts[key][str(position)] = count
                writer.add([own.image], [cache.image_hash(own.image)], boxes=[own.boxes])
            advance(len(results))
    meta = {"wrong": wrong, **counts} | ({} if values is None else {"range": stored(values)})
    writer.finish(meta, {"kept": np.array(kept, dtype=np.int64)})


def _try(own: Annotated, cfg: schemas.Data, values: Range) -> Read | Wrong:
    try:
        return _decoded(own, cfg, values)
    except Wrong as error:
        return error
    except Exception as error:  # Pillow raises anything on malformed files, even struct.error
        return Wrong("file", one_line(f"{type(error).__name__}: {error}"))


def _decoded(own: Annotated, cfg: schemas.Data, values: Range) -> Read:
    """Raises Wrong, or as Pillow."""
    with opened(own.image) as file:
        image = decode.picture(file, own.image, values)
    if own.size is not None and own.size != image.size:
        sizes = f"{image.width}×{image.height}, {own.where} says {own.size[0]}×{own.size[1]}"
        raise Wrong("size", f"{sizes} pixels (width × height)")
    boxes, empty, clipped = inside(own, image.size, cfg.on_error == "skip")
    size = goal(*image.size, cfg.size)
    boxes[:, :4] *= np.array([size[0] / image.width, size[1] / image.height] * 2)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    pixels = np.array(image)
    return Read(pixels[:, :, None] if pixels.ndim == 2 else pixels, boxes.astype(np.float32), empty, clipped)


def inside(own: Annotated, size: tuple[int, int], clip: bool) -> tuple[np.ndarray, int, int]:
    """Boxes (m, 6) in pixels, clipped to an image of `size` (width, height); how many had no area, how many reached too
    far over the edge. Raises Wrong for these unless `clip`."""
    boxes = own.boxes.copy()
    ends = np.array([*size, *size], dtype=np.float64)
    if own.relative:
        boxes[:, :4] *= ends
    there = (boxes[:, 2:4] > boxes[:, :2]).all(axis=1)
    empty, boxes = int((~there).sum()), boxes[there]
    over = ((boxes[:, :4] < -SLACK) | (boxes[:, :4] > ends + SLACK)).any(axis=1)
    if over.any() and not clip:
        left, top, right, bottom = (math.floor(10 * value) / 10 for value in boxes[over][0, :4])
        text = f"{left:g}, {top:g} to {right:g}, {bottom:g} in {size[0]}×{size[1]} pixels, {own.where}"
        raise Wrong("outside", text)
    boxes[:, :4] = np.clip(boxes[:, :4], 0, ends)
    there = (boxes[:, 2:4] > boxes[:, :2]).all(axis=1)  # a box that is beyond the image has no area in it
    return boxes[there], empty + int((~there & ~over).sum()), int(over.sum())
