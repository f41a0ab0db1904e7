"""Transfer on images with boxes: the same command, another task; prediction and export of what it leaves."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from gssl.commands import export, predict, transfer
from gssl.config.composing import compose
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.statistics.metric import METRICS, metrics_of
from tests.probe.test_boxes import CLASSES, rectangles


@pytest.fixture(scope="session")
def traffic(tmp_path_factory):
    """A YOLO folder with 12 training and 8 test images."""
    root = tmp_path_factory.mktemp("traffic")
    for part, n, seed in (("train", 12, 0), ("test", 8, 1)):
        made = rectangles(n, seed)
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
        for i, (pixels, boxes) in enumerate(zip(made.store.pixels, made.boxes, strict=True)):
            Image.fromarray(pixels).save(root / "images" / part / f"{part}{i:02}.png")
            rows = [
                f"{int(kind)} {(left + right) / 64} {(top + bottom) / 48} {(right - left) / 32} {(bottom - top) / 24}"
                for left, top, right, bottom, kind, _ in boxes.tolist()
            ]
            (root / "labels" / part / f"{part}{i:02}.txt").write_text("\n".join(rows))
    (root / "data.yaml").write_text(yaml.safe_dump({"names": CLASSES}))
    return root


@pytest.fixture
def small(traffic):
    def make(*overrides: str, command: str = "transfer"):
        base = ["data=detection", f"data.root={traffic}", "data.size=[24,32]", "backbone.width=8"]
        base += ["engine.threads=1", "engine.progress=false", "engine.device=cpu", "images_labelled=[3]", "draws=1"]
        base += ["probe.detect.steps=3", "probe.finetune.steps=3", "probe.finetune.boxes.channels=8"]
        return compose(command, [*base, "probe.finetune.points=0", "diagnose.pictures=false", *overrides])

    return make


def run(cfg, path):
    transfer.main(cfg, path)
    return read_json(path / "result.json")


def test_the_data_choose_probe_and_steps():
    cfg = compose("transfer", ["data=detection", "data.root=x", "weights=random"])
    assert cfg.probe.use == ["detect"] and cfg.probe.finetune.steps == 300


@pytest.mark.long
def test_every_probe_of_boxes_has_its_scores(small, tmp_path):
    result = run(small("weights=random", "probe.use=[detect,finetune,adapted]", "diagnose.pictures=true"), tmp_path)
    rows = [(s["probe"], s["images_labelled"] if s["fraction"] is None else "all", s["draw"]) for s in result["scores"]]
    assert rows == [(p, k, 0) for p in ("detect", "finetune", "adapted") for k in (3, "all")]
    for score in result["scores"]:
        assert score["task"] == "detection" and score["n_test"] == 8 and score["image_size"] == [24, 32]
        assert tuple(score["metrics"]) == metrics_of("boxes") and set(score["ap_by_area"]) == {
            "small",
            "medium",
            "large",
        }
        assert list(score["components"]["ap"]) == CLASSES
    chosen = result["scores"][-1]
    assert set(chosen["validated"]) == {"detect", "finetune"}
    with np.load(tmp_path / "predictions.npz") as file:
        assert file["stats"].shape[:2] == (len(rows), 8) and file["stats"].dtype == np.float32
        for name in file["metric"]:
            values = [METRICS[str(name)].value(stats) for stats in file["stats"]]
            assert values == [s["metrics"][str(name)] for s in result["scores"]]
    assert result["pictures"] == ["pictures/boxes.png"] and (tmp_path / "pictures" / "boxes.png").is_file()
    assert result["data"]["class_boxes"]["test"] == [
        sum(int((own[:, 4] == c).sum()) for own in rectangles(8, 1).boxes) for c in (0, 1)
    ]


@pytest.mark.long
@pytest.mark.parametrize("probe", ["detect", "finetune"])
def test_a_model_of_boxes_predicts_and_is_exported(small, traffic, tmp_path, probe):
    words = ("weights=random", f"probe.use=[{probe}]", "images_labelled=[]")
    run(small(*words), tmp_path / "run")
    found = predict.predict(tmp_path / "run", traffic / "images" / "test", tmp_path / "out.csv", "cpu")
    text = json.loads((tmp_path / "out_boxes.json").read_text())
    assert found["images"] == 8 and found["boxes"] == str(tmp_path / "out_boxes.json")
    assert [own["name"] for own in text["categories"]] == CLASSES and len(text["images"]) == 8
    assert text["annotations"] and {own["image_id"] for own in text["annotations"]} <= set(range(1, 9))
    for own in text["annotations"]:
        left, top, width, height = own["bbox"]
        assert min(own["bbox"]) >= 0 and left + width <= 32.01 and top + height <= 24.01 and 0 < own["score"] < 1
    rows = (tmp_path / "out.csv").read_text().splitlines()
    assert rows[0] == "file,height,width,boxes_red,boxes_blue" and len(rows) == 9
    made = export.export(tmp_path / "run", tmp_path / "boxes.onnx", "onnx")
    about = read_json(tmp_path / "boxes.onnx.json")
    assert made["check"]["relative"] < 1e-4 and about["part"] == "detector"
    assert about["output"] == "scores (batch, 2 + 4, 12, 16)" and "3 × 3 cells" in about["meaning"]
    own = export.export(tmp_path / "run", tmp_path / "boxes.safetensors", "safetensors")
    assert own["output"] == "outputs (batch, 2 + 4, 12, 16)" and "logits" in own["meaning"]


@pytest.mark.long
@pytest.mark.parametrize("weights", ["majority", "position", "pixels"])
def test_controls_stand_as_weights(small, tmp_path, weights):
    result = run(small(f"weights={weights}", "probe.use=[detect,adapted]", "fractions=[]"), tmp_path)
    assert {s["probe"] for s in result["scores"]} == {"detect", "adapted"}
    assert all(0 <= s["metrics"]["ap"] <= 1 for s in result["scores"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("weights=random probe.use=[linear]", r"linear does not serve detection .* use probe.use=\[finetune,detect"),
        ("weights=pca probe.use=[detect]", "weights=pca: has no features for detection"),
        ("weights=position probe.use=[finetune]", "finetune needs a network, weights=position has none"),
        ("weights=random probe.use=[detect] images_labelled=[13]", "images_labelled: 13 asked for"),
    ],
)
def test_what_cannot_be_evaluated_is_a_usage_error(small, tmp_path, words, message):
    with pytest.raises(UsageError, match=message):
        transfer.main(small(*words.split()), tmp_path / "t")
    assert not (tmp_path / "t" / "status.json").exists()
