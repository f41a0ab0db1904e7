"""pix2pix: its losses by their definitions, what its networks read, and whole runs beside their controls."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from gssl.commands import predict, sample, train_gan
from gssl.config.composing import compose
from gssl.data.pairs import Given
from gssl.engine.files import read_json, sha256
from gssl.errors import UsageError
from gssl.experiment import generators, translated
from gssl.gan.losses import absolute
from gssl.metrics.translation import pairwise
from gssl.nets.generator import Shape
from gssl.nets.unet import UNet

from .conftest import moved, state

CPU = torch.device("cpu")


def test_the_absolute_difference_is_that_of_the_paper() -> None:
    made, true = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(absolute(made, true), F.l1_loss(2 * made - 1, 2 * true - 1))


def test_both_losses_are_what_they_are_called(build, batch) -> None:
    method = build("pix2pix", "gan.norm_g=none", "gan.l1=7.0", "gan.adversarial=0.5")
    given = method._drawn("g", 0, batch())
    out = method.g_loss(given)
    with torch.no_grad():
        fake = method.generator(given["paired"])
        on_fake = method.discriminator(fake, None, given["paired"]).logit
        on_real = method.discriminator(given["real"], None, given["paired"]).logit
    one = torch.ones_like(on_fake)
    adversarial = F.binary_cross_entropy_with_logits(on_fake, one)
    torch.testing.assert_close(out["loss"], 7 * F.l1_loss(2 * fake - 1, 2 * given["real"] - 1) + 0.5 * adversarial)
    d = method.d_loss(method._drawn("d", 0, batch()))["loss"]
    both = F.binary_cross_entropy_with_logits(on_real, one) + F.binary_cross_entropy_with_logits(on_fake, 0 * one)
    torch.testing.assert_close(d, both)


def test_without_the_adversarial_loss_the_generator_learns_nothing_from_the_discriminator(build, batch) -> None:
    """Two discriminators that differ: the same generator after two updates; and with the loss another one."""
    found = []
    for option in ("gan.adversarial=0.0", "gan.adversarial=1.0"):
        for shift in (0.0, 0.3):
            method = build("pix2pix", option)
            with torch.no_grad():
                method.discriminator.of_pairs[0].weight.add_(shift)
            before = state(method.discriminator)
            for step in range(2):
                method.update(batch(seed=step), step)
            assert moved(method.discriminator, before)  # whose trunk is exported
            found.append(method.generator.to_image.weight.detach().clone())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[2], found[3])


def test_the_discriminator_reads_the_input_and_each_place(build) -> None:
    method = build("pix2pix").eval()
    images, inputs = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    logits = method.discriminator(images, None, inputs).logit
    assert logits.shape == (2 * 2 * 2,)
    assert not torch.allclose(method.discriminator(images, None, inputs.roll(1, 0)).logit, logits)
    torch.testing.assert_close(method.discriminate(images, None, inputs), logits.view(2, 4).mean(1))
    made = method.sample(inputs)
    assert made.shape == images.shape and torch.equal(made, method.sample(inputs))


@pytest.mark.parametrize(
    "option",
    ["gan.penalty=gp", "gan.augment=diffaugment", "gan.rotation_d=1.0", "gan.attention=d", "gan.generator=dcgan"],
)
def test_parts_of_recipes_that_are_about_single_images_are_refused(option, build) -> None:
    with pytest.raises(UsageError, match=option.partition("=")[0].replace(".", r"\.")):
        build("pix2pix", option)


def test_a_generator_needs_a_loss_and_a_unet_its_pairs(build) -> None:
    with pytest.raises(UsageError, match="nothing to learn"):
        build("pix2pix", "gan.l1=0.0", "gan.adversarial=0.0")
    with pytest.raises(UsageError, match="gan=pix2pix"):
        build("dcgan", "gan.generator=unet")


@pytest.mark.parametrize("option", ["gan.penalty=r1", "gan.loss=relativistic", "gan.spectral_norm=d", "gan.loss=hinge"])
def test_other_parts_go_with_pairs(option, build, batch) -> None:
    out = build("pix2pix", option).update(batch(4), 0)
    assert math.isfinite(out["loss"]) and math.isfinite(out["g_loss"]) and out["l1"] > 0


def test_other_data_have_no_pairs() -> None:
    with pytest.raises(UsageError, match="gan=pix2pix learns from pairs of images.*use data=paired"):
        compose("train-gan", ["gan=pix2pix", "data=mnist5k"])


# ── whole runs ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Thirty files of blocks of two colours (left) and two others with noise (right)."""
    root, random = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for part, count in (("train", 30), ("val", 10), ("test", 9)):
        (root / part).mkdir()
        for i in range(count):
            ids = random.integers(0, 2, (4, 4)).repeat(4, 0).repeat(4, 1)
            left = np.array([[0, 0, 255], [255, 0, 0]])[ids]
            right = np.array([[60, 120, 60], [200, 180, 90]])[ids] + random.integers(-20, 20, (16, 16, 3))
            whole = np.concatenate([left, right], axis=1).astype(np.uint8)
            Image.fromarray(whole).save(root / part / f"{i:02}.png")
    return root


def small(root, *extra):
    base = ["gan=pix2pix", "data=paired", f"data.root={root}", "data.size=16", "backbone.width=8", "gan.width=8"]
    base += ["budget.steps=4", "evaluator=random", "engine.threads=1", "engine.progress=false", "engine.device=cpu"]
    return compose("train-gan", [*base, "eval.images=64", "export=last", *extra])


def test_a_run_stands_beside_its_controls_and_resumes(pairs, tmp_path, killed) -> None:
    cfg = small(pairs, "resume=auto", "engine.checkpoint_every=2")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_gan.main(cfg, whole)
    killed(train_gan.main, cfg, broken, step=3)
    train_gan.main(cfg, broken)
    for file in sorted((whole / "weights").glob("*.safetensors")):
        assert sha256(file) == sha256(broken / "weights" / file.name), file.name
    result = read_json(whole / "result.json")
    assert result["translation"] == read_json(broken / "result.json")["translation"]
    rows = result["translation"]["rows"]
    assert list(rows) == ["generated", "input", "mean_colour", "mean_photo", "other_photo", "true"]
    assert np.mean(result["translation"]["pairs"]["ssim"]) == pytest.approx(rows["generated"]["ssim"]["value"])
    for row in rows.values():
        assert all(x["low"] <= x["value"] <= x["high"] and x["n"] >= 10 for x in row.values())
    assert rows["mean_colour"]["psnr"]["low"] > rows["mean_photo"]["psnr"]["high"]  # of such pairs a perfect answer
    assert rows["true"]["input_read"]["low"] > rows["other_photo"]["input_read"]["high"]
    # what is left behind makes the same images again
    network, _ = generators.load_translator(whole, CPU)
    held = translated.Pairs(translated.splits_of(whole)[0].val, 16, Given("files"))
    again = pairwise(translated.outputs_of(network, held.inputs, CPU), held.targets).psnr.mean()
    assert float(again) == pytest.approx(rows["generated"]["psnr"]["value"], rel=1e-5)
    found = sample.sample(whole, 4, tmp_path / "grid.png", 0)
    with Image.open(tmp_path / "grid.png") as grid:
        assert found["images"] == 4 and grid.size == (3 * 18 - 2, 4 * 18 - 2)
    with pytest.raises(UsageError, match="^[^:]*: its generator .pix2pix. makes images from images"):
        generators.load_generator(whole, CPU)
    assert generators.translates(whole) and not generators.translates(tmp_path)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Thirty images of two colours in blocks with a mask each, in images/ and masks/."""
    root, random = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for i in range(40):
        ids = random.integers(0, 2, (4, 5)).repeat(5, 0).repeat(5, 1).astype(np.uint8)
        pixels = np.array([[60, 120, 60], [200, 180, 90]])[ids] + random.integers(-20, 20, (20, 25, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / f"{i:02}.png")
        Image.fromarray(ids).save(root / "masks" / f"{i:02}.png")
    (root / "classes.json").write_text('["grass", "sand"]')
    return root


@pytest.mark.parametrize(
    ("kind", "rows", "key"),
    [
        ("masks", ["generated", "mean_colour", "mean_photo", "other_photo", "true"], "input_miou"),
        ("super_resolution", ["generated", "bicubic", "mean_photo", "other_photo", "true"], "input_l1"),
        ("colour", ["generated", "grey", "mean_colour", "mean_photo", "other_photo", "true"], "input_l1"),
    ],
)
def test_pairs_that_need_no_second_picture(kind, rows, key, scenes, tmp_path) -> None:
    root = scenes if kind == "masks" else scenes / "images"
    pairs = "files" if kind == "masks" else kind
    run = tmp_path / "run"
    train_gan.main(small(root, f"data.pairs={pairs}", "data.factor=2", "budget.steps=2"), run)
    found = read_json(run / "result.json")["translation"]
    assert list(found["rows"]) == rows and found["made_from"]["kind"] == kind
    better = {name: row[key]["value"] for name, row in found["rows"].items()}
    worst, best = ("other_photo", "true") if kind == "masks" else ("true", "other_photo")
    assert better[worst] < better[best]
    if kind != "masks":  # two steps from what it is given
        control = found["rows"]["bicubic" if kind == "super_resolution" else "grey"]
        assert found["rows"]["generated"]["psnr"]["value"] > control["psnr"]["low"] - 1
    sample.sample(run, 2, tmp_path / "grid.png", 0)
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (3 * 18 - 2, 2 * 18 - 2)
    # new files
    new = scenes / ("masks" if kind == "masks" else "images")
    predict.predict(run, new, tmp_path / "new.csv", "cpu")
    row = (tmp_path / "new.csv").read_text().splitlines()[1].split(",")
    sides = {"masks": [16, 20], "super_resolution": [40, 50], "colour": [20, 25]}[kind]
    assert row == ["00.png", "new_images/00.png", *map(str, sides)]
    with Image.open(tmp_path / row[1]) as image:
        assert image.size == (sides[1], sides[0]) and image.mode == "RGB"
        if kind == "colour":  # luma is that of the file
            given = Image.open(new / "00.png").convert("L")
            assert np.abs(np.subtract(image.convert("L"), given, dtype=float)).mean() < 3
    with pytest.raises(UsageError, match="makes images, no classes"):
        predict.predict(run, new, tmp_path / "other.csv", "cpu", top=2)
    assert not (tmp_path / "other.csv").exists()


def test_an_image_that_is_its_input_with_changes_begins_as_that() -> None:
    images = torch.rand(2, 3, 16, 16)
    torch.manual_seed(0)
    network = UNet(Shape("unet", 1, 4, 16, changes=True))
    network.begin((0.1, 0.2, 0.3))
    torch.testing.assert_close(network(images), images, atol=1 / 200, rtol=0)
    grey = UNet(Shape("unet", 1, 4, 16, channels=1, changes=True))(images[:, :1].expand(-1, 3, -1, -1))
    torch.testing.assert_close(grey[:, 2], images[:, 0], atol=1 / 200, rtol=0)
    assert "changes" not in Shape("unet", 1, 4, 16).record()  # of older files


def test_classes_of_masks_have_a_colour_of_their_own(scenes) -> None:
    torch.manual_seed(0)
    network = UNet(Shape("unet", 1, 4, 16, inputs=5))
    made = network(torch.rand(2, 5, 16, 16))
    assert made.shape == (2, 3, 16, 16) and Shape("unet", 1, 4, 16, inputs=5).record()["inputs"] == 5


@pytest.mark.long
def test_the_difference_alone_comes_near_on_pairs_that_colours_decide(pairs, tmp_path) -> None:
    train_gan.main(small(pairs, "budget.steps=200", "gan.adversarial=0.0"), tmp_path / "run")
    rows = read_json(tmp_path / "run" / "result.json")["translation"]["rows"]
    assert rows["generated"]["psnr"]["low"] > rows["mean_photo"]["psnr"]["high"]
