"""Images of several stores as one set."""

import numpy as np

from gssl.data import Images, cache
from gssl.data.joined import joined
from gssl.data.memory import in_memory


def made(n, seed, masks=True):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 4, 6, 3), dtype=np.uint8)
    return in_memory(
        pixels, np.arange(n) % 2, ["a", "b"], rng.integers(0, 2, (n, 4, 6), dtype=np.uint8) if masks else None
    )


def test_rows_of_one_store_are_not_copied():
    images = made(6, 0)
    found = joined([images.subset(np.array([4, 5])), images.subset(np.array([0]))])
    assert found.store is images.store and found.rows.tolist() == [4, 5, 0]


def test_other_stores_are_written_together_with_their_masks():
    one, two = made(5, 0), made(3, 1)
    found = joined([one, two])
    assert len(found) == 8 and found.classes == ["a", "b"]
    batch = found.fetch(np.arange(8))
    for name in ("image", "mask", "label"):
        parts = [part.fetch(np.arange(len(part)))[name] for part in (one, two)]
        assert np.array_equal(batch[name].numpy(), np.concatenate([part.numpy() for part in parts]))
    assert joined([one, two]).hash == found.hash != joined([two, one]).hash


def test_images_of_unlike_sizes_keep_theirs(stored):
    small = in_memory(np.zeros((2, 3, 3, 3), dtype=np.uint8), np.zeros(2, dtype=np.int64), ["a"])
    large = in_memory(np.ones((1, 5, 4, 3), dtype=np.uint8), np.zeros(1, dtype=np.int64), ["a"])
    assert joined([small, large]).fetch(np.arange(3))["extent"].tolist() == [[3, 3], [3, 3], [5, 4]]


def test_a_number_per_image_goes_along(tmp_path, monkeypatch):
    """Of two stores with the column `fake`, as the model of a comparison needs them."""
    monkeypatch.setenv("GSSL_CACHE", str(tmp_path))

    def part(key, conditions):
        def build(writer):
            for i, condition in enumerate(conditions):
                pixels = np.full((4, 5, 3), i, np.uint8)
                writer.add([pixels], [cache.image_hash(pixels)], fake=[np.array([condition], np.uint8)])
            writer.finish({}, {})

        store = cache.entry(cache.entry_key(key), lambda: 2**16, build)
        return Images(store, np.arange(len(store)), np.array(conditions) // 2, ["real", "fake"], None, None)

    found = joined([part("one", [0, 2]), part("two", [0, 1, 4])])
    assert found.store.columns["fake"].fetch(found.rows).tolist() == [0, 2, 0, 1, 4]
