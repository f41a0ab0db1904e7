"""Gains over sources and targets of unlike tasks: what is shown, in which unit, and what is left blank."""

import numpy as np
import pytest

from gssl.report import curve, curve_tables, matrix
from gssl.statistics import metric as metrics
from gssl.statistics.metric import METRICS


def cell(source, target, probe, label_budget, metric="accuracy", n_train=10, gain=None, mean=0.5, **more):
    ends = {"gain_low": gain[0], "gain_high": gain[2], "gain": gain[1]} if gain else {}
    none = dict.fromkeys(("gain", "gain_low", "gain_high"))
    return {
        "source": source, "target": target, "task": "any", "probe": probe, "label_budget": label_budget,
        "metric": metric, "unit": METRICS[metric].unit, "direction": METRICS[metric].direction, "n_train": n_train,
        "n_test": 100, "draws": 3, "reads_labels": False, "mean": mean, "low": mean - 0.1, "high": mean + 0.1,
        "interval": "t over draws", "gain_interval": "t over draws", "gain_draws": 3, "gain_over": "scratch",
    } | none | ends | more  # fmt: skip


@pytest.fixture
def text():
    cells = []
    for budget, n in (("1", 3), ("10", 30), ("all", 300)):
        cells.append(cell("simclr", "photos", "linear", budget, n_train=n, gain=(0.02, 0.06, 0.10), mean=0.41))
        cells.append(cell("simclr", "photos", "knn", budget, n_train=n, gain=(0.3, 0.4, 0.5)))
        cells.append(cell("pca", "photos", "linear", budget, n_train=n, gain=(-0.1, -0.02, 0.06), mean=0.33))
        cells.append(cell("scratch", "photos", "finetune", budget, n_train=n, mean=0.35))
    cells.append(cell("simclr", "street", "segment", "5i", "mean_iou", 5, gain=(-0.05, -0.03, -0.01), mean=0.22))
    cells.append(cell("scratch", "street", "finetune", "5i", "mean_iou", 5, mean=0.25))
    base = {"photos": "scratch", "street": "scratch"}
    return {
        "sources": [{"name": name, "weights": name} for name in ("simclr", "pca", "scratch")],
        "targets": {"photos": {}, "street": {}},
        "cells": cells,
        "matrix": matrix.columns(cells, base),
        "reach": [],
        "similarity": [],
        "cka": None,
    }


def test_each_target_has_its_probe_its_metric_and_its_least_and_most_labels(text):
    shown = [(c["target"], c["probe"], c["label_budget"], c["metric"], c["baseline"]) for c in text["matrix"]]
    assert shown == [
        ("photos", "linear", "1", "accuracy", "scratch"),
        ("photos", "linear", "all", "accuracy", "scratch"),
        ("street", "segment", "5i", "mean_iou", "scratch"),
    ]


def test_scores_do_not_choose_the_probe(text):
    for c in text["cells"]:
        c["gain"] = 0.9 if c["probe"] == "knn" and c["gain"] is not None else c["gain"]
    assert {c["probe"] for c in matrix.columns(text["cells"], {"photos": "scratch"})} == {"linear", "segment"}


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        ((0.02, 0.06, 0.10), 1.5),
        ((-0.10, -0.06, -0.02), -1.5),
        ((-0.03, 0.01, 0.05), 0.25),
        ((0.0, 0.02, 0.04), 1.0),
        ((0.02, 0.02, 0.02), matrix.STRONGEST),
        ((-0.02, -0.02, -0.02), -matrix.STRONGEST),
        ((-0.1, 0.0, 0.1), 0.0),
        ((0.099, 0.1, 0.101), matrix.STRONGEST),
    ],
)
def test_a_gain_is_as_strong_as_it_is_far_from_0_beside_its_interval(gain, expected):
    assert matrix.strength(cell("a", "b", "linear", "1", gain=gain)) == pytest.approx(expected)


def test_without_a_baseline_there_is_no_strength():
    assert matrix.strength(cell("a", "b", "linear", "1")) is None


def test_the_table_has_points_scores_and_blanks(text):
    table = matrix.markdown(text)
    rows = {line.split(" | ")[0].strip("| "): line for line in table.splitlines() if line.startswith("|")}
    assert "**+6.0 (2.0 to 10.0)**; 41.0" in rows["SimCLR"] and "**−3.0 (−5.0 to −1.0)**; 22.0" in rows["SimCLR"]
    assert "−2.0 (−10.0 to 6.0); 33.0" in rows["principal components"] and rows["principal components"].endswith("– |")
    assert rows["scratch"].count("score") == 3 and "photos: 1 label per class" in table
    assert "accuracy, %; linear probe; n = 100 test images" in table and "mean IoU, %" in table
    assert "over training from scratch on the same labels in points" in table
    assert "Of 5 gains, about 0.25 would have colour by luck alone" in table


def test_one_target_has_no_matrix(text, tmp_path):
    text["matrix"] = []
    assert matrix.markdown(text) == "" and not matrix.draw(text, tmp_path / "matrix.png")
    assert not (tmp_path / "matrix.png").exists()


def test_a_metric_with_a_unit_of_its_own_is_neither_percent_nor_points(text, monkeypatch):
    own = METRICS["mean_iou"]
    monkeypatch.setitem(METRICS, "mean_iou", metrics.Metric(
        "mean_iou", "boundary distance", "value", "min", "mask", own.stats, own.of_sums))  # fmt: skip
    for c in text["cells"]:
        if c["metric"] == "mean_iou":
            c |= {"direction": "min"}
            c |= {key: None if c[key] is None else 100 * c[key] for key in ("mean", "low", "high", "gain")}
    text["matrix"] = matrix.columns(text["cells"], {"photos": "scratch", "street": "scratch"})
    table = matrix.markdown(text)
    assert "boundary distance, low is good" in table and "22" in table and "in points" not in table
    assert "test boundary distance (95% interval" in curve_tables.markdown(text)


def test_a_lower_value_of_what_should_be_low_is_a_gain(monkeypatch):
    """Gains by resampling of test images, on either direction of a metric."""
    own = METRICS["mean_iou"]

    def evaluated(values):
        one = curve.Evaluated.__new__(curve.Evaluated)
        rows = [{"metrics": {"mean_iou": v}, "draw": d} for d, v in enumerate(values)]
        one.result, one.metric, one.folds = {"scores": rows}, "mean_iou", 0
        one.groups = {("segment", "5i"): [0, 1, 2], ("finetune", "5i"): [0, 1, 2]}
        one.predictions = curve.Predictions(None, None, None, np.zeros((3, 4, 6)), "", ("mean_iou",))
        return one

    a, b = evaluated([0.4, 0.5, 0.6]), evaluated([0.2, 0.25, 0.3])
    up = curve._gain(a, b, "scratch", "segment", "5i")
    assert up["gain"] == pytest.approx(0.25) and up["gain_low"] < up["gain"] < up["gain_high"]
    monkeypatch.setitem(METRICS, "mean_iou", metrics.Metric(
        "mean_iou", "distance", "value", "min", "mask", own.stats, own.of_sums))  # fmt: skip
    down = curve._gain(a, b, "scratch", "segment", "5i")
    assert (down["gain"], down["gain_low"], down["gain_high"]) == (-up["gain"], -up["gain_high"], -up["gain_low"])
    assert down["gain_over"] == "scratch"


def grouped(right, groups, draws=2):
    """Accuracy of test items that belong to groups."""
    one = curve.Evaluated.__new__(curve.Evaluated)
    n = len(groups)
    scores = [{"metrics": {"accuracy": float(np.mean(row))}, "draw": d, "n_test": n} for d, row in enumerate(right)]
    one.result, one.metric, one.folds = {"scores": scores}, "accuracy", 0
    one.groups = {("action_motion", "2i"): list(range(draws))}
    one.predictions = curve.Predictions(np.arange(n) % 2, np.array(right), np.array(groups))
    return one


def test_clips_of_one_group_are_one_observation():
    few = [[1, 0, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]]
    copies = [np.repeat(row, 8) for row in few]
    one, many = grouped(few, np.arange(6)), grouped(copies, np.repeat(np.arange(6), 8))
    a, b = curve._mean(one, [0, 1]), curve._mean(many, [0, 1])
    assert a["interval"] == b["interval"] == curve.OVER_GROUPS
    assert [b[key] for key in ("mean", "low", "high")] == pytest.approx([a[key] for key in ("mean", "low", "high")])
    worse = [[0, 0, 1, 1, 1, 0], [1, 0, 1, 0, 0, 0]]
    other = grouped(worse, np.arange(6)), grouped([np.repeat(row, 8) for row in worse], np.repeat(np.arange(6), 8))
    gains = [curve._gain(x, y, "random", "action_motion", "2i") for x, y in zip((one, many), other, strict=True)]
    assert gains[0]["gain_interval"] == curve.OVER_GROUPS
    for key in ("gain", "gain_low", "gain_high"):
        assert gains[1][key] == pytest.approx(gains[0][key])


def test_scores_and_gains_stay_within_what_can_be():
    one = grouped([[1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 1, 0]], np.arange(6))
    one.predictions = curve.Predictions(one.predictions.labels, one.predictions.right, None)  # t over draws
    found = curve._mean(one, [0, 1])
    assert found["interval"].startswith("t ") and (found["low"], found["high"]) == (0.0, 1.0)
