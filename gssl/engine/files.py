"""Files that are either whole or absent, and the hashes that prove it. No torch here."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Push a file or directory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    r"""Write atomically: a reader sees the old file or the new one, never a part.

    Bytes of a file's name that are no UTF-8 are written as \udcNN, which JSON reads back as they were.
    """
    temp = path.with_name(f".{path.name}.tmp")
    temp.write_text(text, encoding="utf-8", errors="backslashreplace")
    fsync(temp)
    temp.replace(path)


def write_json(path: Path, value: Any) -> None:
    """`write_text` of indented JSON; NaN and Inf become null, for they are no JSON."""
    write_text(path, json.dumps(clean(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON document at `path`, or None where there is no readable one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def clean(value: Any) -> Any:
    """`value` with non-finite floats replaced by None, paths by strings."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return str(value) if isinstance(value, Path) else value
