"""Images that were made rather than read: the same uint8 as on disk, held in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gssl.data.columns import BoxColumn, Column, MaskColumn, column_hash
from gssl.data.images import Images
from gssl.data.store import Store, image_hash


class MemoryStore(Store):
    """A store of images of one size that lie in memory; pickles as its pixels, masks and boxes."""

    def __init__(
        self, pixels: np.ndarray, masks: np.ndarray | None = None, boxes: Sequence[np.ndarray] | None = None
    ) -> None:
        """`pixels`: uint8 (N, H, W, C), C in {1, 3}; `masks`: uint8 (N, H, W) class ids, 255 = ignore; `boxes`: float32
        (m, 6) each (`gssl.data.columns.BoxColumn`)."""
        assert pixels.dtype == np.uint8 and pixels.ndim == 4
        self.pixels, self.uniform, self.channels = pixels, len(pixels) > 0, pixels.shape[3]
        self.meta: dict[str, Any] = {}
        self.shapes = np.full((len(pixels), 2), pixels.shape[1:3], dtype=np.int32)
        hashes = [np.frombuffer(image_hash(image), dtype=np.uint8) for image in pixels]
        self.hashes = np.array(hashes, dtype=np.uint8).reshape(len(pixels), -1)
        self.masks, self.boxes, self.columns = masks, boxes, dict[str, Column]()
        if masks is not None:
            assert masks.dtype == np.uint8 and masks.shape == pixels.shape[:3]
            self.columns["mask"] = MaskColumn(masks.reshape(-1), self.shapes, _hashes(masks))
        if boxes is not None:
            assert len(boxes) == len(pixels) and all(own.dtype == np.float32 for own in boxes)
            counts = np.array([len(own) for own in boxes], dtype=np.int32)[:, None]
            self.columns["boxes"] = BoxColumn(np.concatenate(list(boxes)), counts, _hashes(boxes))

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryStore, (self.pixels, self.masks, self.boxes)

    def array(self, name: str) -> np.ndarray:
        raise KeyError(f"{name}: made images have nothing beside their pixels")


def _hashes(rows: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    own = [np.frombuffer(column_hash(values), dtype=np.uint8) for values in rows]
    return np.array(own, dtype=np.uint8).reshape(len(rows), -1)


def in_memory(
    pixels: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    masks: np.ndarray | None = None,
    boxes: Sequence[np.ndarray] | None = None,
) -> Images:
    """Images from uint8 (N, H, W, C), labels int64 (N,), masks uint8 (N, H, W) and boxes float32 (m, 6) where given."""
    return Images(MemoryStore(pixels, masks, boxes), np.arange(len(pixels)), labels, classes)
