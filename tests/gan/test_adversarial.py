"""One update: which network learns when, from what, and that all parts combine."""

import math

import pytest
import torch
from torch import nn

from gssl.config import registry
from gssl.errors import UsageError
from gssl.gan.adversarial import frozen
from gssl.gan.losses import LOSSES
from gssl.nets.spectral import SpectralNorm
from gssl.schemas import gan as schema

from .conftest import moved, state

TASKS = ("gan.condition=generator", "gan.class_d=1", "gan.class_g=1", "gan.rotation_d=1", "gan.rotation_g=0.2")

# a loss of differences is blind to it, nor does a hinge that all logits are still inside of
OFFSET = {"discriminator.logit.bias"}


def finite(out: dict[str, torch.Tensor]) -> bool:
    return all(v.numel() == 1 and bool(torch.isfinite(v)) and not v.requires_grad for v in out.values())


# ── who learns when ───────────────────────────────────────────────────────────────────────────────


def test_n_dis_updates_of_the_discriminator_per_update_of_the_generator(build, batch):
    method = build("dcgan", "gan.n_dis=2")
    for step in range(4):
        d, g = state(method.discriminator), state(method.generator)
        out = method.update(batch(seed=step), step)
        learnt = {k for k, _ in method.generator.named_parameters()} & moved(method.generator, g)
        assert moved(method.discriminator, d)
        assert bool(learnt) == (step % 2 == 0) == ("g_loss" in out)
    assert int(method.ema.updates) == 2


@pytest.mark.parametrize("name", ["dcgan", "sagan"])
def test_a_players_step_leaves_the_other_alone(name, build, batch):
    """Weights, gradients and the vectors of the spectral norm; batch norms see what passes."""
    method = build(name)
    d, g = method.discriminator, method.generator
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    before = state(g)
    method.optimizer_d.minimize(method.d_loss, method._drawn("d", 0, batch()))
    assert all(key.endswith(statistics) for key in moved(g, before))
    assert all(p.grad is None for p in g.parameters())
    before, grads = state(d), [p.grad.clone() for p in d.parameters()]
    with frozen(d):
        method.optimizer_g.minimize(method.g_loss, method._drawn("g", 0, batch()))
    assert all(key.endswith(statistics) for key in moved(d, before))
    assert all(torch.equal(p.grad, q) for p, q in zip(d.parameters(), grads, strict=True))
    assert all(p.requires_grad for p in d.parameters())


def test_one_power_iteration_per_update_of_its_player(build, batch, monkeypatch):
    counts: dict[str, list[int]] = {"_iterate": [], "forward": []}
    for name, found in counts.items():
        original = getattr(SpectralNorm, name)

        def counting(self, weight, original=original, found=found):
            found.append(id(self))
            return original(self, weight)

        monkeypatch.setattr(SpectralNorm, name, counting)
    method = build(
        "sagan", "gan.rotation_d=1", "gan.rotation_g=1", "gan.penalty=r1", "gan.lecam=1", "gan.consistency=1"
    )
    players = [getattr(method, who) for who in ("discriminator", "generator")]
    mine = sorted(id(m) for net in players for m in net.modules() if isinstance(m, SpectralNorm))
    for found in counts.values():
        found.clear()
    method.update(batch(), 0)
    assert sorted(counts["_iterate"]) == mine and len(mine) > 12
    # many passes through either, but one weight for each of the two losses
    assert sorted(counts["forward"]) == sorted(2 * mine)
    counts["_iterate"].clear()
    method.discriminate(batch()["real"])
    method.sample(torch.randn(2, 6))
    assert not counts["_iterate"] and method.training


def test_the_discriminator_wins_against_a_generator_that_stands_still(build, batch):
    method = build("dcgan", "gan.n_dis=1000000", "gan.optim_d.lr=0.003")  # the generator moves at step 0 only
    first = method.update(batch(), 0)["d_loss"]
    for step in range(1, 80):
        last = method.update(batch(), step)
    assert last["d_loss"] < 0.5 * first
    assert last["d_real"] == 1 and last["d_fake"] == 1


def test_the_generator_wins_against_a_discriminator_that_stands_still(build, batch):
    method = build("dcgan", "gan.n_dis=40", "gan.optim_d.lr=0.003")
    for step in range(40):
        method.update(batch(), step)
    found = []
    for step in range(40, 100):
        with frozen(method.discriminator):
            found.append(method.optimizer_g.minimize(method.g_loss, method._drawn("g", step, batch()))["g_loss"])
    assert found[-1] < 0.7 * found[0]


def test_the_same_seed_and_step_make_the_same_update(build, batch):
    def play(seed: int, first: int) -> dict[str, torch.Tensor]:
        method = build("sngan", "gan.rotation_d=1", "gan.augment=diffaugment", seed=seed)
        for key, value in build("sngan", "gan.rotation_d=1", seed=0).state_dict().items():
            method.state_dict()[key].copy_(value)
        for step in range(first, first + 2):
            method.update(batch(), step)
        return state(method)

    a, b, other_seed, other_step = play(0, 4), play(0, 4), play(1, 4), play(0, 6)
    assert all(torch.equal(a[key], b[key]) for key in a)
    for c in (other_seed, other_step):
        assert not torch.equal(a["backbone.blocks.3.1.bias"], c["backbone.blocks.3.1.bias"])


@pytest.mark.parametrize("name", ["sngan", "wgan_gp", "r3gan", "ssgan"])
def test_micro_batches_make_the_gradient_of_the_whole(name, build, batch):
    grads = []
    for parts in (1, 2):
        method = build(name, "gan.norm_g=none", accumulate=parts)
        # the second part would iterate once more
        for module in method.modules():
            if isinstance(module, SpectralNorm):
                module.eval()
        method.optimizer_d.minimize(method.d_loss, method._drawn("d", 0, batch()))
        grads.append(torch.cat([p.grad.flatten() for p in method.discriminator.parameters()]))
    torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-5)


def test_samples_are_images_of_the_average_and_a_function_of_z(build, batch):
    method, z = build("dcgan", channels=1), torch.randn(5, 6)
    method.update(batch(), 0)
    images = method.sample(z)
    assert images.shape == (5, 3, 16, 16) and images.min() >= 0 and images.max() <= 1
    assert torch.equal(images, method.sample(z)) and torch.equal(images, method.ema.module.eval()(z))
    torch.testing.assert_close(images[:2], method.sample(z[:2]))
    assert torch.equal(images[:, 0], images[:, 2])  # grey data, grey samples


def test_the_backbone_is_the_trunk_and_judging_leaves_no_trace(build, batch):
    method = build("projection")
    assert method.backbone is method.discriminator.backbone
    before = state(method)
    given = batch()
    logit = method.discriminate(given["real"], given["label"])
    torch.testing.assert_close(logit[:3], method.discriminate(given["real"][:3], given["label"][:3]))
    assert method.training and not moved(method, before)


# ── what it watches ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("loss", LOSSES)
def test_what_tells_who_is_winning(loss, build):
    method = build("dcgan", f"gan.loss={loss}")
    real, fake = torch.tensor([2.0, 0.4, -1.0, 3.0]), torch.tensor([-1.0, 0.6, 0.1, 4.0])
    out = method._watched(real, fake)
    assert out["logit_real"].item() == pytest.approx(1.1) and out["logit_fake"].item() == pytest.approx(0.925)
    if LOSSES[loss].boundary is None:
        assert out["d_pairs"] == 0.25 and "d_real" not in out
    elif LOSSES[loss].boundary == 0.5:
        assert (out["d_real"], out["d_fake"], out["sign_real"]) == (0.5, 0.5, 0.0)
    else:
        assert (out["d_real"], out["d_fake"], out["sign_real"]) == (0.75, 0.25, 0.5)


def test_second_tasks_are_learnt(build, batch):
    method = build("dcgan", "gan.class_d=1", "gan.rotation_d=1", "gan.optim_d.lr=0.003")
    shape = torch.linspace(0, 0.3, 16).view(1, 1, 16, 1)  # lit from above
    for step in range(40):
        given = batch(16, seed=step)
        tint = nn.functional.one_hot(given["label"].clamp_max(2), 3).float()[..., None, None]
        given["real"] = (0.3 * given["real"] + shape + 0.4 * tint * (given["label"] < 3).view(-1, 1, 1, 1)).clamp(0, 1)
        out = method.update(given, step)
    assert out["class_accuracy"] > 0.8 and out["rotation_accuracy"] > 0.8


def test_the_generators_tasks_read_its_own_images_and_classes(build, batch):
    method = build("acgan", "gan.rotation_d=1.0", "gan.rotation_g=0.2")
    drawn = method._drawn("g", 0, batch())
    out = method.g_loss(drawn)
    fake = method.generator(drawn["z"], drawn["label"])
    seen = method.discriminator(fake)
    by_class = nn.functional.cross_entropy(method.discriminator.classify(seen.features), drawn["label"])
    rotated = torch.stack([torch.rot90(x, int(k), (1, 2)) for x, k in zip(fake, drawn["turns"], strict=True)])
    scores = method.discriminator.turn(method.discriminator(rotated).features)
    expected = LOSSES["non_saturating"].g(seen.logit, seen.logit) + by_class
    expected = expected + 0.2 * nn.functional.cross_entropy(scores, drawn["turns"])
    torch.testing.assert_close(out["loss"], expected, rtol=1e-4, atol=1e-4)
    assert {"class_accuracy_g", "rotation_accuracy_g"} <= set(out)


# ── everything goes with everything ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("penalty", ["none", "gp", "r1", "r2", "r1_r2"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_with_every_penalty(loss, penalty, build, batch):
    more = ["backbone.norm=none"] if penalty == "gp" else []
    method = build("dcgan", f"gan.loss={loss}", f"gan.penalty={penalty}", *more)
    before = state(method)
    out = method.update(batch(), 0)
    assert finite(out) and ("penalty" in out) == (penalty != "none")
    still = {key for key, _ in method.named_parameters() if not key.startswith("ema.")} - moved(method, before)
    assert not still - OFFSET


@pytest.mark.parametrize("name", [name for name, entry in registry.GAN.items() if entry.column == "image"])
def test_attention_and_second_tasks_in_both_players_of_any_recipe(name, build, batch):
    method = build(name, "gan.attention=both", *(TASKS if name != "projection" else TASKS[1:]))
    before = state(method)
    out = [method.update(batch(seed=step), step) for step in range(2)]
    assert finite(out[0]) and finite(out[1])
    assert {"class_accuracy", "class_accuracy_g", "rotation_accuracy", "rotation_accuracy_g"} <= set(out[0])
    ours = {key for key, _ in method.named_parameters() if not key.startswith("ema.")}
    # inside an attention block, all but γ wait for γ to leave 0; the generator has had one update where n_dis > 1
    waiting = {key for key in ours if ".attention." in key and key.startswith("generator.")}
    still = ours - moved(method, before) - waiting - OFFSET
    assert not still
    assert any(key.startswith("generator.attention.gamma") for key in moved(method, before))


@pytest.mark.parametrize("kind", ["dcgan", "resnet"])
@pytest.mark.parametrize("loss", ["relativistic", "hinge"])
def test_a_vision_transformer_as_trunk_under_a_penalty(kind, loss, build, batch):
    more = [f"gan.loss={loss}", f"gan.generator={kind}", "gan.attention=d", "gan.spectral_norm=d"]
    method = build("dcgan", "backbone=vit_micro", "gan.penalty=r1_r2", *more)
    out = method.update(batch(4), 0)
    assert finite(out) and out["penalty"] > 0


@pytest.mark.parametrize("name", registry.GAN)
def test_reduced_precision(name, build, batch):
    method, given = build(name), batch(4)
    if name == "textgan":
        given["real"] = method.rows(given["tokens"])
    with torch.autocast("cpu", torch.bfloat16):
        losses = [method.d_loss(method._drawn("d", 0, given)), method.g_loss(method._drawn("g", 0, given))]
    for out in losses:
        out["loss"].backward()
        assert out["loss"].dtype == torch.float32
        assert all(torch.isfinite(v) for v in out.values())
    assert all(torch.isfinite(p.grad).all() for p in method.discriminator.parameters())


def test_a_logged_number_is_the_papers_loss(build, batch):
    """Hinge, written out on the logits that a second pass gives."""
    method = build("sngan", "gan.norm_g=none")
    drawn = method._drawn("d", 0, batch())
    out = method.d_loss(drawn)
    with torch.no_grad():
        real = method.discriminator(drawn["real"]).logit
        fake = method.discriminator(method.generator(drawn["z"])).logit
    assert out["d_loss"].item() == pytest.approx(float((1 - real).clamp_min(0).mean() + (1 + fake).clamp_min(0).mean()))
    assert math.isclose(out["loss"].item(), out["d_loss"].item())


# ── what does not fit together ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("recipe", "classes", "match"),
    [
        (["acgan"], 0, "gan=acgan: .*no labels"),
        (["projection"], 1, "gan=projection"),
        (["dcgan", "gan.rotation_d=1", "gan.class_d=1"], 0, "no labels"),
        (["dcgan", "gan.class_g=1"], 4, "gan.class_g.*gan.condition=generator"),
        (
            ["wgan_gp", "gan.augment=diffaugment", "gan.augment_target=0.6"],
            4,
            "gan.augment_target: gan.loss=wasserstein",
        ),
        (["dcgan", "gan.augment_target=0.6"], 4, "gan.augment_target: nothing is augmented"),
        (["dcgan", "gan.penalty=gp"], 4, "gan.penalty=gp: .*backbone.norm=none"),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_one_line(recipe, classes, match, build):
    with pytest.raises(UsageError, match=match) as error:
        build(*recipe, classes=classes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", registry.GAN)
def test_who_reads_labels_says_so(name, build):
    method, conditional = build(name), registry.GAN[name].labels
    assert (
        schema.reads_labels(method.cfg)
        == conditional
        == registry.reads_labels(name)
        == ("label" in method.reads(method.cfg))
    )
    if not conditional:
        build(name, classes=0)


@pytest.mark.parametrize(
    "keys",
    [("gan.condition=generator", "gan.class_d=1", "gan.class_g=1"), ("gan.condition=projection",), ("gan.class_d=1",)],
)
def test_an_option_may_make_any_recipe_a_reader(keys, build):
    method = build("dcgan", *keys)
    assert method.reads(method.cfg) == ("real", "label")
