"""One split of a data set: labels in memory, pixels and further columns in the memory-mapped store."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from gssl.data import values
from gssl.data.columns import INPUTS
from gssl.data.draws import digest
from gssl.data.index import Names
from gssl.data.ragged import Ragged
from gssl.data.store import Store

C = TypeVar("C")


@dataclass(eq=False)
class Images:
    """Images `rows` of `store`, in that order. Light; pickles as the store's path and the rows.

    labels: int64 (N,), -1 where unknown. classes: names of the classes of labels or masks, [] where there are none.
    names: where each image came from (paths) or None, for messages only.
    groups: what each image belongs to (a patient, a clip), str (N,), or None where the source names no groups.
    stored: the store's columns that these images carry, such as ("mask",); None: all that it has.
    hash: hex, of pixels, labels, stored columns, order and class names.
    """

    store: Store = field(repr=False)
    rows: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    classes: list[str]
    names: np.ndarray | Names | None = field(default=None, repr=False)
    groups: np.ndarray | None = field(default=None, repr=False)
    stored: tuple[str, ...] | None = None
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        self.rows = np.asarray(self.rows, dtype=np.int64)
        self.labels = np.asarray(self.labels, dtype=np.int64)
        assert self.rows.shape == self.labels.shape
        if self.stored is None:
            self.stored = tuple(self.store.columns)
        parts = [self.store.hashes[self.rows].tobytes(), self.labels.tobytes(), "\0".join(self.classes)]
        for name in self.stored:
            parts += [name, self.store.columns[name].hashes[self.rows].tobytes()]
        self.hash = digest("images", *parts).hex()

    @property
    def columns(self) -> tuple[str, ...]:
        """What every row has: "image", then "label" where labels are known, then the stored ones ("mask"); of texts
        no image."""
        labelled = bool(self.classes) and bool((self.labels >= 0).any())
        image = ("image",) if self.store.pictures else ()
        return (*image, *(("label",) if labelled else ()), *(self.stored or ()))

    def column_of(self, kind: type[C]) -> C | None:
        """The first stored column of that class (VideoColumn, TextColumn, …), None where there is none."""
        found = (self.store.columns[name] for name in self.stored or ())
        return next((column for column in found if isinstance(column, kind)), None)

    @property
    def masks(self) -> np.ndarray | None:
        """uint8 (N, H, W) class ids, 255 = ignore; None where there are no masks.

        A read-only view where the rows lie one after another, else a copy. Where sizes differ, masks stand in the
        upper left corner of the largest size and 255 around them, as in `fetch`.
        """
        if "mask" not in (self.stored or ()):
            return None
        return self.store.columns["mask"].fetch(self.rows)

    @property
    def boxes(self) -> list[np.ndarray] | None:
        """float32 (m, 6) per image: left, top, right, bottom in pixels, class, crowd; None where there are no boxes."""
        if "boxes" not in (self.stored or ()):
            return None
        column: Any = self.store.columns["boxes"]
        return [column.boxes(row) for row in self.rows.tolist()]

    @property
    def channels(self) -> int:
        """1 (all images of the store are grey) or 3."""
        return self.store.channels

    @property
    def shape(self) -> tuple[int, int] | None:
        """(height, width) of every image, or None where they differ and batches are padded."""
        return tuple(self.store.shapes[0].tolist()) if self.store.uniform else None

    @property
    def range(self) -> values.Range | None:
        """Which values became black and white (`gssl.data.values`), None where all files have 8 bits a value."""
        found = self.store.meta.get("range")
        return None if found is None else values.as_range(found)

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels and of the stored columns."""
        pixels = self.channels * int(self.store.shapes[self.rows].astype(np.int64).prod(axis=1).sum())
        return pixels + sum(self.store.columns[name].nbytes(self.rows) for name in self.stored or ())

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, indices: np.ndarray) -> "Images":
        """The images at `indices`, int64 (M,), in that order; nothing is copied but labels."""
        indices = np.asarray(indices, dtype=np.int64)
        names = None if self.names is None else self.names[indices]
        groups = None if self.groups is None else self.groups[indices]
        return Images(self.store, self.rows[indices], self.labels[indices], self.classes, names, groups, self.stored)

    def unlabelled(self) -> "Images":
        """The same images without labels and without masks."""
        stored = self.stored or ()  # a text is what is learned from
        kept = tuple(name for name in stored if name in INPUTS) if self.store.pictures else stored
        return Images(self.store, self.rows, np.full(len(self), -1), [], self.names, self.groups, kept)

    def name(self, index: int) -> str:
        """Where image `index` came from, for messages."""
        return f"#{self.rows[index]}" if self.names is None else str(self.names[index])

    def image_hashes(self) -> np.ndarray:
        """Content hashes, one 16-byte void (N,): equal pixels, equal hash. Of clips of all frames."""
        return np.ascontiguousarray(self._hashes[self.rows]).view(f"V{self._hashes.shape[1]}")[:, 0]

    def contents(self) -> np.ndarray:
        """uint64 (N,): the first half of the content hashes, which sorts and compares quickly."""
        return np.ascontiguousarray(self._hashes[self.rows, :8]).view("<u8")[:, 0]

    @property
    def _hashes(self) -> np.ndarray:
        """uint8 (rows of the store, 16): of the column that holds the image too, where there is one."""
        columns = (self.store.columns[name] for name in self.stored or ())
        return next((column.hashes for column in columns if column.whole), self.store.hashes)

    def group_codes(self) -> np.ndarray | None:
        """int32 (N,): 0, 1, … per group, equal where images belong together; None where there are no groups."""
        return None if self.groups is None else np.unique(self.groups, return_inverse=True)[1].astype(np.int32)

    def fetch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """The batch at `indices` (B,) on the CPU.

        image: uint8 (B, C, H, W), a channels-last view; label, index: int64 (B,). Where sizes differ, images
        stand in the upper left corner of a zero canvas (`gssl.data.ragged`: made where it is needed) and extent, int64
        (B, 2), has true heights and widths.
        mask, where there are masks: uint8 (B, H, W), 255 beyond the image. boxes, where there are boxes: float32
        (B, M, 6) as in `boxes`, with the class -1 behind an image's own. video, of clips: uint8 (B, T, H, W, C), 0
        beyond the frames. paired, of pairs: uint8 (B, H, W, 3), what the image is to be made from. text, of texts,
        which have no image: int64 (B, T), 0 behind the shorter ones; nor have sounds: audio, int16 (B, samples).
        caption, of images with captions: int64 (B, K, T), 0 behind them.
        """
        indices = np.asarray(indices, dtype=np.int64)
        rows = self.rows[indices]
        batch = {"label": torch.from_numpy(self.labels[indices]), "index": torch.from_numpy(indices.copy())}
        if not self.store.pictures:
            pass
        elif self.store.uniform:
            # stays channels-last: a copy to NCHW costs more than grid_sample gains from it
            batch["image"] = torch.from_numpy(self.store.stack(rows)).permute(0, 3, 1, 2)
        else:
            batch["extent"] = torch.from_numpy(self.store.shapes[rows].astype(np.int64))
            batch["image"] = Ragged(self.store.images(rows), self.channels)
        for name in self.stored or ():
            batch[name] = torch.from_numpy(np.array(self.store.columns[name].fetch(rows)))
        return batch
