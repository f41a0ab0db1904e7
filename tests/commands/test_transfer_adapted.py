"""`adapted`: like with like on the same draws of labels, chosen where no test image is seen."""

import numpy as np
import pytest
import torch

from gssl.commands import transfer
from gssl.data import load_data
from gssl.data.splits import Splits
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment.probing import Prober, find_source, label_budgets, of_source
from gssl.probe.folds import choice_folds

USE = "probe.use=[linear,finetune,adapted]"
FEW = ("labels_per_class=[1,5]", "fractions=[]")


def scores(tiny, path, *overrides):
    transfer.main(tiny("transfer", *overrides), path)
    return read_json(path / "result.json")["scores"]


def key(score):
    return score["labels_per_class"], score["draw"]


def test_it_is_the_member_that_validation_names_on_fine_tunings_draws(tiny, tmp_path):
    found = scores(tiny, tmp_path / "t", "weights=random", USE, *FEW, "draws=3", "probe.finetune.draws=2")
    by = {name: {key(s): s for s in found if s["probe"] == name} for name in ("linear", "finetune", "adapted")}
    assert set(by["adapted"]) == set(by["finetune"]) == {(1, 0), (1, 1), (5, 0), (5, 1)} < set(by["linear"])
    for at, score in by["adapted"].items():
        member = score["chosen"]["probe"]
        if at[0] == 1:  # by rule
            assert member == "linear" and score["validated"] == {} and score["val_accuracy"] is None
        else:
            own = score["validated"]
            assert member == ("finetune" if own["finetune"] > own["linear"] else "linear") and score["n_val"] == 15
        theirs = by[member][at]
        same = ("correct", "accuracy", "val_accuracy", "n_train", "subset", "ece")
        assert [score[k] for k in same] == [theirs[k] for k in same]
        assert {k: v for k, v in score["chosen"].items() if k != "probe"} == theirs["chosen"]
    guess = np.load(tmp_path / "t" / "predictions.npz")["guess"]
    row = {(s["probe"], *key(s)): guess[i] for i, s in enumerate(found)}
    assert len(guess) == len(found)
    assert all(np.array_equal(row["adapted", *at], row[s["chosen"]["probe"], *at]) for at, s in by["adapted"].items())


@pytest.mark.long
def test_alone_it_is_what_it_is_beside_its_members(tiny, tmp_path):
    beside = scores(tiny, tmp_path / "a", "weights=random", USE, *FEW)
    alone = scores(tiny, tmp_path / "b", "weights=random", "probe.use=[adapted]", *FEW)
    assert {s["probe"] for s in alone} == {"adapted"}
    assert alone == [s for s in beside if s["probe"] == "adapted"]


def test_the_test_images_would_have_said_the_opposite(tiny, tmp_path, monkeypatch):
    """Every test label is moved on by one class, so that whoever is better is worse: the choice stays."""
    words = ("weights=random", USE, "labels_per_class=[5]", "fractions=[]", "probe.finetune.steps=1")
    words += ("probe.finetune.lrs=[1e-9]", "probe.finetune.head_l2=null")  # a head near 0 that learns nothing
    before = scores(tiny, tmp_path / "a", *words)
    opened = Splits.open_test

    def poisoned(self):
        images = opened(self)
        images.labels[:] = (images.labels + 1) % 3
        return images

    monkeypatch.setattr(Splits, "open_test", poisoned)
    after = scores(tiny, tmp_path / "b", *words)
    for found, better in ((before, "linear"), (after, "finetune")):
        of = {s["probe"]: s for s in found if s["draw"] == 0}
        assert max(("linear", "finetune"), key=lambda name: of[name]["accuracy"]) == better
        assert of["adapted"]["chosen"]["probe"] == "linear"


def test_both_members_are_validated_on_the_same_images(tiny):
    cfg = tiny("transfer", "weights=random", USE, "labels_per_class=[5]", "fractions=[]", "draws=1")
    splits = load_data(cfg.data, progress=False)
    prober = Prober(cfg, find_source("random"), splits.labelled, splits.classes, torch.device("cpu"))
    linear, finetune, adapted = prober.fit()
    index = prober.labels(linear.label_budget, 0)
    sizes = [len(val) for _, val in choice_folds(splits.labelled.labels[index], cfg.seed)]
    assert [len(f) for f in linear.model.unselected] == [len(f) for f in finetune.model.unselected] == sizes
    assert adapted.model.model in (linear.model, finetune.model)  # fitted once
    assert adapted.model.n_val == len(index) == 15


@pytest.mark.parametrize("weights", ["pixels", "pca", "majority"])
def test_without_a_network_the_menu_is_what_can_be_fitted(tiny, tmp_path, weights):
    words = (f"weights={weights}", "probe.use=[linear,adapted]", *FEW, "draws=3", "classical.pca.dim=4")
    found = scores(tiny, tmp_path / "t", *words)
    adapted = {key(s): s for s in found if s["probe"] == "adapted"}
    linear = {key(s): s for s in found if s["probe"] == "linear"}
    assert set(adapted) == {(1, 0), (5, 0)}  # as many draws as sources that are fine-tuned have
    assert len(linear) == 2 + 3
    assert all(s["chosen"]["probe"] == "linear" and s["correct"] == linear[at]["correct"] for at, s in adapted.items())


def test_one_shot_goes_by_the_rule_that_is_given(tiny, tmp_path):
    words = ("weights=random", "probe.use=[adapted]", "labels_per_class=[1]", "fractions=[]")
    found = scores(tiny, tmp_path / "t", *words, "probe.adapted.one_shot=finetune")
    assert [s["chosen"]["probe"] for s in found] == ["finetune"]
    assert (tmp_path / "t" / "weights" / "finetuned.safetensors").is_file()


def test_a_control_is_never_trained_and_scratch_wholly(tiny):
    cfg = tiny("transfer", "weights=random", USE, "probe.finetune.train=last")
    assert of_source(cfg.probe, "random").adapted.menu == ["linear", "segment", "detect"]
    assert of_source(cfg.probe, "scratch").adapted.menu == ["linear", "segment", "detect", "finetune"]
    assert of_source(cfg.probe, "scratch").finetune.train == "all"
    assert of_source(cfg.probe, "runs/simclr") == of_source(cfg.probe, None) == cfg.probe
    assert [a.draws for a in label_budgets(cfg, "adapted")] == [a.draws for a in label_budgets(cfg, "finetune")]
    frozen = tiny("transfer", "weights=random", USE, "probe.adapted.menu=[linear]")
    assert label_budgets(frozen, "adapted") == label_budgets(cfg, "adapted") != label_budgets(cfg, "linear")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("probe.adapted.menu=[linear,knn]", "probe.adapted.menu: no probe that chooses on folds 'knn'"),
        ("probe.adapted.menu=[linear,linear]", "probe.adapted.menu"),
        ("probe.adapted.menu=[finetune] probe.adapted.one_shot=finetune", "without a network; add linear"),
        ("probe.adapted.menu=[linear]  probe.adapted.one_shot=finetune", "is not in the menu"),
        ("probe.adapted.one_shot=knn", "probe.adapted.one_shot: no probe that chooses on folds 'knn'"),
    ],
)
def test_a_menu_that_makes_no_sense_is_a_usage_error(tiny, override, message):
    with pytest.raises(UsageError, match=message) as caught:
        tiny("transfer", "weights=random", *override.split())
    assert "\n" not in str(caught.value)
