"""Features of published networks on disk, image by image: one pass for all seeds, draws, folds and runs.

`$GSSL_CACHE/features/KEY/` holds files of (ids, features). KEY is a digest of what determines features beside the
image: the network's weights and normalisation, the preprocessing with its size, which features, the device's type and
torch's version. An id is the content of the pixels or of the file that the network is given. A file's name is the hash
of its content and its folder: what does not have it is deleted and computed again. Deleting any of it is safe at any
time. At most `GSSL_FEATURES_GB` (4) gigabytes stay; the files that were not used for the longest time go first.
"""

import contextlib
import io
import math
import os
import zipfile
import zlib
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import numpy as np

from gssl.data import Images, cache, checksums, division
from gssl.data.columns import HASH
from gssl.data.memory import MemoryStore
from gssl.data.originals import Originals
from gssl.errors import UsageError

LIMIT = 4.0  # gigabytes
SUFFIX = ".npz"
DAMAGED = (*cache.BROKEN, zipfile.BadZipFile, zlib.error)


class FeatureCache:
    """Of one network, one preprocessing and one kind of features."""

    def __init__(self, key: str) -> None:
        """Raises UsageError where `GSSL_FEATURES_GB` is no number."""
        self.folder = cache.cache_root() / "features" / key
        limit()  # a wrong one is said before anything is computed
        self.known: dict[bytes, np.ndarray] = {}
        self.read: set[str] = set()

    def features(self, images: Images, compute: Callable[[Images], np.ndarray]) -> np.ndarray:
        """(n, d) float32: of images that are known from the disk, of the others by `compute`, which are then kept."""
        if isinstance(images.store, MemoryStore) or not len(images):  # made for one use
            return compute(images)
        ids: list[bytes] = []

        def absent() -> np.ndarray:
            ids.extend(image_ids(images))
            self._load()
            first = {name: i for i, name in reversed(list(enumerate(ids))) if name not in self.known}
            return np.sort(np.fromiter(first.values(), dtype=np.int64, count=len(first)))

        missing = division.current.first(absent)  # of several processes one has the cache
        found = None
        if len(missing):
            found = compute(images if len(missing) == len(images) else images.subset(missing))

        def whole() -> np.ndarray:
            if found is not None:
                new = {ids[i]: row for i, row in zip(missing.tolist(), found, strict=True)}
                self.known.update(new)
                self._keep(new)
            return np.stack([self.known[name] for name in ids])

        kept: np.ndarray = division.current.first(whole)
        return kept

    def _load(self) -> None:
        """Read the files that are new since the last time."""
        for file in sorted(self.folder.glob(f"*{SUFFIX}")):
            if file.name in self.read:
                continue
            try:
                found = stored(file)
            except DAMAGED as error:
                if not isinstance(error, FileNotFoundError):  # deleted by another process
                    cache.say(f"cache: {file}: is damaged ({checksums.reason(error)}); its features are computed again")
                with contextlib.suppress(OSError):
                    file.unlink()
                continue
            checksums.touch(file)
            self.read.add(file.name)
            self.known |= found

    def _keep(self, new: dict[bytes, np.ndarray]) -> None:
        """Write a file, whole or not at all. A disk that is full costs the file, not the run."""
        buffer = io.BytesIO()
        ids = np.frombuffer(b"".join(new), dtype=np.uint8).reshape(-1, HASH)
        np.savez(buffer, ids=ids, features=np.stack(list(new.values())))
        data = buffer.getvalue()
        name = checksums.name_of(data, self.folder) + SUFFIX
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            checksums.put(self.folder / name, data)
        except OSError:
            return
        self.read.add(name)
        shorten(self.folder.parent)


def stored(file: Path) -> dict[bytes, np.ndarray]:
    """Id → features (d,) float32 of a file. Raises one of `DAMAGED` where it is not what was written."""
    with np.load(io.BytesIO(checksums.read_named(file)), allow_pickle=False) as found:
        ids, rows = found["ids"], found["features"]
    if ids.dtype != np.uint8 or rows.dtype != np.float32 or ids.shape != (len(rows), HASH) or rows.ndim != 2:
        raise ValueError("it holds something else")
    return {name.tobytes(): row for name, row in zip(ids, rows, strict=True)}


def image_ids(images: Images) -> list[bytes]:
    """What an image's features depend on: its stored pixels, or the content of its file where that is read again."""
    if not isinstance(images, Originals):
        return [row.tobytes() for row in images.store.hashes[images.rows]]
    paths = [images.name(i) for i in range(len(images))]
    files = cache.contents_of(paths)
    for path, content in zip(paths, files, strict=True):
        if not content:
            raise UsageError(f"{path}: could be read before, and not now; restore it")
    mark = f"original/{images.side}/".encode()
    return [blake2b(mark + content.encode(), digest_size=HASH).digest() for content in files]


def shorten(root: Path) -> None:
    """Delete the files below `root` that were not used for the longest time, down to the limit. Raises UsageError."""
    bytes_at_most = limit()
    files = []
    for file in root.glob(f"*/*{SUFFIX}"):
        with contextlib.suppress(OSError):
            stat = file.stat()
            files.append((stat.st_mtime_ns, stat.st_size, file))
    total = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if total <= bytes_at_most:
            return
        with contextlib.suppress(OSError):
            file.unlink()
        total -= size


def limit() -> float:
    """Bytes of all files, at most. Raises UsageError."""
    text = os.environ.get("GSSL_FEATURES_GB") or str(LIMIT)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise UsageError(
            f"GSSL_FEATURES_GB: {text[:40]!r} is no number of gigabytes; give one such as 4, or 0 for none"
        )
    return value * 1e9
