"""Decoded images on disk: one memory-mapped uint8 store per content key, built once and under a lock.

An entry is a directory `$GSSL_CACHE/images/<key>` (default `~/.cache/gssl`) that holds `pixels.bin`
(all images one after another, each (h, w, c) in C order), `shapes.npy` (int32 (N, 2)), `hashes.npy`
(uint8 (N, 16)), further arrays of the source and `meta.json`. A column beside the pixels, such as `mask`, adds
`mask.bin` and `mask_hashes.npy` (`gssl.data.columns`). An entry appears by one rename and never changes; its checksums
(`gssl.data.checksums`) are compared whenever it is opened, and what does not have them is built anew.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gssl.data import checksums
from gssl.data.columns import HASH, Column, column_hash, open_column, stored_array
from gssl.errors import UsageError

FORMAT = 1  # part of every key: raise it when what is stored changes
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


class Store:
    """A finished entry, opened read-only; pickles as its path.

    pixels: uint8 (N, H, W, C) where all sizes agree (`uniform`), else flat, image i at `offsets[i]`.
    shapes: int32 (N, 2) heights and widths; hashes: uint8 (N, 16); meta: the source's own facts.
    columns: what is stored beside the pixels, by name. opened: when, in nanoseconds since 1970.
    """

    def __init__(self, path: Path) -> None:
        """Raises one of `BROKEN` where the entry is not as it was written."""
        self.path, self.opened = Path(path), time.time_ns()
        self.meta: dict[str, Any] = json.loads((self.path / "meta.json").read_bytes())
        if not isinstance(self.meta, dict) or self.meta.get("channels") not in (1, 3):
            raise ValueError("meta.json does not say how many channels there are")
        self.channels: int = self.meta["channels"]
        self.shapes = stored_array(self.path / "shapes.npy", np.int32, 2)
        self.hashes = stored_array(self.path / "hashes.npy", np.uint8, HASH)
        if len(self.hashes) != len(self.shapes) or (self.shapes < 0).any():
            raise ValueError("shapes.npy and hashes.npy are not of the same images")
        areas = self.shapes.astype(np.int64).prod(axis=1) * self.channels
        self.offsets = np.concatenate([[0], np.cumsum(areas)])
        pixels = self.path / "pixels.bin"
        if pixels.stat().st_size != self.offsets[-1]:
            raise ValueError("pixels.bin has the wrong length")
        # np.asarray drops the memmap subclass, whose bookkeeping costs more than a gather
        flat = np.asarray(np.memmap(pixels, np.uint8, "r")) if self.offsets[-1] else np.zeros(0, np.uint8)
        self.uniform = len(self.shapes) > 0 and bool((self.shapes == self.shapes[0]).all())
        self.pixels = flat.reshape(len(self), *self.shapes[0], self.channels) if self.uniform else flat
        self.columns: dict[str, Column] = {
            name: open_column(self.path, name, self.shapes) for name in self.meta.get("columns", [])
        }
        # mapped now: they are those that were compared, whatever happens to the folder
        self._arrays = {p.stem: np.load(p, mmap_mode="r", allow_pickle=False) for p in self.path.glob("*.npy")}

    def __len__(self) -> int:
        return len(self.shapes)

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.path,), {"opened": self.opened}

    def array(self, name: str) -> np.ndarray:
        """An array that the source stored beside the pixels, such as its labels. Raises KeyError."""
        return np.array(self._arrays[name])

    def image(self, row: int) -> np.ndarray:
        """uint8 (h, w, c), a read-only view."""
        if self.uniform:
            return self.pixels[row]
        part = self.pixels[self.offsets[row] : self.offsets[row + 1]]
        return part.reshape(*self.shapes[row], self.channels)


class Writer:
    """Fills an entry image by image. Grey and colour may be mixed: then `finish` replicates grey to RGB."""

    def __init__(self, folder: Path, about: str = "") -> None:
        self.folder, self.about = folder, about
        self._file: BinaryIO = open(folder / "pixels.bin", "wb")  # noqa: SIM115  closed by close
        self._shapes: list[tuple[int, ...]] = []
        self._hashes: list[bytes] = []
        self._columns: dict[str, tuple[BinaryIO, list[bytes]]] = {}

    def add(self, images: Sequence[np.ndarray], hashes: Sequence[bytes], **columns: Sequence[np.ndarray]) -> None:
        """Append images, uint8 (h, w, c) with c in {1, 3}, and their `image_hash`es.

        columns: what else belongs to them, by name, e.g. mask: uint8 (h, w) each; the same names in every call.
        """
        for image, content in zip(images, hashes, strict=True):
            self._file.write(np.ascontiguousarray(image).data)
            self._shapes.append(image.shape)
            self._hashes.append(content)
        for name, rows in columns.items():
            if name not in self._columns:
                self._columns[name] = (open(self.folder / f"{name}.bin", "wb"), [])  # noqa: SIM115  closed by close
            file, contents = self._columns[name]
            for values in rows:
                file.write(np.ascontiguousarray(values).data)
                contents.append(column_hash(values))

    def finish(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Write what belongs to the pixels."""
        self._file.flush()
        shapes = np.array(self._shapes, dtype=np.int32).reshape(-1, 3)
        if len(set(shapes[:, 2].tolist())) > 1:
            self._replicate_grey(shapes)
        np.save(self.folder / "shapes.npy", shapes[:, :2])
        hashes = np.frombuffer(b"".join(self._hashes), dtype=np.uint8).reshape(-1, HASH)
        np.save(self.folder / "hashes.npy", hashes)
        for name, value in arrays.items():
            np.save(self.folder / f"{name}.npy", value)
        for name, (column, contents) in self._columns.items():
            column.flush()
            np.save(self.folder / f"{name}_hashes.npy", np.frombuffer(b"".join(contents), np.uint8).reshape(-1, HASH))
        meta = meta | ({"columns": list(self._columns)} if self._columns else {})
        channels = int(shapes[:, 2].max(initial=1))
        with open(self.folder / "meta.json", "w") as file:
            json.dump({"format": FORMAT, "channels": channels, "about": self.about, **meta}, file)

    def close(self) -> None:
        """Close the files, finished or not."""
        self._file.close()
        for file, _ in self._columns.values():
            file.close()

    def _replicate_grey(self, shapes: np.ndarray) -> None:
        self._file.close()
        mixed = self.folder / "mixed.bin"
        os.rename(self.folder / "pixels.bin", mixed)
        self._file = open(self.folder / "pixels.bin", "wb")  # noqa: SIM115
        with open(mixed, "rb") as source:
            for height, width, channels in shapes.tolist():
                raw = np.frombuffer(source.read(height * width * channels), dtype=np.uint8)
                self._file.write(np.repeat(raw, 3 // channels).data)
        mixed.unlink()
        self._file.flush()


def image_hash(image: np.ndarray) -> bytes:
    """Content hash of one image, uint8 (h, w, c). Grey and its RGB replica hash alike."""
    height, width, channels = image.shape
    rgb = np.repeat(image, 3, axis=2) if channels == 1 else np.ascontiguousarray(image)
    return blake2b(rgb.data, digest_size=HASH, person=f"{height}x{width}".encode()[:16]).digest()


def entry(key: str, need: Callable[[], int], build: Callable[[Writer], None], about: str = "") -> Store:
    """The entry `key`; where it is missing or damaged, `build` fills it while other processes wait.

    need() estimates the bytes of the pixels. about: what it is of, for `gssl cache list`. Errors: UsageError where the
    cache cannot be written or the disk is too small; whatever `build` raises (nothing is left behind then).
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
            with contextlib.closing(Writer(part, about)) as writer:
                build(writer)
            checksums.close(part)
            os.rename(part, folder / key)
            checksums.flush(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return Store(folder / key)


def remembered(kind: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array that `make` gives, computed once for `key` while other processes wait, and read from then on.

    Errors: UsageError where the cache cannot be written; whatever `make` raises.
    """
    folder = cache_root() / kind
    file = folder / f"{key}.sealed"
    found, _ = _read(file)
    if found is not None:
        return found
    with _writable(folder), _lock(folder / f"{key}.lock"):
        found, why = _read(file)
        if found is None:
            if why:
                say(f"cache: {file}: {why}; it is computed anew")
            found = make()
            buffer = io.BytesIO()
            np.save(buffer, found, allow_pickle=False)
            with optional(file):
                checksums.write(file, buffer.getvalue())
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
    return [name if name.startswith("/") else f"{root}/{name}" for name in names]


Progress = Callable[[int], contextlib.AbstractContextManager[Callable[[int], None]]]


def contents(root: Path, names: Sequence[str], threads: int = 1, watch: Progress | None = None) -> list[str]:
    """Content hashes (hex) of the files `root/name`.

    An index by size, both times and inode makes a second call read no file. Unreadable files, and what is no regular
    file, give "". watch(n) is entered where n files must be read; what it yields is called with counts as they are
    done.
    """
    folder = cache_root() / "index"
    index_file = folder / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]}.sealed"
    index = _index(index_file)
    paths = join(root, names)
    stats = [_stat(path) for path in paths]
    known: list[list[Any]] = [index.get(name) or [""] for name in names]
    stale = [i for i, (a, b) in enumerate(zip(stats, known, strict=True)) if not b[-1] or b[:-1] != a]
    if not stale:
        return [k[-1] for k in known]
    with ThreadPoolExecutor(threads) as pool, watch(len(stale)) if watch else _silent() as advance:
        for start in range(0, len(stale), 1024):
            part = stale[start : start + 1024]
            for i, content in zip(part, pool.map(lambda i: _content(paths[i]), part), strict=True):
                known[i] = content
            advance(len(part))
    merged = index | {name: k for name, k in zip(names, known, strict=True) if len(k) > 1}
    with _writable(folder), optional(index_file):
        checksums.write(index_file, json.dumps(merged).encode())
    return [k[-1] for k in known]


def _index(file: Path) -> dict[str, Any]:
    """Name → [size, both times, inode, content hash]. A damaged one costs reading the files again."""
    try:
        found = json.loads(checksums.read(file))
        checksums.touch(file)
        return found if isinstance(found, dict) else {}
    except FileNotFoundError:
        return {}
    except BROKEN as error:
        say(f"cache: {file}: {checksums.reason(error)}; the files are read again")
        return {}


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
        store = Store(path)
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno not in checksums.GONE:
            raise UsageError(
                f"GSSL_CACHE: {path} cannot be read ({error.strerror}); mend that, or delete it"
            ) from error
        return None, f"is damaged ({checksums.reason(error)})"
    checksums.touch(path / checksums.VERIFIED)
    return store, ""


def _read(file: Path) -> tuple[np.ndarray | None, str]:
    """(the array, why there is none)."""
    try:
        found = np.load(io.BytesIO(checksums.read(file)), allow_pickle=False)
        checksums.touch(file)
        return found, ""
    except FileNotFoundError:
        return None, ""
    except BROKEN as error:
        return None, f"is damaged ({checksums.reason(error)})"


def _stat(path: str) -> list[int]:
    try:
        return checksums.signature(os.stat(path))
    except OSError:
        return []


def _content(path: str) -> list[Any]:
    """[size, both times, inode, hash] of a file, [hash] where it may change without showing, [""] where it is none."""
    try:
        with checksums.opened(path) as handle:
            before = checksums.signature(os.fstat(handle))
            content = content_of(handle)
            quiet = checksums.signature(os.fstat(handle)) == before and time.time_ns() - max(before[1:3]) > FRESH
            return [*before, content] if quiet else [content]
    except OSError:
        return [""]


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
