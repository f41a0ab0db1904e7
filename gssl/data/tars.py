"""Files inside tar archives, which are read where they lie: nothing is ever unpacked.

A path that goes on behind an archive, `shards/train-000.tar/n01/7.jpg`, names a member of it. An archive is read from
its beginning to its end once (`members`). From then on a member is read by itself: of a plain archive at its place, of
one that gzip compressed by a stream that only goes forward.

A member's name is a key and never a path: what is absolute or leads upwards stays inside the archive. Links are never
followed. No torch here.
"""

import atexit
import gzip
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import IO, Any, NamedTuple

from gssl.data import checksums
from gssl.errors import UsageError

SUFFIXES = (".tar", ".tar.gz", ".tgz")
OTHERS = {  # by how they begin, which no name of a first member does
    "bzip2": re.compile(rb"BZh\d1AY&SY"),
    "xz": re.compile(rb"\xfd7zXZ"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "zip": re.compile(rb"PK\x03\x04"),
}
GZIP = b"\x1f\x8b"
HEADER = 1 << 24  # bytes that a header may have, long names and all
MOST = 1 << 29  # bytes of a member that are read
AFTER = 1 << 20  # bytes behind an archive's end that are looked at
STREAMS = 32  # that wait for whoever reads on
INSIDE = re.compile(r"\.(?:tar|tgz|tar\.gz)(?=/)", re.IGNORECASE)


class Broken(ValueError):
    """An archive that cannot be read, or not to its end."""


class Member(NamedTuple):
    """name: as the archive has it; kind: file, folder, link or other; place: where its bytes begin, and how many."""

    name: str
    kind: str
    place: tuple[int, int]


Places = dict[str, tuple[int, int]]  # of the members, by their names as `inside` gives them


def is_tar(name: str) -> bool:
    """Whether a file of this name is an archive that is read."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def inside(name: str) -> str:
    """The path of a member below its archive: of `/a/../b.jpg` it is `a/__/b.jpg`."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join("__" if part == ".." else part for part in parts)


# ── from the beginning to the end ────────────────────────────────────────────────────────────────


def members(path: str, take: Callable[[Member, IO[bytes]], None]) -> list[int]:
    """Call `take` with every member of an archive in its order, and a file that stands where its bytes begin.

    Returns the archive's signature (`checksums.signature`). Errors: Broken; OSError; what `take` raises.
    """
    with checksums.opened(path) as handle, open(handle, "rb", closefd=False) as raw, _explained():
        signature = checksums.signature(os.fstat(handle))
        file = _content(raw)
        for member in _members(file):
            file.seek(member.place[0])
            take(member, file)
        if checksums.signature(os.fstat(handle)) != signature:
            raise Broken("was written to while it was read")
    return signature


def _content(raw: IO[bytes]) -> IO[bytes]:
    """The archive in a file, which may be compressed. Raises Broken."""
    head = raw.read(16)
    raw.seek(0)
    if other := next((name for name, start in OTHERS.items() if start.match(head)), None):
        raise Broken(f"is compressed by {other}, and gzip alone is read")
    return gzip.GzipFile(fileobj=raw) if head.startswith(GZIP) else raw  # type: ignore[return-value]


def _members(file: IO[bytes]) -> Iterator[Member]:
    forward = _Forward(file)
    archive = tarfile.TarFile(fileobj=forward, encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
    last = -1
    while (found := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # there may be millions
        if found.size < 0 or found.offset <= last:
            raise Broken("has a header that leads backwards")
        last = found.offset
        yield Member(found.name, _kind(found), (found.offset_data, found.size))
    if len(forward.last) < tarfile.BLOCKSIZE:
        raise Broken("ends early")
    if any(forward.last):
        raise Broken("has a damaged header")
    if any(file.read(AFTER)):
        raise Broken("has more behind its end: of archives that were put together the first alone would be read")


@contextmanager
def _explained() -> Iterator[None]:
    """What tarfile and gzip raise on malformed input becomes Broken."""
    try:
        yield
    except (Broken, UsageError, MemoryError):
        raise
    except EOFError as error:
        raise Broken("ends early") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk
            raise
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise Broken("ends early" if "unexpected end" in text else f"is no tar archive, or damaged ({text})") from error


def _kind(found: tarfile.TarInfo) -> str:
    if found.isdir():
        return "folder"
    if found.issym() or found.islnk():
        return "link"
    return "file" if found.isreg() and not found.issparse() else "other"


class _Forward:
    """What tarfile reads headers from. Its last block tells an archive's end from one that is missing."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.last = file, b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER:
            raise Broken("has a header that is too large")
        self.last = self.file.read(size)
        return self.last

    def seek(self, place: int) -> int:
        if place < 0:
            raise Broken("has a header that leads backwards")
        return self.file.seek(place)

    def tell(self) -> int:
        return self.file.tell()


# ── one member ───────────────────────────────────────────────────────────────────────────────────


def know(path: str, places: Callable[[], tuple[list[int], Places]]) -> None:
    """Tell where the members of an archive lie, so that nobody looks for them again.

    places: gives the signature that the archive had, and the places; called when a member is read.
    """
    _known[os.path.abspath(path)] = places


def signature(path: str) -> list[int]:
    """As `checksums.signature`: the size of a member, and the rest of its archive. Raises OSError."""
    archive, name = _divided(path)
    with checksums.opened(archive) as handle:
        own = checksums.signature(os.fstat(handle))
    return [_place(archive, name, own)[1], *own[1:]]


def read(path: str) -> bytes:
    """All bytes of a member. Errors: OSError, also where its archive was changed since; Broken."""
    archive, name = _divided(path)
    with checksums.opened(archive) as handle:
        own = checksums.signature(os.fstat(handle))
        start, size = _place(archive, name, own)
        if size > MOST:
            raise Broken(f"has {size:,} bytes, more than the {MOST:,} that are read")
        zipped = os.pread(handle, 2, 0) == GZIP
        try:
            found = _streams.read(archive, own, handle, start, size) if zipped else os.pread(handle, size, start)
        except (EOFError, zlib.error) as error:
            raise OSError(f"{archive} is damaged") from error
    if len(found) != size:
        raise OSError(f"{archive} ends early")
    return found


def _divided(path: str) -> tuple[str, str]:
    """The archive, and the member of it that a path leads to. Raises OSError where there is no archive on the way."""
    for match in INSIDE.finditer(path):
        if os.path.isfile(path[: match.end()]):
            return path[: match.end()], path[match.end() + 1 :]
    raise FileNotFoundError(2, "no such file", path)


_known: dict[str, Callable[[], tuple[list[int], Places]]] = {}


def _place(archive: str, name: str, own: list[int]) -> tuple[int, int]:
    places = _places(os.path.abspath(archive), tuple(own))
    if name not in places:
        raise FileNotFoundError(2, "no such member", f"{archive}/{name}")
    return places[name]


@lru_cache(maxsize=16)
def _places(archive: str, own: tuple[int, ...]) -> Places:
    """Of the members of an archive, as it is now."""
    if archive in _known:
        before, found = _known[archive]()
        if before != list(own):
            raise OSError(f"{archive} was changed since it was read first")
        return found
    found = {}

    def take(member: Member, file: IO[bytes]) -> None:
        if member.kind == "file":
            found.setdefault(inside(member.name), member.place)

    members(archive, take)
    return found


class _Streams:
    """Archives that gzip compressed, each opened as often as they are read at a time.

    Whoever wants a member takes the stream that stands nearest before it. Members that are read in order, by several
    threads too, cost one pass; a step back costs reading from the beginning.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[tuple[tuple[object, ...], gzip.GzipFile]] = []

    def read(self, archive: str, own: list[int], handle: int, start: int, size: int) -> bytes:
        key = (os.getpid(), archive, *own)  # a process that was forked shares the place in a file
        with self._lock:
            near = [i for i, (other, file) in enumerate(self._idle) if other == key and file.tell() <= start]
            file = self._idle.pop(max(near, key=lambda i: self._idle[i][1].tell()))[1] if near else None
        file = file or gzip.GzipFile(fileobj=open(os.dup(handle), "rb"))  # noqa: SIM115  closed with the stream
        try:
            file.seek(start)
            found = file.read(size)
        except BaseException:
            _close(file)
            raise
        with self._lock:
            self._idle.append((key, file))
            spare = self._idle.pop(0)[1] if len(self._idle) > STREAMS else None
        if spare is not None:
            _close(spare)
        return found

    def close(self) -> None:
        """Close those that wait."""
        with self._lock:
            while self._idle:
                _close(self._idle.pop()[1])


def _close(stream: gzip.GzipFile) -> None:
    raw: Any = stream.fileobj  # which a GzipFile that was given it leaves open
    stream.close()
    raw.close()


_streams = _Streams()
atexit.register(_streams.close)
