"""What a finished run is read by beside result.json, its predictions and weights: size and sha256 of each stand in
status.json. No torch here.

Runs of earlier versions have no such list; of these only result.json is compared.
"""

import hashlib
import os
import stat
import time
from io import BufferedReader
from pathlib import Path
from typing import Any

from gssl.engine.files import find_json, read_json, sha256
from gssl.errors import Damaged

PATTERNS = ("predictions*.npz", "items.npy", "weights/*.safetensors", "weights/*.json")
OTHER = "is damaged or was changed: its sha256 is not the one that status.json records"
SETTLED = 2.0  # seconds: a file that was written less long ago may change once more under the same times

_hashed: dict[tuple[int, ...], str] = {}  # by device, inode, size and times: a file is read once per process


def listed(run: Path) -> dict[str, dict[str, Any]]:
    """{file: its size and hash} of what lies in `run` now."""
    found = sorted(path for pattern in PATTERNS for path in run.glob(pattern) if path.is_file())
    return {
        path.relative_to(run).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in dict.fromkeys(found)
    }


def on_record(run: Path) -> dict[str, dict[str, Any]] | None:
    """The list of a finished run; None where there is none: not finished, or of an earlier version."""
    status = find_json(run / "status.json") or {}
    return status.get("files") if status.get("state") == "finished" else None


def damages(run: Path, status: dict[str, Any]) -> list[Damaged]:
    """The files of a run that `status` calls finished which are gone or are not those on record, result.json first."""
    out = []
    try:
        if read_json(run / "result.json") is None:
            out.append(Damaged(run / "result.json", "is gone"))
    except Damaged as error:
        out.append(error)
    for name, known in (status.get("files") or {}).items():
        try:
            _compare(run / name, known)
        except Damaged as error:
            out.append(error)
    return out


def finished(run: Path) -> bool:
    """Whether the result is there, and all that it is read by is what was written."""
    status = find_json(run / "status.json") or {}
    return status.get("state") == "finished" and not damages(run, status)


def verified(run: Path, name: str) -> bytes:
    """The bytes of a file beside the result. Raises Damaged where it is gone, or is not the one on record."""
    known = on_record(run)
    with _opened(run / name) as file:
        data = file.read()
    if known is not None and hashlib.sha256(data).hexdigest() != known.get(name, {}).get("sha256"):
        raise Damaged(run / name, OTHER)
    return data


def _opened(path: Path) -> BufferedReader:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise Damaged(path, "is gone") from None
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Damaged(path, "is no regular file")
    return os.fdopen(handle, "rb")


def _compare(path: Path, known: dict[str, Any]) -> None:
    """Raises Damaged where the file is not as on record; what has another size is not read."""
    with _opened(path) as file:
        found = os.fstat(file.fileno())
        if found.st_size != known.get("bytes"):
            raise Damaged(path, f"has {found.st_size:,} bytes and not those that status.json records")
        key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        digest = _hashed.get(key)
        if digest is None:
            try:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise Damaged(path, f"cannot be read ({error.strerror})") from None
            if time.time() - max(found.st_mtime, found.st_ctime) > SETTLED:
                _hashed[key] = digest
        if digest != known.get("sha256"):
            raise Damaged(path, OTHER)
