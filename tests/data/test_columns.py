"""Columns beside the pixels: storage, batches, content hashes; images without them are as they always were."""

import pickle

import numpy as np
import pytest
import torch

from gssl.data import Batches, Draws, Images, cache
from gssl.data.columns import IGNORE, NOTHING, column_hash
from gssl.data.draws import digest
from gssl.data.memory import in_memory
from gssl.data.targets import target


def pictures(sizes: list[tuple[int, int]], seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    return images, [rng.integers(0, 4, size, dtype=np.uint8) for size in sizes]


def stored(images: list[np.ndarray], masks: list[np.ndarray] | None) -> Images:
    def build(writer: cache.Writer) -> None:
        columns = {} if masks is None else {"mask": masks}
        writer.add(images, [cache.image_hash(image) for image in images], **columns)
        writer.finish({}, {})

    key = cache.entry_key("columns", masks is None, *(m.tobytes() for m in masks or images))
    store = cache.entry(key, lambda: 2**20, build)
    return Images(store, np.arange(len(images)), np.full(len(images), -1), ["a", "b", "c", "d"])


def test_masks_of_one_size_are_mapped_and_come_with_the_batch() -> None:
    images, masks = pictures([(6, 9)] * 5)
    found = stored(images, masks)
    assert found.columns == ("image", "mask") and target(found.columns) == "mask"
    assert found.masks is not None and found.masks.dtype == np.uint8
    np.testing.assert_array_equal(found.masks, masks)
    assert not found.masks.flags.owndata  # a view of the file
    batch = found.fetch(np.array([3, 0]))
    assert batch["mask"].dtype == torch.uint8 and "extent" not in batch
    np.testing.assert_array_equal(batch["mask"], [masks[3], masks[0]])
    np.testing.assert_array_equal(batch["image"].permute(0, 2, 3, 1), [images[3], images[0]])


def test_masks_of_other_sizes_are_padded_with_what_is_ignored() -> None:
    images, masks = pictures([(6, 9), (4, 10), (5, 5)])
    found = stored(images, masks)
    batch = found.fetch(np.array([1, 2]))
    assert batch["mask"].shape == (2, 5, 10) and batch["extent"].tolist() == [[4, 10], [5, 5]]
    np.testing.assert_array_equal(batch["mask"][0, :4], masks[1])
    assert (batch["mask"][0, 4:] == IGNORE).all() and (batch["mask"][1, :, 5:] == IGNORE).all()
    np.testing.assert_array_equal(found.masks[0, :6, :9], masks[0])


def test_subsets_keep_masks_and_unlabelled_images_have_none() -> None:
    images, masks = pictures([(6, 9)] * 5)
    found = stored(images, masks)
    some = found.subset(np.array([4, 1]))
    np.testing.assert_array_equal(some.masks, [masks[4], masks[1]])
    again = pickle.loads(pickle.dumps(some))
    np.testing.assert_array_equal(again.masks, some.masks)
    bare = found.unlabelled()
    assert bare.columns == ("image",) and bare.masks is None and "mask" not in bare.fetch(np.arange(2))
    assert bare.subset(np.arange(2)).masks is None


def test_the_hash_knows_masks_and_images_without_them_have_the_hash_they_had() -> None:
    images, masks = pictures([(6, 9)] * 2)
    other = [masks[0], 3 - masks[1]]
    assert len({stored(images, m).hash for m in (masks, other, None)}) == 3
    bare = stored(images, None)
    parts = (bare.store.hashes.tobytes(), bare.labels.tobytes(), "a\0b\0c\0d")
    assert bare.hash == digest("images", *parts).hex()
    assert column_hash(masks[0]) != column_hash(masks[0].T)


@pytest.mark.parametrize("sizes", [[(6, 9)] * 4, [(6, 9), (4, 10), (5, 5)]])
def test_batches_bring_masks(sizes: list[tuple[int, int]]) -> None:
    images, masks = pictures(sizes)
    batches = Batches(stored(images, masks), 2, Draws(0), torch.device("cpu"))
    batch = batches(0)
    for i, mask in zip(batch["index"].tolist(), batch["mask"], strict=True):
        height, width = masks[i].shape
        np.testing.assert_array_equal(mask[:height, :width], masks[i])


def test_made_images_may_have_masks() -> None:
    images, masks = pictures([(6, 9)] * 3)
    made = in_memory(np.stack(images), np.full(3, -1), list("abcd"), np.stack(masks))
    np.testing.assert_array_equal(made.masks, masks)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made)).subset(np.array([2])).masks, masks[2:])
    assert made.hash == stored(images, masks).hash


def test_a_damaged_mask_file_is_built_again(cache_folder) -> None:
    images, masks = pictures([(6, 9)] * 2)
    path = stored(images, masks).store.path
    (path / "mask.bin").write_bytes(b"")
    np.testing.assert_array_equal(stored(images, masks).masks, masks)


# ── boxes ────────────────────────────────────────────────────────────────────────────────────────

OBJECTS = [np.arange(12, dtype=np.float32).reshape(2, 6), np.zeros((0, 6), np.float32), np.ones((1, 6), np.float32)]


def boxed(boxes: list[np.ndarray]) -> Images:
    images, _ = pictures([(6, 9), (4, 10), (5, 5)])

    def build(writer: cache.Writer) -> None:
        writer.add(images, [cache.image_hash(image) for image in images], boxes=boxes)
        writer.finish({}, {})

    store = cache.entry(cache.entry_key("boxed", *(b.tobytes() for b in boxes)), lambda: 2**20, build)
    return Images(store, np.arange(3), np.full(3, -1), ["a", "b"])


def test_boxes_are_mapped_and_come_filled_up_with_nothing() -> None:
    found = boxed(OBJECTS)
    assert found.columns == ("image", "boxes") and target(found.columns) == "boxes"
    for own, expected in zip(found.boxes, OBJECTS, strict=True):
        assert own.dtype == np.float32 and not own.flags.owndata
        np.testing.assert_array_equal(own, expected)
    batch = found.fetch(np.array([1, 2, 0]))["boxes"]
    assert batch.shape == (3, 2, 6) and batch[..., 4].tolist() == [[NOTHING, NOTHING], [1, NOTHING], [4, 10]]
    np.testing.assert_array_equal(batch[2], OBJECTS[0])
    assert found.fetch(np.array([1]))["boxes"].shape == (1, 0, 6)
    again = pickle.loads(pickle.dumps(found.subset(np.array([2, 1]))))
    np.testing.assert_array_equal(again.boxes[0], OBJECTS[2])


def test_the_hash_knows_boxes_and_unlabelled_images_have_none() -> None:
    other = [*OBJECTS[:2], OBJECTS[2] + 1]
    assert boxed(OBJECTS).hash != boxed(other).hash != boxed(OBJECTS).unlabelled().hash
    assert boxed(OBJECTS).unlabelled().boxes is None
    pixels = np.zeros((3, 6, 9, 3), dtype=np.uint8)
    assert in_memory(pixels, np.full(3, -1), ["a", "b"], boxes=OBJECTS).boxes[1].shape == (0, 6)


@pytest.mark.parametrize("name", ["boxes.bin", "boxes_counts.npy"])
def test_damaged_boxes_are_noticed(name: str) -> None:
    found = boxed(OBJECTS)
    path = found.store.path / name
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError):
        cache.open_store(found.store.path)
