import numpy as np
import pytest
from PIL import Image

from gssl.data import duplicates
from gssl.data.memory import in_memory
from gssl.data.pool import Pool


def smooth(rng, n, side=32):
    """Coloured pictures that are different from each other, as photographs are."""
    small = rng.integers(0, 256, (n, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.array(Image.fromarray(x).resize((side, side), Image.Resampling.BICUBIC)) for x in small])


@pytest.fixture
def pool():
    """40 training images, 20 test images; test 0 is train 0, test 1 is train 1 mirrored, test 2 brighter train 2 with
    another label, train 38 is train 39."""
    rng = np.random.default_rng(0)
    train, test = smooth(rng, 40), smooth(rng, 20)
    train[38] = train[39]
    test[0], test[1] = train[0], train[1][:, ::-1]
    test[2] = (train[2].astype(float) * 0.8 + 20).astype(np.uint8)
    labels, tested = np.arange(40) % 2, np.arange(20) % 2
    labels[38] = labels[39] = 0
    tested[2] = 1
    return Pool({"train": in_memory(train, labels, ["a", "b"]), "test": in_memory(test, tested, ["a", "b"])})


def test_planted_copies_are_found_and_nothing_else(pool):
    found = duplicates.find_groups(pool)
    groups = {tuple(group.members): group for group in found}
    assert set(groups) == {(0, 40), (1, 41), (2, 42), (38, 39)}
    assert [groups[key].exact for key in ((0, 40), (1, 41), (2, 42), (38, 39))] == [True, False, False, True]
    assert groups[1, 41].mirrored and not groups[2, 42].mirrored
    assert [group.members for group in found if group.torn(pool)] == [[0, 40], [1, 41], [2, 42]]
    assert [group.members for group in found if group.conflicting(pool)] == [[2, 42]]


def test_pairs_are_those_of_a_search_one_by_one(pool):
    """The block-wise search against the definition, for every pair of different images."""
    unique = np.sort(np.unique(pool.contents, return_index=True)[1])
    whole = duplicates.near_pairs(pool, unique)
    old, duplicates.near.BLOCK = duplicates.near.BLOCK, 7 * len(unique)
    try:
        blocks = duplicates.near_pairs(pool, unique)
    finally:
        duplicates.near.BLOCK = old
    np.testing.assert_array_equal(whole, blocks)
    assert [tuple(row) for row in whole] == [(1, 41, 1), (2, 42, 0)]


def test_a_data_set_without_copies_or_with_one_image_has_no_groups():
    rng = np.random.default_rng(1)
    assert duplicates.find_groups(Pool({"train": in_memory(smooth(rng, 20), np.full(20, -1), [])})) == []
    assert duplicates.find_groups(Pool({"train": in_memory(smooth(rng, 1), np.full(1, -1), [])})) == []


def test_equal_images_with_different_masks_conflict():
    pixels = smooth(np.random.default_rng(2), 3)
    pixels[2] = pixels[0]
    masks = np.zeros((3, 32, 32), dtype=np.uint8)
    same = Pool({"train": in_memory(pixels, np.full(3, -1), ["a", "b"], masks)})
    assert [group.conflicting(same) for group in duplicates.find_groups(same)] == [False]
    masks = masks.copy()
    masks[2, :4] = 1
    other = Pool({"train": in_memory(pixels, np.full(3, -1), ["a", "b"], masks)})
    assert [group.conflicting(other) for group in duplicates.find_groups(other)] == [True]
