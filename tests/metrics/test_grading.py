"""Grades come from controls alone, and metrics that look better than they are are explained."""

import numpy as np
import pytest
import torch

from gssl.data.memory import in_memory
from gssl.metrics.control_images import damaged, measure_controls
from gssl.metrics.evaluator import RandomEvaluator, evaluator_features
from gssl.metrics.generation import Reference, real_baseline
from gssl.metrics.grading import CONTROLS, GRADES, averaged, graded, notes

REAL = {"kid": 0.001, "kid_high": 0.01, "precision": 0.8, "recall": 0.7, "coverage": 0.95}
MEASURED = {
    "half": {"kid": 0.1, "recall": 0.5, "coverage": 0.8},
    "quarter": {"kid": 0.3, "recall": 0.2, "coverage": 0.5},
    "eighth": {"kid": 0.6, "recall": 0.05, "coverage": 0.2},
    "noise": {"kid": 4.0, "recall": 0.0, "coverage": 0.0},
}


def figures(kid, spread=0.005, **more):
    return {"kid": kid, "kid_low": kid - spread, "kid_high": kid + spread, **more}


@pytest.mark.parametrize(
    ("kid", "grade"), [(0.005, "good"), (0.05, "fair"), (0.2, "poor"), (0.4, "bad"), (0.7, "bad"), (5.0, "useless")]
)
def test_the_grade_is_that_of_the_worst_control_that_is_nearer(kid, grade):
    found = graded(figures(kid), REAL, MEASURED, "test")
    assert found["grade"] == grade and found["text"].startswith(f"{grade}: ") and "test images" in found["text"]


def test_the_sentence_names_the_control_with_its_distance():
    text = graded(figures(0.4), REAL, MEASURED, "val")["text"]
    assert text == (
        "bad: farther from the val images (KID 0.4, 0.395 to 0.405) than training images reduced to a quarter of their"
        " resolution (0.3), not certainly farther than training images reduced to an eighth of their resolution (0.6);"
        " real training images have a KID of 0.001."
    )


def test_no_threshold_is_a_constant():
    """The same distance is good by one evaluator and useless by another, and only the ratio to the controls counts."""
    scaled = {
        name: {key: v * (1000 if key == "kid" else 1) for key, v in own.items()} for name, own in MEASURED.items()
    }
    real = REAL | {"kid": 1.0, "kid_high": 10.0}
    for kid in (0.005, 0.05, 0.2, 0.4, 5.0):
        one = graded(figures(kid), REAL, MEASURED, "test")["grade"]
        assert graded(figures(1000 * kid, 5.0), real, scaled, "test")["grade"] == one
    assert graded(figures(5.0), real, scaled, "test")["grade"] == "good"


def test_what_cannot_be_told_from_a_control_is_not_worse_than_it():
    wide = {"kid": 0.35, "kid_low": 0.2, "kid_high": 0.5}
    assert graded(wide, REAL, MEASURED, "test")["grade"] == "poor"
    hardly = {"kid": 0.35, "kid_low": -0.2, "kid_high": 0.9}  # of a dozen images
    told = graded(hardly, REAL, MEASURED, "test")
    assert told["grade"] == "fair" and "not certainly farther from the test images" in told["text"]
    # but where it shows less than the control in every way, it is
    assert graded(wide | {"recall": 0.1, "coverage": 0.3}, REAL, MEASURED, "test")["grade"] == "bad"
    assert graded(wide | {"recall": 0.4, "coverage": 0.3}, REAL, MEASURED, "test")["grade"] == "poor"


def test_grades_are_monotone_in_the_distance():
    found = [GRADES.index(graded(figures(kid), REAL, MEASURED, "test")["grade"]) for kid in np.geomspace(1e-3, 10, 60)]
    assert found == sorted(found) and set(found) == set(range(len(GRADES)))


def test_precision_above_real_images_is_explained_and_not_praised():
    mush = figures(0.2, precision=0.95, recall=0.1)
    (note,) = notes(mush, REAL)
    assert "Precision 0.95" in note and "less variety" in note and "not better than real" in note
    assert notes(mush | {"recall": 0.75}, REAL) == [] and notes(mush | {"precision": 0.7}, REAL) == []
    assert notes(figures(0.2), REAL) == []


def test_repeats_of_training_images_are_explained():
    (note,) = notes({"copied": 0.9, "copied_low": 0.85}, {"copied_high": 0.1})
    assert note.startswith("90% of the generated images") and "repeated" in note


def test_without_controls_nothing_is_said():
    assert graded(figures(0.1), REAL, {}, "test") is None and graded({}, REAL, MEASURED, "test") is None


def test_means_are_over_what_all_evaluations_have():
    assert averaged([{"kid": 1.0, "recall": 0.5}, {"kid": 3.0}]) == {"kid": 2.0}


@pytest.fixture(scope="module")
def pictures():
    """240 pictures of coloured stripes of many widths, which lose more the more they are reduced."""
    rng = np.random.default_rng(0)
    x = np.arange(32)
    phase, width = rng.uniform(0, 6, (240, 1, 1, 3)), rng.uniform(0.3, 1.6, (240, 1, 1, 1))
    stripes = np.sin(width * (x[:, None, None] * rng.choice([0, 1], (240, 1, 1, 1)) + x[None, :, None]) + phase)
    pixels = (127 + 90 * stripes + rng.normal(0, 8, (240, 32, 32, 3))).clip(0, 255).astype(np.uint8)
    return in_memory(pixels, np.zeros(240, int), ["a"])


def test_controls_get_worse_with_the_damage_and_real_images_are_good(pictures):
    evaluator, cpu = RandomEvaluator(32), torch.device("cpu")
    train, real = pictures.subset(np.arange(0, 160)), pictures.subset(np.arange(160, 240))
    on_train, on_real = (evaluator_features(evaluator, part) for part in (train, real))
    reference = Reference(on_real, on_train)
    controls = measure_controls(reference, train, evaluator, 0, cpu)
    assert list(controls) == list(CONTROLS)
    kids = [controls[name]["kid"] for name in ("half", "quarter", "eighth")]
    baseline = real_baseline(on_train, on_real)["train_real"]
    assert baseline["kid"] < kids[0] < kids[1] < kids[2]
    assert measure_controls(reference, train, evaluator, 0, cpu) == controls
    as_good = graded(reference.measure(on_train[:80]), baseline, controls, "val")
    assert as_good["grade"] == "good"
    mush = evaluator_features(evaluator, torch.full((80, 3, 32, 32), 0.5) + 0.01 * torch.randn(80, 3, 32, 32))
    assert graded(reference.measure(mush), baseline, controls, "val")["grade"] in ("bad", "useless")


def test_noise_has_the_colours_of_the_images(pictures):
    few = pictures.subset(np.arange(200))
    made = torch.cat(list(damaged("noise", few, 32, 0, torch.device("cpu"))))
    real = torch.from_numpy(np.array(few.store.pixels[:200])).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(made.mean((0, 2, 3)), real.mean((0, 2, 3)), atol=0.02, rtol=0)
    assert made.shape == real.shape and made.min() >= 0 and made.max() <= 1
