"""Transfer on good images and defects: the same command, another task; then predict and export."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from gssl.commands import export, predict, train_gan, transfer
from gssl.config.composing import compose
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.statistics.metric import METRICS, metrics_of
from tests.probe.test_anomaly import waves


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    """MVTec's layout of grey waves: 24 good to learn from; 10 good, 10 with a dark square."""
    root = tmp_path_factory.mktemp("waves")
    for part, images in (("train", waves(24)), ("test", waves(20, seed=1, spots=10))):
        for i in range(len(images)):
            kind = images.store.columns["anomaly"].mask(i)
            name = "spot" if kind.any() else "good"
            (root / part / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(images.store.image(i)).save(root / part / name / f"{i:02}.png")
            if kind.any():
                (root / "ground_truth" / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(kind * 255).save(root / "ground_truth" / name / f"{i:02}_mask.png")
    return root


@pytest.fixture
def small(parts):
    def make(*overrides: str, command: str = "transfer"):
        base = ["data=anomaly", f"data.root={parts}", "data.size=32", "backbone.width=8", "engine.threads=1"]
        base += ["engine.progress=false", "engine.device=cpu"]
        if command == "transfer":
            base += ["diagnose.pictures=false", "probe.anomaly.bank=60", "probe.anomaly.stride=4"]
            base += ["probe.anomaly.patches=400", "probe.anomaly_gaussian.channels=8"]
        return compose(command, [*base, *overrides])

    return make


def run(cfg, path):
    transfer.main(cfg, path)
    return read_json(path / "result.json")


def test_scores_rows_pictures_and_a_model(small, tmp_path):
    result = run(small("weights=pixels", "diagnose.pictures=true"), tmp_path / "pixels")
    assert [s["probe"] for s in result["scores"]] == ["anomaly", "anomaly_gaussian"]
    for score in result["scores"]:
        assert score["task"] == "anomaly" and score["n_test"] == 20 and score["n_train"] == 24
        assert tuple(score["metrics"]) == metrics_of("anomaly") and score["validation"] == {"image_auroc": None}
        assert list(score["components"]["image_auroc"]) == ["spot"] and "classes_left_out" not in score
    assert result["scores"][0]["metrics"]["image_auroc"] > 0.9
    with np.load(tmp_path / "pixels" / "predictions.npz") as file:
        assert file["stats"].dtype == np.float32 and tuple(file["metric"]) == metrics_of("anomaly")
        for name in metrics_of("anomaly"):
            values = [METRICS[name].value(stats) for stats in file["stats"]]
            assert values == pytest.approx([s["metrics"][name] for s in result["scores"]])
    assert result["pictures"] == ["pictures/anomalies.png"]
    assert (tmp_path / "pixels" / "pictures" / "anomalies.png").is_file()


def test_budgets_count_good_images(small, tmp_path):
    words = ("weights=pixels", "probe.use=[anomaly]", "images_labelled=[3]", "fractions=[]", "draws=2")
    scores = run(small(*words), tmp_path)["scores"]
    assert [(s["n_train"], s["draw"]) for s in scores] == [(3, 0), (3, 1)]
    assert scores[0]["subset"] != scores[1]["subset"]


def test_without_masks_images_alone_are_scored(small, parts, tmp_path):
    shutil.copytree(parts, tmp_path / "set", ignore=shutil.ignore_patterns("ground_truth"))
    result = run(small("weights=pixels", "probe.use=[anomaly]", f"data.root={tmp_path / 'set'}"), tmp_path / "t")
    assert list(result["scores"][0]["metrics"]) == ["image_auroc", "image_ap"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("weights=random probe.use=[linear]", r"linear does not serve anomaly .* use probe.use=\[anomaly,"),
        ("weights=majority probe.use=[anomaly]", "weights=majority: has no features for anomaly; .* one of pixels"),
        ("weights=random probe.use=[anomaly_gan]", "anomaly_gan needs a run of bigan, weights=random is none; use"),
        ("weights=random images_labelled=[25]", "images_labelled: 25 asked for, but there are 24"),
    ],
)
def test_what_cannot_be_evaluated_is_a_usage_error(small, tmp_path, words, message):
    with pytest.raises(UsageError, match=message):
        transfer.main(small(*words.split()), tmp_path / "t")
    assert not (tmp_path / "t" / "status.json").exists()


@pytest.mark.long
@pytest.mark.parametrize("probe", ["anomaly", "anomaly_gaussian"])
def test_a_model_predicts_maps_and_scores_and_is_exported(small, parts, tmp_path, probe):
    result = run(small("weights=random", f"probe.use=[{probe}]"), tmp_path / "t")
    assert result["model"] == {"file": "weights/head.safetensors", "probe": probe, "n_train": 24}
    made = predict.predict(tmp_path / "t", parts / "test", tmp_path / "out.csv", device="cpu")
    assert made["images"] == 20 and made["white"] > 0
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [float(row["score"]) for row in rows]
    assert found == sorted(found, reverse=True) and {row["height"] for row in rows} == {"32"}
    good = [float(row["score"]) for row in rows if row["file"].startswith("good/")]
    bad = [float(row["score"]) for row in rows if row["file"].startswith("spot/")]
    auroc = np.mean([(b > np.array(good)).mean() for b in bad])
    assert auroc == pytest.approx(result["scores"][0]["metrics"]["image_auroc"], abs=1e-6)
    maps = [np.asarray(Image.open(tmp_path / row["map"])) for row in rows]
    assert all(m.shape == (32, 32) and m.dtype == np.uint8 for m in maps) and max(m.max() for m in maps) == 255
    text = export.export(tmp_path / "t", tmp_path / "m.onnx", "onnx")
    side = 8 if probe == "anomaly" else 4
    assert text["part"] == "detector" and text["output"] == f"distances (batch, {side}, {side})"
    assert "largest distance" in text["meaning"] and (tmp_path / "m.onnx").is_file()


@pytest.mark.long
def test_a_bigan_scores_by_its_errors_and_its_discriminator(small, tmp_path):
    words = ("gan=bigan", "gan.width_d=8", "gan.width=8", "budget.steps=3", "gan.batch_size=8")
    train_gan.main(small(*words, command="train-gan"), tmp_path / "g")
    use = "probe.use=[anomaly,anomaly_gan,anomaly_discriminator]"
    result = run(small(f"weights={tmp_path / 'g'}", use, "diagnose.pictures=true"), tmp_path / "t")
    metrics = {s["probe"]: list(s["metrics"]) for s in result["scores"]}
    assert metrics["anomaly"] == metrics["anomaly_gan"] == list(metrics_of("anomaly"))
    assert metrics["anomaly_discriminator"] == ["image_auroc", "image_ap"]  # it knows of no places
    assert result["pictures"] == ["pictures/anomalies.png"]
