"""Tar archives of a data set: which there are, in which order, and to which part each belongs. No torch here.

A place is a folder, an archive, or a pattern such as `shards/train-{000..003}.tar`. Archives belong to the part that
their name or a folder around them says: `train-000.tar`, `imagenet1k-validation-07.tar`, `test/0.tar`.
"""

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from gssl.data import tars
from gssl.data.sources.folders import Told, some, unread
from gssl.data.sources.parts import PARTS, part_of
from gssl.errors import UsageError

MOST = 100_000  # archives that a pattern stands for
BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")
UNREAD = (".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")  # archives to people


def natural(text: str) -> list[tuple[bool, int, str]]:
    """The order in which people count: 2.tar before 10.tar."""
    words = re.split(r"(\d+)", text)
    return [(word.isdecimal(), int(word) if word.isdecimal() else 0, word) for word in words]


def is_pattern(text: str) -> bool:
    """Whether it has braces that stand for several names."""
    return BRACES.search(text) is not None


def expanded(text: str) -> list[str]:
    """The names that a pattern stands for, as shells have it: `{000..003}` and `{a,b}`. Raises UsageError."""
    parts: list[list[str]] = [[]]
    total, place = 1, 0
    for match in BRACES.finditer(text):
        low, high, listed = match.groups()
        total *= abs(int(high) - int(low)) + 1 if low else listed.count(",") + 1
        if total > MOST:
            raise UsageError(f"data.root: {text} stands for more than {MOST:,} archives")
        parts += [[text[place : match.start()]], listed.split(",") if listed else _numbers(low, high)]
        place = match.end()
    return ["".join(words) for words in itertools.product(*parts[1:], [text[place:]])]


def _numbers(low: str, high: str) -> list[str]:
    padded = any(len(word) > 1 and word[0] == "0" for word in (low, high))
    width = max(len(low), len(high)) if padded else 0
    step = 1 if int(low) <= int(high) else -1
    return [f"{number:0{width}}" for number in range(int(low), int(high) + step, step)]


def below(folder: Path, told: Told | None = None) -> list[Path]:
    """The archives in a folder, at any depth, in natural order; nothing hidden, no run directories."""
    found: list[Path] = []
    for at, inside, names in os.walk(folder):
        if at != str(folder) and (why := unread(at)):
            if told is not None:
                told.folder(at, why)
            inside.clear()
            continue
        inside[:] = [name for name in inside if not name.startswith(".")]
        found += [Path(at, name) for name in names if tars.is_tar(name)]
        if told is not None:
            left = [f"{at}/{name}" for name in names if name.lower().endswith(UNREAD)]
            told.warnings += [f"{path} is not read: of compressed archives .tar.gz alone is" for path in left]
    return sorted(found, key=lambda path: natural(str(path)))


def of(key: str, text: str, root: Path | None, told: Told) -> tuple[Path, list[Path]]:
    """(the folder that they lie in, the archives) of data.`key`, below `root` where they are there.

    Raises UsageError where there are none.
    """
    places = [Path(text).expanduser()]
    if root is not None:
        places.insert(0, root / places[0])
    for place in places:
        if os.path.isdir(place):
            if found := below(place, told):
                return place, found
            raise UsageError(
                f"data.{key}: no {' or '.join(tars.SUFFIXES)} archives below {place}; for images in folders:"
                " data=imagefolder"
            )
        names = expanded(str(place)) if is_pattern(str(place)) else [str(place)]
        if there := [name for name in names if os.path.isfile(name)]:
            if lost := [name for name in names if not os.path.isfile(name)]:
                raise UsageError(f"data.{key}: {len(lost)} archives of {text} are not there: {some(lost)}")
            if other := [name for name in there if not tars.is_tar(name)]:
                raise UsageError(f"data.{key}: {other[0]} is no archive that is read; expected {_suffixes()}")
            return Path(os.path.commonpath([os.path.dirname(os.path.abspath(name)) for name in there])), [
                Path(name) for name in there
            ]
    raise UsageError(
        f"data.{key}: there is no {text}; expected a folder of {_suffixes()} archives, one of them, or a pattern such"
        " as 'shards/train-{000..003}.tar'"
    )


def _suffixes() -> str:
    return ", ".join(tars.SUFFIXES)


def divided(folder: Path, archives: Sequence[Path], warnings: list[str]) -> dict[str, list[Path]]:
    """part (train, val, test, pretrain) → its archives, by their names. Raises UsageError where none is to train on.

    Archives that belong to one part, or to none, are all to train on; beside others those of none are left out with a
    warning.
    """
    named: dict[str | None, list[Path]] = {}
    for path in archives:
        named.setdefault(_part_of(Path(os.path.relpath(path, folder))), []).append(path)
    if len(named) == 1:
        return {"train": list(archives)}
    if left := named.pop(None, []):
        warnings.append(
            f"data.root: {len(left)} archives belong to none of train, validation and test by their names: left out"
            f" ({some([path.name for path in left])})"
        )
    if "train" not in named:
        raise UsageError(f"data.root: {folder} has archives for {' and '.join(map(str, named))} and none for train")
    return {part: named[part] for part in PARTS if part in named}


def _part_of(path: Path) -> str | None:
    """By the words in the archive's name, else by a folder around it."""
    words = re.split(r"[^A-Za-z]+", path.name.lower().split(".tar")[0].removesuffix(".tgz"))
    found = [part_of(text) for text in (*words, *reversed(path.parent.parts)) if text]
    return next((part for part in found if part is not None), None)
