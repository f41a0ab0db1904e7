import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gssl.statistics.detection import (
    AREAS,
    IOUS,
    MOST,
    Detections,
    Objects,
    average_precision,
    average_recall,
    box_matches,
    ious,
    matched_once,
    precisions,
)

CLASSES = 4


def boxes(random: np.random.Generator, count: int, side: float = 200) -> np.ndarray:
    corner = random.random((count, 2)) * side
    return np.concatenate([corner, corner + np.exp(random.uniform(1.5, 5, (count, 2)))], axis=1).round(1)


def drawn(seed: int, n: int = 12) -> tuple[list[Objects], list[Detections]]:
    """Images with crowds, ties in score, without objects (the first) and without detections (the second).

    Class 2 is predicted and has no object, class 3 has neither.
    """
    random = np.random.default_rng(seed)
    objects, found = [], []
    for i in range(n):
        m = 0 if i == 0 else int(random.integers(0, 9))
        own = Objects(boxes(random, m), random.integers(0, 2, m), random.random(m) < 0.2)
        near = np.repeat(own.boxes, 3, axis=0) + random.normal(0, 4, (3 * m, 4)).round(1)
        far = boxes(random, 10)
        guess = np.concatenate([near, far])
        guess = np.concatenate([np.minimum(guess[:, :2], guess[:, 2:]), np.maximum(guess[:, :2], guess[:, 2:])], axis=1)
        classes = np.concatenate([np.repeat(own.classes, 3), random.integers(0, 3, 10)])
        kept = slice(0, 0) if i == 1 else slice(None)
        scores = random.integers(0, 20, len(guess)) / 16  # ties, exact in float32
        objects.append(own)
        found.append(Detections(guess[kept], classes[kept], scores[kept]))
    return objects, found


def theirs(objects: list[Objects], found: list[Detections]) -> COCOeval:
    def coco(of: list, scored: bool) -> COCO:
        made, rows = COCO(), []
        for i, own in enumerate(of):
            for j, (x1, y1, x2, y2) in enumerate(np.asarray(own.boxes).reshape(-1, 4).tolist()):
                row = {"id": len(rows) + 1, "image_id": i + 1, "category_id": int(own.classes[j]) + 1}
                row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
                row |= {"score": float(own.scores[j]), "iscrowd": 0} if scored else {"iscrowd": int(own.crowd[j])}
                rows.append(row)
        categories = [{"id": c + 1} for c in range(CLASSES)]
        made.dataset = {
            "images": [{"id": i + 1} for i in range(len(of))],
            "annotations": rows,
            "categories": categories,
        }
        made.createIndex()
        return made

    with contextlib.redirect_stdout(io.StringIO()):
        judged = COCOeval(coco(objects, False), coco(found, True), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return judged


def repeated(objects: list[Objects], found: list[Detections], counts: np.ndarray) -> COCOeval:
    each = np.repeat(np.arange(len(objects)), counts)
    return theirs([objects[i] for i in each], [found[i] for i in each])


@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_pycocotools(seed):
    objects, found = drawn(seed)
    stats, once = box_matches(objects, found, CLASSES), np.ones((1, len(objects)))
    judged = theirs(objects, found)
    values = [average_precision(stats, once), average_precision(stats, once, thresholds=slice(0, 1))]
    values += [average_precision(stats, once, thresholds=slice(5, 6))]
    values += [average_precision(stats, once, area) for area in ("small", "medium", "large")]
    expected = np.where(judged.stats[:6] > -1, judged.stats[:6], np.nan)
    assert np.ravel(values).tolist() == pytest.approx(expected.tolist(), abs=1e-6, nan_ok=True)
    assert average_recall(stats, once)[0] == pytest.approx(judged.stats[8], abs=1e-6)
    each = judged.eval["precision"][:, :, :, 0, 2].mean(axis=(0, 1))
    assert precisions(stats, once)[0] == pytest.approx(np.where(each > -1, each, np.nan), abs=1e-6, nan_ok=True)
    assert np.isnan(precisions(stats, once)[0]).tolist() == [False, False, True, True]  # no objects: left out, not -1


def test_an_image_that_counts_several_times_is_as_good_as_several_images():
    objects, found = drawn(9)
    scores = iter(np.random.default_rng(1).permutation(sum(len(own.scores) for own in found)) / 1024)
    found = [own._replace(scores=np.array([next(scores) for _ in own.scores])) for own in found]  # without ties
    stats = box_matches(objects, found, CLASSES)
    counts = np.random.default_rng(2).integers(0, 4, (3, len(objects)))
    expected = [repeated(objects, found, row).stats[[0, 3, 8]] for row in counts]
    ours = [average_precision(stats, counts), average_precision(stats, counts, "small"), average_recall(stats, counts)]
    assert np.stack(ours, axis=1) == pytest.approx(np.array(expected), abs=1e-6)


def test_without_an_object_there_is_no_value():
    nothing = Objects(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    crowd = Objects(np.array([[0, 0, 9, 9]]), np.array([0]), np.array([True]))
    guess = Detections(np.array([[0, 0, 9, 9]]), np.array([0]), np.array([0.5]))
    stats = box_matches([nothing, crowd], [guess, guess], 2)
    assert np.isnan(average_precision(stats, np.ones((1, 2)))).all()
    assert np.isnan(average_recall(stats, np.ones((1, 2)))).all()


def test_found_is_found_and_a_second_box_for_one_object_is_wrong():
    true = Objects(np.array([[0, 0, 40, 40], [50, 50, 60, 60.0]]), np.array([0, 0]), np.zeros(2, bool))
    both = Detections(true.boxes, true.classes, np.array([0.9, 0.8]))
    twice = Detections(true.boxes[[0, 0, 1]], np.zeros(3, int), np.array([0.9, 0.85, 0.8]))
    once = np.ones((1, 1))
    assert average_precision(box_matches([true], [both], 1), once) == pytest.approx(1)
    # recalls up to .5 have precision 1, the others 2 of 3
    assert average_precision(box_matches([true], [twice], 1), once) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert average_precision(box_matches([true], [both], 1), once, "small") == pytest.approx(1)  # 40 × 40 is ignored
    assert np.isnan(average_precision(box_matches([true], [both], 1), once, "large"))


def test_the_best_hundred_detections_of_an_image_count():
    true = Objects(np.array([[0, 0, 40, 40.0]]), np.array([0]), np.zeros(1, bool))
    wrong = np.tile([100, 100, 120, 120.0], (MOST, 1))
    late = Detections(np.concatenate([wrong, true.boxes]), np.zeros(MOST + 1, int), np.linspace(1, 0.5, MOST + 1))
    stats = box_matches([true], [late], 1)
    assert average_precision(stats, np.ones((1, 1))) == 0
    assert average_recall(stats, np.ones((1, 1))) == 0


def test_overlaps():
    a, b = np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0], [5, 5, 6, 6], [0, 0, 4, 4], [1, 1, 1, 2]])
    assert ious(a, b)[0] == pytest.approx([2 / 6, 0, 4 / 16, 0])
    assert ious(a, b, np.ones(4, bool))[0] == pytest.approx([0.5, 0, 1, 0])


def test_a_class_outside_the_known_ones_is_an_error():
    true = Objects(np.array([[0, 0, 4, 4.0]]), np.array([3]), np.zeros(1, bool))
    with pytest.raises(AssertionError, match="outside"):
        box_matches([true], [Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))], 2)


def test_the_thresholds_are_coco_s():
    assert IOUS.tolist() == pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
    assert list(AREAS) == ["all", "small", "medium", "large"]


def test_what_is_right_for_a_picture():
    edges = np.array([[0, 0, 40, 40], [50, 50, 60, 60], [100, 100, 190, 190.0]])
    true = Objects(edges, np.array([0, 1, 0]), np.array([False, False, True]))
    found = Detections(
        np.array([[0, 0, 40, 40], [1, 0, 40, 40], [50, 50, 60, 60], [110, 110, 120, 120], [130, 130, 150, 150.0]]),
        np.array([0, 0, 0, 0, 0]),
        np.array([0.5, 0.9, 0.8, 0.7, 0.6]),
    )
    # the surer one takes the object, another class is wrong, and a crowd may be taken by many
    assert matched_once(true, found).tolist() == [False, True, False, True, True]
    assert matched_once(true, Detections(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))).shape == (0,)
