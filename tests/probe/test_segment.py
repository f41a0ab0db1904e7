"""The probe of masks on frozen dense features, on pictures of coloured rectangles."""

import numpy as np
import pytest
import torch

from gssl.data import Draws, Images
from gssl.data.memory import in_memory
from gssl.errors import UsageError
from gssl.probe import dense, segment
from gssl.schemas import probes as schema
from gssl.statistics.metric import IGNORE, METRICS

CPU = torch.device("cpu")
CLASSES = ["ground", "red", "blue", "never"]
CFG = schema.Segment(positions=600, l2_low=1e-4, l2_high=1e-2, l2_count=3, l2_one_shot=1e-3, max_iter=200)


def rectangles(n: int, seed: int = 0, ignore: bool = True) -> Images:
    """24 × 32 pixels: a red rectangle in the upper and a blue one in the lower half, on dark noise."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 60, (n, 24, 32, 3)).astype(np.uint8)
    masks = np.zeros((n, 24, 32), dtype=np.uint8)
    for i in range(n):
        for name, top, channel in ((1, 0, 0), (2, 12, 2)):
            y, x = top + random.integers(0, 3), random.integers(0, 16)
            masks[i, y : y + 8, x : x + 12] = name
            pixels[i, y : y + 8, x : x + 12, channel] = 220
    if ignore:
        masks[:, :2] = IGNORE
    return in_memory(pixels, np.full(n, -1), CLASSES, masks)


def setting(rule: str = "pixels", draw: int = 0) -> dense.DenseSetting:
    return dense.DenseSetting(dense.RULES[rule], len(CLASSES), CPU, 0, Draws(draw))


def iou(stats: np.ndarray) -> float:
    return METRICS["mean_iou"].value(stats)


@pytest.fixture(scope="module")
def fitted() -> segment.FittedSegment:
    return segment.Segment(CFG).fit(rectangles(12), setting())


def test_it_learns_what_the_features_show(fitted):
    test = rectangles(8, seed=1)
    found = fitted.counts(test)
    assert found.shape == (8, 3 * len(CLASSES))
    assert iou(found) > 0.7
    assert METRICS["mean_iou"].components(found, CLASSES)["never"] is None
    assert set(fitted.head.classes) == {0, 1, 2}  # what has no labelled pixel is never predicted
    position = segment.Segment(CFG).fit(rectangles(12), setting("position"))
    assert iou(position.counts(test)) < iou(found)


def test_counts_are_those_of_the_masks(fitted):
    test = rectangles(3, seed=2)
    x, true = next(dense.views(test, CPU))
    guess = fitted.masks(x, (24, 32))
    assert guess.shape == (3, 24, 32) and guess.dtype == np.uint8
    assert np.array_equal(METRICS["mean_iou"].stats(true.numpy(), guess, 4), fitted.counts(test))


def test_logits_are_brought_to_the_size_and_not_classes(fitted):
    x, _ = next(dense.views(rectangles(2, seed=3), CPU))
    logits = torch.einsum("bdhw,cd->bchw", dense.pixels(x).double(), torch.from_numpy(fitted.head.weight))
    logits = logits + torch.from_numpy(fitted.head.bias)[:, None, None]
    big = torch.nn.functional.interpolate(logits, size=(24, 32), mode="bilinear", align_corners=False)
    assert (fitted.head.classes[big.argmax(1).numpy()] == fitted.masks(x, (24, 32))).mean() > 0.999


def test_all_heads_in_one_pass_give_what_each_gives(fitted):
    test, other = rectangles(3, seed=2), segment.Segment(CFG).fit(rectangles(4), setting(draw=1))
    together = segment.counts([fitted.head, other.head], test, setting())
    assert np.array_equal(together[0], fitted.counts(test)) and np.array_equal(together[1], other.counts(test))


def test_features_are_read_where_the_pixels_are():
    """A picture whose colour is the row: the feature of a pixel is that of its row, not of another."""
    rows = np.tile(np.arange(24, dtype=np.uint8)[:, None, None] * 10, (1, 32, 3))[None]
    masks = np.tile(np.arange(24, dtype=np.uint8)[:, None], (1, 32))[None]
    images = in_memory(rows, np.full(1, -1), [str(i) for i in range(24)], masks)
    x, y, of = segment.sampled(images, setting(), 10_000)
    assert len(y) == 24 * 32 and (of == 0).all()
    inner = (y >= 6) & (y < 18)
    assert np.abs(x[inner, 4] * 255 - 10 * y[inner]).max() < 1e-3


def test_positions_are_as_many_of_each_image_and_never_ignored():
    images = rectangles(6)
    x, y, of = segment.sampled(images, setting(), 600)
    assert len(x) == len(y) == 600 and (np.bincount(of) == 100).all()
    assert (y != IGNORE).all() and x.dtype == np.float32
    again = segment.sampled(images, setting(), 600)
    assert np.array_equal(x, again[0]) and np.array_equal(y, again[1])
    assert not np.array_equal(y, segment.sampled(images, setting(draw=1), 600)[1])
    first = segment.drawn(images.masks[0], 100, Draws(0), 0)
    assert len(set(zip(*first, strict=True))) == 100


def test_validation_images_are_predicted_by_what_was_chosen_without_them(fitted):
    assert [len(rows) for rows in fitted.unselected] == [4, 4, 4]
    one = segment.Segment(CFG).fit(rectangles(1), setting())
    assert one.unselected == [] and one.chosen == {"l2": CFG.l2_one_shot}
    many = segment.Segment(CFG).fit(rectangles(50), setting())
    assert [len(rows) for rows in many.unselected] == [15] and iou(many.unselected[0]) > 0.5


def test_groups_stay_on_one_side():
    images = rectangles(6)
    images.groups = np.array(list("aabbbb"))
    found = segment.Segment(CFG).fit(images, setting())
    assert sorted(len(rows) for rows in found.unselected) == [2, 4]


def test_a_validation_image_may_hold_a_class_that_the_fit_part_lacks():
    images = rectangles(3)
    masks = images.masks.copy()
    masks[0][masks[0] == 1] = 3
    masks[1:][masks[1:] == 1] = 0
    own = in_memory(np.array(images.store.pixels), np.full(3, -1), CLASSES, masks)
    found = segment.Segment(CFG).fit(own, setting())
    assert set(found.head.classes) == {0, 2, 3}


def test_without_a_labelled_pixel_it_says_so():
    images = in_memory(np.zeros((2, 8, 8, 3), np.uint8), np.full(2, -1), CLASSES, np.full((2, 8, 8), IGNORE, np.uint8))
    with pytest.raises(UsageError, match="no labelled pixel"):
        segment.Segment(CFG).fit(images, setting())


def test_the_best_point_is_by_mean_iou_then_by_cross_entropy():
    def stats(correct: int) -> list[int]:
        return [correct, 5, 5, 5, 10, 10]

    values = np.array([[stats(3)], [stats(5)], [stats(5)]])
    assert segment.best([segment.Trial(values, np.array([[1.0], [3.0], [2.0]]))]) == 2
    assert segment.best([]) == 0


def test_majority_is_the_most_frequent_class_of_labelled_pixels():
    images = rectangles(6)
    found = segment.Majority().fit(images, setting("majority"))
    assert found.chosen == {"class": 0}
    x, _ = next(dense.views(images, CPU))
    assert (found.masks(x, (24, 32)) == 0).all()
    assert [len(rows) for rows in found.unselected] == [2, 2, 2]
