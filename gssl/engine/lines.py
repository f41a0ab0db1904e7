"""Files of JSON lines that only grow, written by several processes at a time. No torch here.

They are read as bytes and decoded line by line: what is wrong with one line costs no other, and is counted. A line may
carry the sha256 of the line before as `previous`, so that one that was changed or taken out shows.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gssl.engine.files import check_open, clean, fsync, parse, read_bytes
from gssl.errors import Damaged

MOST = 2**30  # bytes of such a file

Row = dict[str, Any]
Usable = Callable[[Row], bool]


@dataclass(frozen=True)
class Lines:
    """What such a file held when it was read. Numbers of lines count from 1.

    found: the lines that are whole, with what they hold. damaged: those that hold no object as gssl writes it; what a
    kill has cut off is none of them. broken: those that do not follow the line that they name as the one before.
    last: what the next line has as `previous`; None where nothing is before it.
    """

    path: Path
    found: list[tuple[str, Row]]
    damaged: list[int]
    broken: list[int]
    last: str | None

    @property
    def damage(self) -> str:
        """ "2 lines of FILE are damaged", "1 line of FILE is damaged, changed or missing"; empty: nothing is wrong."""
        if not (count := len(self.damaged) + len(self.broken)):
            return ""
        lines, are = ("line", "is") if count == 1 else ("lines", "are")
        what = "damaged, changed or missing" if self.broken else "damaged"
        return f"{count:,} {lines} of {self.path} {are} {what}"


def read_lines(path: Path, usable: Usable | None = None) -> Lines:
    """What the file at `path` holds; nothing where it is missing.

    usable: whether an object is one as gssl writes it; None: every one is. Raises Damaged where this is no regular
    file that can be read.
    """
    try:
        data = read_bytes(path, MOST)
    except (FileNotFoundError, NotADirectoryError):
        data = b""
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror})") from None
    return _lines(path, data, usable)


@contextlib.contextmanager
def growing(path: Path, usable: Usable | None = None) -> Iterator[tuple[Lines, Callable[[Any], str]]]:
    """(lines, append) of the file at `path`, which is made where it is missing, under an exclusive lock.

    append(value) writes one line, brings it to the disk before it returns, and gives the text of the line. What a kill
    has left of a line stays a line of its own. Raises OSError, and Damaged where this is no regular file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    # a link by this name leads nowhere, and a pipe is not waited for
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0) as file:
        check_open(file.fileno(), path, MOST)
        fcntl.flock(file, fcntl.LOCK_EX)
        data = file.read()
        whole = not data or data.endswith(b"\n")

        def append(value: Any) -> str:
            nonlocal whole
            line = json.dumps(clean(value), ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
            left, whole = memoryview((b"" if whole else b"\n") + line + b"\n"), False
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
            whole = True
            return line.decode("utf-8")

        if new:
            fsync(path.parent)
        yield _lines(path, data, usable), append


def entries_of(path: Path) -> tuple[list[tuple[str, Row]], list[int]]:
    """Lines of a metrics.jsonl with what they hold, and the numbers of those that are damaged, from 1: see `Lines`.

    A last line without its end is what a kill has cut off, or what a run has half written: neither whole nor damaged.
    Raises Damaged where this is no regular file that can be read; a file that is missing has no lines.
    """
    lines = read_entries(path)
    return lines.found, lines.damaged


def read_entries(path: Path) -> Lines:
    """`read_lines` of a metrics.jsonl."""
    return read_lines(path, _has_step)


def find_entries(path: Path) -> list[Row]:
    """What the lines hold that can be used: for those who show what there is."""
    with contextlib.suppress(Damaged):
        return [entry for _, entry in read_lines(path).found]  # an alarm without its step, too
    return []


def _has_step(entry: Row) -> bool:
    step = entry.get("step")
    return isinstance(step, int) and not isinstance(step, bool)


def _lines(path: Path, data: bytes, usable: Usable | None) -> Lines:
    """A line that names the last whole one as the one before it says that what lies between was cut off by a kill."""
    *ended, rest = data.split(b"\n")
    found: list[tuple[str, Row]] = []
    damaged: list[int] = []
    broken: list[int] = []
    before: str | None = None  # hash of the last line that is whole
    between: list[tuple[int, str]] = []  # lines since then that are not: numbers and hashes
    for number, line in enumerate([*ended, *([rest] if rest else [])], 1):
        row = _row(path, line, usable)
        if row is None:
            between.append((number, _hash(line)))
            continue
        named: Any = row.get("previous")
        hashes = [digest for _, digest in between]
        if "previous" not in row or named != before:
            known = "previous" in row and named in hashes  # a damaged line was there when this one was written
            damaged += [n for n, _ in between[: hashes.index(named) + 1 if known else None]]
            broken += [number] if "previous" in row and not between else []
        found.append((line.decode("utf-8"), row))
        before, between = _hash(line), []
    cut = bool(rest) and bool(between)
    damaged += [number for number, _ in (between[:-1] if cut else between)]
    last = rest if rest and not cut else ended[-1] if ended else None
    return Lines(path, found, damaged, broken, None if last is None else _hash(last))


def _row(path: Path, line: bytes, usable: Usable | None) -> Row | None:
    try:
        value = parse(path, line)
    except Damaged:
        return None
    return value if isinstance(value, dict) and (usable is None or usable(value)) else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
