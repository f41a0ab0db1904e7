"""Images in folders: class folders or a CSV with labels, and a folder of unlabelled images beside them.

data.root has `train/` (and `test/`, `val/`), or class folders, or is a flat folder without labels.
data.pretrain, data.train and data.test name other folders, relative to data.root or the working directory.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gssl import schemas
from gssl.data import cache, decode
from gssl.data.images import Images
from gssl.data.sources import DataSource, labels_csv
from gssl.data.sources.folders import SUFFIXES, child, find_folder, images_below, one_line, some
from gssl.errors import UsageError


@dataclass
class Listing:
    """Files of one part below `root` and what is known about them; label None: unlabelled."""

    key: str  # the configuration key that led here
    root: Path
    names: list[str]
    labels: list[str | None]
    groups: list[str] | None = None


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Images of `data=imagefolder`, decoded once.

    Errors: UsageError for a missing folder, no images, a wrong CSV, a class that only the test or validation
    part has, and (data.on_error=stop) broken files.
    """
    warnings: list[str] = []
    return loaded(_find(cfg, warnings), cfg, warnings, progress)


def loaded(listings: dict[str, Listing], cfg: schemas.Data, warnings: list[str], progress: bool) -> DataSource:
    """The images of listings (`train` and, where there are, `val`, `test`, `pretrain`). Raises UsageError as `read`."""
    classes = sorted({label for label in listings["train"].labels if label is not None})
    found: dict[str, Images] = {}
    skipped: list[str] = []
    keys: list[str] = []
    for part, listing in listings.items():
        if part in ("val", "test"):
            _check_classes(part, listing, classes, listings["train"])
        names = [] if part == "pretrain" else classes
        images, hashes, kept = _load(listing, names, cfg.side, cfg.workers, cfg.on_error, progress, skipped)
        found[part] = images
        if part == "train":
            keys = [hashes[i] for i in kept]
    test, pretrain, val = (found.get(part) for part in ("test", "pretrain", "val"))
    return DataSource(found["train"], test, keys, pretrain, val, skipped, warnings)


def read_folder(folder: Path, size: int, skipped: list[str] | None = None) -> Images:
    """All images below `folder`, at any depth and without labels, for networks of `size` pixels.

    skipped: gets broken files, as "path (why)"; without it they are an error.
    Errors: UsageError where there are none, where none can be read, or where files are broken.
    """
    listing = Listing("folder", folder, images_below(folder, []), [])
    if not listing.names:
        raise UsageError(f"{folder}: no images in it; expected files that end in {', '.join(SUFFIXES[:4])} or the like")
    listing.labels = [None] * len(listing.names)
    on_error, left_out = ("stop", list[str]()) if skipped is None else ("skip", skipped)
    return _load(listing, [], size, 0, on_error, False, left_out)[0]


def unlabelled(folder: Path, cfg: schemas.Data, progress: bool, skipped: list[str]) -> Images:
    """All images below `folder` for pretraining. Raises UsageError as `read` does."""
    return _load(_unlabelled(folder), [], cfg.side, cfg.workers, cfg.on_error, progress, skipped)[0]


def _find(cfg: schemas.Data, warnings: list[str]) -> dict[str, Listing]:
    """What is where: `train` and, where given, `val`, `test` and `pretrain`."""
    root = find_folder("root", cfg.root, None)
    pretrain, train, test = (find_folder(key, getattr(cfg, key), root) for key in ("pretrain", "train", "test"))
    csv = labels_csv.find_labels(cfg.labels, train, root)
    key = "data.train" if train else "data.root"
    val = None
    if root is not None and csv is None:
        test = test or child(root, "test")
        if train is None:
            train = child(root, "train") or root
            val = child(root, "val") if train != root else None
    found: dict[str, Listing] = {}
    if csv is not None:
        base = train or root or csv.parent
        for part, rows in labels_csv.read(csv).items():
            found[part] = Listing("data.labels", base, rows.names, rows.labels, rows.groups or None)
    elif train is not None:
        found["train"] = _labelled(key, train, [pretrain, test, val], warnings)
        if val is not None:
            found["val"] = _labelled(key, val, [], warnings)
    elif pretrain is not None:  # nothing has labels: these images themselves are divided
        return {"train": _unlabelled(pretrain)}
    else:
        raise UsageError(
            "data.root: no folder given; expected a folder of class folders, or one with train/ and test/,"
            " e.g. data.root=photos (data.train, data.test and data.pretrain may name separate folders)"
        )
    if test is not None and "test" not in found:
        found["test"] = _labelled("data.test" if cfg.test else key, test, [], warnings)
    if pretrain is not None:
        found["pretrain"] = _without(_unlabelled(pretrain), list(found.values()), warnings)
    return found


def _without(pool: Listing, labelled: list[Listing], warnings: list[str]) -> Listing:
    """The images for pretraining that are not among the labelled ones, of which some are for testing.

    Where no other images are there, it stays as it is: the same folder was given twice.
    """
    own = pool.root.resolve()
    if not any(part.root.resolve().is_relative_to(own) or own.is_relative_to(part.root.resolve()) for part in labelled):
        return pool
    known = {os.path.realpath(path) for part in labelled for path in cache.join(part.root, part.names)}
    paths = cache.join(pool.root, pool.names)
    names = [name for name, path in zip(pool.names, paths, strict=True) if os.path.realpath(path) not in known]
    if not names or len(names) == len(pool.names):
        return pool
    warnings.append(f"data.pretrain: {len(pool.names) - len(names)} labelled images in {pool.root} are left out of it")
    return Listing(pool.key, pool.root, names, [None] * len(names))


def _labelled(key: str, root: Path, exclude: list[Path | None], warnings: list[str]) -> Listing:
    """Class folders, their images at any depth; a folder that has only loose images is unlabelled."""
    names = images_below(root, [folder for folder in exclude if folder not in (None, root)])
    classed = [name for name in names if "/" in name]
    if not names:
        raise UsageError(
            f"{key}: no images below {root}; expected one folder per class with files that end in"
            f" {', '.join(SUFFIXES[:4])} or the like"
        )
    if not classed:
        return Listing(key, root, names, [None] * len(names))
    if len(classed) < len(names) and root not in exclude:  # else they are for pretraining
        warnings.append(f"{key}: {len(names) - len(classed)} images directly in {root} have no class: left out")
    return Listing(key, root, classed, [name.split("/", 1)[0] for name in classed])


def _unlabelled(root: Path) -> Listing:
    names = images_below(root, [])
    if not names:
        raise UsageError(f"data.pretrain: no images below {root}; expected image files at any depth")
    return Listing("data.pretrain", root, names, [None] * len(names))


def _check_classes(part: str, listing: Listing, classes: list[str], train: Listing) -> None:
    if classes and None in listing.labels:
        raise UsageError(
            f"{listing.key}: the {part} images in {listing.root} have no class; expected one folder per class"
            f" (or leave that folder out: data.root=null and data.train={train.root})"
        )
    unknown = sorted({label for label in listing.labels if label is not None} - set(classes))
    if unknown:
        raise UsageError(
            f"{listing.key}: the {part} images in {listing.root} have classes that the training images in"
            f" {train.root} do not have: {some(unknown)}; rename or remove them, or add training images"
        )


def _load(
    listing: Listing,
    classes: list[str],
    size: int,
    workers: int,
    on_error: str,
    progress: bool,
    skipped: list[str],
) -> tuple[Images, list[str], np.ndarray]:
    """(readable images, content hash of every file, positions of the readable ones)."""
    paths = cache.join(listing.root, listing.names)
    hashes = cache.contents(
        listing.root,
        listing.names,
        decode.threads(workers),
        lambda count: decode.bar(f"reading {count:,} files", count, progress),
    )
    store = cache.entry(
        cache.entry_key("files", size, *hashes),
        lambda: decode.estimate(paths, size),
        lambda writer: decode.write_files(writer, paths, size, workers, progress),
    )
    broken = [f"{paths[i]} ({one_line(reason)})" for i, reason in store.meta["broken"]]
    if broken and (on_error == "stop" or len(store) == 0):
        hint = listing.key != "folder" and on_error == "stop" and len(store) > 0
        raise UsageError(
            f"{listing.key}: {len(broken)} of {len(paths)} images cannot be read: {some(broken)}; repair or"
            " remove them" + (", or leave them out with data.on_error=skip" if hint else "")
        )
    skipped += broken
    kept = store.array("kept")
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number.get(label or "", -1) for label in listing.labels], dtype=np.int64)
    groups = None if listing.groups is None else np.array(listing.groups)[kept]
    images = Images(store, np.arange(len(store)), labels[kept], classes, np.array(paths)[kept], groups)
    return images, hashes, kept
