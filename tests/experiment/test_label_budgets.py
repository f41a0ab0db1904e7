import numpy as np
import pytest

from gssl.comparison.plan import Planner
from gssl.config.composing import compose
from gssl.data.targets import TARGETS
from gssl.errors import UsageError
from gssl.experiment.label_budgets import Labels, at_most, label_budgets, possible, trained


def cfg(*words: str):
    return compose("transfer", ["weights=random", "labels_per_class=[1,10]", "images_labelled=[1,5]", *words])


def test_few_labels_are_counted_in_the_tasks_unit():
    per_class = label_budgets(cfg(), "linear")
    images = label_budgets(cfg(), "segment", TARGETS["mask"])
    assert [(b.per_class, b.images, b.fraction, b.draws) for b in per_class] == [
        (1, None, None, 30),
        (10, None, None, 10),
        (None, None, 1.0, 1),
    ]
    assert [(b.per_class, b.images, b.fraction, b.draws) for b in images] == [
        (None, 1, None, 30),
        (None, 5, None, 10),
        (None, None, 1.0, 1),
    ]
    assert [b.words for b in images] == ["1 labelled image", "5 labelled images", "all labels"]
    assert images[1].record() == {"labels_per_class": None, "fraction": None, "images_labelled": 5}
    assert per_class[1].record() == {"labels_per_class": 10, "fraction": None}


def test_a_probe_may_bring_budgets_of_its_own():
    assert [b.per_class for b in label_budgets(cfg("probe.fewshot.shots=[2,3]"), "fewshot")] == [2, 3]
    assert [b.per_class for b in label_budgets(cfg(), "cluster")] == [0]


def test_what_trains_the_network_has_few_draws_and_a_menu_as_many():
    assert trained(cfg(), "linear") == [] and trained(cfg(), "finetune") == ["finetune"]
    assert [b.draws for b in label_budgets(cfg(), "finetune")] == [1, 1, 1]
    assert [b.draws for b in label_budgets(cfg("probe.adapted.menu=[linear]"), "adapted")] == [1, 1, 1]


def counted(*per_class):
    return Labels.of(np.repeat(np.arange(len(per_class)), per_class))


def test_label_budgets_that_the_data_cannot_give_are_left_out_and_said(capsys, monkeypatch):
    monkeypatch.setattr("gssl.experiment.label_budgets._said", set())
    asked = compose("transfer", ["weights=random", "labels_per_class=[1,10,100]", "fractions=[0.01,1.0]"])
    found = possible(asked, counted(14, 26), TARGETS["label"])
    assert (found.labels_per_class, found.fractions) == ([1, 10], [1.0])
    said = capsys.readouterr().err
    assert "note: labels_per_class: 100 left out: the smallest class has 14 labelled training images" in said
    assert "note: fractions: 0.01 left out" in said
    possible(asked, counted(14, 26), TARGETS["label"])
    assert capsys.readouterr().err == ""  # once for all parts
    assert possible(asked, counted(200, 300), TARGETS["label"]) == asked


def test_a_fold_that_is_held_back_is_not_counted():
    folds = {"count": 5, "fold": None, "least_per_class": 8}
    labels = Labels.of(np.repeat([0, 1], [10, 30]), folds)
    assert (labels.fewest, labels.total) == (8, 32) and "a fold of 5 is held back" in labels.words
    assert Labels.of(np.full(30, -1), folds).total == 24  # of masks, which have no labels


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["labels_per_class=[100]"], "labels_per_class: 100 asked for, but the smallest class has 14 labelled"),
        (["fractions=[0.001]"], "fractions: 0.001 of 40 labelled training images are fewer labels than the 2 classes"),
        (["probe.use=[fewshot]", "probe.fewshot.shots=[20]"], "probe.fewshot.shots: 20 asked for, but the smallest"),
    ],
)
def test_a_request_of_which_nothing_remains_is_an_error(words, said):
    with pytest.raises(UsageError, match=said):
        possible(compose("transfer", ["weights=random", *words]), counted(14, 26), TARGETS["label"])


def test_what_carries_the_verdict_is_chosen_from_what_remains():
    few = possible(compose("compare", ["labels_per_class=[5,10,100]"]), counted(7, 9), TARGETS["label"])
    assert Planner(few, "hash", 1).primary() == ("adapted", "5")
    asked = compose("compare", ["primary.labels='100'"])
    with pytest.raises(UsageError, match="the data cannot give so many; expected one of 1, 10, all"):
        possible(asked, counted(14, 26), TARGETS["label"])


def test_masks_are_counted_in_images(capsys):
    words = ["data=segmentation", "data.root=x", "images_labelled=[5,20]", "probe.use=[segment]"]
    labels = Labels.of(np.full(12, -1))
    assert possible(compose("transfer", ["weights=random", *words]), labels, TARGETS["mask"]).images_labelled == [5]
    assert at_most(compose("transfer", ["weights=random", *words]), labels, TARGETS["mask"]).images_labelled == [5, 12]
