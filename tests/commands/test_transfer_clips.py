"""Transfer on clips: five poolings, groups as the unit, and a model that predicts and can be exported."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gssl.cli import app
from gssl.commands import predict, transfer
from gssl.config.composing import compose
from gssl.config.rules import label_budgets
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment.models import find_model
from gssl.probe import clip_network, clips
from tests.data import films


@pytest.fixture(scope="session")
def set_of_films(tmp_path_factory):
    return films.set_of_films(tmp_path_factory.mktemp("films"), 12)


@pytest.fixture
def small(set_of_films):
    def make(*overrides: str, command: str = "transfer"):
        base = ["data=video", f"data.root={set_of_films}", "data.groups='{group}_*'", "data.size=16"]
        base += ["backbone.width=8", "engine.threads=1", "engine.progress=false", "engine.device=cpu"]
        base += ["images_labelled=[2]", "draws=2", "probe.linear.l2_count=2", "diagnose.pictures=false"]
        return compose(command, [*base, *overrides])

    return make


def run(cfg, path):
    transfer.main(cfg, path)
    return read_json(path / "result.json")


@pytest.mark.long
def test_a_run_has_every_pooling_pictures_and_a_model_that_predicts(small, set_of_films, tmp_path):
    result = run(small("weights=random", "diagnose.pictures=true", "data.val_fraction=0.1"), tmp_path / "run")
    probes = ["adapted", *(f"action_{name}" for name in ("frame", "mean", "motion", "order", "shuffled"))]
    rows = [(s["probe"], s["images_labelled"] if s["fraction"] is None else "all", s["draw"]) for s in result["scores"]]
    assert rows == [(probe, *rest) for probe in probes for rest in ((2, 0), (2, 1), ("all", 0))]
    for score in result["scores"]:
        assert score["task"] == "action" and score["n_test"] == 24 and set(score["metrics"]) >= {"accuracy"}
    assert all(s["n_train"] % 8 == 0 for s in result["scores"])  # whole groups: 2 classes × 4 films of each
    with np.load(tmp_path / "run" / "predictions.npz") as file:
        assert file["guess"].shape == (18, 24) and len(set(file["groups"].tolist())) == 3
        order = [i for i, (probe, budget, _) in enumerate(rows) if (probe, budget) == ("action_order", "all")][0]
        assert (file["guess"][order] == file["labels"]).mean() == result["scores"][order]["accuracy"] > 0.7
    assert result["pictures"] == ["pictures/clips.png"] and (tmp_path / "run" / "pictures" / "clips.png").is_file()

    text = read_json(tmp_path / "run" / "weights" / "head.json")
    assert text["task"] == "action" and text["head"] == "clip" and text["clip"]["frames"] == 8
    out = tmp_path / "found.csv"
    films.film(set_of_films / "test" / "right" / "short.mp4", films.moving(3))
    try:
        said = predict.predict(tmp_path / "run", set_of_films / "test", out, device="cpu")
    finally:
        (set_of_films / "test" / "right" / "short.mp4").unlink()
    assert said["images"] == 24 and len(said["skipped"]) == 1
    found = {row["file"]: row for row in csv.DictReader(io.StringIO(out.read_text()))}
    assert found["right/short.mp4"]["label"] == ""
    model = find_model(tmp_path / "run")
    assert model.text["probe"] == next(s["chosen"]["probe"] for s in result["scores"] if s["fraction"] == 1.0)
    with np.load(tmp_path / "run" / "predictions.npz") as file:
        guess = dict(zip(names_of(small), file["guess"][2].tolist(), strict=True))
    ours = {name: model.classes.index(row["label"]) for name, row in found.items() if row["label"]}
    assert sum(ours[name] == guess[name] for name in ours) >= 23  # all, up to rounding

    done = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--to", "onnx", "-o", str(tmp_path / "m.onnx")])
    assert done.exit_code == 0, done.output
    about = json.loads((tmp_path / "m.onnx.json").read_text())
    assert about["part"] == "clip_classifier" and about["image"].startswith("(batch, 8, 3, 16, 16)")
    assert about["check"]["relative"] < 1e-4 and about["check"]["real"] > 0


def names_of(small) -> list[str]:
    """Test films in the order of predictions.npz, below the folder of the test part."""
    from gssl.data import load_data

    splits = load_data(small("weights=random").data)
    return [str(name).partition("/test/")[2] for name in splits.open_test().names]


@pytest.mark.long
@pytest.mark.parametrize("weights", ["majority", "pixels"])
def test_controls_stand_as_weights(small, tmp_path, weights):
    result = run(small(f"weights={weights}", "fractions=[1.0]", "images_labelled=[]"), tmp_path)
    accuracy = {s["probe"]: s["accuracy"] for s in result["scores"]}
    if weights == "majority":
        assert set(accuracy.values()) == {0.5}
    else:
        assert accuracy["action_order"] > 0.8


def test_a_budget_counts_groups(small):
    from gssl.data import load_data
    from gssl.experiment.label_budgets import LabelBudget
    from gssl.experiment.tasks import task_of

    images = load_data(small("weights=random").data).labelled
    task = task_of(images.columns)
    few, more = (task.draw(images, LabelBudget(None, None, 1, "images_labelled", n), 0, 0) for n in (1, 2))
    assert len(set(images.groups[few])) == 1 and len(few) == 8 and set(few) < set(more)
    with pytest.raises(UsageError, match="images_labelled: 4 asked for, but the labelled training clips are of 3"):
        task.draw(images, LabelBudget(None, None, 1, "images_labelled", 4), 0, 0)
    assert task.comparable(images, 0) and not task.comparable(images.subset(few), 0)
    with pytest.raises(UsageError, match="clips of 0 class"):
        task.check(images.unlabelled(), [], "video")
    with pytest.raises(UsageError, match="labels_per_class: data=video counts labelled clips, or groups of them; use"):
        label_budgets(small("weights=random"), {"labels_per_class"})


@pytest.mark.parametrize("pooling", list(clip_network.POOLINGS))
def test_the_network_pools_as_the_probe(pooling):
    x = torch.randn(3, 6, 4)
    ours = clip_network.POOLINGS[pooling][0](x).numpy()
    np.testing.assert_allclose(ours, clips.POOLINGS[pooling](x.numpy()), atol=1e-6)
    assert ours.shape[1] == 4 * clip_network.POOLINGS[pooling][1](6)
