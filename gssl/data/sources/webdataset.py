"""Tar archives of samples, as WebDataset writes them: `data=webdataset data.root=shards/`.

Bytes go from an archive into the store, and nothing is unpacked (`gssl.data.tars`). From the names and contents of its
images on, an archive is what a folder of images is: the same store, hashes, splits and messages.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gssl import schemas
from gssl.data import checksums, decode
from gssl.data.index import Coded
from gssl.data.sources import DataSource, imagefolder, labels_csv, shards
from gssl.data.sources.folders import Told, some
from gssl.data.sources.samples import AUTO, FOLDERS, JSON, Shard, archives
from gssl.errors import UsageError

EXPECTED = f"cls (integers), txt (names of classes), {JSON}KEY, or {FOLDERS} (the first folder of a sample's path)"
NAMES = "classnames.txt"  # beside the archives, as CLIP's benchmark has it: a line for each integer


@dataclass
class Part:
    """The archives of a part, which lie in `root` and were given by data.`key`."""

    key: str
    root: Path
    paths: list[Path]


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Images of `data=webdataset`. data.labels says which members hold labels.

    Errors: UsageError for archives that are not there or damaged, classes that only the test or validation part has,
    and (data.on_error=stop) samples that are no image with a label, and broken images.
    """
    rule = _rule(cfg.labels)
    told = Told()
    parts = _parts(cfg, told)
    threads = decode.threads(cfg.workers)
    found = {name: archives(part.root, part.paths, part.key, rule, threads, progress) for name, part in parts.items()}
    train = parts["train"]
    if not len(found["train"].names):
        raise UsageError(
            f"data.{train.key}: no images in the archives of {train.root} to train on; expected members such as"
            " 0001.jpg, and 0001.cls with its class"
        )
    chosen = _labels_of(rule, train.key, found["train"], told)
    _tell(parts, found, told)
    classes, problems = _class_names(train.root), list[str]()
    listings = {
        name: _listing(part, found[name], None if name == "pretrain" else chosen, classes, problems)
        for name, part in parts.items()
    }
    if problems and cfg.on_error == "stop":
        raise UsageError(
            f"data.{train.key}: {len(problems)} samples cannot be used: {some(problems)}; mend the archives, or leave"
            " them out with data.on_error=skip"
        )
    _without_labels(listings, told)
    source = imagefolder.loaded(listings, cfg, told.suspicious(), progress, told.texts())
    source.skipped = [*problems, *source.skipped]
    return source


def _rule(labels: str | None) -> str:
    """data.labels as a rule. Raises UsageError."""
    if labels is None:
        return AUTO
    if labels in ("cls", "txt", FOLDERS) or (labels.startswith(JSON) and labels != JSON):
        return labels
    raise UsageError(f"data.labels={labels}: expected {EXPECTED}; null takes cls, else txt")


def _parts(cfg: schemas.Data, told: Told) -> dict[str, Part]:
    """The archives of each part: those of data.root by their names, and those that other keys give.

    An archive that is given for testing is not trained on, and one with labels is not among those for pretraining.
    """
    found: dict[str, Part] = {}
    home = None
    if cfg.root is not None:
        folder, paths = shards.of("root", cfg.root, None, told)
        home = folder
        divided = {"train": paths} if cfg.train else shards.divided(folder, paths, told.warnings)
        found = {name: Part("root", folder, own) for name, own in divided.items()}
    for name in ("train", "test", "pretrain"):
        if text := getattr(cfg, name):
            found[name] = Part(name, *shards.of(name, text, home, told))
    if set(found) == {"pretrain"}:  # nothing has labels: these images themselves are divided
        return {"train": found["pretrain"]}
    if "train" not in found:
        raise UsageError("data.root must be given: a folder of archives, one of them, or a pattern of their names")
    taken: set[str] = set()
    for name in ("test", "val", "train", "pretrain"):
        if name not in found:
            continue
        own = [path for path in found[name].paths if os.path.realpath(path) not in taken]
        taken |= {os.path.realpath(path) for path in own}
        found[name].paths = own or found[name].paths  # the same were given twice
    return found


def _tell(parts: dict[str, Part], found: dict[str, Shard], told: Told) -> None:
    """How many archives there are, and which of their members are not read."""
    counts = {name: len(part.paths) for name, part in parts.items()}
    listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    told.notes.append(f"{sum(counts.values()):,} archives ({listed})")
    links = sum(own.links for own in found.values())
    if links:
        told.notes.append(f"{links:,} members that are links, or no files, are not read")
    others: Counter[str] = Counter()
    for own in found.values():
        others.update(own.others)
    if others:
        kinds = some([f"{count:,} {extension}" for extension, count in others.most_common()], 4)
        told.notes.append(f"{others.total():,} other members are not read ({kinds})")


# ── labels ───────────────────────────────────────────────────────────────────────────────────────


def _labels_of(rule: str, key: str, train: Shard, told: Told) -> str | None:
    """Which rule gives the labels; where nobody says it cls, else txt where these are names that come again.

    None where no sample has a label, of which is warned.
    """
    if rule not in (AUTO, FOLDERS) and train.labels[rule].missing.all():
        what = f"a json member with {rule.removeprefix(JSON)}" if rule.startswith(JSON) else f"a {rule} member"
        told.warnings.append(f"data.labels={rule}: no sample has {what}, so no image has a label")
        return None
    if rule != AUTO:
        return rule
    if not train.labels["cls"].missing.all():
        return "cls"
    texts = train.labels["txt"]
    named, count = int((~texts.missing).sum()), len(np.unique(texts.codes[~texts.missing]))
    if named and not train.captions and 2 * count <= named:
        return "txt"
    hints = ["txt"] * bool(named) + [f"{JSON}KEY"] * (".json" in train.others) + [FOLDERS] * train.folders
    told.warnings.append(
        f"data.{key}: no sample has a cls member with its class, so no image has a label"
        + (f"; where others hold it: data.labels={' or '.join(hints)}" if hints else "")
    )
    return None


def _listing(
    part: Part, own: Shard, rule: str | None, classes: Sequence[str], problems: list[str]
) -> imagefolder.Listing:
    """The images of a part, in the order of its archives. problems: gets samples that are left out, and why.

    classes: names of the integers; empty: they are names themselves.
    """
    problems += [f"{part.root}/{text}" for text in own.problems]
    labels = Coded.none(len(own.names)) if rule is None else own.labels[rule]
    listing = imagefolder.Listing(f"data.{part.key}", part.root, own.names, labels, contents=own.contents)
    if not classes:
        return listing
    texts, lost = list(labels.texts), list[int]()
    for code, text in enumerate(texts):
        if text.isdecimal() and int(text) < len(classes):
            texts[code] = classes[int(text)]
        elif text.isdecimal():
            lost.append(code)
    without = np.isin(labels.codes, lost)
    for row in np.flatnonzero(without).tolist():
        where = f"{part.root}/{own.names[row]}"
        problems.append(f"{where} has the class {labels[row]}, and {NAMES} has {len(classes)} lines")
    listing.labels = Coded(labels.codes, texts)
    return listing.some(np.flatnonzero(~without)) if without.any() else listing


def _class_names(folder: Path) -> list[str]:
    """Lines of the file that names the classes; [] where there is none."""
    try:
        with checksums.opened(folder / NAMES) as handle:
            return os.read(handle, checksums.MOST).decode("utf-8", "backslashreplace").splitlines()
    except OSError:
        return []


def _without_labels(listings: dict[str, imagefolder.Listing], told: Told) -> None:
    """Samples without a label beside others: those to train on are pretrained on, those to test on are left out."""
    if listings["train"].labels.missing.all():
        return
    for name in [name for name in ("train", "val", "test") if name in listings]:
        own = listings[name]
        bare = own.labels.missing
        if not bare.any():
            continue
        if name == "train":
            told.notes.append(f"{bare.sum():,} samples without a label, for pretraining beside the labelled ones")
            listings[labels_csv.UNLABELLED] = own.some(np.flatnonzero(bare))
        else:
            told.warnings.append(f"{own.key}: {bare.sum():,} {name} samples have no label: left out")
        if bare.all():
            del listings[name]
        else:
            listings[name] = own.some(np.flatnonzero(~bare))
