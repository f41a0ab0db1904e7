"""Tasks: picked by the columns, with draws and folds of their own units, and scores by metrics."""

from types import SimpleNamespace

import numpy as np
import pytest

from gssl.data.memory import in_memory
from gssl.errors import UsageError
from gssl.experiment.label_budgets import LabelBudget
from gssl.experiment.tasks import CLASSIFICATION, TASKS, Answers, Counts, Fitted, task_of
from gssl.statistics.metric import METRICS, metrics_of
from tests.probe.test_segment import CLASSES, rectangles

SEGMENTATION = TASKS["mask"]


def images_of(n: int) -> LabelBudget:
    return LabelBudget(None, None, 1, "images_labelled", n)


def fit(budget: LabelBudget, probe: str = "segment", **model) -> Fitted:
    own = {"chosen": {}, "unselected": [], "val_accuracy": None}
    return Fitted(probe, budget, 0, 5, 0, SimpleNamespace(**(own | model)), "abc")


def test_columns_pick_the_task():
    assert task_of(("image", "label")) is CLASSIFICATION and task_of(("image", "mask")) is SEGMENTATION
    assert task_of(("image", "label", "mask")) is SEGMENTATION and task_of(("image",)) is CLASSIFICATION
    for task in TASKS.values():
        assert all(METRICS[name].stats is METRICS[task.metrics[0]].stats for name in task.metrics)


def test_draws_of_images_are_nested_and_differ():
    images = rectangles(30)
    few, more = (SEGMENTATION.draw(images, images_of(n), 0, 0) for n in (5, 20))
    assert len(few) == 5 and set(few) < set(more) and np.array_equal(few, np.sort(few))
    assert not np.array_equal(few, SEGMENTATION.draw(images, images_of(5), 0, 1))
    assert np.array_equal(few, SEGMENTATION.draw(images, images_of(5), 0, 0))
    assert len(SEGMENTATION.draw(images, LabelBudget(None, 1.0, 1), 0, 0)) == 30
    tenth = SEGMENTATION.draw(images, LabelBudget(None, 0.1, 1), 0, 0)
    assert len(tenth) == 3 and set(tenth) < set(few)
    with pytest.raises(UsageError, match="images_labelled: 31 asked for, but there are 30"):
        SEGMENTATION.draw(images, images_of(31), 0, 0)


def test_what_is_comparable_depends_on_units():
    assert SEGMENTATION.comparable(rectangles(2), 0) and not SEGMENTATION.comparable(rectangles(1), 0)
    one_film = rectangles(4)
    one_film.groups = np.array(["a"] * 4)
    assert not SEGMENTATION.comparable(one_film, 0)


def test_one_class_is_refused():
    pixels = np.zeros((3, 8, 8, 3), np.uint8)
    for task, column in ((CLASSIFICATION, "class"), (SEGMENTATION, "masks of 1 class")):
        with pytest.raises(UsageError, match=column):
            task.check(in_memory(pixels, np.zeros(3), ["a"]), ["a"], "mine")


def test_a_score_of_masks_names_its_metrics_and_classes():
    test = rectangles(4)
    stats = METRICS["mean_iou"].stats(test.masks, np.where(test.masks == 2, 2, 0), len(CLASSES))
    found = SEGMENTATION.score(fit(images_of(5), unselected=[stats]), Counts(stats), test)
    assert found["task"] == "segmentation" and found["images_labelled"] == 5
    assert found["labels_per_class"] is None and found["fraction"] is None
    assert found["metrics"] == {name: METRICS[name].value(stats) for name in metrics_of("mask")}
    assert found["components"]["mean_iou"]["blue"] == 1 and found["components"]["mean_iou"]["red"] == 0
    assert found["classes_left_out"] == ["never"]
    assert found["validation"] == {"mean_iou": found["metrics"]["mean_iou"]}


def test_predictions_of_masks_are_sufficient_statistics(tmp_path):
    test = rectangles(4)
    test.groups = np.array(["a", "a", "b", "b"])
    stats = METRICS["mean_iou"].stats(test.masks, np.zeros_like(test.masks), len(CLASSES))
    SEGMENTATION.save(tmp_path / "predictions.npz", [Counts(stats), Counts(stats)], test)
    with np.load(tmp_path / "predictions.npz") as file:
        assert file["stats"].shape == (2, 4, 3 * len(CLASSES))
        assert list(file["metric"]) == list(metrics_of("mask"))
        assert list(file["groups"]) == [0, 0, 1, 1] and str(file["items"]) == test.hash
        assert METRICS["mean_iou"].value(file["stats"][1]) == METRICS["mean_iou"].value(stats)


def test_a_score_of_classes_has_the_same_numbers_under_both_names():
    labels = np.array([0, 0, 0, 1])
    test = in_memory(np.zeros((4, 8, 8, 3), np.uint8), labels, ["a", "b"])
    found = CLASSIFICATION.score(
        fit(LabelBudget(10, None, 1), "linear", val_accuracy=0.5), Answers(np.array([0, 0, 1, 1]), None), test
    )
    assert found["accuracy"] == found["metrics"]["accuracy"] == 0.75 == found["correct"] / found["n_test"]
    assert found["balanced_accuracy"] == found["metrics"]["balanced_accuracy"] == pytest.approx(5 / 6)
    assert found["task"] == "classification" and found["validation"] == {"accuracy": 0.5}
    assert "images_labelled" not in found and "components" not in found
