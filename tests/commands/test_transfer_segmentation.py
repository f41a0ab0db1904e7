"""Transfer on images with masks: the same command, another task."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from gssl.commands import transfer
from gssl.config.composing import compose
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.statistics.metric import METRICS, metrics_of
from tests.engine.several import by_one_and_two
from tests.probe.test_segment import CLASSES, rectangles


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder with train/ (12) and test/ (8) of images and masks."""
    root = tmp_path_factory.mktemp("scenes")
    for part, n, seed in (("train", 12, 0), ("test", 8, 1)):
        made = rectangles(n, seed)
        for kind, rows in (("images", made.store.pixels), ("masks", made.masks)):
            (root / part / kind).mkdir(parents=True)
            for i, row in enumerate(np.asarray(rows)):
                Image.fromarray(row).save(root / part / kind / f"{i:02}.png")
    (root / "classes.json").write_text(json.dumps({"names": CLASSES, "ignore": 255}))
    return root


@pytest.fixture
def small(scenes):
    def make(*overrides: str, command: str = "transfer"):
        base = ["data=segmentation", f"data.root={scenes}", "data.size=[24,32]", "backbone.width=8"]
        base += ["engine.threads=1", "engine.progress=false", "engine.device=cpu", "images_labelled=[3]", "draws=2"]
        base += ["probe.segment.positions=600", "probe.segment.l2_count=2", "probe.finetune.steps=4"]
        base += ["probe.finetune.masks.crop=16", "probe.finetune.masks.channels=8", "diagnose.pictures=false"]
        return compose(command, [*base, *overrides])

    return make


def run(cfg, path):
    transfer.main(cfg, path)
    return read_json(path / "result.json")


def test_every_probe_of_masks_has_its_scores(small, tmp_path):
    result = run(small("weights=random", "probe.use=[segment,finetune,adapted]", "diagnose.pictures=true"), tmp_path)
    rows = [(s["probe"], s["images_labelled"] if s["fraction"] is None else "all", s["draw"]) for s in result["scores"]]
    few = [("segment", 3, 0), ("segment", 3, 1), ("segment", "all", 0)]
    assert rows == [*few, *((p, k, 0) for p in ("finetune", "adapted") for k in (3, "all"))]
    for score in result["scores"]:
        assert score["task"] == "segmentation" and score["n_test"] == 8 and "accuracy" not in score
        assert tuple(score["metrics"]) == metrics_of("mask")
        assert list(score["components"]["mean_iou"]) == CLASSES
    chosen = result["scores"][-1]
    assert set(chosen["validated"]) == {"segment", "finetune"}
    best = max(chosen["validated"], key=chosen["validated"].get)
    assert chosen["chosen"]["probe"] == best
    assert chosen["metrics"] == next(s["metrics"] for s in result["scores"][::-1] if s["probe"] == best)
    with np.load(tmp_path / "predictions.npz") as file:
        assert file["stats"].shape == (len(rows), 8, 3 * len(CLASSES))
        for name in file["metric"]:
            values = [METRICS[str(name)].value(stats) for stats in file["stats"]]
            assert values == [s["metrics"][str(name)] for s in result["scores"]]
    assert result["objective"]["value"] == result["scores"][2]["validation"]["mean_iou"]
    assert result["pictures"] == ["pictures/masks.png"] and (tmp_path / "pictures" / "masks.png").is_file()
    assert "confusion.png" in result["pictures_left_out"]
    assert [c["probe"] for c in result["learning_curves"]] == ["finetune", "finetune"]
    assert read_json(tmp_path / "weights" / "finetuned.json")["task"] == "segmentation"


@pytest.mark.parametrize("weights", ["majority", "position", "pixels"])
def test_controls_stand_as_weights(small, tmp_path, weights):
    result = run(small(f"weights={weights}", "probe.use=[segment,adapted]"), tmp_path)
    assert {s["probe"] for s in result["scores"]} == {"segment", "adapted"}
    value = result["scores"][0]["metrics"]["mean_iou"]
    assert value < 0.35 if weights == "majority" else value > 0.3


@pytest.mark.long
def test_a_seed_decides_everything(small, tmp_path):
    words = ("weights=random", "probe.use=[segment,finetune]", "fractions=[]")
    a, b = (run(small(*words), tmp_path / name)["scores"] for name in "ab")
    c = run(small(*words, "seed=1"), tmp_path / "c")["scores"]
    assert a == b != c


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "weights=random probe.use=[linear]",
            r"linear does not serve segmentation .* use probe.use=\[finetune,segment",
        ),
        ("weights=pca probe.use=[segment]", "weights=pca: has no features for segmentation"),
        ("weights=position probe.use=[finetune]", "finetune needs a network, weights=position has none"),
        ("weights=random probe.use=[segment] images_labelled=[13]", "images_labelled: 13 asked for"),
    ],
)
def test_what_cannot_be_evaluated_is_a_usage_error(small, tmp_path, words, message):
    with pytest.raises(UsageError, match=message):
        transfer.main(small(*words.split()), tmp_path / "t")
    assert not (tmp_path / "t" / "status.json").exists()


def test_images_without_masks_have_no_position(tiny, tmp_path):
    with pytest.raises(UsageError, match="weights=position: has no features for classification"):
        transfer.main(tiny("transfer", "weights=position", "probe.use=[linear]"), tmp_path)
    with pytest.raises(UsageError, match="segment does not serve classification"):
        transfer.main(tiny("transfer", "weights=random", "probe.use=[segment]"), tmp_path)


@pytest.mark.long
def test_predictions_beside_labels_change_no_choice(small, tmp_path, monkeypatch):
    from gssl.data.splits import Splits

    words = ("weights=random", "probe.use=[segment]")
    before = run(small(*words), tmp_path / "a")
    opened = Splits.open_test
    monkeypatch.setattr(Splits, "open_test", lambda self: opened(self).subset(np.arange(4)))
    after = run(small(*words), tmp_path / "b")
    kept = ("validation", "chosen", "n_train", "subset")
    assert [[s[k] for k in kept] for s in before["scores"]] == [[s[k] for k in kept] for s in after["scores"]]
    assert [s["metrics"] for s in before["scores"]] != [s["metrics"] for s in after["scores"]]


@pytest.mark.long
def test_two_processes_say_what_one_says(scenes, tmp_path):
    """Masks of images of several sizes. `tests/probe/test_divided.py` compares the weights."""
    root = tmp_path / "scenes"
    shutil.copytree(scenes, root)
    for path in [*root.glob("*/images/*[05].png"), *root.glob("*/masks/*[05].png")]:
        Image.open(path).crop((0, 0, 28, 24)).save(path)
    words = ["transfer", "weights=random", "data=segmentation", f"data.root={root}", "data.size=24"]
    words += ["backbone.width=8", "images_labelled=[4]", "draws=1", "probe.use=[segment,finetune]"]
    words += ["probe.segment.positions=600", "probe.segment.l2_count=2", "probe.finetune.steps=6"]
    words += ["probe.finetune.masks.crop=16", "probe.finetune.masks.channels=8", "probe.finetune.masks.batch_size=4"]
    one, two = by_one_and_two([*words, "diagnose.pictures=false"], tmp_path)
    assert [s["probe"] for s in two["scores"]] == ["segment", "segment", "finetune", "finetune"]
    for mine, other in zip(one["scores"], two["scores"], strict=True):
        near = 0 if mine["probe"] == "segment" else 0.02  # of float32 sums in another order a few pixels may differ
        assert mine["chosen"] == other["chosen"]
        assert other["metrics"] == pytest.approx(mine["metrics"], abs=near)
    assert (tmp_path / "2" / "weights" / "finetuned.safetensors").is_file()
