"""Files of JSON lines that only grow, written by several processes at a time. No torch here."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gssl.engine.files import clean, fsync


@contextlib.contextmanager
def growing(path: Path) -> Iterator[tuple[list[str], Callable[[Any], str]]]:
    """(lines, append) of the file at `path`, which is made where it is missing, under an exclusive lock.

    lines: as they were found, without line ends. append(value) writes one line, brings it to the disk before it
    returns, and gives the text of the line. What a kill has left of a line stays a line of its own. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a+", encoding="utf-8") as file:
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
