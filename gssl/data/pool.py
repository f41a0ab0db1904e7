"""All images of a data set in one row, whatever part they are in: what a data report counts and compares."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from gssl.data import targets
from gssl.data.images import Images


class Pool:
    """The images of `parts` (train, val, test, pretrain) one after another; indices are positions in that row.

    part: int64 (N,), which of `names`; labels: int64 (N,), -1 where unknown, numbers of `classes`.
    """

    def __init__(self, parts: Mapping[str, Images]) -> None:
        self.parts, self.names = list(parts.values()), list(parts)
        sizes = [len(images) for images in self.parts]
        self.starts = np.cumsum([0, *sizes])
        self.part = np.repeat(np.arange(len(sizes)), sizes)
        self.labels = np.concatenate([images.labels for images in self.parts])
        self.classes = next((images.classes for images in self.parts if images.classes), [])
        columns = sorted({column for images in self.parts for column in images.stored or ()})
        found = targets.target(columns)  # also of what is stored beside labels
        # stored, and to be learned; None: labels
        self.column = None if found is None or targets.TARGETS[found].classes else found
        self.target = found or "label"

    def __len__(self) -> int:
        return int(self.starts[-1])

    @cached_property
    def contents(self) -> np.ndarray:
        """uint64 (N,): equal pixels, equal number."""
        return np.concatenate([images.contents() for images in self.parts])

    @cached_property
    def shapes(self) -> np.ndarray:
        """int32 (N, 2): heights and widths as stored, which are smaller than in the files where those are large."""
        return np.concatenate([images.store.shapes[images.rows] for images in self.parts])

    @cached_property
    def targets(self) -> np.ndarray:
        """(N,): what is to be learned of an image, as one number: its label, or the content of its mask or the
        like; -1 without one."""
        if self.column is None:
            return self.labels
        found = []
        for images in self.parts:
            if self.column in (images.stored or ()):
                hashes = images.store.columns[self.column].hashes[images.rows, :8]
                found.append(np.ascontiguousarray(hashes).view("<i8")[:, 0] & np.int64((1 << 62) - 1))
            else:
                found.append(np.full(len(images), -1))
        return np.concatenate(found)

    def at(self, index: int) -> tuple[Images, int]:
        """The part that holds image `index`, and its position there."""
        number = int(self.part[index])
        return self.parts[number], int(index - self.starts[number])

    def image(self, index: int) -> np.ndarray:
        """uint8 (h, w, c), a read-only view."""
        images, own = self.at(index)
        return images.store.image(int(images.rows[own]))

    def mask(self, index: int) -> np.ndarray | None:
        """uint8 (h, w) class ids, None where there is no mask."""
        images, own = self.at(index)
        if "mask" not in (images.stored or ()):
            return None
        height, width = self.shapes[index]
        return np.asarray(images.store.columns["mask"].fetch(images.rows[own : own + 1])[0, :height, :width])

    def name(self, index: int) -> str:
        """The file, or the part and the position in it."""
        images, own = self.at(index)
        return f"{self.names[int(self.part[index])]} #{own}" if images.names is None else str(images.names[own])

    def paths(self) -> list[str] | None:
        """All files, None where the images do not come from files of their own."""
        if any(images.names is None for images in self.parts):
            return None
        return [str(name) for images in self.parts for name in (images.names if images.names is not None else ())]

    def label(self, index: int) -> str | None:
        """The name of its class, None where it has none."""
        number = int(self.labels[index])
        return None if number < 0 or not self.classes else self.classes[number]
