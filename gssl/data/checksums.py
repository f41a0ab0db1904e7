"""Checksums of what the cache holds: whatever was damaged or changed is found before it is used.

A folder has a file `checksums` with the SHA-256 of every block of every file; `verified` has sizes, times and inodes of
the files as they were when all blocks were last compared. A folder of at most `SMALL` bytes is compared whole whenever
it is opened, and so are the files of few blocks in every folder. Of larger files `SAMPLES` blocks are compared, others
each time, as long as `verified` holds; where it does not, something has written to them, and all blocks are compared.

A single file is sealed: its first line is the SHA-256 of its name, that of its folder and the rest. What stands in the
place of something else is damaged, too.
"""

import errno
import hashlib
import json
import mmap
import os
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 1 << 22  # bytes
HEAD = 65  # bytes of a seal and its line's end
SMALL = 1 << 26  # bytes: a few hundredths of a second
SAMPLES = 8
MOST = 1 << 24  # bytes of a JSON document that are read
CHECKSUMS, VERIFIED = "checksums", "verified"
SCHEMA = "gssl.checksums/1"
GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO, errno.ENXIO)


class Damaged(ValueError):
    """What the cache holds is not what was written; the message says in what."""


def reason(error: BaseException) -> str:
    """What is wrong, in a few words."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:160] or type(error).__name__


# ── files ────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def opened(path: str | Path, follow: bool = True) -> Iterator[int]:
    """A descriptor of a regular file, to read; never waits. Errors: OSError, also where it is anything else.

    follow: symbolic links are followed.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.ENXIO, "is no regular file", str(path))
        yield handle
    finally:
        os.close(handle)


def signature(found: os.stat_result) -> list[int]:
    """What changes with a file's content: size, both times (no tool puts the second one back) and the inode."""
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def stat_of(path: Path) -> os.stat_result:
    """Of a regular file. Raises OSError, also where it is anything else."""
    with opened(path, follow=False) as handle:
        return os.fstat(handle)


def touch(path: Path) -> None:
    """Note that it was used now, where that can be noted."""
    with suppress(OSError):
        os.utime(path)


def sync(folder: Path) -> None:
    """Bring the files of a folder, and then their names, to the disk: together, for a disk waits once for all."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(flush, sorted(folder.iterdir())))
    flush(folder)


def flush(path: Path) -> None:
    """Bring a file's content or a folder's names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ── single files ─────────────────────────────────────────────────────────────────────────────────


def sealed(body: bytes, path: Path) -> bytes:
    """The content of a sealed file at `path`."""
    return _seal(path, body) + b"\n" + body


def unsealed(data: bytes, path: Path) -> bytes:
    """The body of a sealed file at `path`. Raises Damaged."""
    body = data[HEAD:]
    if data[HEAD - 1 : HEAD] != b"\n" or _seal(path, body) != data[: HEAD - 1]:
        raise Damaged("its checksum does not hold")
    return body


def _seal(path: Path, *body: Any) -> bytes:
    where = f"{path.parent.name.removesuffix('.part')}/{path.name}\n".encode(errors="surrogateescape")
    found = hashlib.sha256(where)
    for part in body:
        found.update(part)
    return found.hexdigest().encode()


def read(path: Path) -> bytes:
    """The body of the sealed file at `path`. Errors: Damaged; OSError, where it cannot be read."""
    with opened(path) as handle:
        return unsealed(b"".join(iter(lambda: os.read(handle, BLOCK), b"")), path)


def mapped(path: Path) -> np.ndarray:
    """uint8: the body of the sealed file at `path`, memory-mapped. Errors: Damaged; OSError."""
    with opened(path) as handle:
        if os.fstat(handle).st_size < HEAD:
            raise Damaged("its checksum does not hold")
        whole = np.frombuffer(mmap.mmap(handle, 0, access=mmap.ACCESS_READ), np.uint8)
    body = whole[HEAD:]
    if whole[HEAD - 1] != ord("\n") or _seal(path, body) != whole[: HEAD - 1].tobytes():
        raise Damaged("its checksum does not hold")
    return body


def read_named(path: Path) -> bytes:
    """The content of the file at `path` that is called by `name_of`, with any suffix. Errors: Damaged; OSError."""
    with opened(path, follow=False) as handle:
        data = b"".join(iter(lambda: os.read(handle, BLOCK), b""))
    if name_of(data, path.parent) != path.stem:
        raise Damaged("its name is not the hash of its content, or an earlier version wrote it")
    return data


def name_of(data: bytes, folder: Path) -> str:
    """The name of a file with this content in a folder, whose name is part of it."""
    return hashlib.blake2b(data, digest_size=20, key=folder.name.encode()[:64]).hexdigest()


def start_of(path: Path) -> bytes:
    """The first `MOST` bytes of a regular file. Raises OSError."""
    with opened(path) as handle, open(handle, "rb", closefd=False) as file:
        return file.read(MOST)


def read_summed(path: Path, key: str) -> Any:
    """What stands under `key` in a JSON document whose `sha256` is `summed` of it. Errors: Damaged; OSError."""
    data = start_of(path)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged("it is no JSON document") from error
    if not isinstance(found, dict) or key not in found or found.get("sha256") != summed(found[key]):
        raise Damaged("its checksum does not hold, or an earlier version wrote it")
    return found[key]


def summed(value: Any) -> str:
    """The SHA-256 of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write(path: Path, *body: Any) -> None:
    """A sealed file of parts of bytes, whole or not at all, and on the disk. Raises OSError."""
    put(path, _seal(path, *body), b"\n", *body)


def put(path: Path, *data: Any) -> None:
    """A file of parts of bytes, whole or not at all, and on the disk. Raises OSError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with open(handle, "wb") as file:
            file.writelines(data)
            file.flush()
            os.fsync(handle)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


# ── folders ──────────────────────────────────────────────────────────────────────────────────────


def close(folder: Path) -> None:
    """Write the checksums of all files of a finished folder, and bring everything to the disk. Raises OSError."""
    files: dict[str, tuple[int, list[str]]] = {}
    seen: dict[str, list[int]] = {}
    for path in sorted(path for path in folder.iterdir() if path.name not in (CHECKSUMS, VERIFIED)):
        with opened(path, follow=False) as handle:
            seen[path.name] = signature(os.fstat(handle))
            size = seen[path.name][0]
            files[path.name] = size, list(_hashes(handle, _blocks(size)))
    body = json.dumps({"schema": SCHEMA, "block": BLOCK, "files": files}).encode()
    (folder / CHECKSUMS).write_bytes(sealed(body, folder / CHECKSUMS))
    (folder / VERIFIED).write_bytes(sealed(json.dumps(seen).encode(), folder / VERIFIED))
    sync(folder)


def compare(folder: Path, whole: bool = False) -> None:
    """Compare the files of a folder with their checksums, all blocks or (see above) some. Errors: Damaged; OSError.

    whole: all blocks, whatever was seen.
    """
    try:
        files = _expected(read(folder / CHECKSUMS))
        seen: dict[str, list[int]] = {}
        sampled = False
        before = _seen(folder)
        small = sum(size for size, _ in files.values()) <= SMALL
        for name, (size, hashes) in files.items():
            with opened(folder / name, follow=False) as handle:
                seen[name] = signature(os.fstat(handle))
                if seen[name][0] != size:
                    raise Damaged(f"{name} has {seen[name][0]:,} bytes instead of {size:,}")
                blocks: Sequence[int] = _blocks(size)
                if not whole and not small and before.get(name) == seen[name] and len(blocks) > SAMPLES:
                    blocks, sampled = _some(len(blocks)), True
                if any(hashes[i] != own for i, own in zip(blocks, _hashes(handle, blocks), strict=True)):
                    raise Damaged(f"the checksum of {name} does not hold")
    except OSError as error:
        if error.errno in GONE:
            name = Path(error.filename or folder).name
            raise Damaged(f"{name}: {(error.strerror or str(error)).lower()}") from error
        raise
    if not sampled and before != seen:
        with suppress(OSError):  # of somebody else: all is compared the next time too
            write(folder / VERIFIED, json.dumps(seen).encode())


def has_checksums(folder: Path) -> bool:
    """Whether it was finished by a version that writes them."""
    return (folder / CHECKSUMS).exists()


def _expected(body: bytes) -> dict[str, tuple[int, list[str]]]:
    """Of each file its bytes and the hashes of its blocks. Raises Damaged."""
    try:
        found = json.loads(body)
        files = {str(name): (int(size), list(hashes)) for name, (size, hashes) in found["files"].items()}
        whole = all(len(hashes) == len(_blocks(size)) and "/" not in name for name, (size, hashes) in files.items())
        if found["schema"] != SCHEMA or found["block"] != BLOCK or not whole:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged(f"{CHECKSUMS} is of another version of gssl") from error
    return files


def _seen(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(read(folder / VERIFIED))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _blocks(size: int) -> range:
    return range(-(-size // BLOCK))


def _some(count: int) -> list[int]:
    """The first, the last and others in even steps, from another one each time."""
    step = count / (SAMPLES - 2)
    first = time.time_ns() % (int(step) + 1)
    return sorted({0, count - 1, *(min(count - 1, first + int(i * step)) for i in range(SAMPLES - 2))})


def _hashes(handle: int, blocks: Sequence[int]) -> Iterator[str]:
    def of(i: int) -> str:
        return hashlib.sha256(os.pread(handle, BLOCK, i * BLOCK)).hexdigest()[:32]

    if len(blocks) < 4:
        yield from map(of, blocks)
        return
    threads = min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(blocks), 64):  # few wait in memory, and a damaged one ends it soon
            yield from pool.map(of, blocks[start : start + 64])
