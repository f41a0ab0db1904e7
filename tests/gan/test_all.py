"""What every adversarial recipe must do, whichever it is."""

import json
import math

import pytest
import torch

from gssl.commands import train_gan
from gssl.config import registry
from gssl.config.composing import compose
from gssl.engine.files import read_json, sha256
from gssl.experiment import generators
from gssl.nets.weights import read_weights

from .conftest import moved, state

RECIPES = sorted(registry.GAN)
CLIPS = [name for name in RECIPES if registry.GAN[name].column == "video"]
OF_IMAGES = [name for name in RECIPES if registry.GAN[name].column == "image"]
CPU = torch.device("cpu")


def small(name: str, *extra: str):
    base = [f"gan={name}", "backbone.width=8", "gan.width=4", "gan.latent=8", "gan.batch_size=16", "budget.steps=4"]
    base += ["engine.threads=1", "engine.progress=false", "engine.device=cpu", "engine.log_every=1", "eval.images=64"]
    base += ["evaluator=random", *(["gan.width_d=4"] if name == "bigan" else [])]
    return compose("train-gan", [*base, *extra])


def logged(run) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.long
@pytest.mark.parametrize("name", OF_IMAGES)
def test_its_name_alone_runs_on_grey_digits_of_28_pixels(name, tmp_path):
    train_gan.main(small(name, "data.limit=200", "data.size=28", "budget.steps=2"), tmp_path)
    result = read_json(tmp_path / "result.json")
    assert result["method"] == name and result["spent"]["steps"] == 2 and result["spent"]["flops"] > 0
    assert math.isfinite(result["objective"]["value"])
    assert result["labels_used"] == registry.GAN[name].labels
    numbers = [value for entry in logged(tmp_path) for value in entry.values() if isinstance(value, float)]
    assert len(numbers) > 20 and all(map(math.isfinite, numbers))
    # what it leaves behind makes images again, and the trunk that was exported discriminates that was exported
    sampler = generators.load_generator(tmp_path, CPU)
    assert bool(sampler.classes) == (name in ("acgan", "projection"))
    labels = sampler.labels(5)
    (images,) = sampler.batches(labels, seed=1)
    assert images.shape == (5, 3, 28, 28) and torch.equal(images[:, 0], images[:, 1])
    parts = list(sampler.batches(labels, seed=1, batch_size=2))
    torch.testing.assert_close(torch.cat(parts), images)
    net = generators.load_discriminator(tmp_path, CPU)
    assert (net is None) == (name == "bigan")
    if net is not None:
        assert torch.isfinite(net(images, torch.from_numpy(labels)).logit).all()
        trunk = read_weights(tmp_path / "weights" / "backbone.safetensors")
        assert all(torch.equal(value, trunk[key]) for key, value in net.backbone.state_dict().items())


# one of each kind of state: vectors of the spectral norm, an adapting probability, running averages of logits
ADAPTIVE = ["gan.augment=diffaugment", "gan.augment_p=0.2", "gan.augment_target=0.1", "gan.augment_ramp=160"]
RESUMED = [
    *(pytest.param(name, [], marks=[] if name == "sngan" else pytest.mark.slow, id=name) for name in OF_IMAGES),
    pytest.param("dcgan", ADAPTIVE, id="dcgan-adaptive", marks=pytest.mark.long),
    pytest.param(
        "lsgan",
        ["gan.lecam=0.3", "gan.penalty=r1", "gan.penalty_every=3", "gan.n_dis=2"],
        id="lecam-lazy",
        marks=pytest.mark.long,
    ),
]


@pytest.mark.parametrize(("name", "options"), RESUMED)
def test_a_run_that_was_stopped_ends_with_the_same_bytes(name, options, tmp_path, killed, pictures):
    """All that an update reads is in the checkpoint, or a function of the step."""

    extra = ["data=imagefolder", f"data.root={pictures}", "data.size=16", "resume=auto", "engine.checkpoint_every=2"]
    cfg = small(name, *extra, "export=last", *options)
    train_gan.main(cfg, tmp_path / "whole")
    killed(train_gan.main, cfg, tmp_path / "broken", step=3)
    train_gan.main(cfg, tmp_path / "broken")
    for file in sorted((tmp_path / "whole" / "weights").glob("*.safetensors")):
        assert sha256(file) == sha256(tmp_path / "broken" / "weights" / file.name), file.name
    whole, broken = (read_json(tmp_path / run / "result.json") for run in ("whole", "broken"))
    assert whole["best"] == broken["best"] and whole["last"] == broken["last"]
    timed = {"seconds", "images_per_second"}
    lines = [
        [{k: v for k, v in e.items() if k not in timed} for e in logged(tmp_path / r)] for r in ("whole", "broken")
    ]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("name", RECIPES)
def test_the_backbone_learns_and_what_it_logs_is_finite(name, build, batch):
    method = build(name)
    before = state(method)
    for step in range(2):
        out = method.update(batch(seed=step), step)
        assert "loss" in out
        assert all(v.numel() == 1 and torch.isfinite(v) and not v.requires_grad for v in out.values())
    ours = {key for key, _ in method.backbone.named_parameters()}
    assert not {f"backbone.{key}" for key in ours} - moved(method, before)


@pytest.mark.parametrize("name", RECIPES)
def test_it_never_sees_a_label_unless_it_says_so(name, build, batch):
    method, given = build(name), batch()
    if not registry.GAN[name].labels:
        del given["label"]
        method.update(given, 0)
        return
    before = state(method)
    found = []
    for shift in (0, 1):
        method.load_state_dict(before)
        found.append(method.d_loss(method._drawn("d", 0, given | {"label": (given["label"] + shift) % 4}))["loss"])
    assert found[0] != found[1]
