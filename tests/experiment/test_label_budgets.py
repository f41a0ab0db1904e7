from gssl.config.composing import compose
from gssl.experiment.label_budgets import label_budgets, trained


def cfg(*words: str):
    return compose("transfer", ["weights=random", "labels_per_class=[1,10]", "images_labelled=[1,5]", *words])


def test_few_labels_are_counted_in_the_tasks_unit():
    per_class = label_budgets(cfg(), "linear")
    images = label_budgets(cfg(), "segment", "image")
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
