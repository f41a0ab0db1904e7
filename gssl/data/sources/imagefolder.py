"""Images in folders: class folders or a CSV with labels, and a folder of unlabelled images beside them.

data.root has `train/` (and `test/`, `val/`, see `gssl.data.sources.parts`), or class folders, or is a flat folder
without labels. data.pretrain, data.train and data.test name other folders, relative to data.root or the working
directory.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gssl import schemas
from gssl.data import cache, decode, encoding
from gssl.data.images import Images
from gssl.data.index import Coded, Names
from gssl.data.sources import DataSource, labels_csv, parts
from gssl.data.sources.folders import SUFFIXES, Told, class_of, find_folder, folders_in, images_below, one_line, some
from gssl.data.store import EncodedWriter, Writer
from gssl.data.values import Mapping
from gssl.errors import UsageError

KINDS = {"pixels": "files", "jpeg": "encoded"}  # of entries → the name in their keys


@dataclass
class Listing:
    """Files of one part below `root` and what is known about them; label None: unlabelled.

    contents: hashes of the files, S32 (N,), where the source has them already.
    """

    key: str  # the configuration key that led here
    root: Path
    names: Names
    labels: Coded
    groups: Coded | None = None
    contents: np.ndarray | None = None

    @classmethod
    def of(
        cls, key: str, root: Path, names: Iterable[str], labels: Iterable[str | None] | None, groups: Any = None
    ) -> "Listing":
        """Of texts. labels: None, where no file has one; groups: texts, or None."""
        packed = Names.of(names)
        known = Coded.none(len(packed)) if labels is None else Coded.of(labels)
        return cls(key, root, packed, known, Coded.of(groups) if groups else None)

    def some(self, rows: np.ndarray) -> "Listing":
        """Those of its files that stand at `rows`, without groups."""
        contents = None if self.contents is None else self.contents[rows]
        return Listing(self.key, self.root, self.names[rows], self.labels[rows], None, contents)


@dataclass
class Reading:
    """What the parts have in common: their values, and as what they are kept, which the first of them decides.

    kind: data.store, and from the first part on pixels or jpeg. listings: of all parts. part: whose turn it is.
    """

    mapping: Mapping
    kind: str
    listings: Iterable[Listing]
    part: str = ""

    def decide(self, keys: dict[str, str], size: int) -> None:
        """keys: of the entries of this part, of both kinds."""

        def need() -> int:
            return sum(decode.estimate(Names.of(own.names, str(own.root)), size) for own in self.listings)

        self.kind = encoding.kind_of(self.kind, keys, need)


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Images of `data=imagefolder`, decoded once.

    Errors: UsageError for a missing folder, no images, a wrong CSV, a class that only the test or validation
    part has, and (data.on_error=stop) broken files.
    """
    told = Told()
    listings = find(cfg, told)
    return loaded(listings, cfg, told.suspicious(), progress, told.texts())


def loaded(
    listings: dict[str, Listing], cfg: schemas.Data, warnings: list[str], progress: bool, told: Sequence[str] = ()
) -> DataSource:
    """The images of listings (`train` and, where there are, `val`, `test`, `pretrain`). Raises UsageError as `read`.

    `unlabelled`: images for pretraining beside those of `train`. told: what was found and is not read.
    """
    more = listings.pop(labels_csv.UNLABELLED, None)
    if more is not None:  # one store for both
        listings["train"] = _both(listings["train"], more)
    classes = listings["train"].labels.used()
    warnings = [*warnings, *_alike(classes)]
    found: dict[str, Images] = {}
    skipped: list[str] = []
    keys = np.zeros(0, "S32")
    mapping = Mapping(cfg.range)
    reading = Reading(mapping, cfg.store, listings.values())
    for part, listing in sorted(listings.items(), key=lambda item: item[0] in ("val", "test")):  # not chosen by these
        if part in ("val", "test"):
            _check_classes(part, listing, classes, listings["train"])
        names = [] if part == "pretrain" else classes
        reading.part = part
        images, hashes, kept = _load(listing, names, cfg.side, cfg.workers, cfg.on_error, progress, skipped, reading)
        found[part] = images
        if part == "train":
            keys = hashes if len(kept) == len(hashes) else hashes[kept]
    test, pretrain, val = (found.get(part) for part in ("test", "pretrain", "val"))
    texts = [*told, *mapping.texts(), *encoding.told(images.store for images in found.values())]
    warnings = [*warnings, *mapping.warnings()]
    source = DataSource(found["train"], test, keys, pretrain, val, skipped, warnings, texts)
    if more is not None:
        labelled = source.train.labels >= 0
        source.beside = source.train.subset(np.flatnonzero(~labelled)).unlabelled()
        source.train = source.train.subset(np.flatnonzero(labelled))
        source.keys = keys[labelled]
    return source


def _both(train: Listing, more: Listing) -> Listing:
    """Labelled and unlabelled files of one CSV, or of the same archives."""
    groups = None if train.groups is None or more.groups is None else train.groups + more.groups
    known = [own.contents for own in (train, more) if own.contents is not None]
    contents = np.concatenate(known) if len(known) == 2 else None
    return Listing(train.key, train.root, train.names + more.names, train.labels + more.labels, groups, contents)


def read_folder(
    folder: Path,
    size: int,
    skipped: list[str] | None = None,
    told: Told | None = None,
    mapping: Mapping | None = None,
) -> Images:
    """All images below `folder`, at any depth and without labels, for networks of `size` pixels.

    skipped: gets broken files, as "path (why)"; without it they are an error. told: gets what else is not read.
    mapping: of values of more than 8 bits; without it they are mapped by their own.
    Errors: UsageError where there are none, where none can be read, or where files are broken.
    """
    told = Told() if told is None else told
    listing = Listing.of("folder", folder, images_below(folder, [], told), None)
    if not listing.names:
        raise UsageError(f"{folder}: no images in it; {_expected(told)}")
    on_error, left_out = ("stop", list[str]()) if skipped is None else ("skip", skipped)
    reading = Reading(mapping or Mapping(), "auto", [listing], "new")
    return _load(listing, [], size, 0, on_error, False, left_out, reading)[0]


def unlabelled(
    folder: Path, cfg: schemas.Data, progress: bool, skipped: list[str], told: Told, mapping: Mapping
) -> Images:
    """All images below `folder` for pretraining. Raises UsageError as `read` does."""
    listing = _unlabelled(folder, told)
    reading = Reading(mapping, cfg.store, [listing], "pretrain")
    return _load(listing, [], cfg.side, cfg.workers, cfg.on_error, progress, skipped, reading)[0]


def find(cfg: schemas.Data, told: Told) -> dict[str, Listing]:
    """What is where: `train` and, where given, `val`, `test`, `pretrain` and `unlabelled`. No file is opened but a CSV.

    told: gets how folders were understood and what in them is not read. Raises UsageError.
    """
    given = find_folder("root", cfg.root, None)
    listed = cfg.labels not in (None, labels_csv.FOLDERS)  # paths are below the folder that was given
    root = given if given is None or listed else parts.inner(given, told)
    pretrain, train, test = (_folder(key, getattr(cfg, key), given, root) for key in ("pretrain", "train", "test"))
    csv = labels_csv.find_labels(cfg.labels, train, root, given)
    key = "data.train" if train else "data.root"
    if csv is not None:
        found = _listed(csv, train or root or csv.parent, told, cfg.labels is None)
    elif train is not None:
        test = test or (root and parts.named(root, "test"))
        found = {"train": _labelled(key, train, [pretrain, test], told)}
    elif root is not None:
        own = parts.find(root, told)
        if own.pretrain is not None and pretrain is None:
            _say_unlabelled(own.pretrain, told)
        test = test or own.test
        if own.train == own.root and own.pretrain is not None and not parts.classes_in_but(own.root, own.exclude):
            return {"train": _unlabelled(own.pretrain, told)}
        found = {"train": _labelled(key, own.train, [pretrain, test, own.val, own.pretrain], told)}
        if own.val is not None:
            found["val"] = _labelled(key, own.val, [], told)
    elif pretrain is not None:  # nothing has labels: these images themselves are divided
        return {"train": _unlabelled(pretrain, told)}
    else:
        raise UsageError(
            "data.root: no folder given; expected a folder of class folders, or one with train/ and test/,"
            " e.g. data.root=photos (data.train, data.test and data.pretrain may name separate folders)"
        )
    if test is not None and "test" not in found:
        found["test"] = _labelled("data.test" if cfg.test else key, test, [], told)
    if pretrain is not None:
        if found.pop(labels_csv.UNLABELLED, None):
            told.warnings.append(f"data.pretrain: rows of {csv} without a label are left out")
        found["pretrain"] = _without(_unlabelled(pretrain, told), list(found.values()), told)
    return found


def _folder(key: str, value: str | None, given: Path | None, root: Path | None) -> Path | None:
    """A folder of data.`key`, below data.root as it was given, or below the one folder in it. Raises UsageError."""
    within = (
        root if root is not None and value is not None and os.path.isdir(root / Path(value).expanduser()) else given
    )
    return find_folder(key, value, within)


def _listed(csv: Path, base: Path, told: Told, found: bool) -> dict[str, Listing]:
    rows = labels_csv.read(csv, told, base, found)
    return {p: Listing.of("data.labels", base, own.names, own.labels, own.groups) for p, own in rows.items()}


def _say_unlabelled(folder: Path, told: Told) -> None:
    count = len(images_below(folder, []))
    if count:
        told.notes.append(f"{count:,} images in {folder} are not read; data.pretrain={folder} pretrains on them")


def _expected(told: Told) -> str:
    """What an empty folder should have, and what it has."""
    text = f"expected files that end in {', '.join(SUFFIXES[:4])} or the like"
    return f"{text}; {'; '.join(told.texts())}" if told.files or told.folders else text


def _without(pool: Listing, labelled: list[Listing], told: Told) -> Listing:
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
    told.warnings.append(
        f"data.pretrain: {len(pool.names) - len(names)} labelled images in {pool.root} are left out of it"
    )
    return Listing.of(pool.key, pool.root, names, None)


def _labelled(key: str, root: Path, exclude: list[Path | None], told: Told) -> Listing:
    """Class folders, their images at any depth; a folder that has only loose images is unlabelled."""
    others = [folder for folder in exclude if folder not in (None, root)]
    mine = Told()
    names = images_below(root, others, mine)
    classed = [name for name in names if "/" in name]
    if not names:
        raise UsageError(f"{key}: no images below {root}; expected one folder per class: {_expected(mine)}")
    told.merge(mine)
    if not classed:
        return Listing.of(key, root, names, None)
    if len(classed) < len(names) and root not in exclude:  # else they are for pretraining
        told.warnings.append(f"{key}: {len(names) - len(classed)} images directly in {root} have no class: left out")
    # there may be millions: no list beside that of the names, and what folders share is found once for each
    classes = {top: class_of(top) for top in {name[: name.index("/")] for name in classed}}
    labels = (classes[name[: name.index("/")]] for name in classed)
    outside = {folder.resolve() for folder in others}
    said, known = {path for paths in mine.folders.values() for path in paths}, set(classes.values())
    empty = [name for name in folders_in(root) if class_of(name) not in known and f"{root}/{name}" not in said]
    if empty := [name for name in empty if (root / name).resolve() not in outside]:
        count = "class folder has" if len(empty) == 1 else "class folders have"
        told.warnings.append(f"{key}: {len(empty)} {count} no images in {root}: {some(empty)}")
    told.warnings += _repeated(key, root, classed)
    return Listing.of(key, root, classed, labels)


def _repeated(key: str, root: Path, names: Sequence[str]) -> list[str]:
    """A warning where every class folder holds the same folders: these may be the classes, or parts."""
    below: dict[str, set[str]] = {}
    for folder in {name[: name.rindex("/")] for name in names}:
        top, _, rest = folder.partition("/")
        below.setdefault(top, set()).add(rest.partition("/")[0])
    common = set.intersection(*below.values()) - {""}
    if len(below) < 2 or len(common) < 2:
        return []
    return [
        f"{key}: each class folder of {root} holds the folders {some(sorted(common))}: where these are the classes, or"
        f" parts such as train and test, put them first, or list the images in labels.csv"
    ]


def _alike(classes: Sequence[str]) -> list[str]:
    """A warning where names of classes differ in case, in spaces or as numbers are written alone."""
    first: dict[object, str] = {}
    found = []
    for name in classes:
        word = " ".join(name.replace("_", " ").split()).casefold()
        try:
            key: object = float(word)
        except ValueError:
            key = word
        if key in first:
            found.append(f"{first[key]!r} and {name!r}")
        first.setdefault(key, name)
    if not found:
        return []
    return [f"data: classes with almost the same name are different classes: {some(found)}; rename what is the same"]


def _unlabelled(root: Path, told: Told) -> Listing:
    mine = Told()
    names = images_below(root, [], mine)
    if not names:
        raise UsageError(f"data.pretrain: no images below {root}, at any depth; {_expected(mine)}")
    told.merge(mine)
    return Listing.of("data.pretrain", root, names, None)


def _check_classes(part: str, listing: Listing, classes: list[str], train: Listing) -> None:
    if classes and listing.labels.missing.any():
        raise UsageError(
            f"{listing.key}: the {part} images in {listing.root} have no class; expected one folder per class"
            f" (or leave that folder out: data.root=null and data.train={train.root})"
        )
    unknown = sorted(set(listing.labels.used()) - set(classes))
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
    reading: Reading,
) -> tuple[Images, np.ndarray, np.ndarray]:
    """(readable images, content hash of every file, S32 (N,), positions of the readable ones)."""
    if listing.contents is None:
        paths, hashes = cache.looked_up(
            listing.root,
            listing.names,
            decode.threads(workers),
            lambda count: decode.bar(f"reading {count:,} files", count, progress),
        )
    else:
        paths, hashes = Names.of(listing.names, str(listing.root)), listing.contents
    given = reading.mapping.of(reading.part, paths, hashes, decode.threads(workers))
    mapped = [] if given is None else [given]
    keys = {kind: cache.entry_key(name, size, *mapped, hashes) for kind, name in KINDS.items()}
    reading.decide(keys, size)
    jpeg = reading.kind == "jpeg"
    write: Callable[..., None] = encoding.write_files if jpeg else decode.write_files
    store = cache.entry(
        keys[reading.kind],
        lambda: encoding.estimate(paths) if jpeg else decode.estimate(paths, size),
        lambda filled: write(filled, paths, size, workers, progress, given),
        str(listing.root),
        EncodedWriter if jpeg else Writer,
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
    labels = listing.labels.among(classes)
    groups = None if listing.groups is None else listing.groups[kept].array()
    images = Images(store, np.arange(len(store)), labels[kept], classes, paths[kept], groups)
    return images, hashes, kept
