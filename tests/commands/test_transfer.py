"""Transfer: honest by construction, and refuses what it cannot judge."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gssl.commands import embed, predict, pretrain_ssl, transfer
from gssl.data.splits import Splits
from gssl.engine.files import read_json
from gssl.errors import UsageError


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory, pictures):
    from gssl.config.composing import compose

    path = tmp_path_factory.mktemp("runs") / "ssl"
    words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8", "ssl.batch_size=16"]
    cfg = compose("pretrain-ssl", [*words, "budget.steps=6", "engine.progress=false", "engine.device=cpu"])
    pretrain_ssl.main(cfg, path)
    return path


def prober(tiny, path, *overrides):
    value = transfer.main(tiny("transfer", *overrides), path)
    return value, read_json(path / "result.json")


def test_every_probe_amount_and_draw_has_a_score(tiny, tmp_path, pretrained):
    value, result = prober(tiny, tmp_path / "t", f"weights={pretrained}", "probe.use=[knn,linear,finetune]")
    rows = {(s["probe"], s["labels_per_class"], s["fraction"], s["draw"]) for s in result["scores"]}
    label_budgets = [(1, None, 2), (5, None, 2), (None, 1.0, 1)]
    expected = {(p, k, f, d) for p in ("knn", "linear") for k, f, n in label_budgets for d in range(n)}
    expected |= {("finetune", k, f, 0) for k, f, _ in label_budgets}
    assert rows == expected and len(result["scores"]) == len(rows)
    for score in result["scores"]:
        assert score["n_test"] == 60 and score["accuracy"] == score["correct"] / 60
        assert score["n_train"] == {1: 3, 5: 15, None: 120}[score["labels_per_class"]]
        assert score["balanced_accuracy"] == pytest.approx(score["accuracy"])  # equal classes
    assert result["objective"]["value"] == value
    assert result["source"]["method"] == "simclr" and result["load_report"]["loaded"] > 0
    assert result["load_report"]["missing"] == [] == result["load_report"]["unexpected"]


@pytest.mark.long
def test_what_else_is_judged_changes_no_score(tiny, tmp_path, pretrained, monkeypatch):
    """With few labels only the images that their draws ask for go through the network: with the same scores."""
    from gssl.experiment.probing import Prober

    seen = []
    before = Prober.features
    monkeypatch.setattr(
        Prober, "features", lambda self, images, *a: seen.append(len(images)) or before(self, images, *a)
    )
    words = (f"weights={pretrained}", "probe.use=[linear]", "labels_per_class=[2,3]", "diagnose.pictures=false")
    few = prober(tiny, tmp_path / "few", *words, "fractions=[]")[1]["scores"]
    assert 0 < min(seen) < 60  # of 120 training images
    every = prober(tiny, tmp_path / "every", *words, "fractions=[1.0]")[1]["scores"]
    keys = ("labels_per_class", "draw", "subset", "correct", "val_accuracy")
    assert [[s[k] for k in keys] for s in few] == [[s[k] for k in keys] for s in every if s["fraction"] is None]


def test_the_pictures_can_be_learnt(tiny, tmp_path):
    _, result = prober(tiny, tmp_path / "t", "weights=pixels", "labels_per_class=[]")
    assert {s["probe"]: s["accuracy"] for s in result["scores"]}["linear"] > 0.9


def test_the_test_set_is_opened_once_and_after_every_choice(tiny, tmp_path, monkeypatch):
    events = []
    opened, fit = Splits.open_test, transfer.Prober.fit

    def noting_open(self):
        events.append("open")
        return opened(self)

    def noting_fit(self):
        for made in fit(self):
            events.append("fitted")
            yield made

    monkeypatch.setattr(Splits, "open_test", noting_open)
    monkeypatch.setattr(transfer.Prober, "fit", noting_fit)
    _, result = prober(tiny, tmp_path / "t", "weights=random")
    assert result["test_openings"] == 1 == events.count("open")
    assert events[-1] == "open" and len(events) == len(result["scores"]) + 1


def test_test_images_change_no_choice(tiny, tmp_path, monkeypatch):
    _, before = prober(tiny, tmp_path / "a", "weights=random")
    opened = Splits.open_test

    def poisoned(self):
        images = opened(self)
        images.labels[:] = images.labels[::-1].copy()
        return images

    monkeypatch.setattr(Splits, "open_test", poisoned)
    _, after = prober(tiny, tmp_path / "b", "weights=random")
    kept = ("val_accuracy", "chosen", "n_train")
    assert [[s[k] for k in kept] for s in before["scores"]] == [[s[k] for k in kept] for s in after["scores"]]
    assert [s["correct"] for s in before["scores"]] != [s["correct"] for s in after["scores"]]


@pytest.mark.long
def test_a_seed_decides_everything(tiny, tmp_path):
    use = "probe.use=[knn,linear,finetune]"
    _, a = prober(tiny, tmp_path / "a", "weights=random", use)
    _, b = prober(tiny, tmp_path / "b", "weights=random", use)
    _, c = prober(tiny, tmp_path / "c", "weights=random", use, "seed=1")
    assert a["scores"] == b["scores"] != c["scores"]


@pytest.mark.long
def test_weights_from_a_file_equal_the_run_they_came_from(tiny, tmp_path, pretrained):
    file = tmp_path / "alone.safetensors"
    save_file(load_file(pretrained / "weights" / "backbone.safetensors"), file)
    _, from_file = prober(tiny, tmp_path / "a", f"weights={file}")
    _, from_run = prober(tiny, tmp_path / "b", f"weights={pretrained}")
    assert from_file["scores"] == from_run["scores"]


def test_a_chain_starts_from_the_weights(tiny, tmp_path, pretrained):
    cfg = tiny("pretrain-ssl", f"weights={pretrained}", "budget.steps=1", "ssl.optim.lr=1e-12")
    pretrain_ssl.main(cfg, tmp_path)
    old = load_file(pretrained / "weights" / "backbone.safetensors")
    new = load_file(tmp_path / "weights" / "backbone.safetensors")
    for key in (k for k in old if k.endswith("weight")):
        torch.testing.assert_close(new[key], old[key], msg=key)
    assert read_json(tmp_path / "result.json")["source"]["method"] == "simclr"


@pytest.mark.long
def test_the_finetuned_network_is_saved_and_predicts(tiny, tmp_path, pictures):
    _, result = prober(
        tiny, tmp_path / "t", "weights=random", "probe.use=[finetune]", "labels_per_class=[]",
        "probe.finetune.steps=60",
    )  # fmt: skip
    table = tmp_path / "labels.csv"
    said = predict.predict(tmp_path / "t", pictures / "test", table, "cpu")
    rows = [line.split(",") for line in table.read_text().splitlines()]
    assert rows[0] == ["file", "label", "probability", "unknown"] and len(rows) == 61
    right = np.mean([path.split("/")[0] == label for path, label, _, _ in rows[1:]])
    assert right == said["accuracy"]
    assert right == pytest.approx(result["scores"][0]["accuracy"])


def test_embeddings_are_the_backbones_features(tmp_path, pretrained, pictures):
    said = embed.embed(pretrained, pictures / "test", tmp_path / "features.npz", "cpu")
    made = np.load(tmp_path / "features.npz")
    assert made["features"].shape == (60, said["dim"]) and made["features"].dtype == np.float32
    assert all(path.endswith(".png") for path in made["paths"])
    assert np.ptp(made["features"], axis=0).max() > 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("weights=nowhere", "no such file"),
        ("weights={folder}", "not a run directory"),
        ("weights={text}", "expected weights as"),
        ("weights={broken}", "not a whole safetensors"),
        ("weights={foreign}", "none of the file"),
        ("weights=torchvision", "backbone=resnet18"),
        ("labels_per_class=[41]", "smallest class has 40"),
        ("probe.use=[finetune] weights=pixels", "finetune needs a network"),
    ],
)
def test_what_cannot_be_judged_is_a_usage_error_that_leaves_no_status(tiny, tmp_path, override, message):
    names = {key: tmp_path / key for key in ("folder", "text", "broken", "foreign")}
    names["folder"].mkdir()
    names["text"].write_text("hello")
    broken, foreign = tmp_path / "broken.safetensors", tmp_path / "foreign.safetensors"
    broken.write_bytes(b"12345678{}")
    save_file({"other": torch.zeros(2)}, foreign)
    shown = {**names, "broken": broken, "foreign": foreign}
    words = override.format(**shown).split()
    if not any(word.startswith("weights=") for word in words):
        words.append("weights=random")
    with pytest.raises(UsageError, match=message):
        transfer.main(tiny("transfer", *words), tmp_path / "run")
    assert not (tmp_path / "run" / "status.json").exists()


def test_a_replaced_weights_file_is_noticed(tiny, tmp_path, pretrained):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(pretrained, copy)
    file = copy / "weights" / "backbone.safetensors"
    state = load_file(file)
    key = next(k for k in state if k.endswith("weight"))
    state[key] += 1
    save_file(state, file)
    with pytest.raises(UsageError, match="damaged or replaced"):
        transfer.main(tiny("transfer", f"weights={copy}"), tmp_path / "run")


def test_json_has_no_nan(tiny, tmp_path):
    _, _ = prober(tiny, tmp_path / "t", "weights=random")
    json.loads((tmp_path / "t" / "result.json").read_text(), parse_constant=lambda c: pytest.fail(c))
