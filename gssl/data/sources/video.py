"""Clips of films: `{train,val,test}/CLASS/film.mp4`, frame folders `CLASS/film/0001.png`, or a CSV of films.

data.root may have the classes themselves, or films without classes (then nothing is labelled). data.labels, or a
labels.csv in it, lists films: path,label[,split][,group][,start,end]. A clip is a row with data.frames frames
(`gssl.data.video` says which); every frame is decoded once, into the cache. data.groups says which films belong
together, as of images with masks; of several clips per film those of one film do.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gssl import schemas
from gssl.data import cache, decode, video
from gssl.data.columns import HASH, column_hash
from gssl.data.images import Images
from gssl.data.sources import DataSource, labels_csv, parts
from gssl.data.sources.films import ANIMATED, Film, films_below, natural
from gssl.data.sources.folders import Told, class_of, find_folder, folders_in, is_image, one_line, some
from gssl.data.sources.grouping import grouping
from gssl.data.sources.wrong_files import refuse_or_note, warn
from gssl.data.video import Sampling, WrongVideo
from gssl.errors import UsageError
from gssl.words import count

CHUNK = 8  # films per task
LAYOUT = "expected one folder per class with films (.mp4, .webm, .avi, .gif …) or frame folders, or train/ and test/"
WRONG = {  # films that are wrong in one way, and what to do about them
    "file": ("films cannot be read", "repair or remove them"),
    "stream": ("files have no video stream", "remove them"),
    "empty": ("films have no frame that can be decoded", "repair or remove them"),
    "times": ("films have no times", "use data.stride, and no start and end, for folders of frames"),
    "sizes": ("frame folders have pictures of different sizes", "bring the pictures of one film to one size"),
}
NOTES = {
    "truncated": "films are cut off (fewer frames than they say): what can be decoded is used",
    "repeated": "films have fewer frames a second than data.fps: their clips show frames more than once",
    "variable": "films have a frame rate that varies: data.fps takes frames by time, data.stride by number",
}


@dataclass
class Listing:
    """Films of one part below `root`, what is known of each; label None: unlabelled, group None: not said.

    apart: before the names of groups, where films of this name in other parts are others: the part's name.
    """

    root: Path
    films: list[Film]
    labels: list[str | None]
    groups: list[str | None] = field(default_factory=list)
    apart: str = ""


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Clips of `data=video`. Errors: UsageError for a missing folder, no films, a wrong CSV, a class that only the test
    or validation part has, and (data.on_error=stop) films that are wrong."""
    told = Told()
    given = find_folder("root", cfg.root, None)
    if given is None:
        raise UsageError(f"data.root: no folder given; {LAYOUT}")
    root = _inner(given, told)
    csv = labels_csv.find_labels(cfg.labels, root, given)
    listings = _listed(csv, root) if csv is not None else _found(root, told)
    if (held := find_folder("test", cfg.test, root)) is not None:
        listings["test"] = _of_classes(held, told)
    if (more := find_folder("pretrain", cfg.pretrain, root)) is not None:
        listings["pretrain"] = _unlabelled(more)
    group_of = grouping(cfg.groups, root)
    classes = sorted({label for label in listings["train"].labels if label is not None})
    loaded: dict[str, Images] = {}
    skipped: list[str] = []
    keys: list[str] = []
    for part, listing in listings.items():
        if part in ("val", "test"):
            _check_classes(part, listing, classes)
        names = [] if part == "pretrain" else classes
        listing.apart = "" if listing.root == listings["train"].root else f"{part}/"
        loaded[part], own = _load(listing, names, cfg, group_of, progress, skipped, told)
        keys = own if part == "train" else keys
    return DataSource(
        loaded["train"], loaded.get("test"), keys, loaded.get("pretrain"), loaded.get("val"), skipped,
        told.suspicious(), told.texts(),
    )  # fmt: skip


# ── which films ──────────────────────────────────────────────────────────────────────────────────


def _inner(root: Path, told: Told) -> Path:
    """`root`, or the only folder in it, where that holds everything, as archives have it."""
    names = folders_in(root)
    if len(names) != 1 or parts.part_of(names[0]) or (root / "labels.csv").is_file():
        return root
    if any("/" not in film.name for film in films_below(root)):
        return root
    told.notes.append(f"{root / names[0]} is read, the only folder in {root}")
    return root / names[0]


def _found(root: Path, told: Told) -> dict[str, Listing]:
    """Parts with class folders, or class folders, or films without classes."""
    named = {part: path for part in ("train", "val", "test") if (path := parts.named(root, part))}
    if "train" not in named:
        return {"train": _of_classes(root, told)}
    told.notes += [f"{path.name}/ is the {part} part" for part, path in named.items() if path.name != part]
    return {part: _of_classes(path, told) for part, path in named.items()}


def _of_classes(root: Path, told: Told) -> Listing:
    films = films_below(root)
    if not films:
        raise UsageError(f"data.root: no films below {root}; {LAYOUT}")
    classed = [film for film in films if "/" in film.name]
    if not classed:
        return Listing(root, films, [None] * len(films))
    if len(classed) < len(films):
        many = count(len(films) - len(classed), "film")
        told.warnings.append(f"data.root: {many} directly in {root}, without a class: left out")
    return Listing(root, classed, [class_of(film.name) for film in classed])


def _unlabelled(root: Path) -> Listing:
    films = films_below(root)
    if not films:
        raise UsageError(f"data.pretrain: no films below {root}; {LAYOUT}")
    return Listing(root, films, [None] * len(films))


def _listed(csv: Path, root: Path) -> dict[str, Listing]:
    """Films of a CSV, training rows first."""
    rows = labels_csv.clips(csv, root)
    found: dict[str, Listing] = {}
    for row in sorted(rows, key=lambda row: labels_csv.SPLITS.index(row.split)):
        path = root / row.name
        files: tuple[str, ...] = (row.name,)
        if path.is_dir():
            pictures = sorted((name for name in os.listdir(path) if is_image(name)), key=natural)
            files = tuple(f"{row.name}/{name}" for name in pictures)
        listing = found.setdefault(row.split, Listing(root, [], []))
        listing.films.append(Film(row.name, files, row.span))
        listing.labels.append(row.label)
        listing.groups.append(row.group)
    if "train" not in found or not any(label is not None for label in found["train"].labels):
        raise UsageError(f"data.labels: {csv} has no labelled training row; {labels_csv.EXPECTED}[,start,end]")
    if None in found["train"].labels:
        number = sum(label is None for label in found["train"].labels)
        raise UsageError(f"data.labels: {csv}: {number} training rows have no label; give them the split pretrain")
    return found


def _check_classes(part: str, listing: Listing, classes: list[str]) -> None:
    if classes and None in listing.labels:
        raise UsageError(f"data.root: the {part} films in {listing.root} have no class; {LAYOUT}")
    unknown = sorted({label for label in listing.labels if label is not None} - set(classes))
    if unknown:
        raise UsageError(
            f"data.root: the {part} films in {listing.root} have classes that the training films do not have:"
            f" {some(unknown)}; rename or remove them, or add training films"
        )


# ── reading them ─────────────────────────────────────────────────────────────────────────────────


def sampling_of(cfg: schemas.Data) -> Sampling:
    """What `data` says of clips. Raises UsageError."""
    if cfg.fps is not None and cfg.stride not in (None, 1):
        raise UsageError(f"data.fps={cfg.fps:g} and data.stride={cfg.stride} both say which frames; leave one out")
    return Sampling(cfg.frames or 1, cfg.stride or 1, cfg.fps, cfg.clips_per_video or 1)


def _load(
    listing: Listing,
    classes: list[str],
    cfg: schemas.Data,
    group_of: Callable[[Path], str] | None,
    progress: bool,
    skipped: list[str],
    told: Told,
) -> tuple[Images, list[str]]:
    """(clips, what decides the side of each in seeded splits)."""
    sampling, films = sampling_of(cfg), listing.films
    names = [name for film in films for name in film.files]
    hashes = cache.contents(
        listing.root,
        names,
        decode.threads(cfg.workers),
        lambda n: decode.bar(f"reading {n:,} files", n, progress),
    )
    ends = np.cumsum([len(film.files) for film in films])
    own = ["".join(hashes[end - len(f.files) : end]) for f, end in zip(films, ends.tolist(), strict=True)]
    about = [f"{content}{film.span or ''}" for film, content in zip(films, own, strict=True)]
    store = cache.entry(
        cache.entry_key("video", cfg.side, *sampling, *about),
        lambda: len(films) * sampling.clips * sampling.frames * 3 * (2 * cfg.side) ** 2,
        lambda writer: _write(writer, listing, sampling, cfg, progress),
        about=str(listing.root),
    )
    _judge(store.meta, len(store), listing, sampling, cfg, skipped, told)
    of = store.array("film")  # of each clip
    rows = np.arange(len(of)) * sampling.frames + sampling.frames // 2
    number = {name: i for i, name in enumerate(classes)}
    labels = np.array([number.get(listing.labels[i] or "", -1) for i in of.tolist()], dtype=np.int64)
    paths = np.array([f"{listing.root}/{films[i].key}" for i in of.tolist()], dtype=object).astype(str)
    keys = [f"{about[i]}#{k}" for k, i in enumerate(of.tolist())]
    return Images(store, rows, labels, classes, paths, _groups(listing, of, group_of, sampling)), keys


def _groups(
    listing: Listing, of: np.ndarray, group_of: Callable[[Path], str] | None, sampling: Sampling
) -> np.ndarray | None:
    """What each clip belongs to: as data.groups says, or the CSV; else of several clips per film the film."""
    if group_of is not None:
        return np.array([group_of(listing.root / listing.films[i].name) for i in of.tolist()])
    if any(group is not None for group in listing.groups):
        return np.array([listing.groups[i] or "" for i in of.tolist()])
    several = sampling.clips > 1 or any(film.span is not None for film in listing.films)
    return np.array([listing.apart + listing.films[i].name for i in of.tolist()]) if several else None


def _judge(
    meta: dict[str, object], count: int, listing: Listing, sampling: Sampling, cfg: schemas.Data, skipped: list[str],
    told: Told,
) -> None:  # fmt: skip
    """Raises UsageError for films that are wrong, or notes them as left out; and says what is to be known of others."""
    paths = [f"{listing.root}/{film.key}" for film in listing.films]
    wrong, notes = (
        [(kind, f"{paths[i]} ({text})") for i, kind, text in meta[which]]  # type: ignore[attr-defined]
        for which in ("wrong", "notes")
    )
    step = "data.stride" if sampling.fps is None else "raise data.fps"
    said = {**WRONG, "short": ("films are too short for a clip", f"lower data.frames or {step}")}
    skipped += refuse_or_note(wrong, len(paths), count, cfg.on_error, said)
    warn(notes, len(paths), NOTES, told)


def _write(writer: cache.Writer, listing: Listing, sampling: Sampling, cfg: schemas.Data, progress: bool) -> None:
    """Decode all films into the entry. meta: `wrong` and `notes`, lists of [position, kind, text]; arrays: `film`, the
    position of the film that each clip is of."""
    if any(not film.folder and not film.name.lower().endswith(ANIMATED) for film in listing.films):
        video.need_av()
    root = str(listing.root)

    def work(start: int) -> list[video.Clips | tuple[str, str]]:
        return [_try(film, root, sampling, cfg.side) for film in listing.films[start : start + CHUNK]]

    wrong: list[tuple[int, str, str]] = []
    notes: list[tuple[int, str, str]] = []
    of: list[int] = []
    hashes: list[bytes] = []
    count = len(listing.films)
    with decode.bar(f"decoding {count:,} films", count, progress) as advance:
        for start, results in decode.windowed(work, range(0, count, CHUNK), decode.threads(cfg.workers)):
            for position, found in enumerate(results, start):
                if isinstance(found, tuple):
                    wrong.append((position, *found))
                    continue
                notes += [(position, *note) for note in found.notes]
                for clip in found.frames:
                    writer.add(list(clip), [cache.image_hash(frame) for frame in clip])
                    of.append(position)
                    hashes.append(column_hash(clip))
            advance(len(results))
    known = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH)
    meta = {"wrong": wrong, "notes": notes, "columns": ["video"], "frames": sampling.frames}
    writer.finish(meta, {"film": np.array(of, dtype=np.int64), "video_hashes": known})


def _try(film: Film, root: str, sampling: Sampling, size: int) -> video.Clips | tuple[str, str]:
    try:
        if not film.files:
            raise WrongVideo("empty", "no picture in the folder")
        return video.read(film, root, sampling, size)
    except WrongVideo as error:
        return error.kind, str(error)
    except UsageError:
        raise
    except Exception as error:  # decoders raise anything on malformed files
        return "file", one_line(f"{type(error).__name__}: {error}")
