"""What went wrong with the machine, in words that say what to do: memory and disks. No torch here."""

import errno
import re
from pathlib import Path
from typing import Any

from gssl.engine import limits
from gssl.errors import UsageError

MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|cannot allocate memory|bad_alloc|ALLOC_FAILED",
    re.IGNORECASE,
)
BYTES = re.compile(r"tried to allocate (\d+) bytes|Tried to allocate ([\d.]+) ([KMG])i?B", re.IGNORECASE)
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
DISK = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "your quota of the disk is used up; free some space",
    errno.EIO: "the disk could not be read or written; look at it",
    errno.EROFS: "the disk cannot be written; choose another place",
    errno.EFBIG: "this file would be larger than may be written here (ulimit -f); raise that limit",
    errno.EMFILE: "too many open files (ulimit -n); raise that limit",
    errno.ENFILE: "too many open files on this machine; close some",
}
NUMBER = re.compile(r"\(os error (\d+)\)")  # safetensors' words for a number of errno
TOO_LONG = "a path has 4000 bytes at most, and 255 between slashes; choose a shorter one"
THREADS = "can't start new thread"


def told(error: BaseException, cfg: Any = None, where: Path | None = None) -> str | None:
    """One line about memory or a disk, with what to do; None where `error` is of another kind.

    where: the run directory, whose name stands there where the error names no file.
    """
    text, number = str(error), number_of(error)
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return f"out of memory{_asked(text)}; {_advice(cfg)}"
    if isinstance(error, RuntimeError) and MEMORY.search(text):
        return f"out of memory{_asked(text)}; {_advice(cfg)}"
    if isinstance(error, RuntimeError) and THREADS in text:
        return "no thread can be started: memory or processes are limited (ulimit -u, -v); raise that limit"
    if number not in DISK:
        return None
    name = (error.filename if isinstance(error, OSError) else None) or where
    again = "go on with resume=auto" if where else "start again"
    return f"{f'{name}: ' if name else ''}{DISK[number]}, then {again}"


def misnamed(error: BaseException) -> str | None:
    """One line where a path is longer than any disk takes: it was given so. None where `error` is of another kind."""
    if number_of(error) != errno.ENAMETOOLONG:
        return None
    name = error.filename if isinstance(error, OSError) else None
    return f"{name}: {TOO_LONG}" if name else TOO_LONG


def number_of(error: BaseException) -> int | None:
    """The number of an operating system's error, whoever reports it; None where it is none."""
    if isinstance(error, OSError):
        return error.errno
    found = NUMBER.search(str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(found[1]) if found else None


def check_batch(count: int, side: Any, keys: str) -> None:
    """Raises UsageError where one batch of float32 images alone would take more memory than there is.

    `side`: pixels, or (height, width). `keys`: those that the user may change, with their values.
    """
    height, width = side if isinstance(side, list | tuple) else (side, side)
    free = limits.memory()
    if free is not None and (needed := 12 * count * height * width) > free:
        raise UsageError(
            f"{keys}: one batch of {count} images takes {_size(needed)}, and {_size(free)} of memory are free;"
            " lower one of them"
        )


def _asked(text: str) -> str:
    """How much was asked for at once, where torch says so."""
    if not (found := BYTES.search(text)):
        return ""
    plain, number, unit = found.groups()
    return f" ({_size(int(plain) if plain else float(number) * UNITS[unit.upper()])} asked for at once)"


def _advice(cfg: Any) -> str:
    """Which keys make it less, with their values now."""
    keys = []
    for family in ("ssl", "gan"):
        if size := getattr(getattr(cfg, family, None), "batch_size", None):
            keys.append(f"{family}.batch_size={size}")
    if size := getattr(getattr(cfg, "data", None), "size", None):
        keys.append(f"data.size={size}")
    lower = f"lower {' or '.join(keys)}" if keys else "lower data.size, or the batch size"
    parts = getattr(getattr(cfg, "engine", None), "accumulate", None)
    return lower + (f", or cut batches into more parts: engine.accumulate={2 * parts}" if parts else "")


def _size(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
