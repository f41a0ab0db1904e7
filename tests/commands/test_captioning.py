"""Whole commands of ssl=caption: what a run says beside its controls, captions of a folder, what is refused."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from gssl.cli import captioning_table
from gssl.commands import evaluate, predict, pretrain_ssl, retrieve
from gssl.config.composing import compose
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment import caption_evaluation, captioner
from gssl.experiment.captioned import Captions, splits_of, units_of
from tests.data.captioned import COLOURS, picture, set_of_captioned

SMALL = ["ssl.batch_size=12", "backbone.width=8", "ssl.width=32", "engine.threads=1", "engine.device=cpu"]
SMALL += ["engine.progress=false", "data.size=16", "data.vocab=300", "budget.steps=120", "ssl.optim.lr=0.01"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = set_of_captioned(tmp_path_factory.mktemp("captioned"))
    where = tmp_path_factory.mktemp("runs") / "run"
    pretrain_ssl.main(compose("pretrain-ssl", ["data=imagetext", f"data.root={root}", "ssl=caption", *SMALL]), where)
    return where


def test_captions_are_read_from_the_image_and_scored_beside_controls(run, monkeypatch):
    found = read_json(run / "result.json")
    text = found["captioning"]
    assert found["objective"] == {
        "name": "val_bits_per_byte", "value": pytest.approx(text["bits_per_byte"]["own"]["value"], rel=1e-3),
        "direction": "min",
    }  # fmt: skip
    assert (text["part"], text["images"], text["captions"], text["unit"], text["units"]) == ("val", 12, 24, "group", 6)
    assert text["more_than_own"]["other"]["low"] > 0  # it reads the image
    assert set(text["bits_per_byte"]) == {"own", "other", "none", "ngrams"}
    chrf = text["written"]["scores"]["chrf"]
    assert set(chrf) >= {"network", *caption_evaluation.CONTROLS} and chrf["more_than"]["frequent"]["value"] > 0
    assert caption_evaluation.HUMAN in text["others_captions"]["scores"]["chrf"]
    assert [row["name"] for row in text["found"]["rows"]][-2:] == ["human", "chance"]
    lines: list[str] = []
    monkeypatch.setattr(captioning_table, "tell", lines.append)
    captioning_table.show(text)
    assert any("12 val images with 24 captions" in line for line in lines)


def test_bits_are_those_of_captions_one_by_one(run):
    network, _ = captioner.read(run)
    held, cpu = splits_of(run)[0].val, torch.device("cpu")
    captions, features = Captions.read(held), network.features(held, cpu)
    total = count = 0
    for i, own in enumerate(captions.of):
        for j in own:
            total += network.bits(features[i : i + 1], [captions.ids[j]], cpu)[0, 0]
            count += len(captions.texts[j].encode())
    expected = read_json(run / "result.json")["captioning"]["bits_per_byte"]["own"]["value"]
    assert total / count == pytest.approx(expected, rel=1e-4)
    units = np.unique(units_of(held), return_inverse=True)[1]
    other = caption_evaluation.others(captions, units, caption_evaluation.Draws(0))
    assert all(units[i] != units[j] and not set(captions.of[i]) & set(captions.of[j]) for i, j in enumerate(other))


def test_a_folder_gets_captions_as_a_table_of_captions(run, tmp_path):
    for i, colour in enumerate(COLOURS):
        picture(tmp_path / "set" / f"{colour}.png", colour, True, 90 + i)
    (tmp_path / "set" / "broken.png").write_bytes(b"no image")
    out = tmp_path / "captions.csv"
    assert predict.predict(run, tmp_path / "set", out, "cpu")["images"] == 3
    rows = dict(list(csv.reader(out.read_text(encoding="utf-8").splitlines()))[1:])
    assert set(rows) == {"red.png", "green.png", "blue.png", "broken.png"} and rows["broken.png"] == ""
    assert "red" in rows["red.png"] and "red" not in rows["green.png"] + rows["blue.png"]
    with pytest.raises(UsageError, match="--top, --probabilities, --labels: .* writes captions"):
        predict.predict(run, tmp_path / "set", tmp_path / "x.csv", "cpu", top=2)
    with pytest.raises(UsageError, match="has no towers of images and captions"):
        retrieve.retrieve(run, "red", device="cpu")


def test_test_images_are_evaluated_on_demand(run):
    found = evaluate.evaluate(run, device="cpu", split="test")
    assert (found["schema"], found["part"], found["test_openings"]) == ("gssl.captioning/1", "test", 1)
    assert Path(found["file"]).name == "captioning-test.json"
    with pytest.raises(UsageError, match="-n and --truncation: .* makes no images"):
        evaluate.evaluate(run, device="cpu", images=8)


def test_the_nearest_row_is_that_of_the_least_distance():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 4)), rng.normal(size=(9, 4))
    expected = [min(range(9), key=lambda j: float(((row - b[j]) ** 2).sum())) for row in a]
    assert caption_evaluation.nearest(a, b).tolist() == expected
