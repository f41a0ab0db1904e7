"""From runs to models: what predicts, what is weights again, what the table says, and a model without gssl."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gssl.cli import app
from gssl.commands import compare, embed, export, inspect, predict, pretrain_ssl, transfer
from gssl.config import label_use
from gssl.engine.files import read_json, write_json
from gssl.errors import UsageError
from gssl.experiment import weight_sources
from gssl.experiment.models import find_model
from gssl.experiment.trained import encoder_of
from tests.commands.test_transfer_segmentation import scenes as scenes
from tests.commands.test_transfer_segmentation import small as small_masks

pytestmark = pytest.mark.long
DOCUMENT = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
__all__ = ["small_masks"]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def make(pictures):
    """Typed configurations of small commands."""
    from gssl.config.composing import compose

    def made(command, *words):
        base = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=8", "engine.threads=1"]
        base += ["engine.progress=false", "engine.device=cpu"]
        if command == "pretrain-ssl":
            base += ["ssl.batch_size=16", "budget.steps=6"]
        else:
            base += ["draws=1", "probe.linear.l2_count=3", "probe.finetune.steps=4", "probe.finetune.lrs=[0.001]"]
            base += ["probe.finetune.batch_size=8", "probe.finetune.folds=1"]
        if command == "transfer":
            base += ["diagnose.pictures=false", "labels_per_class=[]", "fractions=[1.0]"]
        return compose(command, [*base, *words])

    return made


@pytest.fixture(scope="module")
def runs(make, tmp_path_factory):
    """A pretrained run and two transfer runs of it: frozen probes, and fine-tuning."""
    root = tmp_path_factory.mktemp("models")
    pretrain_ssl.main(make("pretrain-ssl"), root / "ssl")
    transfer.main(make("transfer", f"weights={root / 'ssl'}", "probe.use=[knn,linear]"), root / "frozen")
    transfer.main(make("transfer", f"weights={root / 'ssl'}", "probe.use=[finetune]"), root / "tuned")
    transfer.main(make("transfer", "weights=random", "probe.use=[linear]"), root / "random")
    return root


# ── transfer runs ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["frozen", "tuned", "random"])
def test_a_transfer_run_predicts_as_it_was_tested(name, runs, tmp_path, pictures, capsys):
    """Of frozen probes too: the table holds the answers that result.json counted."""
    probe = "finetune" if name == "tuned" else "linear"
    said = predict.predict(runs / name, pictures / "test", tmp_path / "p.csv", "cpu")
    scores = read_json(runs / name / "result.json")["scores"]
    score = next(s for s in scores if s["probe"] == probe)
    assert said["accuracy"] == pytest.approx(score["accuracy"]) and said["probe"] == probe
    assert ("linear probe" if probe == "linear" else "fine-tuning") in capsys.readouterr().err
    rows = rows_of(tmp_path / "p.csv")
    assert list(rows[0]) == ["file", "label", "probability", "unknown"] and rows[0]["file"] == "a/000.png"


def test_mistakes_name_files(runs, tmp_path, pictures):
    """Of a transfer run, and of predictions."""
    result = read_json(runs / "frozen" / "result.json")
    predict.predict(runs / "frozen", pictures / "test", tmp_path / "p.csv", "cpu")
    listed = rows_of(runs / "frozen" / "mistakes.csv")
    score = next(s for s in result["scores"] if s["probe"] == "linear")
    assert len(listed) == result["mistakes"]["count"] == 60 - score["correct"]
    assert all(Path(row["file"]).is_file() and Path(row["file"]).parent.name == row["label"] for row in listed)
    mine = rows_of(tmp_path / "mistakes.csv")
    assert {pictures / "test" / row["file"] for row in mine} == {Path(row["file"]) for row in listed}
    given = [float(row["probability"]) for row in mine]
    assert given == sorted(given, reverse=True)


@pytest.mark.parametrize("name", ["frozen", "tuned", "random"])
def test_every_run_with_an_encoder_is_weights(name, runs, make, tmp_path, pictures):
    """weights=RUN, embed RUN, inspect RUN; the network is the one that the run evaluated."""
    origin = weight_sources.find_weights(str(runs / name))
    network, _ = weight_sources.build(origin, origin.backbone, origin.size or 16, 0)
    own, view, _ = encoder_of(runs / name, "")
    x = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(network.eval()(x), own(x))
    assert origin.labels_used is (name == "tuned") and label_use.of_path(runs / name) is (name == "tuned")
    embed.embed(runs / name, pictures / "test", tmp_path / "f.npz", "cpu")
    assert np.load(tmp_path / "f.npz")["features"].shape == (60, own.dim)
    found = inspect.inspect(runs / name, tmp_path / "pictures", images=30, device="cpu")
    assert found["files"] == ["neighbours.png", "map.png"]
    transfer.main(make("transfer", f"weights={runs / name}", "probe.use=[knn]"), tmp_path / "again")
    if name == "frozen":  # the very network of the pretrained run
        direct = encoder_of(runs / "ssl", "")[0]
        torch.testing.assert_close(direct(x), own(x))


def test_a_head_that_lost_its_network_says_so(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "moved")
    assert find_model(tmp_path / "moved" / "frozen")  # the network has moved along
    text = read_json(tmp_path / "moved" / "frozen" / "weights" / "head.json")
    write_json(tmp_path / "moved" / "frozen" / "weights" / "head.json", text | {"network_hash": "0"})
    with pytest.raises(UsageError, match="fitted on other weights"):
        find_model(tmp_path / "moved" / "frozen")


def test_what_has_no_model_says_what_helps(runs, make, tmp_path):
    transfer.main(make("transfer", "weights=pixels", "probe.use=[knn]"), tmp_path / "pixels")
    transfer.main(make("transfer", f"weights={runs / 'ssl'}", "probe.use=[knn]"), tmp_path / "knn")
    for path, message in (
        (runs / "ssl", "has no head for classes; evaluate it first"),
        (tmp_path / "pixels", "evaluates pixels, which is no network"),
        (tmp_path / "knn", r"knn and clusters have none\); run it with probe.use=\[linear\]"),
        (tmp_path / "none", "no such directory"),
    ):
        with pytest.raises(UsageError, match=message):
            find_model(path)
        assert "resume" not in str(pytest.raises(UsageError, find_model, path).value)
    (tmp_path / "killed").mkdir()
    write_json(tmp_path / "killed" / "status.json", {"command": "transfer", "state": "interrupted"})
    with pytest.raises(UsageError, match="finish it with engine.resume=auto first"):
        find_model(tmp_path / "killed")


# ── the table ────────────────────────────────────────────────────────────────────────────────────


def test_broken_images_labels_and_all_probabilities(runs, tmp_path, pictures):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate("abc"):
        shutil.copy(pictures / "test" / name / "000.png", folder / f"{i}.png")
    (folder / "broken.jpg").write_text("no image")
    (tmp_path / "labels.csv").write_text("path,label\n0.png,a\n1.png,b\n2.png,zebra\n")
    words = [
        "predict",
        str(runs / "frozen"),
        str(folder),
        "-o",
        str(tmp_path / "p.csv"),
        "--top",
        "2",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(app, [*words, "--probabilities", "--labels", str(tmp_path / "labels.csv")])
    assert done.exit_code == 0, done.stderr
    assert "broken.jpg" in done.stderr and "does not know zebra" in done.stderr
    rows = rows_of(tmp_path / "p.csv")
    assert list(rows[0]) == ["file", "label", "probability", "label_2", "probability_2", "unknown",
                             "probability_a", "probability_b", "probability_c"]  # fmt: skip
    assert [row["file"] for row in rows] == ["0.png", "1.png", "2.png", "broken.jpg"]
    assert rows[3]["label"] == "" and all(row["label"] != row["label_2"] for row in rows[:3])
    assert sum(float(rows[0][f"probability_{c}"]) for c in "abc") == pytest.approx(1, abs=2e-4)
    assert any(row["label"] == "zebra" for row in rows_of(tmp_path / "mistakes.csv"))


def test_a_table_that_gssl_did_not_write_stays(runs, tmp_path, pictures, monkeypatch):
    """The default of -o too: nobody's labels.csv is lost."""
    monkeypatch.chdir(tmp_path)
    Path("labels.csv").write_text("path,label\nmine.png,a\n")
    Path("predictions.csv").write_text("mine\n")
    done = CliRunner().invoke(app, ["predict", str(runs / "frozen"), str(pictures / "test"), "--device", "cpu"])
    assert done.exit_code == 2 and "gssl did not write" in done.stderr
    assert Path("labels.csv").read_text().endswith("mine.png,a\n") and Path("predictions.csv").read_text() == "mine\n"
    words = ["embed", str(runs / "frozen"), str(pictures / "test"), "-o", "features.npz", "--device", "cpu"]
    Path("features.npz").write_text("mine")
    assert CliRunner().invoke(app, words).exit_code == 2 and Path("features.npz").read_text() == "mine"
    assert CliRunner().invoke(app, [*words, "--force"]).exit_code == 0
    assert CliRunner().invoke(app, words).exit_code == 0  # its own


# ── masks ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("probe", ["segment", "finetune"])
def test_masks_are_predicted_and_exported(probe, small_masks, scenes, tmp_path):
    run = tmp_path / "run"
    transfer.main(small_masks("weights=random", f"probe.use=[{probe}]", "draws=1", "images_labelled=[6]"), run)
    said = predict.predict(run, scenes / "test" / "images", tmp_path / "p.csv", "cpu")
    rows = rows_of(tmp_path / "p.csv")
    assert len(rows) == 8 == said["images"]
    # the same masks as those that were scored
    stats = np.load(run / "predictions.npz")["stats"][0]
    right = []
    for i, row in enumerate(rows):
        found = np.array(Image.open(tmp_path / row["mask"]))
        true = np.array(Image.open(scenes / "test" / "masks" / f"{i:02}.png"))
        assert found.shape == true.shape == (int(row["height"]), int(row["width"]))
        right.append((found == true)[true != 255].mean())
    k = stats.shape[1] // 3
    scored = stats[:, :k].sum() / stats[:, 2 * k :].sum()
    assert np.mean(right) == pytest.approx(scored, abs=0.06)  # scored at the size at which images are stored
    made = export.export(run, tmp_path / "m.onnx", "onnx")
    assert made["part"] == "segmenter" and made["check"]["relative"] < 1e-4
    assert made["output"].startswith("logits (batch, ")


# ── a comparison ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def compared(make, tmp_path_factory, inline_worker):
    """A comparison that ends with a model."""
    root = tmp_path_factory.mktemp("compared")
    cfg = make(
        "compare", "arms=[scratch,random]", "seeds=1", "labels_per_class=[5]", "fractions=[1.0]", "draws=1",
        "probe.use=[adapted]", "probe.adapted.menu=[finetune,linear]", "probe.finetune.steps=80",
        "probe.finetune.batch_size=32", "probe.finetune.lrs=[0.003]", "generation.images=0", f"parts={root / 'parts'}",
        "eval.milestones=0",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gssl.comparison.execution.Worker", inline_worker)
        compare.main(cfg, root / "run")
    return root / "run"


def test_a_comparison_ends_with_a_model(compared, pictures, tmp_path):
    result, text = read_json(compared / "result.json"), read_json(compared / "model" / "predict.json")
    assert result["model"]["arm"] == "scratch" and text["schema"] == "gssl.model/1"
    assert text["trained"]["images"] == 180 == text["n_train"]  # 120 for training and validation, 60 for testing
    report = read_json(compared / "report.json")
    row = [r for r in report["table"] if r["arm"] == "scratch" and r["probe"] == "adapted"][-1]
    assert text["expected"]["mean"] == row["mean"] and text["expected"]["n_test"] == row["n_test"] == 60
    assert text["expected"]["label_budget"] == "all" and text["expected"]["interval"]["low"] <= row["mean"]
    assert text["calibration"]["n"] > 20 and text["calibration"]["temperature"] > 0
    assert text["preprocessing"]["size"] == 16 and text["classes"] == ["a", "b", "c"]
    card = (compared / "model" / "README.md").read_text()
    assert "Trained on all 180 labelled images" in card and "testing included" in card
    assert f"{100 * row['mean']:.1f}%" in card and "gssl predict" in card
    said = predict.predict(compared, pictures / "test", tmp_path / "p.csv", "cpu")
    assert said["accuracy"] > 0.8
    assert said == predict.predict(compared / "model", pictures / "test", tmp_path / "p.csv", "cpu")
    assert label_use.of_path(compared) is True and label_use.of_path(compared / "model") is True


def test_strange_images_are_unknown_and_familiar_ones_are_not(compared, tmp_path):
    from tests.conftest import draw_pictures

    draw_pictures(tmp_path / "same", {"a": 40, "b": 40, "c": 40}, seed=7)
    (tmp_path / "other").mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        stripes = (np.indices((16, 16)).sum(0) % 2 * 255)[..., None] * rng.integers(0, 2, 3)
        Image.fromarray(stripes.astype(np.uint8)).save(tmp_path / "other" / f"{i}.png")
    mean = {}
    for name in ("same", "other"):
        predict.predict(compared, tmp_path / name, tmp_path / f"{name}.csv", "cpu", force=True)
        mean[name] = np.mean([float(row["unknown"]) for row in rows_of(tmp_path / f"{name}.csv")])
    assert 0.25 < mean["same"] < 0.75 and mean["other"] > 0.9


def test_no_model_where_none_is_wanted(make, tmp_path, inline_worker, monkeypatch):
    monkeypatch.setattr("gssl.comparison.execution.Worker", inline_worker)
    words = ["arms=[random,pixels]", "seeds=1", "labels_per_class=[5]", "fractions=[]", "probe.use=[linear]"]
    words += ["generation.images=0", f"parts={tmp_path / 'parts'}"]
    compare.main(make("compare", *words, "model=false"), tmp_path / "off")
    assert not (tmp_path / "off" / "model").exists()
    with pytest.raises(UsageError, match="made with model=false"):
        find_model(tmp_path / "off")
    compare.main(make("compare", *words), tmp_path / "controls")
    with pytest.raises(UsageError, match="no arm with a network of its own"):
        find_model(tmp_path / "controls")


def blocks():
    return re.findall(r"```python\n(.*?)```", DOCUMENT, re.S)


@pytest.mark.parametrize(("to", "suffix", "index"), [("onnx", ".onnx", 0), ("torch-export", ".pt2", 1)])
def test_a_model_in_ten_lines_without_gssl(to, suffix, index, compared, pictures, tmp_path, monkeypatch, capsys):
    """The code of docs/models.md, as it stands there, says what gssl predicts; of a large photograph too."""
    made = export.export(compared, tmp_path / f"model{suffix}", to)
    assert made["part"] == "model" and made["check"]["predictions"]["difference"] < 0.02
    text = json.loads((tmp_path / f"model{suffix}.json").read_text())
    assert text["preprocessing"]["resize"].startswith("the shorter side to 16 px") and text["classes"] == [
        "a",
        "b",
        "c",
    ]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    code = blocks()[index]
    assert "gssl" not in code and len([line for line in code.splitlines() if line]) <= 12
    for side in (16, 29, 64):
        picture = Image.open(pictures / "test" / "b" / "003.png").resize((side, side + side // 3))
        picture.save(tmp_path / "photo.jpg", quality=95)
        picture.save(tmp_path / "photos" / "photo.jpg", quality=95)
        capsys.readouterr()
        exec(code, {})
        name, probability = capsys.readouterr().out.split()
        predict.predict(compared, tmp_path / "photos", tmp_path / "p.csv", "cpu")
        (row,) = rows_of(tmp_path / "p.csv")
        assert name == row["label"] and float(probability) == pytest.approx(float(row["probability"]), abs=0.03)


def test_a_model_folder_that_was_moved_is_named(tmp_path):
    (tmp_path / "status.json").write_text('{"command": "compare", "state": "finished"}')
    (tmp_path / "result.json").write_text('{"model": {"folder": "model", "why": "the best"}}')
    with pytest.raises(UsageError, match="its model/ is missing"):
        find_model(tmp_path)
