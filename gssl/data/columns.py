"""What a data set carries: named, typed columns over its rows.

`image` stands in the store itself (uint8 pixels) and `label` in memory (`gssl.data.images`). What else belongs to an
image is a `Column` of the store: it knows its storage, how a batch of it is made, and its content hashes. A source
writes it with `Writer.add(…, mask=…)`, and `Images.fetch` brings it in every batch under its name. `targets` lists
what can be learned and predicted. A new kind of column is a class here, a file in `transforms/` and a source.
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from gssl.vocabulary import EOS

IGNORE = 255  # class id of mask pixels that are neither learned from nor scored
BOX = 6  # numbers of a box
NOTHING = -1  # class of what fills a batch of boxes up
END = EOS  # of a caption
HASH = 16  # bytes of a content hash
COUNTED = 64  # masks that are counted at once
MOST_KINDS = 126  # kinds of anomalies, numbered from 1
GIVEN, MADE = 0, 1  # domains of a translation without pairs
UNKNOWN_PLACE = 127  # and the number of a kind: in all pixels of an anomalous image of which it is not known where


class Rows(Protocol):
    """What a column is opened from: an entry of the cache (`gssl.data.store.Store`)."""

    path: Path
    shapes: np.ndarray  # int32 (N, 2) heights and widths of the images
    meta: dict[str, Any]
    channels: int
    uniform: bool

    def stack(self, rows: np.ndarray) -> np.ndarray: ...

    def images(self, rows: np.ndarray) -> list[np.ndarray]: ...


class Column(Protocol):
    """One column beside the pixels, memory-mapped."""

    hashes: np.ndarray  # uint8 (N, 16): equal contents, equal hash
    whole: ClassVar[bool]  # whether it holds the image too, so that two rows are the same where it is

    def class_counts(self, rows: np.ndarray, classes: int) -> list[int]:
        """How many of what has a class (pixels of masks) each class has in `rows`."""
        ...

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """The batch of `rows` (B,)."""
        ...

    def nbytes(self, rows: np.ndarray) -> int:
        """Bytes of the batch of `rows`, as stored."""
        ...


class MaskColumn:
    """Class ids per pixel, uint8, one map (h, w) per image and of its size; `IGNORE` where there is none.

    flat: uint8 (sum of areas,), memory-mapped; shapes: int32 (N, 2) heights and widths, those of the images.
    """

    whole: ClassVar[bool] = False

    @classmethod
    def opened(cls, store: Rows, name: str) -> "MaskColumn":
        """Of an entry of the cache: `NAME.bin` and `NAME_hashes.npy`."""
        return cls(_stored_values(store, name), store.shapes, _stored_hashes(store, name, len(store.shapes)))

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

    def class_counts(self, rows: np.ndarray, classes: int) -> list[int]:
        """Pixels of each class; what is ignored is not counted."""
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(rows), COUNTED):
            counts += np.bincount(self.fetch(rows[start : start + COUNTED]).reshape(-1), minlength=256)
        return counts[:classes].tolist()

    def nbytes(self, rows: np.ndarray) -> int:
        return int(self.shapes[rows].astype(np.int64).prod(axis=1).sum())


class AnomalyColumn(MaskColumn):
    """Kinds of anomalies per pixel, uint8, one map (h, w) per image and of its size: 0 is good, 1 … `MOST_KINDS` are
    kinds. An anomalous image of which nobody has said where has `UNKNOWN_PLACE` and the number of its kind throughout.
    """

    def kinds(self, rows: np.ndarray) -> np.ndarray:
        """int64 (B,): the kind of each image, 0 is good."""
        most = np.array([self.mask(row).max(initial=0) for row in rows.tolist()], dtype=np.int64)
        return np.where(most > UNKNOWN_PLACE, most - UNKNOWN_PLACE, most)

    def class_counts(self, rows: np.ndarray, classes: int) -> list[int]:
        """Images of each kind."""
        return np.bincount(self.kinds(rows), minlength=classes).tolist()


def anomalous(values: np.ndarray) -> np.ndarray:
    """uint8: of values of an `AnomalyColumn` 0 where a pixel is good, 1 where it is not, `IGNORE` where it is not
    known, or where there is no image."""
    found: np.ndarray = np.where(values > UNKNOWN_PLACE, IGNORE, values > 0).astype(np.uint8)
    return found


class PairedColumn(MaskColumn):
    """A second picture of each image and of its size, in three colours: what the image is to be made from."""

    @classmethod
    def opened(cls, store: Rows, name: str) -> "PairedColumn":
        """Of an entry of the cache: `NAME.bin` and `NAME_hashes.npy`. A row of pixels is three times as long."""
        shapes = store.shapes * np.array([1, 3], dtype=store.shapes.dtype)
        return cls(_stored_values(store, name), shapes, _stored_hashes(store, name, len(shapes)))

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (B, H, W, 3). Where sizes differ, pictures stand in the upper left corner and 255 around them."""
        found = super().fetch(rows)
        return found.reshape(*found.shape[:2], -1, 3)

    def class_counts(self, rows: np.ndarray, classes: int) -> list[int]:
        """None: no pixel has a class."""
        return [0] * classes


class ConditionColumn:
    """One number per image, uint8: whether it is real or generated, by what, and which way its file went
    (`gssl.statistics.fake.CONDITIONS`)."""

    whole: ClassVar[bool] = False

    @classmethod
    def opened(cls, store: Rows, name: str) -> "ConditionColumn":
        """Of an entry of the cache: `NAME.bin` and `NAME_hashes.npy`."""
        return cls(_stored_values(store, name), store.shapes, _stored_hashes(store, name, len(store.shapes)))

    def __init__(self, flat: np.ndarray, shapes: np.ndarray, hashes: np.ndarray) -> None:
        self.values, self.hashes = flat, hashes
        if len(flat) != len(shapes):
            raise ValueError("the conditions have the wrong length")

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (B,)."""
        return self.values[rows]

    def class_counts(self, rows: np.ndarray, classes: int) -> list[int]:
        """Images of each condition."""
        return np.bincount(self.values[rows], minlength=classes).tolist()

    def nbytes(self, rows: np.ndarray) -> int:
        return len(rows)


class DomainColumn(ConditionColumn):
    """One number per image, uint8, of two domains without pairs: `GIVEN` for what is translated, `MADE` for images like
    which it becomes."""


class BoxColumn:
    """Objects of images: float32 (m, 6) per image, m ≥ 0: left, top, right, bottom, class, crowd.

    Edges are in pixels of the stored image, 0 at its left or upper edge. crowd is 1 for what stands for many, or is too
    difficult: neither found nor missed. flat: (sum of m, 6), memory-mapped; counts: int32 (N, 1), m of each image.
    """

    whole: ClassVar[bool] = False

    @classmethod
    def opened(cls, store: Rows, name: str) -> "BoxColumn":
        """Of an entry of the cache: `NAME.bin`, `NAME_counts.npy` and `NAME_hashes.npy`."""
        counts = stored_array(store.path / f"{name}_counts.npy", np.int32, 1)
        if len(counts) != len(store.shapes):
            raise ValueError(f"{name}_counts.npy is not of the same images")
        return cls(_stored_values(store, name), counts, _stored_hashes(store, name, len(store.shapes)))

    def __init__(self, flat: np.ndarray, counts: np.ndarray, hashes: np.ndarray) -> None:
        self.counts, self.hashes = counts[:, 0].astype(np.int64), hashes
        self.offsets = np.concatenate([[0], np.cumsum(self.counts)])
        if flat.nbytes != 4 * BOX * self.offsets[-1] or (self.counts < 0).any():
            raise ValueError("the boxes have the wrong length")
        self.values = flat.view(np.float32).reshape(-1, BOX)

    def boxes(self, row: int) -> np.ndarray:
        """float32 (m, 6), a read-only view."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """float32 (B, M, 6), M the largest m; what is behind an image's boxes has the class `NOTHING`."""
        out = np.zeros((len(rows), int(self.counts[rows].max(initial=0)), BOX), dtype=np.float32)
        out[..., 4] = NOTHING
        for place, row in zip(out, rows.tolist(), strict=True):
            own = self.boxes(row)
            place[: len(own)] = own
        return out

    def class_counts(self, rows: np.ndarray, classes: int) -> list[int]:
        """Boxes of each class, crowds left out."""
        own = [self.boxes(row) for row in rows.tolist()]
        kinds = [boxes[boxes[:, 5] == 0, 4].astype(np.int64) for boxes in own]
        return np.bincount(np.concatenate([*kinds, np.zeros(0, np.int64)]), minlength=classes).tolist()

    def nbytes(self, rows: np.ndarray) -> int:
        return 4 * BOX * int(self.counts[rows].sum())


class VideoColumn:
    """Clips of `frames` frames each: rows 0 … frames - 1 of the store are the frames of the first clip, and so on.

    So every frame is an image of the store, too. The clip of a row is the one that this frame belongs to.
    """

    whole: ClassVar[bool] = True

    def __init__(self, store: Rows, frames: int, hashes: np.ndarray) -> None:
        """hashes: uint8 (clips, 16)."""
        self.store, self.frames = store, frames
        self.hashes = np.repeat(hashes, frames, axis=0)

    @classmethod
    def opened(cls, store: Rows, name: str) -> "VideoColumn":
        """Of an entry of the cache: `frames` in meta.json, and `NAME_hashes.npy`."""
        frames = store.meta["frames"]
        if not isinstance(frames, int) or frames < 1 or len(store.shapes) % frames:
            raise ValueError("meta.json does not say how many frames a clip has")
        return cls(store, frames, _stored_hashes(store, name, len(store.shapes) // frames))

    def members(self, rows: np.ndarray) -> np.ndarray:
        """int64 (B, frames): the rows of all frames of the clips of `rows` (B,), in the order of time."""
        return rows[:, None] // self.frames * self.frames + np.arange(self.frames)

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """uint8 (B, T, H, W, C). Where sizes differ, frames stand in the upper left corner and 0 around them."""
        members = self.members(rows)
        if self.store.uniform:
            found = self.store.stack(members.ravel())
            return found.reshape(*members.shape, *found.shape[1:])
        height, width = self.store.shapes[rows].max(axis=0, initial=0)
        out = np.zeros((*members.shape, height, width, self.store.channels), dtype=np.uint8)
        for clip, own in zip(out, members, strict=True):
            frames = np.stack(self.store.images(own))
            clip[:, : frames.shape[1], : frames.shape[2]] = frames
        return out

    def class_counts(self, rows: np.ndarray, classes: int) -> list[int]:
        """None: nothing within a clip has a class."""
        return [0] * classes

    def nbytes(self, rows: np.ndarray) -> int:
        return self.frames * self.store.channels * int(self.store.shapes[rows].astype(np.int64).prod(axis=1).sum())


class TextColumn:
    """Texts as ids of tokens: a row is a document, or a piece of one. Pieces of a document lie one after another.

    flat: ids (sum of counts,), memory-mapped; counts, documents: int32 (N, 1), ids of each row, and of which document
    it is; hashes: of the store.
    """

    whole: ClassVar[bool] = True

    @classmethod
    def opened(cls, store: Rows, name: str) -> "TextColumn":
        """Of an entry of the cache: `NAME.bin`, `NAME_counts.npy`, `NAME_documents.npy`, and `width` in meta.json."""
        arrays = [stored_array(store.path / f"{name}_{what}.npy", np.int32, 1) for what in ("counts", "documents")]
        width = store.meta["width"]
        if width not in (2, 4) or any(len(own) != len(store.shapes) for own in arrays):
            raise ValueError(f"{name}_counts.npy is not of the same texts")
        flat = _stored_values(store, name)
        if len(flat) != width * int(arrays[0].sum(dtype=np.int64)):
            raise ValueError("the texts have the wrong length")
        return cls(
            flat.view(f"<u{width}"), arrays[0], arrays[1], stored_array(store.path / "hashes.npy", np.uint8, HASH)
        )

    def __init__(self, flat: np.ndarray, counts: np.ndarray, documents: np.ndarray, hashes: np.ndarray) -> None:
        self.values, self.hashes = flat, hashes
        self.counts, self.documents = counts[:, 0].astype(np.int64), documents[:, 0]
        self.offsets = np.concatenate([[0], np.cumsum(self.counts)])
        last = np.searchsorted(self.documents, self.documents, side="right")  # the row behind each document
        self.ends = self.offsets[last]

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """int64 (B, T), T the longest row's length; 0 behind the others."""
        return self.windows(rows, np.zeros(len(rows), np.int64), self.counts[rows])

    def windows(self, rows: np.ndarray, shifts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """int64 (B, T): `lengths` ids from `shifts` behind the beginning of each row on, and no further than its
        document goes; 0 behind them."""
        starts = self.offsets[rows] + shifts
        lengths = np.minimum(lengths, self.ends[rows] - starts)
        out = np.zeros((len(rows), max(1, int(lengths.max(initial=0)))), dtype=np.int64)
        for place, start, length in zip(out, starts.tolist(), lengths.tolist(), strict=True):
            place[:length] = self.values[start : start + length]
        return out

    def alphabet(self, rows: np.ndarray, size: int) -> tuple[int, ...]:
        """Ids that rows have, ascending; 0 before them where a row is shorter than `size`."""
        mine = np.zeros(len(self.counts), dtype=bool)
        mine[rows] = True
        there = np.unique(self.values[np.repeat(mine, self.counts)]).tolist()
        return (*([0] if bool((self.counts[rows] < size).any()) else []), *there)

    def class_counts(self, rows: np.ndarray, classes: int) -> list[int]:
        """None: nothing within a text has a class."""
        return [0] * classes

    def nbytes(self, rows: np.ndarray) -> int:
        return self.values.itemsize * int(self.counts[rows].sum())


class AudioColumn:
    """Sounds: int16, one channel, as many samples in every row (`gssl.data.audio`).

    values: int16 (N, samples), memory-mapped; rate: samples per second; hashes: of the store.
    """

    whole: ClassVar[bool] = True

    @classmethod
    def opened(cls, store: Rows, name: str) -> "AudioColumn":
        """Of an entry of the cache: `NAME.bin`, and `rate` and `samples` in meta.json."""
        rate, samples = store.meta["rate"], store.meta["samples"]
        if not isinstance(rate, int) or not isinstance(samples, int) or min(rate, samples) < 1:
            raise ValueError("meta.json does not say how long the sounds are")
        flat = _stored_values(store, name)
        if len(flat) != 2 * samples * len(store.shapes):
            raise ValueError("the sounds have the wrong length")
        hashes = stored_array(store.path / "hashes.npy", np.uint8, HASH)
        return cls(flat.view("<i2").reshape(-1, samples), rate, hashes)

    def __init__(self, values: np.ndarray, rate: int, hashes: np.ndarray) -> None:
        self.values, self.rate, self.hashes = values, rate, hashes

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """int16 (B, samples)."""
        return np.take(self.values, rows, axis=0)

    def class_counts(self, rows: np.ndarray, classes: int) -> list[int]:
        """None: nothing within a sound has a class."""
        return [0] * classes

    def nbytes(self, rows: np.ndarray) -> int:
        return 2 * self.values.shape[1] * len(rows)


class CaptionColumn:
    """Captions of images as ids of tokens: int32 (m,) per image, each caption ended by `END` (`joined_captions`).

    flat: (sum of m,), memory-mapped; counts: int32 (N, 1), m of each image. captions: int64 (N,), how many each has.
    most: the largest number of captions of an image and of tokens of a caption, which every batch is made for.
    """

    whole: ClassVar[bool] = False

    @classmethod
    def opened(cls, store: Rows, name: str) -> "CaptionColumn":
        """Of an entry of the cache: `NAME.bin`, `NAME_counts.npy`, `NAME_hashes.npy`, `tokenizer_hash` in meta.json."""
        counts = stored_array(store.path / f"{name}_counts.npy", np.int32, 1)
        if len(counts) != len(store.shapes):
            raise ValueError(f"{name}_counts.npy is not of the same images")
        salt = np.frombuffer(bytes.fromhex(store.meta["tokenizer_hash"])[:HASH], np.uint8)
        hashes = _stored_hashes(store, name, len(store.shapes)) ^ salt  # ids mean nothing without their tokenizer
        return cls(_stored_values(store, name), counts, hashes)

    def __init__(self, flat: np.ndarray, counts: np.ndarray, hashes: np.ndarray) -> None:
        self.hashes, lengths = hashes, counts[:, 0].astype(np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(lengths)])
        if flat.nbytes != 4 * self.offsets[-1]:
            raise ValueError("the captions have the wrong length")
        self.values = flat.view("<i4")
        ends = np.flatnonzero(self.values == END)
        bounds = np.searchsorted(ends, self.offsets)
        self.captions = np.diff(bounds)
        longest = int(np.diff(ends, prepend=-1).max(initial=2)) - 1
        self.most = int(self.captions.max(initial=1)), longest

    def texts(self, row: int) -> list[np.ndarray]:
        """int64 ids of each caption of an image."""
        own = self.values[self.offsets[row] : self.offsets[row + 1]].astype(np.int64)
        return np.split(own[own != END], np.flatnonzero(own == END)[:-1] - np.arange(self.captions[row] - 1))

    def fetch(self, rows: np.ndarray) -> np.ndarray:
        """int64 (B, K, T), K and T as `most` says; 0 behind shorter captions, and where an image has fewer."""
        out = np.zeros((len(rows), *self.most), dtype=np.int64)
        for place, row in zip(out, rows.tolist(), strict=True):
            for line, ids in zip(place, self.texts(row), strict=False):
                line[: len(ids)] = ids
        return out

    def class_counts(self, rows: np.ndarray, classes: int) -> list[int]:
        """None: nothing within a caption has a class."""
        return [0] * classes

    def nbytes(self, rows: np.ndarray) -> int:
        return 8 * self.most[0] * self.most[1] * len(rows)


def joined_captions(captions: Sequence[np.ndarray]) -> np.ndarray:
    """int32 (m,): the captions of an image as they are stored."""
    return np.concatenate([np.append(ids, END) for ids in captions]).astype("<i4")


# name of a stored column → its class
KINDS: dict[str, Any] = {
    "mask": MaskColumn,
    "boxes": BoxColumn,
    "anomaly": AnomalyColumn,
    "fake": ConditionColumn,
    "paired": PairedColumn,
    "domain": DomainColumn,
    "video": VideoColumn,
    "text": TextColumn,
    "audio": AudioColumn,
    "caption": CaptionColumn,
}
INPUTS = ("caption",)  # columns beside images that are learned from, and not predicted
RAGGED = ("boxes", "caption")  # columns whose rows have a number of entries of their own, stored beside them


def open_column(store: Rows, name: str) -> Column:
    """The column `name` of an entry of the cache. Raises what a damaged entry raises: OSError, ValueError, KeyError."""
    found: Column = KINDS[name].opened(store, name)
    return found


def _stored_values(store: Rows, name: str) -> np.ndarray:
    """uint8 (n,), memory-mapped: what a column holds, row after row."""
    file = store.path / f"{name}.bin"
    return np.asarray(np.memmap(file, np.uint8, "r")) if file.stat().st_size else np.zeros(0, np.uint8)


def _stored_hashes(store: Rows, name: str, count: int) -> np.ndarray:
    hashes = stored_array(store.path / f"{name}_hashes.npy", np.uint8, HASH)
    if len(hashes) != count:
        raise ValueError(f"{name}_hashes.npy is not of the same images")
    return hashes


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
