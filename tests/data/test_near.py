"""Near-duplicates: changed copies are found, what is alike by nature is not, and nothing is computed twice."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from gssl import schemas
from gssl.data import Images, cache, load_data, near

RNG = np.random.default_rng(0)


def photo(seed: int, size: int = 32) -> np.ndarray:
    """uint8 (size, size, 3): smooth coloured structure, as photographs have."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def sized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": lambda x: x[:, ::-1],
    "quality 30": lambda x: jpeg(x, 30),
    "quality 95": lambda x: jpeg(x, 95),
    "mirrored, quality 50": lambda x: jpeg(np.ascontiguousarray(x[:, ::-1]), 50),
    "half size": lambda x: sized(x, 16, 16),
    "double size": lambda x: sized(x, 64, 64),
    "aspect": lambda x: sized(x, 36, 32),
    "brighter": lambda x: np.clip(x * 1.15 + 5, 0, 255).astype(np.uint8),
    "grey": lambda x: np.array(Image.fromarray(x).convert("L"))[:, :, None],
}


@pytest.fixture
def stored() -> Callable[[list[np.ndarray]], Images]:
    def make(images: list[np.ndarray]) -> Images:
        hashes = [cache.image_hash(image) for image in images]

        def build(writer: cache.Writer) -> None:
            writer.add(images, hashes)
            writer.finish({}, {})

        store = cache.entry(cache.entry_key(*hashes), lambda: 0, build)
        return Images(store, np.arange(len(images)), np.zeros(len(images)), ["a"])

    return make


PHOTOS = [photo(seed) for seed in range(200)]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found(stored: Callable, change: str) -> None:
    copies = [CHANGES[change](PHOTOS[i]) for i in range(0, 200, 10)]
    new = [photo(seed) for seed in range(1000, 1020)]
    found = near.copies(stored(copies + new), [stored(PHOTOS[:150]), stored(PHOTOS[150:])])
    expected = [[n, 10 * n // 150, 10 * n % 150, int("mirrored" in change)] for n in range(20)]
    assert found.tolist() == expected


def test_different_digits_are_no_copies(cfg: Callable[..., schemas.Data]) -> None:
    splits = load_data(cfg(name="mnist5k", size=28))
    assert near.copies(splits.open_test(), [splits.train, splits.val]).tolist() == []


def test_flat_images_and_other_colours_are_no_copies(stored: Callable) -> None:
    flat = [np.full((32, 32, 3), value, np.uint8) for value in (0, 90, 255)]
    red, green = (np.where(np.arange(3) == c, PHOTOS[0][:, :, :1], 0).astype(np.uint8) for c in (0, 1))
    train = stored([*flat, red, *PHOTOS[1:]])
    assert near.copies(stored([np.full((32, 32, 3), 91, np.uint8), green]), [train]).tolist() == []
    assert near.copies(stored([jpeg(red, 80)]), [train]).tolist() == [[0, 0, 3, 0]]


def test_one_image_has_many_copies(stored: Callable) -> None:
    train = stored([jpeg(PHOTOS[0], quality) for quality in range(60, 90)] + PHOTOS[1:])
    ((test, part, row, mirrored),) = near.copies(stored([jpeg(PHOTOS[0], 95)]), [train]).tolist()
    assert (test, part, mirrored) == (0, 0, 0) and row < 30


def test_few_and_odd_images(stored: Callable) -> None:
    """One training image, sizes that differ, fewer pixels than frequencies."""
    one = stored([PHOTOS[0]])
    test = stored([sized(PHOTOS[0], 20, 24), PHOTOS[1], sized(PHOTOS[2], 5, 3)])
    assert near.copies(test, [one]).tolist() == [[0, 0, 0, 0]]


def test_found_once_and_remembered(stored: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    test, train = stored([PHOTOS[3][:, ::-1]]), stored(PHOTOS)
    first = near.copies(test, [train])
    monkeypatch.setattr(near, "search", None)
    assert (near.copies(test, [train]) == first).all()
    with pytest.raises(TypeError):
        near.copies(test, [train.subset(np.arange(50))])


def test_codes_do_not_depend_on_the_number_of_pixels(stored: Callable) -> None:
    """Means of two by two pixels, rounded: without the division by sinc they differ by more than rounding does."""
    big = [photo(seed, 24) for seed in range(5)]
    small = [x.reshape(12, 2, 12, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8) for x in big]
    for one, other in zip(near.codes(stored(big)), near.codes(stored(small)), strict=True):
        assert np.abs(one - other).max() < 0.005
