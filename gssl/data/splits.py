"""Splits: which image is trained on, chosen on and tested on. Every side is decided by seeded hashes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gssl import schemas
from gssl.data import findings, near, outer_folds, targets
from gssl.data.draws import Draws, digest
from gssl.data.images import Images
from gssl.data.index import together
from gssl.data.joined import joined
from gssl.data.sides import chances_of, check_sides, exact_split, rank_in_class, threshold_split
from gssl.data.sources import SOURCES, DataSource
from gssl.data.sources.folders import some
from gssl.data.values import stored
from gssl.errors import UsageError
from gssl.names import load, unknown
from gssl.words import FOLDERS, count

NAMED = 6  # classes that are named with their counts


@dataclass(eq=False)
class Splits:
    """The parts of a data set; disjoint, except that `pretrain` is `train` where no other images are given.

    pretrain: what GANs and SSL train on, labels may be -1; never validation images of the same source.
    train, val: labelled; every choice is made on val. hash: hex, of all parts including the test part.
    summary: JSON-able counts (`class_counts` per part and class, or `class_pixels` where there are masks), hashes, the
    `range` of values where files have more than 8 bits a value (`gssl.data.values`), `findings` (see
    `gssl.data.findings`), `test_groups` (how many groups the test images are of, or None), `warnings` to print,
    `skipped` files and, of the user's own images, a line about what was `found` and what is not read.
    folds: how the labelled images are divided where each is tested on once; None where there are test images. With
    `folds.fold` None nothing is held back: all labelled images are in train and val, and there is nothing to open.
    test_openings: calls of `open_test` so far.
    """

    pretrain: Images
    train: Images
    val: Images
    classes: list[str]
    hash: str
    summary: dict[str, Any] = field(repr=False)
    _test: Images = field(repr=False)
    test_openings: int = 0
    folds: outer_folds.Folds | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """What the images to learn a task from carry: ("image", "label"), ("image", "mask") or ("image",)."""
        return self.train.columns

    @property
    def labelled(self) -> Images:
        """The labels that a probe may use: train and val together, for probes make their own choices by folds.

        A validation folder that the source brings stays out of it.
        """
        a, b = self.train, self.val
        if a.store is not b.store:
            return a
        names = None if a.names is None or b.names is None else together([a.names, b.names])
        groups = None if a.groups is None or b.groups is None else np.concatenate([a.groups, b.groups])
        rows, labels = np.concatenate([a.rows, b.rows]), np.concatenate([a.labels, b.labels])
        return Images(a.store, rows, labels, a.classes, names, groups, a.stored)

    @property
    def unlabelled(self) -> Images:
        """Images to learn from without labels: those for pretraining where they are others, else all training images.

        Their labels and masks are left out.
        """
        own = self.pretrain is not self.train
        return (self.pretrain if own else self.labelled).unlabelled()

    def open_test(self, unlabelled: bool = False) -> Images:
        """The test images: the only way to them, and counted. Raises UsageError where none is held back.

        unlabelled: what is tested has learnt from `pretrain` alone. Where that has none of the labelled images, all of
        them are test images to it, whatever the fold.
        """
        if self.folds and self.folds.fold is None and not (unlabelled and self.summary["folds"]["apart"]):
            raise UsageError(
                f"data.test=folds: without data.fold no image is held back; give one of 0 to {self.folds.count - 1},"
                " or data.test=split for one test part"
            )
        self.test_openings += 1
        return self._test


def load_data(cfg: schemas.Data, progress: bool = False) -> Splits:
    """Read, decode and split what `cfg` names.

    progress: a bar on stderr while images are decoded. Errors: UsageError that names the key.
    """
    if cfg.name not in SOURCES:
        raise unknown("data.name: no source", cfg.name, SOURCES)
    named = cfg.test in (outer_folds.FOLDS, outer_folds.SPLIT)
    given = cfg.model_copy(update={"test": None}) if named else cfg
    source: DataSource = load(SOURCES[cfg.name].where)(given, progress)
    if cfg.range not in (None, "auto") and cfg.name not in FOLDERS:
        source.warnings.append(f"data.range: the images of {cfg.name} have 8 bits a value, which are not mapped")
    if cfg.store == "jpeg" and (cfg.name not in FOLDERS or cfg.name == "segmentation"):
        source.warnings.append(f"data.store=jpeg: the images of {cfg.name} are kept as pixels")
    if named and source.test is not None:
        source.warnings.append(f"data.test={cfg.test}: the {len(source.test):,} test images of its own are left out")
        source.test = None
    return make_splits(cfg, source, progress)


def make_splits(cfg: schemas.Data, source: DataSource, progress: bool = False) -> Splits:
    """Test part (where the source has none), validation part and limits.

    The test part is decided for each image (or group) by its own hash alone, so added files move no other
    file; folds and the validation part have exact fractions per class.
    """
    pool, groups, test = source.train, source.train.groups, source.test
    warnings = list(source.warnings)
    units = np.asarray(source.keys) if groups is None else groups
    folds, known = None, pool
    if outer_folds.wanted(cfg, source):
        kept = _within_limit(pool, cfg)
        pool, units = pool.subset(kept), units[kept]
        folds, known = outer_folds.divide(cfg, pool.labels, units, chances_of(units, cfg.split_seed, "folds")), pool
        test, mine = outer_folds.in_order(pool), folds.of != folds.fold
        if folds.fold is not None:
            test, pool, units = pool.subset(np.flatnonzero(~mine)), pool.subset(np.flatnonzero(mine)), units[mine]
    elif cfg.fold is not None:
        raise UsageError(f"data.fold={cfg.fold}: these images are not divided into folds; add data.test=folds")
    if test is None:
        chances = chances_of(units, cfg.split_seed, "test")
        chosen = threshold_split(pool.labels, chances, cfg.test_fraction, tie_classes=groups is None)
        check_sides(chosen, "data.test_fraction", "test", groups)
        test = pool.subset(np.flatnonzero(chosen))
        pool, units = pool.subset(np.flatnonzero(~chosen)), units[~chosen]
    if source.val is None:
        chances = chances_of(units, cfg.split_seed, "val")
        chosen = exact_split(pool.labels, chances, cfg.val_fraction, None if groups is None else units)
        check_sides(chosen, "data.val_fraction", "validation", groups)
        train, val = pool.subset(np.flatnonzero(~chosen)), pool.subset(np.flatnonzero(chosen))
    else:
        train, val = pool, source.val
    train, val, test = (_limited(part, cfg) for part in (train, val, test))
    pretrain = _pretraining(cfg, source, train, warnings)
    if folds and folds.fold is not None and pretrain is not train:  # what is tested on is not trained on
        pretrain = pretrain.subset(np.flatnonzero(~np.isin(pretrain.contents(), test.contents())))
    parts = {"pretrain": pretrain, "train": train, "val": val, "test": test}
    summary = _summary(cfg, parts, _findings(cfg, parts, folds, known, progress), warnings, source.skipped)
    if cfg.name in FOLDERS:
        held = folds is None or folds.fold is not None  # else the test images are those of the other parts
        summary["found"] = _found(cfg, summary, source, ("train", "val", "test") if held else ("train", "val"))
    if folds:
        own = source.pretrain
        apart = own is not None and not np.isin(own.contents(), known.contents()).any()
        summary["folds"] = folds.record() | {"apart": apart, "images": len(known)}
        summary["folds"]["seed"] = cfg.split_seed
        summary["folds"]["items"] = outer_folds.in_order(known).hash
        summary["hash"] = digest("folds", summary["hash"], folds.count, folds.fold, cfg.split_seed).hex()
    return Splits(pretrain, train, val, train.classes, summary["hash"], summary, test, folds=folds)


def _pretraining(cfg: schemas.Data, source: DataSource, train: Images, warnings: list[str]) -> Images:
    """What is pretrained on: images that the source has for it, else the training images and what lies beside them."""
    if source.pretrain is not None:
        pretrain = _limited(source.pretrain, cfg)
        if len(pretrain) < len(train):
            warnings.append(
                f"pretraining has {len(pretrain):,} images and not the {len(train):,} labelled ones;"
                " data.pretrain=null pretrains on those"
            )
        return pretrain
    if source.beside is None or not len(source.beside):
        return train
    return _limited(joined([train.unlabelled(), source.beside]), cfg)


def _found(cfg: schemas.Data, summary: dict[str, Any], source: DataSource, parts: Sequence[str]) -> str:
    """One line: what the data set is, and what lies there and is not read."""
    where = cfg.root or cfg.train or cfg.good or cfg.pretrain or cfg.labels
    target = targets.of_data(cfg.name)
    counts = summary["counts"]
    text = ", ".join(f"{counts[part]:,} {part}" for part in parts)
    if counts["pretrain"] != counts["train"]:
        text += f", {counts['pretrain']:,} for pretraining"
    classes = summary["classes"]
    own = [
        sum(column)
        for column in zip(*(c for name, c in summary["class_counts"].items() if c and name in parts), strict=False)
    ]
    if own and len(own) == len(classes) <= NAMED:
        noun = "class" if len(own) == 1 else "classes"
        kinds = f"{len(own)} {noun} ({some([f'{n} {c:,}' for n, c in zip(classes, own, strict=True)], NAMED)})"
    elif own:
        rows = f"{target.row}s"
        many = f"{min(own):,} {rows} each" if min(own) == max(own) else f"{min(own):,} to {max(own):,} {rows}"
        kinds = f"{len(classes):,} classes of {many}"
    elif target.good_only:  # the first class is what is good
        kinds = f"{target.named} of {count(len(classes) - 1, 'kind')}"
    else:
        kinds = f"{target.named} of {len(classes)} classes" if classes else "no labels"
    rest = list(source.told)
    if source.skipped:
        noun = "file" if len(source.skipped) == 1 else "files"
        rest.append(f"{len(source.skipped):,} {noun} cannot be used (the first is {source.skipped[0]})")
    return "; ".join([f"{where}: {kinds}: {text}", *rest])


def _findings(
    cfg: schemas.Data, parts: dict[str, Images], folds: outer_folds.Folds | None, known: Images, progress: bool
) -> list[findings.Finding]:
    """Of the test images and of what is trained on; known: the labelled images, where these are divided into folds."""
    test = parts["test"]
    trained = {name: parts[name] for name in ("train", "val")}
    trained |= {} if parts["pretrain"] is parts["train"] else {"pretrain": parts["pretrain"]}

    def copies(of: Images, among: list[Images]) -> np.ndarray:
        return near.copies(of, among, cfg.workers, progress)

    if folds is None:
        return findings.worded(findings.find_findings(trained, test, copies(test, list(trained.values()))), test)
    if folds.fold is not None:  # that a fold is small is nothing to warn of
        return findings.leaks(trained, test, copies(test, list(trained.values())))
    sides = [(np.flatnonzero(folds.of == k), np.flatnonzero(folds.of != k)) for k in range(folds.count)]
    found = [copies(known.subset(one), [known.subset(rest)]) for one, rest in sides]
    return findings.across_folds(known, sides, found)


def _summary(
    cfg: schemas.Data,
    parts: dict[str, Images],
    found: list[findings.Finding],
    warnings: list[str],
    skipped: list[str],
) -> dict[str, Any]:
    """See `Splits.summary`."""
    train, val, test = (parts[name] for name in ("train", "val", "test"))
    missing = np.setdiff1d(np.arange(len(train.classes)), val.labels).tolist()
    goal = targets.of_columns(train.columns)
    if missing and not goal.marks:  # costs choices and no verdict
        warnings.append(f"{len(missing)} classes have no val image, the first is {train.classes[missing[0]]}")
    found = [finding | {"text": goal.said(finding["text"])} for finding in found]
    warnings += [findings.warning(finding) for finding in found]
    ranges = [part.range for part in parts.values() if part.range is not None][:1]
    marked = {}
    if goal.marks:
        counted = {name: findings.class_marks(part) for name, part in (("train", train), ("test", test))}
        marked = {f"class_{goal.marks[1]}": counted}
    return {
        "name": cfg.name,
        "size": cfg.size,
        "channels": train.channels,
        "columns": list(train.columns),
        "classes": train.classes,
        "counts": {name: len(part) for name, part in parts.items()},
        "class_counts": {
            "train": findings.class_counts(train),
            "val": findings.class_counts(val),
            "test": findings.class_counts(test),
        },
        **marked,
        **({"range": stored(ranges[0])} if ranges else {}),
        "test_groups": None if test.groups is None else len(np.unique(test.groups)),
        "findings": found,
        "hashes": {name: part.hash for name, part in parts.items()},
        "hash": digest("splits", *(part.hash for part in parts.values()), *ranges).hex(),
        "warnings": warnings,
        "skipped": skipped,
    }


def label_subset(
    labels: np.ndarray,
    per_class: int | None,
    fraction: float | None,
    seed: int,
    draw: int,
    key: str = "labels_per_class",
) -> np.ndarray:
    """Sorted int64 indices into `labels` (N,): so many per class, a fraction of each, or (both None) all.

    Stratified; of the same (seed, draw) smaller subsets lie in larger ones. Unlabelled images (-1) never
    count. A fraction takes at least one image of each class.
    Errors: UsageError, naming `key`, where a class has fewer than `per_class` images, or a fraction of all is fewer
    labels than there are classes.
    """
    assert per_class is None or fraction is None
    known = np.flatnonzero(labels >= 0)
    if len(known) == 0:
        raise UsageError("data: there are no labelled training images; give class folders or data.labels")
    _, codes, counts = np.unique(labels[known], return_inverse=True, return_counts=True)
    if per_class is not None and per_class > counts.min():
        raise UsageError(
            f"{key}: {per_class} asked for, but the smallest class has {counts.min()} labelled"
            f" training images; use at most {counts.min()}"
        )
    if per_class is None and fraction is None:
        return known
    if fraction is not None and round(fraction * len(known)) < len(counts):
        raise UsageError(
            f"fractions: {fraction:g} of {len(known)} labelled training images are fewer labels than the"
            f" {len(counts)} classes; use at least {len(counts) / len(known):.2g}"
        )
    chances = Draws(seed).generator(f"labels/{draw}").random(len(known))
    takes = np.full(len(counts), per_class) if fraction is None else np.maximum(np.round(fraction * counts), 1)
    return known[rank_in_class(codes, chances) < takes[codes]]


def _limited(images: Images, cfg: schemas.Data) -> Images:
    """At most data.limit images, in proportion to the classes; lower limits take a part of higher ones'."""
    kept = _within_limit(images, cfg)
    return images if len(kept) == len(images) else images.subset(kept)


def _within_limit(images: Images, cfg: schemas.Data) -> np.ndarray:
    """Sorted int64: which images `_limited` keeps."""
    if cfg.limit is None or len(images) <= cfg.limit:
        return np.arange(len(images))
    _, codes, counts = np.unique(images.labels, return_inverse=True, return_counts=True)
    ranks = rank_in_class(codes, chances_of(images.image_hashes(), cfg.split_seed, "limit"))
    order = np.lexsort((codes, (ranks + 0.5) / counts[codes]))
    return np.sort(order[: cfg.limit])
