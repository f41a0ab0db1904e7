"""CycleGAN and CUT: their losses by their definitions, the pool, and whole runs beside their controls."""

import csv
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from gssl.commands import evaluate, predict, sample, train_gan
from gssl.config.composing import compose
from gssl.engine.files import read_json, sha256
from gssl.errors import UsageError
from gssl.experiment import generators
from gssl.gan.losses import patch_nce
from gssl.gan.unpaired import Pool
from gssl.ssl.losses import in_batch

from .conftest import moved, state

CPU = torch.device("cpu")


def squared(logit: torch.Tensor, goal: float) -> torch.Tensor:
    return F.mse_loss(logit, torch.full_like(logit, goal))


def far(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    return F.l1_loss(2 * made - 1, 2 * true - 1)


def test_cyclegans_losses_are_those_of_the_paper(build, batch) -> None:
    method = build("cyclegan", "gan.cycle=7.0", "gan.identity=3.0", "gan.adversarial=2.0", "gan.pool=0")
    given = batch()
    first, second, g, f = given["domain0"], given["domain1"], method.generator.images, method.generator.back
    on1, on0 = method.discriminator, method.discriminator.other
    with torch.no_grad():
        made1, made0 = g(first), f(second)
        adversarial = squared(on1(made1).logit, 1) + squared(on0(made0).logit, 1)
        cycle = far(f(made1), first) + far(g(made0), second)
        same = far(g(second), second) + far(f(first), first)
        d = [squared(real.logit, 1) + squared(fake.logit, 0)
             for real, fake in ((on1(second), on1(made1)), (on0(first), on0(made0)))]  # fmt: skip
        out = method.g_loss(method._drawn("g", 0, given))
        torch.testing.assert_close(out["loss"], adversarial + 7 * cycle + 3 * same)
        torch.testing.assert_close(method.d_loss(method._drawn("d", 0, given))["loss"], (d[0] + d[1]) / 2)


def test_patch_nce_is_infonce_within_each_image() -> None:
    g = torch.Generator().manual_seed(0)
    query, key = (torch.randn(3, 10, 6, generator=g, requires_grad=True) for _ in range(2))
    found = patch_nce(query, key, 0.07)
    torch.testing.assert_close(
        found, torch.stack([in_batch(q, k, 0.07) for q, k in zip(query, key, strict=True)]).mean()
    )
    total = 0.0
    for q, k in zip(query.detach(), key.detach(), strict=True):
        for i in range(10):
            scores = [math.exp(float(F.cosine_similarity(q[i], k[j], dim=0)) / 0.07) for j in range(10)]
            total -= math.log(scores[i] / sum(scores))
    assert found.item() == pytest.approx(total / 30, rel=1e-5)
    found.backward()
    assert key.grad is None and query.grad is not None


def test_cuts_loss_is_that_of_the_paper(build, batch) -> None:
    method = build("cut", "gan.nce=1.5", "gan.nce_identity=0.5", "gan.patches=9")
    given = method._drawn("g", 0, batch())
    with torch.no_grad():
        made, same = method.generator(given["z"]), method.generator(given["real"])

        def contrast(out: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
            terms = []
            for i, head in enumerate(method.generator.heads):
                maps = [head(method.generator.images.maps(x)[i].flatten(2).transpose(1, 2)) for x in (out, own)]
                at = given[f"places{i}"]
                assert all(len(set(row.tolist())) == 9 for row in at)
                terms += [in_batch(q[p], k[p], 0.07) for q, k, p in zip(*maps, at, strict=True)]
            return torch.stack(terms).mean()

        wanted = squared(method.discriminator(made).logit, 1)
        wanted = wanted + 1.5 * contrast(made, given["z"]) + 0.5 * contrast(same, given["real"])
        torch.testing.assert_close(method.g_loss(given)["loss"], wanted)
    assert method._drawn("g", 1, batch())["places1"].tolist() != given["places1"].tolist()


def test_the_pool_shows_what_was_made_before_and_is_a_function_of_its_draws() -> None:
    """Beside a list, as the original has it."""
    pool, kept, random = Pool(4, 2), [], np.random.default_rng(0)
    for step in range(6):
        new = torch.arange(3).float().view(3, 1, 1, 1).expand(-1, 3, 2, 2) + 3 * step
        which, coin = random.integers(0, 4, 3), random.random(3)
        wanted = []
        for image, place, chance in zip(new, which, coin, strict=True):
            if len(kept) < 4:
                kept.append(image)
                wanted.append(image)
            elif chance >= 0.5:
                wanted.append(kept[place])
                kept[place] = image
            else:
                wanted.append(image)
        assert torch.equal(pool(new, torch.from_numpy(which), torch.from_numpy(coin)), torch.stack(wanted))
    assert torch.equal(pool.images, torch.stack(kept)) and pool.held == 4


def test_the_pool_is_in_the_state_and_changes_what_the_discriminator_learns(build, batch) -> None:
    methods = [build("cyclegan", f"gan.pool={size}") for size in (2, 0)]
    for method in methods:
        for step in range(3):
            method.update(batch(4, seed=step), step)
    assert {"pools.0.images", "pools.1.images", "pools.1.held"} <= set(methods[0].state_dict())
    assert methods[0].pools["1"].held == 2
    other = [m.discriminator.places[0][0].weight for m in methods]
    assert not torch.equal(*other)


@pytest.mark.parametrize("name", ["cyclegan", "cut"])
def test_all_parts_learn_and_an_output_is_of_its_input(name, build, batch) -> None:
    method = build(name)
    before = state(method)
    out = method.update(batch(4), 0)
    assert all(math.isfinite(x) for x in out.values())
    # a bias before an instance norm does not exist here: all weights have gradients
    assert {key for key, _ in method.named_parameters() if not key.startswith("ema.")} <= moved(method, before)
    images = torch.rand(2, 3, 16, 16)
    made = method.sample(images)
    assert made.shape == images.shape and not torch.allclose(made[0], made[1])
    maps = method.backbone.eval().dense(images)[-2:]
    logit = method.discriminator.eval()(images).logit
    assert logit.shape == (2 * sum(x.shape[2] * x.shape[3] for x in maps),)
    torch.testing.assert_close(method.discriminate(images), logit.view(2, -1).mean(1))


@pytest.mark.parametrize(
    "option",
    ["gan.penalty=r1", "gan.augment=diffaugment", "gan.rotation_d=1.0", "gan.attention=d", "gan.generator=unet",
     "gan.lecam=0.3", "gan.loss=relativistic"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["cyclegan", "cut"])
def test_parts_of_recipes_that_are_about_other_things_are_refused(name, option, build) -> None:
    with pytest.raises(UsageError, match=option.partition("=")[0].replace(".", r"\.")):
        build(name, option)


def test_other_recipes_have_no_such_generator_and_other_data_no_domains(build) -> None:
    with pytest.raises(UsageError, match="gan=cyclegan or gan=cut, not gan=dcgan"):
        build("dcgan", "gan.generator=residual")
    with pytest.raises(UsageError, match=r"gan\.norm_g=instance: is of gan=cyclegan and gan=cut"):
        build("dcgan", "gan.norm_g=instance")
    with pytest.raises(UsageError, match="gan=cut learns from two domains of images.*use data=unpaired"):
        compose("train-gan", ["gan=cut", "data=mnist5k"])
    compose("train-gan", ["gan=dcgan", "data=unpaired", "data.root=a"])  # images of either domain
    with pytest.raises(UsageError, match="data=unpaired: has no labels"):
        compose("transfer", ["weights=random", "data=unpaired", "data.root=a"])


# ── whole runs ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    """Blocks of two greens by day, of two dark blues by night."""
    root, random = tmp_path_factory.mktemp("domains"), np.random.default_rng(0)
    colours = {"A": ([60, 120, 60], [180, 220, 160]), "B": ([10, 10, 40], [60, 60, 120])}
    for part, counts in (("train", (20, 14)), ("val", (10, 9)), ("test", (9, 8))):
        for side, count in zip("AB", counts, strict=True):
            (root / f"{part}{side}").mkdir()
            for i in range(count):
                ids = random.integers(0, 2, (5, 6)).repeat(4, 0).repeat(4, 1)
                pixels = np.array(colours[side])[ids] + random.integers(-9, 9, (20, 24, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(root / f"{part}{side}" / f"{i:02}.png")
    return root


def small(name, root, *extra):
    base = [f"gan={name}", "data=unpaired", f"data.root={root}", "data.size=16", "backbone.width=8", "gan.width=4"]
    base += ["gan.blocks=2", "budget.steps=4", "evaluator=random", "engine.threads=1", "engine.progress=false"]
    own = ["gan.pool=6"] if name == "cyclegan" else ["gan.nce_head=8"]
    return compose("train-gan", [*base, *own, "engine.device=cpu", "eval.images=64", "export=last", *extra])


@pytest.mark.parametrize("name", ["cyclegan", "cut"])
def test_a_run_stands_beside_its_controls_and_resumes(name, domains, tmp_path, killed) -> None:
    cfg = small(name, domains, "resume=auto", "engine.checkpoint_every=2")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_gan.main(cfg, whole)
    killed(train_gan.main, cfg, broken, step=3)
    train_gan.main(cfg, broken)
    files = sorted((whole / "weights").glob("*.safetensors"))
    assert [x.stem for x in files] == ["backbone", "generator", *(["generator_back"] if name == "cyclegan" else [])]
    for file in files:
        assert sha256(file) == sha256(broken / "weights" / file.name), file.name
    result = read_json(whole / "result.json")
    assert result["translation"] == read_json(broken / "result.json")["translation"]
    assert (result["translation"]["n"], result["translation"]["n_made"]) == (10, 9)
    rows = result["translation"]["rows"]
    assert list(rows) == ["generated", "input", "channels_matched", "training_photo"]
    for row in rows.values():
        assert all(x["low"] <= x["value"] <= x["high"] for x in row.values())
    assert rows["input"]["structure"]["value"] == pytest.approx(1) and rows["input"]["cycle"]["value"] == 0
    assert rows["channels_matched"]["kid"]["high"] < rows["input"]["kid"]["low"]  # of such domains a perfect answer
    assert rows["training_photo"]["structure"]["high"] < rows["channels_matched"]["structure"]["low"]
    assert ("cycle_jpeg" in rows["generated"]) == (name == "cyclegan") and "cycle" not in rows["training_photo"]
    # what is left behind makes the same images again
    again = evaluate.evaluate(whole, device="cpu", split="val", evaluator="random")
    assert again["schema"] == "gssl.unpaired/1" and again["n_made"] == 9
    for key, value in rows["generated"].items():
        assert again["rows"]["generated"][key]["value"] == pytest.approx(value["value"], rel=1e-4)
    sample.sample(whole, 4, tmp_path / "grid.png", 0)
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (4 * 18 - 2, 2 * 18 - 2)
    with pytest.raises(UsageError, match=f"its generator .{name}. makes images from images"):
        generators.load_generator(whole, CPU)


def test_a_folder_is_translated_whole_and_in_its_own_sizes(domains, tmp_path) -> None:
    train_gan.main(small("cut", domains, "budget.steps=1"), tmp_path / "run")
    (tmp_path / "new" / "sub").mkdir(parents=True)
    Image.new("RGB", (50, 33), (0, 90, 0)).save(tmp_path / "new" / "wide.jpg")
    Image.new("L", (17, 40), 70).save(tmp_path / "new" / "sub" / "high.png")
    (tmp_path / "new" / "zz.png").write_bytes(b"no image")
    found = predict.predict(tmp_path / "run", tmp_path / "new", tmp_path / "out" / "made.csv", device="cpu")
    assert found["images"] == 2 and len(found["skipped"]) == 1
    with (tmp_path / "out" / "made.csv").open() as file:
        rows = {row["file"]: row["translated"] for row in csv.DictReader(file)}
    assert rows == {"sub/high.png": "made_images/sub/high.png", "wide.jpg": "made_images/wide.png", "zz.png": ""}
    for name, size in (("wide.png", (50, 33)), ("sub/high.png", (17, 40))):
        with Image.open(tmp_path / "out" / "made_images" / name) as made:
            assert made.size == size and made.mode == "RGB"
    with pytest.raises(UsageError, match="--top"):
        predict.predict(tmp_path / "run", tmp_path / "new", tmp_path / "made.csv", device="cpu", top=2)
