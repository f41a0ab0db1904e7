"""Images at more pixels than the store has: the same rows in the same order, decoded from their files again.

The store of a data set shrinks images whose shorter side is more than twice data.size (`gssl.data.decode`). A network
that wants larger ones gets them from the files. Data sets whose files are small, or that come as arrays, have nothing
more to give: their stored pixels are enlarged by the network's own preprocessing.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from gssl.data import cache, decode, encoding
from gssl.data.images import Images
from gssl.data.opening import is_file, signature
from gssl.data.ragged import Ragged
from gssl.errors import UsageError


class Originals(Images):
    """Images whose pixels are decoded from their files whenever they are fetched; for a single pass.

    side: files with a longer shorter side than twice this are shrunk to that, as in a store. stored_side: the same of
    the store that they have.
    """

    side: int
    stored_side: int

    @classmethod
    def of(cls, images: Images, side: int, stored_side: int) -> "Originals":
        """The same rows; `images.names` are their files."""
        rest = (images.classes, images.names, images.groups, images.stored)
        found = cls(images.store, images.rows, images.labels, *rest)
        found.side, found.stored_side = side, stored_side
        return found

    def subset(self, indices: np.ndarray) -> Images:
        return Originals.of(super().subset(indices), self.side, self.stored_side)

    def unlabelled(self) -> Images:
        return Originals.of(super().unlabelled(), self.side, self.stored_side)

    def check(self, index: int) -> None:
        """Raises UsageError where the file has another picture than the store.

        Only a file that changed since the store was opened is decoded for that: before, contents were compared.
        """
        path = self.name(index)
        try:
            if signature(path)[2] < self.store.opened:
                return
            found = encoding.again(self.store, path, self.stored_side, self.range or "full")
            same = cache.image_hash(found) == self.store.hashes[self.rows[index]].tobytes()
        except Exception as error:  # Pillow raises anything
            raise _unreadable(path, error) from error
        if not same:
            raise UsageError(f"{path}: has another picture than when it was read first; restore it, or start again")

    def fetch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """As `Images.fetch`. Raises UsageError, naming the file, where one cannot be read any more."""
        indices = np.asarray(indices, dtype=np.int64)
        with ThreadPoolExecutor(max(1, min(len(indices), decode.threads(0)))) as pool:
            found = list(pool.map(self._decoded, indices.tolist()))
        channels = max((image.shape[2] for image in found), default=self.channels)
        return {
            "label": torch.from_numpy(self.labels[indices]),
            "index": torch.from_numpy(indices.copy()),
            "extent": torch.tensor([image.shape[:2] for image in found], dtype=torch.int64).reshape(-1, 2),
            "image": Ragged(found, channels),
        }

    def _decoded(self, index: int) -> np.ndarray:
        try:
            found = decode.decode(self.name(index), self.side, self.range or "full")
        except Exception as error:  # Pillow raises anything
            raise _unreadable(self.name(index), error) from error
        self.check(index)
        return found


def at(images: Images, need: int, side: int, stored: bool = False) -> Images:
    """The images with a shorter side of at least `need` pixels, as far as their files have so many.

    side: data.size, from which the store was made. stored: as an entry of the cache, for many passes. Where the store
    has everything that there is, `images` themselves. Raises UsageError.
    """
    if not shrunk(images, need, side):
        return images
    lazy = Originals.of(images, need, side)
    return _entry(lazy) if stored else lazy


def shrunk(images: Images, need: int, side: int) -> bool:
    """Whether the files have more pixels than the store, and `need` is more than the store has."""
    if images.names is None or not len(images) or isinstance(images, Originals) or images.stored:
        return False
    short = images.store.shapes[images.rows].min(axis=1)
    return bool(((short == 2 * side) & (short < need)).any()) and is_file(images.name(0))


def _entry(lazy: Originals) -> Images:
    assert lazy.names is not None
    paths, side = [str(name) for name in lazy.names], lazy.side

    def build(writer: cache.Writer) -> None:
        decode.write_files(writer, paths, side, 0, False, lazy.range)
        if broken := json.loads((writer.folder / "meta.json").read_text())["broken"]:
            raise _unreadable(paths[broken[0][0]], broken[0][1])  # nothing is left behind
        for index in range(len(lazy)):
            lazy.check(index)

    mapped = [] if lazy.range is None else [lazy.range]
    key = cache.entry_key("again", side, lazy.store.hashes[lazy.rows].tobytes(), *mapped, *paths)
    store = cache.entry(key, lambda: decode.estimate(paths, side), build, about=os.path.commonpath(paths))
    return Images(store, np.arange(len(store)), lazy.labels, lazy.classes, lazy.names, lazy.groups)


def _unreadable(path: str, error: object) -> UsageError:
    return UsageError(f"{path}: could be read before, and not now ({error}); restore it")
