"""What a data set carries: named, typed columns over its rows.

`image` stands in the store itself (uint8 pixels) and `label` in memory (`gssl.data.images`). What else belongs to an
image is a `Column` of the store: it knows its storage, how a batch of it is made, and its content hashes. A source
writes it with `Writer.add(…, mask=…)`, and `Images.fetch` brings it in every batch under its name. `TARGETS` lists
what can be learned and predicted. A new kind of column is a class here, a file in `transforms/` and a source.
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np

IGNORE = 255  # class id of mask pixels that are neither learned from nor scored
HASH = 16  # bytes of a content hash
TARGETS = ("label", "mask")  # columns that a task predicts, in the order in which one is chosen


class Column(Protocol):
    """One column beside the pixels, memory-mapped."""

    hashes: np.ndarray  # uint8 (N, 16): equal contents, equal hash

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """The batch of `rows` (B,)."""
        ...


class MaskColumn:
    """Class ids per pixel, uint8, one map (h, w) per image and of its size; `IGNORE` where there is none.

    flat: uint8 (sum of areas,), memory-mapped; shapes: int32 (N, 2) heights and widths, those of the images.
    """

    def __init__(self, flat: np.ndarray, shapes: np.ndarray, hashes: np.ndarray) -> None:
        self.shapes, self.hashes = shapes, hashes
        self.offsets = np.concatenate([[0], np.cumsum(shapes.astype(np.int64).prod(axis=1))])
        if len(flat) != self.offsets[-1]:
            raise ValueError("the masks have the wrong length")
        self.uniform = len(shapes) > 0 and bool((shapes == shapes[0]).all())
        self.values = flat.reshape(len(shapes), *shapes[0]) if self.uniform else flat

    def mask(self, row: int) -> np.ndarray:
        """uint8 (h, w), a read-only view."""
        if self.uniform:
            return self.values[row]
        return self.values[self.offsets[row] : self.offsets[row + 1]].reshape(self.shapes[row])

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (B, H, W). Where sizes differ, masks stand in the upper left corner and `IGNORE` around them."""
        if self.uniform:
            whole = len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows)))
            return self.values[rows[0] : rows[0] + len(rows)] if whole else np.take(self.values, rows, axis=0)
        height, width = self.shapes[rows].max(axis=0, initial=0)
        out = np.full((len(rows), height, width), IGNORE, dtype=np.uint8)
        for canvas, row in zip(out, rows.tolist(), strict=True):
            own = self.mask(row)
            canvas[: own.shape[0], : own.shape[1]] = own
        return out


KINDS = {"mask": MaskColumn}  # name of a stored column → its class


def open_column(folder: Path, name: str, shapes: np.ndarray) -> Column:
    """The column `name` of an entry of the cache. Raises what a damaged entry raises: OSError, ValueError, KeyError."""
    file = folder / f"{name}.bin"
    flat = np.asarray(np.memmap(file, np.uint8, "r")) if file.stat().st_size else np.zeros(0, np.uint8)
    hashes = stored_array(folder / f"{name}_hashes.npy", np.uint8, HASH)
    if len(hashes) != len(shapes):
        raise ValueError(f"{name}_hashes.npy is not of the same images")
    return KINDS[name](flat, shapes, hashes)


def stored_array(file: Path, kind: type[np.generic], width: int) -> np.ndarray:
    """An array (N, width) of an entry of the cache. Errors: OSError; ValueError where it is anything else."""
    found = np.load(file, mmap_mode="r", allow_pickle=False)  # mapped: its header is compared with the file's size
    if not isinstance(found, np.ndarray) or found.dtype != kind or found.ndim != 2 or found.shape[1] != width:
        raise ValueError(f"{file.name} holds something else")
    return np.array(found)


def column_hash(values: np.ndarray) -> bytes:
    """Content hash of one row of a column, uint8 of any shape."""
    size = "x".join(map(str, values.shape))
    return blake2b(np.ascontiguousarray(values).data, digest_size=HASH, person=size.encode()[:16]).digest()


def target(columns: Sequence[str]) -> str | None:
    """The column that a task predicts, None where there is none."""
    return next((name for name in TARGETS if name in columns), None)
