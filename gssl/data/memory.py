"""Images that were made rather than read: the same uint8 as on disk, held in memory."""

from typing import Any

import numpy as np

from gssl.data.cache import Store, image_hash
from gssl.data.images import Images


class MemoryStore(Store):
    """A store of images of one size that lie in memory; pickles as its pixels."""

    def __init__(self, pixels: np.ndarray) -> None:
        """`pixels`: uint8 (N, H, W, C), C in {1, 3}."""
        assert pixels.dtype == np.uint8 and pixels.ndim == 4
        self.pixels, self.uniform, self.channels = pixels, len(pixels) > 0, pixels.shape[3]
        self.meta: dict[str, Any] = {}
        self.shapes = np.full((len(pixels), 2), pixels.shape[1:3], dtype=np.int32)
        self.offsets = np.arange(len(pixels) + 1) * int(np.prod(pixels.shape[1:]))
        hashes = [np.frombuffer(image_hash(image), dtype=np.uint8) for image in pixels]
        self.hashes = np.array(hashes, dtype=np.uint8).reshape(len(pixels), -1)

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryStore, (self.pixels,)

    def array(self, name: str) -> np.ndarray:
        raise KeyError(f"{name}: made images have nothing beside their pixels")


def in_memory(pixels: np.ndarray, labels: np.ndarray, classes: list[str]) -> Images:
    """Images from uint8 (N, H, W, C) and labels int64 (N,)."""
    return Images(MemoryStore(pixels), np.arange(len(pixels)), labels, classes)
