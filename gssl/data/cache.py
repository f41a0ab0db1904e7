"""The cache on disk: entries of images (`gssl.data.store`), built once and under a lock, and what else is kept.

An entry is a directory `$GSSL_CACHE/images/<key>` (default `~/.cache/gssl`). It appears by one rename and never
changes; its checksums (`gssl.data.checksums`) are compared whenever it is opened, and what does not have them is built
anew.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import re
import shutil
import socket
import stat
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gssl.data import arrays, checksums, tars
from gssl.data.columns import HASH
from gssl.data.index import SIGNATURE, Index, Names
from gssl.data.store import FORMAT, Build, Store, Writer, open_store
from gssl.data.store import image_hash as image_hash
from gssl.errors import UsageError

T = TypeVar("T")
FRESH = 50_000_000  # nanoseconds: a file that changed so lately may change again without another time (coarse clocks)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a disk, a quota, a limit of file sizes
BARRED = {errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.ENXIO}
BARRED |= {errno.ELOOP, errno.ENOTDIR, errno.EISDIR}
BROKEN = (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError)  # what reading something damaged raises


def cache_root() -> Path:
    """`$GSSL_CACHE`, or `~/.cache/gssl`. Raises UsageError where there is no home directory."""
    try:
        return Path(os.environ.get("GSSL_CACHE") or "~/.cache/gssl").expanduser()
    except RuntimeError as error:  # no HOME, and no entry of this user in the system's list
        raise UsageError(
            "GSSL_CACHE: this user has no home directory to keep decoded images in; set GSSL_CACHE to a folder that"
            " can be written, or HOME"
        ) from error


def entry_key(*parts: object) -> str:
    """The name of the entry that these parts determine."""
    from gssl.data.draws import digest  # which needs torch, and the rest of this file does not

    return digest("gssl.images", FORMAT, *parts).hex()


def entry(key: str, need: Callable[[], int], build: Build, about: str = "", writer: type[Writer] = Writer) -> Store:
    """The entry `key`; where it is missing or damaged, `build` fills it while other processes wait.

    need() estimates the bytes of the images. about: what it is of, for `gssl cache list`. writer: of which kind it is.
    Errors: UsageError where the cache cannot be written or the disk is too small; whatever `build` raises (nothing is
    left behind then).
    """
    folder = cache_root() / "images"
    store, _ = _open(folder / key)
    if store is not None:
        return store
    with _writable(folder), _lock(folder / f"{key}.lock"):
        store, why = _open(folder / key)  # another process may have built it while this one waited
        if store is not None:
            return store
        if why:
            say(f"cache: {folder / key}: {why}; it is built anew")
        remove(folder / key)
        part = folder / f"{key}.part"
        remove(part)  # of a killed process: whoever holds the lock owns it
        part.mkdir()
        try:
            _check_disk(folder, need())
            with contextlib.closing(writer(part, about)) as filled:
                build(filled)
            checksums.close(part)
            os.rename(part, folder / key)
            checksums.flush(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return open_store(folder / key)


def remembered(kind: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array that `make` gives, computed once for `key` while other processes wait, and read from then on.

    Errors: UsageError where the cache cannot be written; whatever `make` raises.
    """

    def write(file: Path, found: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.save(buffer, found, allow_pickle=False)
        checksums.write(file, buffer.getvalue())

    return _once(kind, key, make, lambda file: np.load(io.BytesIO(checksums.read(file)), allow_pickle=False), write)


def remembered_arrays(kind: str, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """As `remembered`, of named arrays, which are memory-mapped."""
    return _once(kind, key, make, arrays.read, arrays.write)


def _once(kind: str, key: str, make: Callable[[], T], read: Callable[[Path], T], write: Callable[[Path, T], None]) -> T:
    folder = cache_root() / kind
    file = folder / f"{key}.sealed"
    found, _ = _read(file, read)
    if found is not None:
        return found
    with _writable(folder), _lock(folder / f"{key}.lock"):
        found, why = _read(file, read)
        if found is None:
            if why:
                say(f"cache: {file}: {why}; it is computed anew")
            found = make()
            with optional(file):
                write(file, found)
        return found


@contextlib.contextmanager
def alone(folder: Path, key: str) -> Iterator[None]:
    """`folder` is there and can be written, and no other process is at `key` in it. Raises UsageError."""
    with _writable(folder), _lock(folder / f"{key}.lock"):
        yield


def remove(path: Path) -> None:
    """Delete a folder with what it holds, or a file; of a link the link alone. Nothing where there is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def say(text: str) -> None:
    """One line on stderr, whatever folders are called."""
    print("".join(c if c.isprintable() else repr(c)[1:-1] for c in text), file=sys.stderr, flush=True)


def join(root: Path, names: Sequence[str]) -> list[str]:
    """Paths as strings: a Path per file would double the time of a warm start. Absolute names stay."""
    return [_join(root, name) for name in names]


Progress = Callable[[int], contextlib.AbstractContextManager[Callable[[int], None]]]


def contents(root: Path, names: Sequence[str], threads: int = 1, watch: Progress | None = None) -> list[str]:
    """Content hashes (hex) of the files `root/name`, "" of what is unreadable or no regular file: see `looked_up`."""
    return [content.decode() for content in looked_up(root, names, threads, watch)[1].tolist()]


def contents_of(paths: Sequence[str], threads: int = 1, watch: Progress | None = None) -> list[str]:
    """`contents` of files by their own paths, absolute or below the working directory."""
    whole = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in whole])
    return contents(Path(root), [os.path.relpath(path, root) for path in whole], threads, watch)


def looked_up(
    root: Path, names: Sequence[str], threads: int = 1, watch: Progress | None = None
) -> tuple[Names, np.ndarray]:
    """Paths of the files `root/name`, and hashes of their contents, S32 (N,), hexadecimal.

    An index by size, both times and inode makes a second call read no file. Unreadable files, and what is no regular
    file, give b"". watch(n) is entered where n files must be read; what it yields is called with counts as they are
    done.
    """
    file = index_file(root)
    index = _index(file)
    rows = index.rows(names)
    signatures = _stats(root, names)
    same = index.unchanged(rows, signatures)
    if same.all() and len(index) == len(rows) and (rows[:-1] < rows[1:]).all():
        found = index.contents  # as it is mapped
    else:
        found = np.zeros(len(names), dtype=f"S{2 * HASH}")
        found[same] = index.contents[rows[same]]
    stale = np.flatnonzero(found == b"")
    if len(stale):
        known, found = found.copy(), found.copy()
        with ThreadPoolExecutor(threads) as pool, watch(len(stale)) if watch else _silent() as advance:
            for start in range(0, len(stale), 1024):
                part = stale[start : start + 1024].tolist()
                for i, content in zip(part, pool.map(lambda i: _content(_join(root, names[i])), part), strict=True):
                    found[i] = content[-1]
                    known[i] = content[-1] if len(content) > 1 else b""
                    signatures[i] = content[:-1] if len(content) > 1 else -1
                advance(len(part))
        index, rows = index.merged(names, signatures, known, rows), np.arange(len(names))
        with _writable(file.parent), optional(file):
            index.write(file)
            index = Index.read(file)
    return Names(index.blob, index.starts, rows, str(root)), found


def index_file(root: Path) -> Path:
    """What is known of the files of a folder."""
    return cache_root() / "index" / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}.sealed"


def _join(root: Path, name: str) -> str:
    return name if name.startswith("/") else f"{root}/{name}"


def _index(file: Path) -> Index:
    """A damaged one, or one of an earlier version, costs reading the files again."""
    try:
        found = Index.read(file)
        checksums.touch(file)
        return found
    except FileNotFoundError:
        return Index.empty()
    except BROKEN as error:
        say(f"cache: {file}: {checksums.reason(error)}; the files are read again")
        return Index.empty()


def _open(path: Path) -> tuple[Store | None, str]:
    """(the entry, why there is none): the reason is empty where there never was one."""
    try:
        path.lstat()
    except OSError:
        return None, ""
    if path.is_dir() and not checksums.has_checksums(path):
        return None, "has no checksums (an earlier version wrote it, or it was not finished)"
    try:
        checksums.compare(path)
        store = open_store(path)
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno not in checksums.GONE:
            raise UsageError(
                f"GSSL_CACHE: {path} cannot be read ({error.strerror}); mend that, or delete it"
            ) from error
        return None, f"is damaged ({checksums.reason(error)})"
    checksums.touch(path / checksums.VERIFIED)
    return store, ""


def _read(file: Path, read: Callable[[Path], T]) -> tuple[T | None, str]:
    """(what was kept, why there is nothing)."""
    try:
        found = read(file)
        checksums.touch(file)
        return found, ""
    except FileNotFoundError:
        return None, ""
    except BROKEN as error:
        return None, f"is damaged ({checksums.reason(error)})"


def _stats(root: Path, names: Sequence[str]) -> np.ndarray:
    """int64 (N, 4): `checksums.signature` of every file; -1 where there is none. In one loop: there may be millions."""
    found, start, stat_of = array("q"), f"{root}/", os.stat
    for name in names:
        try:
            own = stat_of(name if name[:1] == "/" else start + name)
        except NotADirectoryError:
            found.extend(_signature(name if name[:1] == "/" else start + name))
        except OSError:
            found.extend([-1] * SIGNATURE)
        else:
            found.extend((own.st_size, own.st_mtime_ns, own.st_ctime_ns, own.st_ino))
    return np.frombuffer(found, dtype=np.int64).reshape(-1, SIGNATURE)


def _signature(path: str) -> list[int]:
    """Of what a path leads to that goes on behind a file."""
    try:
        return tars.signature(path)
    except (OSError, tars.Broken):
        return [-1] * SIGNATURE


def _content(path: str) -> list[Any]:
    """[size, both times, inode, hash] of a file, [hash] where it may change without showing, [""] where it is none."""
    try:
        with checksums.opened(path) as handle:
            before = checksums.signature(os.fstat(handle))
            content = content_of(handle)
            same = checksums.signature(os.fstat(handle)) == before
            return [*before, content] if same and quiet(before) else [content]
    except NotADirectoryError:
        return _content_inside(path)
    except OSError:
        return [""]


def _content_inside(path: str) -> list[Any]:
    """The same of a member of an archive."""
    try:
        before = tars.signature(path)
        content = content_hash(tars.read(path))
        same = tars.signature(path) == before
        return [*before, content] if same and quiet(before) else [content]
    except (OSError, tars.Broken):
        return [""]


def quiet(signature: Sequence[int]) -> bool:
    """Whether a file with this signature has one that tells of every later change."""
    return time.time_ns() - max(signature[1:3]) > FRESH


def content_hash(data: bytes) -> str:
    """What `contents` gives for a file of these bytes."""
    return blake2b(data, digest_size=HASH).hexdigest()


def content_of(handle: int) -> str:
    """The content hash of an open file."""
    found = blake2b(digest_size=HASH)
    while block := os.read(handle, 1 << 20):
        found.update(block)
    return found.hexdigest()


def _check_disk(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UsageError(
            f"GSSL_CACHE: the decoded images need about {_size(need)} but {folder} has"
            f" {_size(free)} free; set GSSL_CACHE to a folder on a larger disk or lower data.size"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


@contextlib.contextmanager
def _silent() -> Iterator[Callable[[int], None]]:
    yield lambda count: None


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """The folder is there; what goes wrong while something is written to the cache is a UsageError."""
    advice = "set GSSL_CACHE to a folder that can be written"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError
    except OSError as error:
        if error.errno in FULL:
            raise _full(folder, error) from error
        raise UsageError(f"GSSL_CACHE: cannot write to {folder}; {advice}") from error
    try:
        yield
    except OSError as error:
        ours = error.filename is None or os.fspath(error.filename).startswith(f"{cache_root()}{os.sep}")
        if ours and error.errno in FULL:
            raise _full(folder, error) from error
        if ours and error.errno in BARRED:
            raise UsageError(f"GSSL_CACHE: cannot write to {folder} ({error.strerror}); {advice}") from error
        raise


def _full(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"GSSL_CACHE: the disk of {folder} is full ({error.strerror}); make room (gssl cache prune) or set GSSL_CACHE"
        " to a larger disk"
    )


@contextlib.contextmanager
def optional(file: Path) -> Iterator[None]:
    """Writing what saves time only: where it cannot be written, that is said."""
    try:
        yield
    except OSError as error:
        say(f"cache: {file} cannot be written ({error.strerror or error}); it is computed again the next time")


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """An exclusive lock between processes; the kernel drops it when its holder dies. The file says who holds it."""
    handle = _held(path)
    try:
        with contextlib.suppress(OSError):  # a full disk; it only tells others
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _held(path: Path, patience: float = 1.0) -> int:
    """The descriptor of a lock that is held now; who holds it is said after `patience` seconds of waiting."""
    start, told = time.monotonic(), False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        try:
            own = os.fstat(handle)
            if not stat.S_ISREG(own.st_mode):
                raise OSError(errno.ENXIO, "is no regular file", str(path))
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(own, os.lstat(path)):  # else it was deleted meanwhile: another file is the lock
                return handle
        except (BlockingIOError, FileNotFoundError):
            if not told and time.monotonic() - start > patience:
                told = True
                say(f"cache: waiting for {owner(handle)}, which works on {path.with_suffix('')}")
            time.sleep(0.05)
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def owner(handle: int) -> str:
    """Who holds a lock, as far as its file says."""
    found = re.fullmatch(r"(\d+) ([\w.-]+)\n", os.pread(handle, 200, 0).decode("ascii", "replace"))
    return f"process {found[1]} on {found[2]}" if found else "another process"
