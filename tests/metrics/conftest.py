from collections.abc import Callable

import numpy as np
import pytest

from gssl.data import Images, cache


@pytest.fixture
def stored() -> Callable[[np.ndarray, np.ndarray], Images]:
    """Images from pixels (N, H, W, C) uint8 and labels (N,)."""

    def make(pixels: np.ndarray, labels: np.ndarray) -> Images:
        def build(writer: cache.Writer) -> None:
            writer.add(list(pixels), [cache.image_hash(image) for image in pixels])
            writer.finish({}, {})

        key = cache.entry_key("test", pixels.tobytes(), pixels.shape)
        store = cache.entry(key, lambda: pixels.nbytes, build)
        return Images(store, np.arange(len(pixels)), labels, [str(c) for c in np.unique(labels)])

    return make


@pytest.fixture
def quarters(stored) -> Callable[[int, int], Images]:
    """Noise with one bright quarter, whose place is the class: (count per class, seed) → 4 classes of 8×8."""

    def make(per_class: int, seed: int = 0) -> Images:
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(4), per_class)
        pixels = rng.integers(0, 80, (len(labels), 8, 8, 3))
        for image, label in zip(pixels, labels, strict=True):
            image[4 * (label // 2) :][:4, 4 * (label % 2) :][:, :4] += 120
        return stored(pixels.astype(np.uint8), labels)

    return make
