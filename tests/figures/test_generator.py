"""`generator.png` of `gssl inspect`: every kind of GAN run, whole or not at all, never the test split."""

import json
import shutil

import pytest
import torch
from PIL import Image

from gssl.commands import inspect as command
from gssl.commands import train_gan
from gssl.commands.inspect import inspect
from gssl.config.composing import compose
from gssl.data.splits import Splits
from gssl.experiment import generator_examples as generator
from gssl.experiment.generator_examples import GeneratorExamples

pytestmark = pytest.mark.long

SECTIONS = {  # what is special about each recipe's page
    "dcgan": ["Samples", "Between two latent vectors", "Main directions"],
    "sagan": ["Where self-attention reads"],
    "acgan": ["Samples of each class", "Between two classes"],
    "bigan": ["Images and what the generator makes of their codes"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, pictures):
    root = tmp_path_factory.mktemp("gans")

    def run(name):
        words = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "engine.threads=1", "engine.device=cpu"]
        words += ["engine.progress=false", "gan.batch_size=16", "gan.latent=8", "gan.width=4", "backbone.width=8"]
        if not (root / name).exists():
            cfg = compose("train-gan", [f"gan={name}", "evaluator=random", "budget.steps=2", "eval.images=20", *words])
            train_gan.main(cfg, root / name)
        return root / name

    return run


@pytest.fixture(autouse=True)
def no_map(monkeypatch):
    """The map is tested with `inspect`; t-SNE takes its time."""
    monkeypatch.setattr(command, "tsne", lambda features: features[:, :2])


@pytest.fixture
def shown(monkeypatch):
    """The sections of every page that is written; little is computed for each, and the test images are locked."""
    found = {}

    def opened(self):
        raise AssertionError("the test set was opened")

    def save(title, text, sections, path):
        found.update({section.title.partition(". ")[2]: section for section in sections}, head=(title, text))
        return written(title, text, sections, path)

    written = generator.save_page
    monkeypatch.setattr(Splits, "open_test", opened)
    monkeypatch.setattr(generator, "save_page", save)
    monkeypatch.setattr(generator, "COMPARED", 24)
    monkeypatch.setattr(generator, "COPIES", 2)
    return found


@pytest.mark.parametrize("name", SECTIONS)
def test_the_page_of_each_kind(runs, shown, tmp_path, name):
    out = tmp_path / "pictures"
    answer = inspect(runs(name), out, images=20)
    assert answer["files"] == ["neighbours.png", "map.png", "generator.png"]
    assert sorted(p.name for p in out.iterdir()) == sorted(answer["files"])
    assert [p.name for p in tmp_path.iterdir()] == ["pictures"]
    for section in SECTIONS[name]:
        assert any(title.startswith(section) for title in shown), list(shown)
    assert ("Where self-attention reads" in shown) == (name == "sagan")
    asked = shown["What the discriminator's answer depends on"]
    assert asked.text.startswith("Left out") == (name == "bigan") == (not asked.rows)
    assert "random-conv" in shown["Nearest training images of samples"].text and "step 2" in shown["head"][1]
    with Image.open(out / "generator.png") as picture:
        assert picture.width > 900 and picture.height > 1000


def test_samples_are_the_exported_generators_of_the_named_class(runs, shown, tmp_path):
    inspect(runs("acgan"), tmp_path / "p", images=20)
    rows = shown["Samples of each class"].rows
    assert [row.name for row in rows] == ["a", "b", "c"]
    sampler = generator.load_generator(runs("acgan"), torch.device("cpu"))
    z = generator.latents(generator.Draws(0), "inspect/samples", 0, (11, 8), None)
    expected = sampler.make(z, torch.full((11,), 1).numpy())
    assert torch.allclose(torch.stack([tile.image for tile in rows[1].tiles[:11]]), expected, atol=1e-6)


def test_a_bigans_images_and_their_reconstructions(runs, shown, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs("bigan"), run)
    inspect(run, tmp_path / "p", images=20)
    title = SECTIONS["bigan"][0]
    real, made = shown[title].rows
    weights, where = generator.encoder_head(run, json.loads((run / "result.json").read_text()))
    assert where == "checkpoints/best" and where in shown[title].text
    assert weights[0].shape == (8, 64) and len(real.tiles) == len(made.tiles) > 4
    assert not torch.allclose(real.tiles[0].image, made.tiles[0].image, atol=1e-2)
    shutil.rmtree(run / "checkpoints")
    inspect(run, tmp_path / "p", images=20)
    assert shown[title].text.startswith("Left out") and not shown[title].rows


def test_an_evaluator_that_is_not_there_is_replaced_and_said(runs, shown, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs("dcgan"), run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("evaluator: random", "evaluator: no-such-evaluator"))
    inspect(run, tmp_path / "p", images=20)
    assert "no-such-evaluator, is not available here" in shown["Nearest training images of samples"].text


def test_the_same_run_gives_the_same_page(runs, shown, tmp_path):
    for name in ("one", "two"):
        inspect(runs("dcgan"), tmp_path / name, images=20)
    assert (tmp_path / "one" / "generator.png").read_bytes() == (tmp_path / "two" / "generator.png").read_bytes()


def test_an_error_leaves_nothing_new_and_keeps_what_was_there(runs, tmp_path, monkeypatch):
    def fails(self):
        raise RuntimeError("in the last section")

    monkeypatch.setattr(GeneratorExamples, "reconstructions", fails)
    out = tmp_path / "pictures"
    with pytest.raises(RuntimeError):
        inspect(runs("dcgan"), out, images=20)
    assert not list(tmp_path.iterdir())
    out.mkdir()
    (out / "map.png").write_bytes(b"before")
    with pytest.raises(RuntimeError):
        inspect(runs("dcgan"), out, images=20, force=True)
    assert (out / "map.png").read_bytes() == b"before" and [p.name for p in tmp_path.iterdir()] == ["pictures"]
