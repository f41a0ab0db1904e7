"""Images of two domains without pairs, of which one is to become the other: `gan=cyclegan` and `gan=cut` learn it.

    trainA/ trainB/                 images of each; their numbers may differ, and their sizes
    testA/ testB/, valA/ valB/      optional; else parts are divided by the contents of files, each domain by itself

data.direction says which is translated: `a_to_b` or `b_to_a`. Both are rows of one set with a column `domain`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gssl import schemas
from gssl.data import cache, decode
from gssl.data.columns import GIVEN, MADE
from gssl.data.domains import domains_of, of_domain
from gssl.data.images import Images
from gssl.data.sides import divided
from gssl.data.sources import DataSource, parts
from gssl.data.sources.folders import Told, child, find_folder, folders_in, images_below, one_line
from gssl.data.sources.wrong_files import refuse_or_note
from gssl.errors import UsageError

PARTS = ("train", "val", "test")
SIDES = ("A", "B")
LEAST = 2  # images of a domain in a part: of fewer no distance can be measured
LAYOUT = "expected trainA/ and trainB/ (and valA/ valB/, testA/ testB/) with images of each domain"
WRONG = {
    "file": ("images cannot be read", "repair or remove them"),
    "channels": ("images have other channels than most", "make all of them grey, or all coloured"),
}


@dataclass
class Files:
    """Paths of images of both domains, and which each is of: `GIVEN` or `MADE`."""

    paths: list[str] = field(default_factory=list)
    domains: list[int] = field(default_factory=list)

    def add(self, paths: list[str], domain: int) -> None:
        self.paths += paths
        self.domains += [domain] * len(paths)


def read(cfg: schemas.Data, progress: bool = False) -> DataSource:
    """Both domains of `data=unpaired`, decoded once.

    Errors: UsageError for a missing or empty folder, another layout, a part of one domain alone, and
    (data.on_error=stop) broken files and images of other channels.
    """
    root = find_folder("root", cfg.root, None)
    if root is None:
        raise UsageError(f"data.root: no folder given; {LAYOUT}")
    told = Told()
    root = _inner(root, told)
    places = _places(root)
    files = {name: _files(sides, cfg, told) for name, sides in places.items()}
    skipped: list[str] = []
    if cfg.range not in ("auto", "full", None):
        told.warnings.append("data.range: the images of unpaired are read by all that their files' type can hold")
    loaded, keys = _load(files, cfg, progress, skipped)
    whole = loaded["train"]
    sides = divided(domains_of(whole), np.array(keys), False, loaded, cfg)
    found = {name: loaded.get(name, whole.subset(np.flatnonzero(sides == name))) for name in PARTS[1:]}
    found["train"] = whole.subset(np.flatnonzero(sides == "train"))
    for name, part in found.items():
        _check(name, part, root)
    told.notes += [
        f"{side} is {word}: " + ", ".join(f"{len(of_domain(found[name], own)):,} {name}" for name in PARTS)
        for side, own, word in zip(_order(cfg), (GIVEN, MADE), ("translated", "what it becomes"), strict=True)
    ]
    kept = [key for key, side in zip(keys, sides, strict=True) if side == "train"]
    return DataSource(found["train"], found["test"], kept, None, found["val"], skipped, told.suspicious(), told.texts())


def _order(cfg: schemas.Data) -> tuple[str, ...]:
    """Names of the domain that is translated and of the other."""
    return SIDES if cfg.direction == "a_to_b" else SIDES[::-1]


# ── which files ──────────────────────────────────────────────────────────────────────────────────


def _inner(root: Path, told: Told) -> Path:
    """`root`, or the only folder in it, as archives have it."""
    names = folders_in(root)
    if len(names) == 1 and not parts.has_images(root) and child(root / names[0], "trainA"):
        told.notes.append(f"{root / names[0]} is read, the only folder in {root}")
        return root / names[0]
    return root


def _places(root: Path) -> dict[str, dict[str, Path]]:
    """Where both domains of each part are. Raises UsageError for another layout, or one domain without the other."""
    found: dict[str, dict[str, Path]] = {}
    for part in PARTS:
        sides = {side: folder for side in SIDES if (folder := child(root, f"{part}{side}"))}
        if len(sides) == 1:
            (has,) = sides
            lacks = SIDES[has == "A"]
            raise UsageError(f"data.root: {root} has {part}{has} and no {part}{lacks}; {LAYOUT}")
        if sides:
            found[part] = sides
    if "train" in found:
        return found
    if any(child(root, side) for side in SIDES) or any(
        child(root / name, side) for name in folders_in(root) for side in SIDES
    ):
        raise UsageError(
            f"data.root: {root} has folders A and B, as pairs have; {LAYOUT}, or use data=paired gan=pix2pix"
        )
    if found:
        raise UsageError(f"data.root: {root} has no trainA and trainB; {LAYOUT}")
    rest = ", or use data=paired gan=pix2pix" if child(root, "train") else ""
    raise UsageError(f"data.root: {root} has neither trainA nor trainB; {LAYOUT}{rest}")


def _files(sides: dict[str, Path], cfg: schemas.Data, told: Told) -> Files:
    """The images of a part. Raises UsageError where a domain has none."""
    files = Files()
    for side, domain in zip(_order(cfg), (GIVEN, MADE), strict=True):
        mine = Told()
        names = images_below(sides[side], [], mine)
        told.merge(mine)
        if not names:
            raise UsageError(f"data.root: no images below {sides[side]}; {'; '.join([LAYOUT, *mine.texts()])}")
        files.add(cache.join(sides[side], names), domain)
    return files


def _check(name: str, part: Images, root: Path) -> None:
    """Raises UsageError where a part has hardly an image of a domain."""
    domains = domains_of(part)
    for domain, word in ((GIVEN, "translated"), (MADE, "made")):
        if (count := int((domains == domain).sum())) < LEAST:
            raise UsageError(
                f"data.root: the {name} part of {root} has {count} of the domain that is {word}, at least {LEAST} are"
                f" needed; add images, or give {name}A/ and {name}B/"
            )


# ── reading them ─────────────────────────────────────────────────────────────────────────────────


def _load(
    parted: dict[str, Files], cfg: schemas.Data, progress: bool, skipped: list[str]
) -> tuple[dict[str, Images], list[str]]:
    """Images of each part with the column `domain`; content hash of each training image."""
    files = Files()
    for own in parted.values():
        files.paths += own.paths
        files.domains += own.domains
    hashes = cache.contents_of(files.paths, decode.threads(cfg.workers))
    store = cache.entry(
        cache.entry_key("unpaired", cfg.side, str(files.domains), *hashes),
        lambda: decode.estimate(files.paths, cfg.side),
        lambda writer: _write(writer, files, cfg, progress),
        about=str(Path(files.paths[0]).parent),
    )
    at, channels = store.array("kept"), store.array("channels")
    most = 3 if (channels == 3).sum() * 2 >= len(channels) else 1
    other = [("channels", f"{files.paths[i]} ({c})") for i, c in zip(at, channels, strict=True) if c != most]
    wrong = [(kind, f"{files.paths[i]} ({text})") for i, kind, text in store.meta["wrong"]] + other
    rows = np.flatnonzero(channels == most)
    skipped += refuse_or_note(wrong, len(files.paths), len(rows), cfg.on_error, WRONG)
    names = np.array(files.paths)[at]
    loaded, start = {}, 0
    for name, own in parted.items():
        mine = rows[(at[rows] >= start) & (at[rows] < start + len(own.paths))]
        loaded[name] = Images(store, mine, np.full(len(mine), -1, dtype=np.int64), [], names[mine])
        start += len(own.paths)
    return loaded, [hashes[i] for i in at[loaded["train"].rows]]


def _write(writer: cache.Writer, files: Files, cfg: schemas.Data, progress: bool) -> None:
    """Decode all images into the entry. meta: `wrong`, a list of [position, kind, reason]; arrays: `kept`, `channels`
    of each that is kept."""

    def work(start: int) -> list[np.ndarray | str]:
        return [_try(path, cfg) for path in files.paths[start : start + decode.CHUNK]]

    wrong: list[tuple[int, str, str]] = []
    kept: list[int] = []
    channels: list[int] = []
    with decode.bar(f"decoding {len(files.paths):,} images", len(files.paths), progress) as advance:
        starts = range(0, len(files.paths), decode.CHUNK)
        for start, results in decode.windowed(work, starts, decode.threads(cfg.workers)):
            for position, found in enumerate(results, start):
                if isinstance(found, str):
                    wrong.append((position, "file", found))
                    continue
                kept.append(position)
                channels.append(found.shape[2])
                domain = np.array([files.domains[position]], dtype=np.uint8)
                writer.add([found], [cache.image_hash(found)], domain=[domain])
            advance(len(results))
    arrays = {"kept": np.array(kept, dtype=np.int64), "channels": np.array(channels, dtype=np.int64)}
    writer.finish({"wrong": wrong}, arrays)


def _try(path: str, cfg: schemas.Data) -> np.ndarray | str:
    """uint8 (h, w, 1 or 3), or what is wrong with the file."""
    try:
        return decode.decode(path, cfg.side)
    except Exception as error:  # Pillow raises anything on malformed files
        return one_line(f"{type(error).__name__}: {error}")
