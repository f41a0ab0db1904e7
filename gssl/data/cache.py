"""Decoded images on disk: one memory-mapped uint8 store per content key, built once and under a lock.

An entry is a directory `$GSSL_CACHE/images/<key>` (default `~/.cache/gssl`) that holds `pixels.bin`
(all images one after another, each (h, w, c) in C order), `shapes.npy` (int32 (N, 2)), `hashes.npy`
(uint8 (N, 16)), further arrays of the source and `meta.json`. A column beside the pixels, such as `mask`, adds
`mask.bin` and `mask_hashes.npy` (`gssl.data.columns`). An entry appears by one rename and never changes.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gssl.data.columns import HASH, Column, column_hash, open_column
from gssl.data.draws import digest
from gssl.errors import UsageError

FORMAT = 1  # part of every key: raise it when what is stored changes


def cache_root() -> Path:
    """`$GSSL_CACHE`, or `~/.cache/gssl`."""
    return Path(os.environ.get("GSSL_CACHE") or "~/.cache/gssl").expanduser()


def entry_key(*parts: object) -> str:
    """The name of the entry that these parts determine."""
    return digest("gssl.images", FORMAT, *parts).hex()


class Store:
    """A finished entry, opened read-only; pickles as its path.

    pixels: uint8 (N, H, W, C) where all sizes agree (`uniform`), else flat, image i at `offsets[i]`.
    shapes: int32 (N, 2) heights and widths; hashes: uint8 (N, 16); meta: the source's own facts.
    columns: what is stored beside the pixels, by name.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.meta: dict[str, Any] = json.loads((self.path / "meta.json").read_text())
        self.channels: int = self.meta["channels"]
        self.shapes = np.load(self.path / "shapes.npy")
        self.hashes = np.load(self.path / "hashes.npy")
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

    def __len__(self) -> int:
        return len(self.shapes)

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.path,)

    def array(self, name: str) -> np.ndarray:
        """An array that the source stored beside the pixels, such as its labels."""
        return np.load(self.path / f"{name}.npy")

    def image(self, row: int) -> np.ndarray:
        """uint8 (h, w, c), a read-only view."""
        if self.uniform:
            return self.pixels[row]
        part = self.pixels[self.offsets[row] : self.offsets[row + 1]]
        return part.reshape(*self.shapes[row], self.channels)


class Writer:
    """Fills an entry image by image. Grey and colour may be mixed: then `finish` replicates grey to RGB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        """Write what belongs to the pixels and bring everything to the disk."""
        self._file.flush()
        shapes = np.array(self._shapes, dtype=np.int32).reshape(-1, 3)
        if len(set(shapes[:, 2].tolist())) > 1:
            self._replicate_grey(shapes)
        os.fsync(self._file.fileno())
        np.save(self.folder / "shapes.npy", shapes[:, :2])
        hashes = np.frombuffer(b"".join(self._hashes), dtype=np.uint8).reshape(-1, HASH)
        np.save(self.folder / "hashes.npy", hashes)
        for name, value in arrays.items():
            np.save(self.folder / f"{name}.npy", value)
        for name, (column, contents) in self._columns.items():
            column.flush()
            os.fsync(column.fileno())
            np.save(self.folder / f"{name}_hashes.npy", np.frombuffer(b"".join(contents), np.uint8).reshape(-1, HASH))
        meta = meta | ({"columns": list(self._columns)} if self._columns else {})
        channels = int(shapes[:, 2].max(initial=1))
        with open(self.folder / "meta.json", "w") as file:
            json.dump({"format": FORMAT, "channels": channels, **meta}, file)
            file.flush()
            os.fsync(file.fileno())

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


def entry(key: str, need: Callable[[], int], build: Callable[[Writer], None]) -> Store:
    """The entry `key`; where it is missing or damaged, `build` fills it while other processes wait.

    need() estimates the bytes of the pixels. Errors: UsageError where the cache cannot be written or the
    disk is too small; whatever `build` raises (nothing is left behind then).
    """
    folder = cache_root() / "images"
    store = _open(folder / key)
    if store is not None:
        return store
    with _writable(folder), _lock(folder / f"{key}.lock"):
        store = _open(folder / key)  # another process may have built it while this one waited
        if store is not None:
            return store
        shutil.rmtree(folder / key, ignore_errors=True)
        part = folder / f"{key}.part"
        shutil.rmtree(part, ignore_errors=True)  # of a killed process: whoever holds the lock owns it
        part.mkdir()
        try:
            _check_disk(folder, need())
            with contextlib.closing(Writer(part)) as writer:
                build(writer)
            os.rename(part, folder / key)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise UsageError(
                f"GSSL_CACHE: the disk of {folder} is full; make room or set GSSL_CACHE to a larger disk"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return Store(folder / key)


def remembered(kind: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array that `make` gives, computed once for `key` while other processes wait, and read from then on.

    Errors: UsageError where the cache cannot be written; whatever `make` raises.
    """
    folder = cache_root() / kind
    file = folder / f"{key}.npy"
    found = _read(file)
    if found is not None:
        return found
    with _writable(folder), _lock(folder / f"{key}.lock"):
        found = _read(file)
        if found is None:
            found = make()
            handle, temporary = tempfile.mkstemp(dir=folder)
            with open(handle, "wb") as out:
                np.save(out, found)
            os.replace(temporary, file)
        return found


@contextlib.contextmanager
def alone(folder: Path, key: str) -> Iterator[None]:
    """`folder` is there and can be written, and no other process is at `key` in it. Raises UsageError."""
    with _writable(folder), _lock(folder / f"{key}.lock"):
        yield


def join(root: Path, names: Sequence[str]) -> list[str]:
    """Paths as strings: a Path per file would double the time of a warm start. Absolute names stay."""
    return [name if name.startswith("/") else f"{root}/{name}" for name in names]


Progress = Callable[[int], contextlib.AbstractContextManager[Callable[[int], None]]]


def contents(root: Path, names: Sequence[str], threads: int = 1, watch: Progress | None = None) -> list[str]:
    """Content hashes (hex) of the files `root/name`.

    An index by (size, modification time) makes a second call read no file. Unreadable files give "".
    watch(n) is entered where n files must be read; what it yields is called with counts as they are done.
    """
    folder = cache_root() / "index"
    index_file = folder / f"{digest(root.resolve()).hex()}.json"
    try:
        index = json.loads(index_file.read_text())
    except (OSError, ValueError):
        index = {}
    paths = join(root, names)
    stats = [_stat(path) for path in paths]
    known = [index.get(name) for name in names]
    stale = [i for i, (a, b) in enumerate(zip(stats, known, strict=True)) if not b or b[:2] != a]
    if not stale:
        return [k[2] for k in known]
    with ThreadPoolExecutor(threads) as pool, watch(len(stale)) if watch else _silent() as advance:
        for start in range(0, len(stale), 1024):
            part = stale[start : start + 1024]
            for i, content in zip(part, pool.map(lambda i: _file_hash(paths[i]), part), strict=True):
                known[i] = [*stats[i], content]
            advance(len(part))
    merged = index | {name: k for name, k in zip(names, known, strict=True) if k[2]}
    with _writable(folder):
        handle, temporary = tempfile.mkstemp(dir=folder)
        with open(handle, "w") as file:
            json.dump(merged, file)
        os.replace(temporary, index_file)
    return [k[2] for k in known]


def _open(path: Path) -> Store | None:
    try:
        return Store(path)
    except (OSError, ValueError, KeyError):
        return None


def _read(file: Path) -> np.ndarray | None:
    try:
        found: np.ndarray = np.load(file)
        return found
    except (OSError, ValueError, EOFError):
        return None


def _stat(path: str) -> list[int]:
    try:
        stat = os.stat(path)
    except OSError:
        return [-1, -1]
    return [stat.st_size, stat.st_mtime_ns]


def _file_hash(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return blake2b(file.read(), digest_size=HASH).hexdigest()
    except OSError:
        return ""


def _check_disk(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UsageError(
            f"GSSL_CACHE: the decoded images need about {need / 1e9:.1f} GB but {folder} has"
            f" {free / 1e9:.1f} GB free; set GSSL_CACHE to a folder on a larger disk or lower data.size"
        )


@contextlib.contextmanager
def _silent() -> Iterator[Callable[[int], None]]:
    yield lambda count: None


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError
    except OSError as error:
        raise UsageError(
            f"GSSL_CACHE: cannot write to {folder}; set GSSL_CACHE to a folder that can be written"
        ) from error
    yield


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """An exclusive lock between processes; the kernel drops it when its holder dies."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
