"""Images of 16 bits from the first command to the last: the range of the training images goes with the weights."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from gssl.commands import embed, evaluate, export, predict, pretrain_ssl, train_gan, transfer
from gssl.config.composing import compose
from gssl.engine.files import read_json, write_json
from gssl.errors import UsageError
from gssl.experiment import predicted_masks
from gssl.experiment.models import find_model
from gssl.experiment.weight_sources import find_weights

pytestmark = pytest.mark.long
HIGH = 4095


def save(path, light: float, seed: int, high: int = HIGH) -> None:
    """A 16-bit grey image whose values lie about `light`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.15, 0.15, (20, 20))
    Image.fromarray((np.clip(light + noise, 0, 1) * high).astype(np.uint16)).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """train/ and test/ of two classes that differ in their brightness alone."""
    root = tmp_path_factory.mktemp("deep")
    for part, count in (("train", 16), ("test", 8)):
        for label, light in (("dark", 0.25), ("light", 0.75)):
            for i in range(count):
                save(root / part / label / f"{i:02}.png", light, 1000 * len(part) + 100 * len(label) + i)
    return root


@pytest.fixture(scope="module")
def make(photos):
    def made(command, *words):
        base = ["data=imagefolder", f"data.root={photos}", "data.size=16", "backbone.width=8", "engine.threads=1"]
        base += ["engine.progress=false", "engine.device=cpu"]
        base += ["ssl.batch_size=8", "budget.steps=4"] if command == "pretrain-ssl" else []
        if command == "transfer":
            base += ["draws=1", "probe.use=[linear]", "probe.linear.l2_count=3", "diagnose.pictures=false"]
            base += ["labels_per_class=[]", "fractions=[1.0]"]
        return compose(command, [*base, *words])

    return made


@pytest.fixture(scope="module")
def runs(make, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    pretrain_ssl.main(make("pretrain-ssl"), root / "ssl")
    transfer.main(make("transfer", f"weights={root / 'ssl'}"), root / "transfer")
    return root


def labels(path) -> list[str]:
    with open(path, newline="") as file:
        return [row["label"] for row in csv.DictReader(file)]


def test_the_range_is_on_record_with_weights_heads_and_results(runs):
    low, high = read_json(runs / "ssl" / "weights" / "backbone.json")["range"]
    assert 0.08 * HIGH < low < 0.15 * HIGH and 0.85 * HIGH < high < 0.92 * HIGH
    assert find_weights(str(runs / "ssl")).range == [low, high]
    assert find_model(runs / "transfer").range == (low, high)
    result = read_json(runs / "transfer" / "result.json")
    assert result["source"]["range"] == [low, high] == result["data"]["range"]
    assert result["scores"][0]["accuracy"] == 1.0


def test_one_bright_image_is_predicted_by_the_range_of_the_training_images(runs, tmp_path):
    """By its own it would have the brightness of every other image."""
    for name, light in (("dark", 0.25), ("light", 0.75)):
        save(tmp_path / name / "x.png", light, 7)
        predict.predict(runs / "transfer", tmp_path / name, tmp_path / f"{name}.csv", "cpu")
        assert labels(tmp_path / f"{name}.csv") == [name]


def test_features_are_those_of_the_range_on_record(runs, tmp_path):
    together, alone = tmp_path / "both", tmp_path / "one"
    for i, light in enumerate((0.25, 0.75)):
        save(together / f"{i}.png", light, i)
    save(alone / "1.png", 0.75, 1)
    for folder in (together, alone):
        embed.embed(runs / "ssl", folder, folder.with_suffix(".npz"), "cpu")
    both, one = np.load(together.with_suffix(".npz")), np.load(alone.with_suffix(".npz"))
    assert np.allclose(both["features"][1], one["features"][0], atol=1e-5)
    assert not np.allclose(both["features"][0], one["features"][0], atol=1e-2)
    recorded = json.loads(str(one["gssl"]))
    assert recorded["range"] == read_json(runs / "ssl" / "weights" / "backbone.json")["range"]


def test_exported_files_say_how_values_are_mapped_and_are_weights_with_a_range(runs, tmp_path):
    low, high = read_json(runs / "ssl" / "weights" / "backbone.json")["range"]
    for run, part in (("ssl", "backbone"), ("transfer", "classifier")):
        text = export.export(runs / run, tmp_path / f"{part}.safetensors", "safetensors", part)
        assert text["range"] == [low, high]
        assert f"values {low:.9g} to {high:.9g} become 0 to 255" in text["values"]
    assert find_weights(str(tmp_path / "backbone.safetensors")).range == [low, high]


def test_a_damaged_range_is_never_another_one(runs, tmp_path):
    file = runs / "transfer" / "weights" / "head.json"
    whole = file.read_text()
    try:
        for wrong in ([1], "all", [5, 5], [None, 3]):
            write_json(file, {k: v for k, v in json.loads(whole).items() if k != "checksum"} | {"range": wrong})
            with pytest.raises(UsageError, match=r"head\.json.*\[low, high\]"):
                find_model(runs / "transfer")
    finally:
        file.write_text(whole)


def test_another_data_set_has_its_own_range_and_says_how_to_have_the_same(runs, make, tmp_path, capsys):
    for label, light in (("dark", 0.25), ("light", 0.75)):
        for i in range(12):
            save(tmp_path / "other" / label / f"{i}.png", light, i, 60000)
    words = [f"data.root={tmp_path / 'other'}", f"weights={runs / 'ssl'}", "data.test=split"]
    transfer.main(make("transfer", *words), tmp_path / "own")
    said = capsys.readouterr().err
    low, high = read_json(runs / "ssl" / "weights" / "backbone.json")["range"]
    assert "each data set by its own" in said and f"data.range=[{low:.6g},{high:.6g}]" in said
    assert read_json(tmp_path / "own" / "result.json")["data"]["range"][1] > 50000
    transfer.main(make("transfer", *words, f"data.range=[{low},{high}]"), tmp_path / "theirs")
    assert "each data set by its own" not in capsys.readouterr().err
    assert read_json(tmp_path / "theirs" / "result.json")["data"]["range"] == [low, high]


def test_generators_are_evaluated_on_images_of_their_range(make, tmp_path):
    words = ["gan=dcgan", "gan.batch_size=8", "gan.width=8", "budget.steps=2", "eval.images=16", "eval.every=null"]
    train_gan.main(make("train-gan", *words), tmp_path / "gan")
    trained = read_json(tmp_path / "gan" / "result.json")["data"]
    assert evaluate.evaluate(tmp_path / "gan", split="test")["images"] == trained["hash"]
    assert read_json(tmp_path / "gan" / "weights" / "backbone.json")["range"] == trained["range"]


def test_masks_are_predicted_by_the_range_of_the_training_images(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 4)):
        for i in range(count):
            mask = np.zeros((24, 24), np.uint8)
            mask[:, : 8 + i % 8] = 1
            light = np.where(mask, 0.75, 0.25) + rng.uniform(-0.1, 0.1, mask.shape)
            for kind, pixels in (("images", (light * HIGH).astype(np.uint16)), ("masks", mask)):
                (tmp_path / "scenes" / part / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / "scenes" / part / kind / f"{i:02}.png")
    (tmp_path / "scenes" / "classes.json").write_text(json.dumps(["dark", "light"]))
    words = ["data=segmentation", f"data.root={tmp_path / 'scenes'}", "data.size=24", "backbone.width=8"]
    words += ["engine.threads=1", "engine.progress=false", "engine.device=cpu", "images_labelled=[12]", "fractions=[]"]
    words += ["draws=1", "probe.use=[segment]", "probe.segment.positions=600", "diagnose.pictures=false"]
    transfer.main(compose("transfer", [*words, "weights=random", "data.folds=null"]), tmp_path / "run")
    assert find_model(tmp_path / "run").range == tuple(read_json(tmp_path / "run" / "result.json")["data"]["range"])
    seen, own = [], predicted_masks.mask
    monkeypatch.setattr(predicted_masks, "mask", lambda model, x, *rest: seen.append(x) or own(model, x, *rest))
    save(tmp_path / "new" / "x.png", 0.75, 3)
    predict.predict(tmp_path / "run", tmp_path / "new", tmp_path / "p.csv", "cpu")
    low, high = find_model(tmp_path / "run").range
    assert 180 < seen[0].mean() < 220 and abs(seen[0].mean() - (0.75 * HIGH - low) / (high - low) * 255) < 3
