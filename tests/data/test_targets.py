"""What a target calls its rows and what is labelled: the same sentence about images, clips and good images."""

import pytest

from gssl.config.registry import PROBE
from gssl.data.targets import TARGETS, of_task
from gssl.experiment.tasks import NAMED, TASKS
from gssl.words import PROBES, label_budget_text

SENTENCE = "With 5 labelled images we cannot tell; 12 test images, 1 test image, copies of images among these images"


def test_each_target_has_its_task():
    assert {column: TARGETS[column].task for column in TASKS} == {column: task.name for column, task in TASKS.items()}
    assert all(of_task(name) is TARGETS[task.column] for name, task in NAMED.items())
    assert of_task("of another version") is TARGETS["label"]


@pytest.mark.parametrize("column", [name for name in TARGETS if name not in ("video", "anomaly", "text", "audio")])
def test_images_are_called_images(column):
    assert TARGETS[column].said(SENTENCE) == SENTENCE


def test_clips_texts_and_good_images():
    said = TARGETS["video"].said(SENTENCE)
    assert said == "With 5 labelled clips we cannot tell; 12 test clips, 1 test clip, copies of clips among these clips"
    assert "copies of sounds among these sounds" in TARGETS["audio"].said(SENTENCE)
    said = TARGETS["text"].said(SENTENCE)
    assert said == "With 5 labelled texts we cannot tell; 12 test texts, 1 test text, copies of texts among these texts"
    assert TARGETS["anomaly"].said(SENTENCE) == SENTENCE.replace("labelled images", "good images")
    assert TARGETS["anomaly"].said("all labels, 1% of the labels") == "all good images, 1% of the good images"
    assert TARGETS["mask"].said("all labels, 1% of the labels") == "all labels, 1% of the labels"


def test_budgets_of_groups_are_of_groups_and_counts_of_clips_are_not():
    budget, one = label_budget_text("5i"), label_budget_text("1i")
    text = f"With {one}, {budget} (15 labelled images), not 15 labelled images"
    said = TARGETS["video"].said(text, [one, budget], groups=True)
    assert said == "With 1 labelled group, 5 labelled groups (15 labelled clips), not 15 labelled clips"
    assert TARGETS["mask"].said(text, [one, budget], groups=True) == text  # labels there are of images, grouped or not


@pytest.mark.parametrize("text", ["data.root=my/test images/a.png", "generated images", "nearest training images"])
def test_paths_and_what_generators_make_stay(text):
    assert TARGETS["video"].said(text) == text


def test_every_probe_has_a_name_in_words():
    assert set(PROBE) == set(PROBES)
