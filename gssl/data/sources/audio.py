"""Sounds: `{train,val,test}/CLASS/clip.wav`, class folders, or a CSV path,label[,split][,group] of .wav, .flac …

data.labels, or a labels.csv in data.root, lists files; data.groups says which belong together (one speaker's), as the
column group does. Every file is decoded once, into the cache (`gssl.data.audio`): int16, one channel, `data.rate`
samples per second, `data.seconds` long. Where groups are known parts never tear them: a split of the CSV that does is
not used, and that is said.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gssl import schemas
from gssl.data import audio, cache, decode
from gssl.data.audio import Shape, WrongAudio
from gssl.data.columns import column_hash
from gssl.data.images import Images
from gssl.data.sources import DataSource, labels_csv, parts
from gssl.data.sources.films import natural
from gssl.data.sources.folders import Told, class_of, find_folder, folders_in, one_line, some, unread
from gssl.data.sources.grouping import grouping
from gssl.data.sources.wrong_files import refuse_or_note, warn
from gssl.data.store import SoundWriter
from gssl.errors import UsageError

CHUNK = 32  # files per task
PARTS = ("train", "val", "test", "pretrain")
LAYOUT = f"expected one folder per class with sounds ({', '.join(audio.SUFFIXES)}), train/ and test/, or a labels.csv"
WRONG = {  # files that are wrong in one way, and what to do about them
    "file": ("sounds cannot be read", "repair or remove them"),
    "empty": ("sounds have no frames", "remove them"),
    "truncated": ("sounds are cut off: they are shorter than their header says", "get them again, or save as FLAC"),
    "finite": ("sounds have values that are no numbers", "remove or convert them"),
}
NOTES = {
    "channels": "sounds have several channels: their mean is used",
    "opposite": "sounds have channels that cancel each other out: their mean is all but silent; give one of them",
    "silent": "sounds are silent",
    "clipped": "sounds are clipped",
    "raised": "sounds are raised to data.rate: nothing is above half their own rate, by which they can be told apart",
    "cut": "sounds are longer than data.seconds: their middle is kept",
}


@dataclass
class Listing:
    """Files of all parts: path below `root`, part, label (None: unlabelled) and group (None: not said) of each."""

    root: Path
    names: list[str] = field(default_factory=list)
    sides: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)

    def add(self, name: str, side: str, label: str | None, group: str | None = None) -> None:
        self.names.append(name)
        self.sides.append(side)
        self.labels.append(label)
        self.groups.append(group)

    @property
    def grouped(self) -> bool:
        return any(group is not None for group in self.groups)


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Sounds of `data=audio`. Errors: UsageError for a missing folder, no sounds, a wrong CSV, rates that differ, a
    class that only the test or validation part has, and (data.on_error=stop) files that are wrong."""
    told = Told()
    given = find_folder("root", cfg.root, None)
    if given is None:
        raise UsageError(f"data.root: no folder given; {LAYOUT}")
    root = _inner(given, told)
    csv = labels_csv.find_labels(cfg.labels, root, given)
    listing = _listed(csv, root, told) if csv is not None else _found(root, told)
    for part, value in (("test", cfg.test), ("pretrain", cfg.pretrain)):
        if (more := find_folder(part, value, root)) is not None:
            _add_folder(listing, more, part, told)
    if (group_of := grouping(cfg.groups, root)) is not None:
        listing.groups = [group_of(root / name) for name in listing.names]
    _keep_groups_whole(listing, told)
    classes = sorted({c for c, side in zip(listing.labels, listing.sides, strict=True) if side == "train" and c})
    _check_classes(listing, classes)
    skipped: list[str] = []
    every, sides, keys = _load(listing, classes, cfg, progress, skipped, told)
    made = {part: every.subset(np.flatnonzero(sides == part)) for part in PARTS}
    if not len(made["train"]):
        raise UsageError(f"data.root: there are no training sounds in {root}; {LAYOUT}")
    spare = every.subset(np.flatnonzero(sides == labels_csv.UNLABELLED))
    made |= {part: own.unlabelled() for part, own in made.items() if part == "pretrain"}
    some_of = {part: own if len(own) else None for part, own in made.items()}
    beside = spare.unlabelled() if len(spare) else None
    return DataSource(
        made["train"], some_of["test"], [keys[i] for i in np.flatnonzero(sides == "train")], some_of["pretrain"],
        some_of["val"], skipped, told.suspicious(), told.texts(), beside,
    )  # fmt: skip


# ── which files ──────────────────────────────────────────────────────────────────────────────────


def sounds_below(root: Path) -> list[str]:
    """Paths of sounds below a folder, at any depth, in natural order; nothing hidden, and no run directories."""
    found: list[str] = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(n for n in subfolders if not n.startswith(".") and not unread(f"{folder}/{n}", files))
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        found += [prefix + name for name in files if audio.is_audio(name)]
    return sorted(found, key=natural)


def _inner(root: Path, told: Told) -> Path:
    """`root`, or the only folder in it, where that holds everything, as archives have it."""
    names = folders_in(root)
    if len(names) != 1 or parts.part_of(names[0]) or (root / "labels.csv").is_file():
        return root
    if any(audio.is_audio(name) for name in os.listdir(root)):
        return root
    if not (root / names[0] / "labels.csv").is_file() and not folders_in(root / names[0]):
        return root
    told.notes.append(f"{root / names[0]} is read, the only folder in {root}")
    return root / names[0]


def _found(root: Path, told: Told) -> Listing:
    """Parts with class folders, or class folders, or sounds without classes."""
    listing = Listing(root)
    named = {part: path for part in PARTS if (path := parts.named(root, part))}
    if "train" not in named:
        _add_folder(listing, root, "train", told)
        return listing
    told.notes += [f"{path.name}/ is the {part} part" for part, path in named.items() if path.name != part]
    for part, path in named.items():
        _add_folder(listing, path, part, told)
    return listing


def _add_folder(listing: Listing, folder: Path, part: str, told: Told) -> None:
    names = sounds_below(folder)
    if not names:
        raise UsageError(f"data.{'root' if part in ('train', 'val') else part}: no sounds below {folder}; {LAYOUT}")
    classed = [name for name in names if "/" in name]
    if classed and len(classed) < len(names):
        count = len(names) - len(classed)
        told.warnings.append(f"data.root: {count:,} sounds directly in {folder} have no class: left out")
    prefix = "" if folder == listing.root else f"{os.path.relpath(folder, listing.root)}/".replace(os.sep, "/")
    for name in classed or names:
        listing.add(prefix + name, part, class_of(name) if classed and part != "pretrain" else None)


def _listed(csv: Path, root: Path, told: Told) -> Listing:
    listing = Listing(root)
    for side, rows in labels_csv.read(csv, told, root).items():
        groups: list[str | None] = list(rows.groups) or [None] * len(rows.names)
        for name, label, group in zip(rows.names, rows.labels, groups, strict=True):
            listing.add(name, side, label, group)
    return listing


def _keep_groups_whole(listing: Listing, told: Told) -> None:
    """Labelled rows of all parts become one where a part of the CSV tears groups: then groups are divided anew."""
    if not listing.grouped:
        return
    sides: dict[str, set[str]] = {}
    for group, side in zip(listing.groups, listing.sides, strict=True):
        if side in ("train", "val", "test"):
            sides.setdefault(group or "", set()).add(side)
    torn = sorted(group for group, own in sides.items() if len(own) > 1)
    if not torn:
        return
    told.warnings.append(
        f"data.labels: the column split tears {len(torn)} of {len(sides)} groups ({some(torn)}): it is not used, and"
        " groups are divided; for that split all the same give a CSV without the column group"
    )
    listing.sides = ["train" if side in ("val", "test") else side for side in listing.sides]


def _check_classes(listing: Listing, classes: list[str]) -> None:
    if not classes:
        return
    for part in ("train", "val", "test"):
        own = [(n, c) for n, c, s in zip(listing.names, listing.labels, listing.sides, strict=True) if s == part]
        if lacking := [name for name, label in own if label is None]:
            raise UsageError(f"data.root: {part} sounds have no class ({some(lacking)}); {LAYOUT}")
        if unknown := sorted({label for _, label in own if label is not None} - set(classes)):
            raise UsageError(
                f"data.root: {part} sounds have classes that training sounds do not have: {some(unknown)}; rename or"
                " remove them, or add training sounds"
            )


# ── reading them ─────────────────────────────────────────────────────────────────────────────────


def _load(
    listing: Listing, classes: list[str], cfg: schemas.Data, progress: bool, skipped: list[str], told: Told
) -> tuple[Images, np.ndarray, list[str]]:
    """(rows, the part of each, what decides the side of each in seeded splits)."""
    assert cfg.seconds is not None
    hashes = cache.contents(
        listing.root,
        listing.names,
        decode.threads(cfg.workers),
        lambda count: decode.bar(f"reading {count:,} files", count, progress),
    )
    seconds = cfg.seconds
    store = cache.entry(
        cache.entry_key("audio", 1, cfg.rate, cfg.seconds, *hashes),
        lambda: int(2 * len(hashes) * seconds * (cfg.rate or 48_000)),
        lambda writer: _write(writer, listing, cfg, progress),
        about=str(listing.root),
        writer=SoundWriter,
    )
    _judge(store.meta, len(store), listing, cfg, skipped, told)
    of = store.array("file")
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number.get(listing.labels[i] or "", -1) for i in of.tolist()], dtype=np.int64)
    names = np.array([f"{listing.root}/{listing.names[i]}" for i in of.tolist()], dtype=object).astype(str)
    groups = np.array([listing.groups[i] or f"\0{listing.names[i]}" for i in of.tolist()], dtype=object).astype(str)
    every = Images(store, np.arange(len(store)), labels, classes, names, groups if listing.grouped else None)
    return every, np.array(listing.sides)[of], [hashes[i] for i in of.tolist()]


def _judge(
    meta: dict[str, object], count: int, listing: Listing, cfg: schemas.Data, skipped: list[str], told: Told
) -> None:
    """Raises UsageError for files that are wrong, or notes them as left out; and says what is to be known of others."""
    paths = [f"{listing.root}/{name}" for name in listing.names]
    wrong, notes = (
        [(kind, f"{paths[i]} ({text})") for i, kind, text in meta[which]]  # type: ignore[attr-defined]
        for which in ("wrong", "notes")
    )
    skipped += refuse_or_note(wrong, len(paths), count, cfg.on_error, WRONG)
    warn(notes, len(paths), NOTES, told)
    padded: int = meta["padded"]  # type: ignore[assignment]
    told.notes.append(
        f"{count:,} sounds at {meta['rate']:,} Hz; {100 * padded / max(1, count):.0f}% are shorter than"
        f" data.seconds={cfg.seconds:g} and padded with silence"
    )


def _write(writer: SoundWriter, listing: Listing, cfg: schemas.Data, progress: bool) -> None:
    """Decode all files into the entry. meta: rate, samples, `wrong` and `notes`, lists of [position, kind, text], and
    how many are padded; arrays: `file`, the position of the file that each row is of, `length`, its samples."""
    audio.need_soundfile()
    paths = [f"{listing.root}/{name}" for name in listing.names]
    threads, starts = decode.threads(cfg.workers), range(0, len(paths), CHUNK)
    rate = cfg.rate or _rate(paths, threads)
    shape = Shape(rate, max(1, round(rate * float(cfg.seconds or 1))))

    def work(start: int) -> list[audio.Row | tuple[str, str]]:
        return [_try(path, shape) for path in paths[start : start + CHUNK]]

    wrong: list[tuple[int, str, str]] = []
    notes: list[tuple[int, str, str]] = []
    of: list[int] = []
    lengths: list[int] = []
    plain: list[int] = []
    with decode.bar(f"decoding {len(paths):,} sounds", len(paths), progress) as advance:
        for start, results in decode.windowed(work, starts, threads):
            for position, found in enumerate(results, start):
                if isinstance(found, tuple):
                    wrong.append((position, *found))
                    continue
                notes += [(position, *note) for note in found.notes]
                content = column_hash(found.samples)
                writer.add_sound(found.samples, content)
                of.append(position)
                lengths.append(found.length)
                plain.append(int.from_bytes(content[:8], "little") if found.samples.any() else 0)
            advance(len(results))
    padded = sum(length < shape.samples for length in lengths)
    meta = {"rate": rate, "samples": shape.samples, "wrong": wrong, "notes": notes, "padded": padded}
    arrays = {"file": np.array(of, np.int64), "length": np.array(lengths, np.int64), "plain": np.array(plain, "u8")}
    writer.finish(meta, arrays)


def _rate(paths: list[str], threads: int) -> int:
    """The rate of all files that have one. Raises UsageError where they differ."""

    def work(start: int) -> list[int]:
        found = []
        for path in paths[start : start + CHUNK]:
            try:
                found.append(audio.rate_of(path))
            except WrongAudio:
                continue  # said when it is read
        return found

    rates = Counter(rate for _, own in decode.windowed(work, range(0, len(paths), CHUNK), threads) for rate in own)
    if len(rates) > 1:
        counts = ", ".join(f"{count:,} at {rate:,} Hz" for rate, count in sorted(rates.items()))
        raise UsageError(f"data.rate: the sounds have different rates ({counts}); set data.rate={min(rates)}")
    return next(iter(rates), 16_000)


def _try(path: str, shape: Shape) -> audio.Row | tuple[str, str]:
    try:
        return audio.read(path, shape)
    except WrongAudio as error:
        return error.kind, one_line(str(error))
    except UsageError:
        raise
    except Exception as error:  # decoders raise anything on malformed files
        return "file", one_line(f"{type(error).__name__}: {error}")
