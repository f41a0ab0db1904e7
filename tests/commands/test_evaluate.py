"""`gssl evaluate`: figures beside their floors, whose they are, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from gssl.cli import app
from gssl.cli.evaluation_table import show
from gssl.cli.result_table import print_result
from gssl.commands import train_gan
from gssl.commands.evaluate import evaluate
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment import generators


@pytest.fixture(scope="module")
def runs(pictures, tmp_path_factory):
    """A finished run without classes and one with."""
    from gssl.config.composing import compose

    root = tmp_path_factory.mktemp("runs")
    words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "backbone.width=4", "engine.threads=1"]
    words += ["engine.progress=false", "gan.batch_size=16", "gan.latent=4", "gan.width=2", "budget.steps=3"]
    for name in ("dcgan", "acgan"):
        train_gan.main(compose("train-gan", [f"gan={name}", "evaluator=random", *words]), root / name)
    return root


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The small classifier learns for a few steps only."""
    from gssl.metrics import classifier

    monkeypatch.setattr(classifier, "STEPS", 4)


def test_figures_stand_beside_their_floors_and_say_whose_they_are(runs):
    found = evaluate(runs / "dcgan", evaluator="random", seed=3)
    stored = read_json(Path(found["file"]))
    assert stored["schema"] == "gssl.evaluation/3" and stored["figures"] == json.loads(json.dumps(found["figures"]))
    assert Path(found["file"]).name == f"val-random-conv-{found['evaluator']['hash'][:8]}-{found['n']}-3.json"
    assert found["evaluator"]["dim"] == found["figures"]["d"] == 504 and not found["evaluator"]["fid"]
    assert found["figures"]["fd"] is None and "504" in found["figures"]["fd_refused"]
    assert found["n"] == found["figures"]["n_real"] == found["figures"]["n_fake"] == 12
    # six steps make nothing like a picture, and two halves of the training images are alike
    assert found["figures"]["kid"] > 5 * abs(found["baseline"]["train_train"]["kid"])
    assert "conditional" not in found and found["test_openings"] == 0
    assert set(found["replicates"]) == {"kid", "precision", "recall", "density", "coverage", "copied"}
    assert {len(values) for values in found["replicates"].values()} == {200}
    assert found["alarm"] is None  # twelve images are too few to say so
    assert set(found["controls"]) == {"half", "quarter", "eighth", "noise"}
    assert found["quality"]["text"].startswith(found["quality"]["grade"])


def test_the_end_of_training_and_an_evaluation_say_in_a_sentence_how_good_images_are(runs, capsys):
    """Three steps make mush: a reader must not have to know what a KID is."""
    result = read_json(runs / "dcgan" / "result.json")
    assert result["quality"]["grade"] in ("bad", "useless")
    print_result(runs / "dcgan", result)
    assert f"generated images: {result['quality']['text']}" in capsys.readouterr().out
    found = evaluate(runs / "dcgan", evaluator="random")
    show(found)
    assert found["quality"]["grade"] in ("bad", "useless") and found["quality"]["text"] in capsys.readouterr().out


def test_the_same_seed_gives_the_same_figures_whatever_the_batches(runs, monkeypatch):
    first = evaluate(runs / "dcgan", evaluator="random")["figures"]
    monkeypatch.setattr(generators.Sampler.batches, "__defaults__", (0, "generated", None, 5))
    again = evaluate(runs / "dcgan", evaluator="random")["figures"]
    assert set(first) == set(again)
    for key, value in first.items():
        assert again[key] == (pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value), key
    assert evaluate(runs / "dcgan", evaluator="random", seed=1)["figures"]["kid"] != first["kid"]


def test_openings_of_the_test_images_are_counted(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "dcgan", run)
    assert [evaluate(run, evaluator="random", split="test")["test_openings"] for _ in range(2)] == [1, 2]
    assert read_json(run / "status.json")["test_openings"] == 2
    assert evaluate(run, evaluator="random")["test_openings"] == 2


def test_conditional_generators_are_asked_what_can_be_learnt_from_them(runs):
    told = evaluate(runs / "acgan", split="test")
    found = told["conditional"]
    assert set(found["gan_train"]["per_class"]) == {"a", "b", "c"}
    assert len(told["replicates"]["gan_train"]) == 200
    assert found["gan_train"]["n"] == 60 and found["gan_test"]["n"] == 600
    assert found["ratio"]["low"] <= found["ratio"]["value"] <= found["ratio"]["high"]


def test_a_generator_that_makes_nothing_is_called_dead(runs, tmp_path, monkeypatch, capsys):
    """Its weights are lost: every image is one and the same."""
    run = tmp_path / "run"
    shutil.copytree(runs / "dcgan", run)
    monkeypatch.setattr(generators.Sampler, "make", lambda self, z, labels=None: torch.full((len(z), 3, 16, 16), 0.5))
    found = evaluate(run, evaluator="random", split="test")
    assert found["figures"]["recall"] == 0 and "the generator is dead" in found["alarm"]
    show(found)
    assert f"alarm: {found['alarm']}" in capsys.readouterr().out


def test_what_a_person_reads(runs):
    done = CliRunner().invoke(app, ["evaluate", str(runs / "acgan"), "--evaluator", "random"])
    assert done.exit_code == 0, done.output
    for word in ("random-conv@", "d = 504", "n = 12", "val images", "seed 0", "train vs train", "no Fréchet distance"):
        assert word in done.stdout, word
    assert "FID" not in done.stdout and "GAN-train ÷ real" in done.stdout
    done = CliRunner().invoke(app, ["evaluate", str(runs / "dcgan"), "--evaluator", "random", "--json"])
    assert json.loads(done.stdout)["schema"] == "gssl.evaluation/3"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--split", "train"], "--split train: expected val"),
        (["--evaluator", "clasifier"], "evaluator=clasifier.*did you mean classifier"),
        (["--truncation", "-1"], "--truncation"),
        (["-o", "figures.txt"], "-o figures.txt: expected a file name that ends in .json"),
        (["--evaluator", "random", "--evaluator-weights", "w.pth"], "evaluator=random: takes no weights file"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(words, says, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set((runs / "dcgan").rglob("*"))
    done = CliRunner().invoke(app, ["evaluate", str(runs / "dcgan"), *words])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert re.search(says, done.stderr), done.stderr
    assert not list(tmp_path.iterdir()) and before == set((runs / "dcgan").rglob("*"))


def test_what_is_no_finished_gan_run_is_refused(runs, tmp_path):
    with pytest.raises(UsageError, match="not a run directory"):
        evaluate(tmp_path)
    for name, damage, says in (
        ("lost", lambda run: (run / "weights" / "generator.json").unlink(), "has no generator"),
        ("old", lambda run: (run / "weights" / "generator.json").write_text('{"schema": "gssl.generator/2"}'), "again"),
        ("cut", lambda run: (run / "weights" / "generator.safetensors").write_bytes(b"x"), "damaged or replaced"),
        ("bare", lambda run: (run / "config.yaml").unlink(), "config.yaml"),
    ):
        run = tmp_path / name
        shutil.copytree(runs / "dcgan", run)
        damage(run)
        with pytest.raises(UsageError, match=says):
            evaluate(run, evaluator="random")


def test_a_discriminator_comes_back_as_it_was(runs):
    network = generators.load_discriminator(runs / "dcgan", torch.device("cpu"))
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert network is not None and torch.isfinite(network(x).logit).all()
    (runs / "dcgan" / "weights" / "discriminator.json").rename(runs / "gone.json")
    with pytest.raises(UsageError, match="has no discriminator"):  # not taken for one that judges pairs
        generators.load_discriminator(runs / "dcgan", torch.device("cpu"))
    (runs / "gone.json").rename(runs / "dcgan" / "weights" / "discriminator.json")
