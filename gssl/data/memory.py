"""Images that were made rather than read: the same uint8 as on disk, held in memory."""

from typing import Any

import numpy as np

from gssl.data.cache import Store, image_hash
from gssl.data.columns import Column, MaskColumn, column_hash
from gssl.data.images import Images


class MemoryStore(Store):
    """A store of images of one size that lie in memory; pickles as its pixels and masks."""

    def __init__(self, pixels: np.ndarray, masks: np.ndarray | None = None) -> None:
        """`pixels`: uint8 (N, H, W, C), C in {1, 3}; `masks`: uint8 (N, H, W) class ids, 255 = ignore."""
        assert pixels.dtype == np.uint8 and pixels.ndim == 4
        self.pixels, self.uniform, self.channels = pixels, len(pixels) > 0, pixels.shape[3]
        self.meta: dict[str, Any] = {}
        self.shapes = np.full((len(pixels), 2), pixels.shape[1:3], dtype=np.int32)
        self.offsets = np.arange(len(pixels) + 1) * int(np.prod(pixels.shape[1:]))
        hashes = [np.frombuffer(image_hash(image), dtype=np.uint8) for image in pixels]
        self.hashes = np.array(hashes, dtype=np.uint8).reshape(len(pixels), -1)
        self.masks, self.columns = masks, dict[str, Column]()
        if masks is not None:
            assert masks.dtype == np.uint8 and masks.shape == pixels.shape[:3]
            own = [np.frombuffer(column_hash(mask), dtype=np.uint8) for mask in masks]
            contents = np.array(own, dtype=np.uint8).reshape(len(masks), -1)
            self.columns["mask"] = MaskColumn(masks.reshape(-1), self.shapes, contents)

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryStore, (self.pixels, self.masks)

    def array(self, name: str) -> np.ndarray:
        raise KeyError(f"{name}: made images have nothing beside their pixels")


def in_memory(pixels: np.ndarray, labels: np.ndarray, classes: list[str], masks: np.ndarray | None = None) -> Images:
    """Images from uint8 (N, H, W, C), labels int64 (N,), and masks uint8 (N, H, W) where given."""
    return Images(MemoryStore(pixels, masks), np.arange(len(pixels)), labels, classes)
