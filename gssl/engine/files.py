"""Files that are either whole or absent, and the hashes that prove it. No torch here."""

import contextlib
import hashlib
import json
import math
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from gssl.engine import shapes
from gssl.errors import Damaged

MOST, DEEPEST = 256 * 2**20, 64  # bytes and levels of a document
SEALED = ("status.json", "environment.json", "part.json", "predict.json")  # beside those that hold a sha256

UMASK = os.umask(0)  # which can only be read by setting it
os.umask(UMASK)


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
    # a name of its own: two processes may write the same file, and a link by this name leads nowhere
    handle, temp = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~UMASK)
            os.fsync(file.fileno())
        os.replace(temp, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temp)
        raise


def write_json(path: Path, value: Any) -> None:
    """`write_text` of indented JSON; NaN and Inf become null, for they are no JSON.

    Records of a run and descriptions of weights get a `checksum` of all that they hold, which `read_json` compares.
    """
    value = clean(value)
    ours = isinstance(value, dict) and str(value.get("schema")).startswith("gssl.")
    if ours and (path.name in SEALED or "sha256" in value):
        value.pop("checksum", None)
        value["checksum"] = checksum(value)
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def checksum(value: dict[str, Any]) -> str:
    """sha256 of what a document says, however it is laid out."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """The bytes of a regular file of `most` bytes or less. Raises OSError where there is none, else Damaged.

    A pipe, a device or a socket is refused, not waited for.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        check_open(handle, path, most)
        return file.read(most + 1)


def check_open(handle: int, path: Path, most: int) -> None:
    """Raises Damaged where a descriptor of `path` is of no regular file of `most` bytes or less."""
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise Damaged(path, "is no regular file")
    if found.st_size > most:
        raise Damaged(path, f"has {found.st_size:,} bytes, expected {most:,} or fewer")


def parse(path: Path, data: bytes) -> Any:
    """The JSON value that `data` of the file `path` holds. Raises Damaged: no JSON, too deep, NaN or Infinity."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except RecursionError:
        raise Damaged(path, f"is nested deeper than {DEEPEST} levels") from None
    except UnicodeDecodeError as error:
        raise Damaged(path, f"is no UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        what = "is empty" if not data.strip() else f"is no JSON ({error.msg}, line {error.lineno})"
        raise Damaged(path, what) from None
    except ValueError as error:
        raise Damaged(path, f"is no JSON ({error})") from None
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise Damaged(path, f"is nested deeper than {DEEPEST} levels")
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, float) and not math.isfinite(item):
                raise Damaged(path, "holds a number that is not finite")
        level, depth = inner, depth + 1
    return value


def read_json(path: Path, shape: Any = None) -> Any:
    """The JSON document at `path`, without its checksum; None where there is no such file.

    shape: see `gssl.engine.shapes`; None: that of documents with this name. Raises Damaged where it is not as gssl
    writes it: no regular file, no JSON, too large, too deep, not finite, wrong types, another checksum. A result.json
    must have the hash that the status.json beside it records.
    """
    try:
        data = read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror})") from None
    value = parse(path, data)
    shape = shapes.BY_NAME.get(path.name) if shape is None else shape
    if shape is not None:
        if value is None:
            raise Damaged(path, "is null")
        if wrong := shapes.mismatch(value, shape):
            raise Damaged(path, f"is not as gssl writes it ({wrong})")
        if lacking := [key for key in shapes.NEEDED.get(path.name, ()) if value.get(key) is None]:
            raise Damaged(path, f"is not as gssl writes it (no {lacking[0]})")
    ours = isinstance(value, dict) and (path.name in shapes.BY_NAME or {"schema", "sha256"} & set(value))
    if ours and "checksum" in value and value.pop("checksum") != checksum(value):
        raise Damaged(path, "is damaged or was changed: its checksum is not that of what it holds")
    if path.name == "result.json":
        known = find_json(path.with_name("status.json"))
        recorded = known.get("result_sha256") if known and known.get("state") == "finished" else None
        if recorded and hashlib.sha256(data).hexdigest() != recorded:
            raise Damaged(path, "is damaged or was changed: its sha256 is not the one that status.json records")
    return value


def find_json(path: Path, shape: Any = None) -> Any:
    """`read_json`, with None where the document cannot be used: for lists, which show what there is."""
    try:
        return read_json(path, shape)
    except Damaged:
        return None


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def clean(value: Any) -> Any:
    """`value` with non-finite floats replaced by None, paths by strings."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return str(value) if isinstance(value, Path) else value
