"""Files of JSON lines that only grow, written by several processes at a time. No torch here."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gssl.engine.files import clean, fsync, parse, read_bytes
from gssl.errors import Damaged


def no_link(path: str, flags: int) -> int:
    """An `opener` of files in places that others may write to: a link by this name leads nowhere."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


@contextlib.contextmanager
def growing(path: Path) -> Iterator[tuple[list[str], Callable[[Any], str]]]:
    """(lines, append) of the file at `path`, which is made where it is missing, under an exclusive lock.

    lines: as they were found, without line ends. append(value) writes one line, brings it to the disk before it
    returns, and gives the text of the line. What a kill has left of a line stays a line of its own. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with open(path, "a+", encoding="utf-8", opener=no_link) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        whole = not text or text.endswith("\n")

        def append(value: Any) -> str:
            nonlocal whole
            line = json.dumps(clean(value), ensure_ascii=False, allow_nan=False)
            file.write(("" if whole else "\n") + line + "\n")
            file.flush()
            os.fsync(file.fileno())
            whole = True
            return line

        if new:
            fsync(path.parent)
        yield text.splitlines(), append


def parsed(lines: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Each line that is a JSON object, and the object: what a kill has cut off is none."""
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append((line, value))
    return found


def entries_of(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[int]]:
    """Lines of a metrics.jsonl with what they hold, and the numbers of those that are damaged, from 1.

    A last line without its end is what a kill has cut off, or what a run has half written: neither whole nor damaged.
    Raises Damaged where this is no regular file that can be read; a file that is missing has no lines.
    """
    try:
        data = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror})") from None
    *whole, rest = data.split(b"\n")
    found, damaged = [], []
    for number, line in enumerate(whole, 1):
        try:
            value = parse(path, line)
            step = value.get("step", 0) if isinstance(value, dict) else None
            if isinstance(step, bool) or not isinstance(step, int):
                raise Damaged(path, f"line {number} is no table with a whole step")
        except Damaged:
            damaged.append(number)
            continue
        found.append((line.decode("utf-8"), value))
    with contextlib.suppress(Damaged):
        if rest and isinstance(value := parse(path, rest), dict) and isinstance(value.get("step", 0), int):
            found.append((rest.decode("utf-8"), value))
    return found, damaged


def find_entries(path: Path) -> list[dict[str, Any]]:
    """What the lines hold that can be used: for those who show what there is."""
    with contextlib.suppress(Damaged):
        return [entry for _, entry in entries_of(path)[0]]
    return []
