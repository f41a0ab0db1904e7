"""The majority control: the most frequent class of the labels, whatever the images show."""

import numpy as np
import pytest

from gssl.config import registry
from gssl.config.menus import probes_of
from gssl.probe.majority import Majority


def fitted(y: list[int], known: list[int], n_classes: int = 3):
    return Majority(np.array(known)).fit(np.zeros((len(y), 1)), np.array(y), n_classes, seed=0)


def test_the_most_frequent_class_of_its_labels():
    model = fitted([2, 1, 2, 1, 2, 0], known=[0] * 50 + [1, 2])
    assert model.predict(np.ones((4, 1))).tolist() == [2] * 4 and model.chosen == {"class": 2}
    assert model.probabilities(np.ones((2, 1))).tolist() == [[1 / 6, 2 / 6, 3 / 6]] * 2


@pytest.mark.parametrize(("known", "answer"), [([0, 1, 1, 1, 2], 1), ([2, 2, -1, -1, -1, 0, 0, 1], 0), ([-1], 0)])
def test_equally_frequent_classes(known, answer):
    """That of all training images, then the first; unlabelled ones do not count."""
    assert fitted([0, 1, 2, 2, 1, 0], known).answer == answer


def test_validation_accuracy_is_measured_on_folds():
    model = fitted([0] * 90 + [1] * 10, known=[0], n_classes=2)
    assert model.val_accuracy == pytest.approx(0.9)
    assert np.concatenate(model.unselected).sum() == 90
    assert fitted([0, 1, 1], known=[1]).val_accuracy is None  # one label of a class: no folds


def test_it_is_judged_by_every_probe_of_features_that_reads_labels():
    anomalies = ["anomaly", "anomaly_gaussian"]  # no task of which majority is a control
    actions = [f"action_{name}" for name in ("frame", "mean", "motion", "order", "shuffled")]
    found = ["knn", "linear", "fewshot", "segment", "detect", *actions, *anomalies, "adapted"]
    assert probes_of("majority", list(registry.PROBE)) == found
