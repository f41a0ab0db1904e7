"""Transfer over outer folds: one result of every labelled image, by what never had it; leaks are refused or said."""

import json
from pathlib import Path

import numpy as np
import pytest

from gssl.commands import pretrain_ssl, transfer
from gssl.data import load_data
from gssl.engine.files import read_json, write_json
from gssl.errors import JobError, UsageError
from gssl.experiment import cross_validation
from gssl.report import scores
from gssl.report.collect import read_runs


@pytest.fixture
def few(pictures, tmp_path) -> Path:
    """Class folders of 9 images, without a test folder."""
    root = tmp_path / "few"
    for name in "abc":
        (root / name).mkdir(parents=True)
        for i in range(9):
            file = pictures / "train" / name / f"{i:03}.png"
            (root / name / file.name).write_bytes(file.read_bytes())
    return root


@pytest.fixture
def ask(tiny, few):
    """Overrides of `gssl transfer` on these images."""

    def make(*more: str, command: str = "transfer"):
        words = [f"data.root={few}", "data.folds=3"]
        if command == "transfer":
            words += ["probe.use=[linear,knn]", "labels_per_class=[2]", "weights=random"]
        return tiny(command, *words, *more)

    return make


def result(path: Path) -> dict:
    return json.loads((path / "result.json").read_text())


def test_few_labels_are_tested_on_once_each(ask, tmp_path, capsys):
    transfer.main(ask(), tmp_path / "run")
    found = result(tmp_path / "run")
    assert "27 labelled images: each is tested on in one of 3 folds" in capsys.readouterr().err
    assert {s["n_test"] for s in found["scores"]} == {27} and {s["folds"] for s in found["scores"]} == {3}
    assert {s["n_train"] for s in found["scores"] if s["fraction"] == 1} == {18}
    assert found["data"]["hashes"]["test"] == found["data"]["folds"]["items"]
    for row, entry in enumerate(found["scores"]):  # of all predictions, as those of the folds say
        correct = 0
        for fold in range(3):
            own = result(tmp_path / "run" / "folds" / str(fold))
            same = [s for s in own["scores"] if all(s[k] == entry[k] for k in ("probe", "fraction", "draw"))]
            correct += same[0]["correct"]
        assert entry["correct"] == correct and entry["accuracy"] == pytest.approx(correct / 27)
        with np.load(tmp_path / "run" / "predictions.npz") as predicted:
            assert (predicted["guess"][row] == predicted["labels"]).sum() == correct
            assert str(predicted["items"]) == found["data"]["folds"]["items"]


@pytest.mark.long
def test_seeds_divide_anew_and_their_items_are_the_same(ask, tmp_path):
    for seed in (0, 1):
        transfer.main(ask(f"seed={seed}", f"data.split_seed={seed}"), tmp_path / f"run{seed}")
    runs = read_runs([tmp_path / "run0", tmp_path / "run1"])
    cell = scores.cells(runs)["random", "linear", "all"]
    assert set(cell.right) == {0, 1} and cell.n_test == 27 and cell.folds == 3
    parts = [set(np.load(tmp_path / f"run{s}" / "folds" / "0" / "items.npy").tolist()) for s in (0, 1)]
    assert parts[0] != parts[1]


@pytest.mark.long
def test_the_choice_of_a_fold_is_an_ordinary_run(ask, tmp_path):
    transfer.main(ask("data.fold=1"), tmp_path / "one")
    transfer.main(ask(), tmp_path / "all")
    one, same = result(tmp_path / "one"), result(tmp_path / "all" / "folds" / "1")
    assert [s["correct"] for s in one["scores"]] == [s["correct"] for s in same["scores"]]
    assert {s["n_test"] for s in one["scores"]} == {9}


@pytest.mark.long
def test_what_is_there_is_not_run_again(ask, tmp_path, monkeypatch):
    cfg = ask("engine.resume=auto")
    transfer.main(cfg, tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("result.json")}
    killed = tmp_path / "run" / "folds" / "2" / "status.json"
    write_json(killed, read_json(killed) | {"state": "running"})
    status = tmp_path / "run" / "status.json"
    write_json(status, read_json(status) | {"state": "interrupted"})
    transfer.main(cfg, tmp_path / "run")
    changed = {str(p.parent.name) for p, at in before.items() if p.stat().st_mtime_ns != at}
    assert changed == {"run", "2"}


def test_groups_keep_their_codes(ask, few, tmp_path):
    lines = ["path,label,group", *(f"{c}/{i:03}.png,{c},g{i % 5}" for c in "abc" for i in range(9))]
    (few / "labels.csv").write_text("\n".join(lines))
    transfer.main(ask("probe.use=[knn]"), tmp_path / "run")
    whole = load_data(ask().data)
    with np.load(tmp_path / "run" / "predictions.npz") as predicted:
        codes = predicted["groups"]
    from gssl.data.outer_folds import in_order

    names = in_order(whole.labelled).groups
    assert len(set(zip(codes.tolist(), names.tolist(), strict=True))) == 5


@pytest.mark.long
def test_networks_that_had_the_images_are_said_and_those_that_had_the_labels_refused(ask, tmp_path, capsys):
    def train(name: str, *more: str) -> Path:
        pretrain_ssl.main(ask("budget.steps=2", *more, command="pretrain-ssl"), tmp_path / name)
        return tmp_path / name

    seen, fold = train("seen"), train("fold", "data.test=folds", "data.fold=1")
    assert result(seen)["data"]["counts"]["train"] == 24 and result(fold)["data"]["counts"]["test"] == 9
    transfer.main(ask(f"weights={seen}"), tmp_path / "all")
    assert result(tmp_path / "all")["folds"]["transductive"]
    transfer.main(ask(f"weights={fold}", "data.test=folds", "data.fold=1"), tmp_path / "own")
    assert not result(tmp_path / "own")["folds"]["transductive"]
    with pytest.raises(
        UsageError, match=r"was trained without fold 1 of these images; set data.test=folds data.fold=1"
    ):
        transfer.main(ask(f"weights={fold}"), tmp_path / "other")
    labels = train("labels", "ssl=supervised")
    with pytest.raises(UsageError, match="has learnt from the labels of all these images"):
        transfer.main(ask(f"weights={labels}"), tmp_path / "none")


@pytest.mark.parametrize("more", [[], ["data.test=split"]])
@pytest.mark.parametrize(("probe", "refused"), [("finetune", True), ("linear", False)])
def test_the_model_of_a_comparison_is_not_tested_on_its_own_images(probe, refused, more, ask, tmp_path):
    splits = load_data(ask(*more).data)
    model = tmp_path / "comparison" / "model"
    model.mkdir(parents=True)
    (model / "model.safetensors").touch()
    text = {"schema": "gssl.model/1", "sha256": "0" * 64, "probe": probe}
    text |= {"data": {"tested": cross_validation.tested(splits)}}
    (model / "predict.json").write_text(json.dumps(text))
    for path in (model.parent, model, model / "model.safetensors"):
        if refused:
            with pytest.raises(UsageError, match="has learnt from all of these labels"):
                cross_validation.refuse_models(path, splits)
        else:
            cross_validation.refuse_models(path, splits)
    (model / "predict.json").write_text(json.dumps(text | {"data": {"tested": "0" * 32}}))
    cross_validation.refuse_models(model, splits)  # of other images


def test_folds_that_do_not_fit_together_are_no_result(ask, tmp_path):
    cfg = ask()
    splits = load_data(cfg.data)
    with pytest.raises(JobError, match="this fold has not finished"):
        cross_validation.merged([tmp_path / "a", tmp_path / "b"], tmp_path, splits)


def test_a_curve_over_folds_has_intervals_over_draws_and_images(ask, tmp_path):
    from gssl.report import curve, curve_tables

    transfer.main(ask("probe.use=[knn]"), tmp_path / "run")
    cells = curve.cells({("random", "few"): tmp_path / "run"}, {"few": "scratch"})
    assert {c["n_test"] for c in cells} == {27} and {c["folds"] for c in cells} == {3}
    assert all(c["low"] < c["mean"] < c["high"] and "folds" in c["interval"] for c in cells)
    text = {"targets": {"few": {}}, "cells": cells, "reach": [], "similarity": [], "cka": None}
    assert "n = 27 test images in 3 folds; all labels: 2/3 of them" in curve_tables.markdown(text)
