"""Tables of finished runs name their data."""

import pytest
import yaml

from gssl.cli.result_table import data_set, print_result


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"data": {"name": "imagefolder", "root": "my/photos", "size": 64}}, "my/photos, 64 px"),
        ({"data": {"name": "imagefolder", "root": None, "train": "some", "size": 32}}, "some, 32 px"),
        ({"data": {"name": "segmentation", "root": "street", "size": [90, 120]}}, "street, 90×120 px"),
        ({"data": {"name": "mnist5k", "root": None, "size": 28}}, "mnist5k, 28 px"),
        ({"data": {"name": "cifar10", "root": "files", "size": 32}}, "cifar10, 32 px"),
        ({"data": {"name": "text", "root": "questions", "size": 48}}, "questions, 48 tokens"),
        ({"data": {"name": "audio", "root": "digits", "size": 32}}, "digits, 32 mel bands"),
        ({"data": {"name": "mnist5k", "size": 28}, "to": ["svhn", "photos/"]}, "svhn, photos/"),
        ({"data": {"name": "mnist5k", "size": 28}, "runs": "runs/*"}, ""),
        ({"seed": 1}, ""),
    ],
)
def test_the_data_of_a_run(tmp_path, config, said):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert data_set(tmp_path) == said


def test_every_result_names_them(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"data": {"name": "imagefolder", "root": "photos", "size": 64}})
    )
    score = {"probe": "knn", "labels_per_class": 10, "fraction": None, "metrics": {"accuracy": 0.5}, "n_test": 40}
    print_result(tmp_path, {"scores": [score]})
    assert capsys.readouterr().out.splitlines()[0] == "data: photos, 64 px"
    print_result(tmp_path / "nowhere", {"spent": {"steps": 3}})
    assert "data:" not in capsys.readouterr().out


def test_what_a_generator_makes_is_called_what_it_is(tmp_path, capsys):
    mark = {"step": 8, "val_kid": 0.2, "figures": {"kid_low": 0.1, "kid_high": 0.3, "coverage": 0.5}}
    result = {"best": mark, "last": mark, "exported": {"which": "last"}, "seed": 0}
    result |= {"evaluator": {"name": "conv", "hash": "a" * 64, "dim": 8, "n": 40, "split": "val"}}
    result |= {"kid_baseline": {"train_real": {"kid": 0.01, "n_fake": 40}}}
    result |= {"quality": {"text": "poor: farther from the val images.", "notes": []}}
    for name, rows in [("audio", "sounds"), ("mnist5k", "images")]:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"name": name, "root": "some", "size": 32}}))
        print_result(tmp_path, result)
        shown = capsys.readouterr().out
        assert f"real training {rows}" in shown and f"generated {rows}: poor: farther from the val {rows}." in shown


def test_tables_say_how_many_test_images_they_rest_on_and_warn_where_these_are_few(capsys):
    from pathlib import Path

    score = {"probe": "linear", "labels_per_class": None, "fraction": 1, "draw": 0, "n_test": 11}
    score |= {"metrics": {"accuracy": 0.8, "balanced_accuracy": 0.8}}
    print_result(Path("run"), {"scores": [score]})
    shown = capsys.readouterr().out
    assert "\n11 test images\n" in shown and "warning: one of 11 test images is 9.1 points" in shown
    print_result(Path("run"), {"scores": [score | {"n_test": 40}], "folds": {"count": 5, "transductive": True}})
    shown = capsys.readouterr().out
    assert "40 test images, each predicted by what learnt from 4 of 5 folds" in shown and "4/5 of them" in shown
    assert "pretraining has had these images, without labels (transductive)" in shown
    print_result(Path("run"), {"scores": [score | {"n_test": 1000}]})
    assert "warning" not in capsys.readouterr().out
    print_result(Path("run"), {"scores": [score | {"task": "detection", "metrics": {"ap": 0.3, "ap50": 0.6}}]})
    shown = capsys.readouterr().out  # an image is no fixed part of an average precision
    assert "warning: only 11 test images: a few points' difference is none" in shown and "one of" not in shown
    cell = {"source": "random", "target": "photos", "probe": "linear", "label_budget": "all", "n_test": 11}
    cell |= {"mean": 0.6, "low": 0.4, "high": 0.8, "metric": "accuracy"}
    print_result(Path("run"), {"curve": {"cells": [cell], "targets": {"photos": {}}}})
    assert "11 test images" in capsys.readouterr().out
