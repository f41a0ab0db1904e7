"""The encoder is the backbone, and plays on the generator's side."""

import pytest
import torch
from torch import nn

from gssl.errors import UsageError
from gssl.gan.adversarial import frozen
from gssl.gan.losses import LOSSES
from gssl.nets.discriminator import Seen

from .conftest import moved, state

bce = nn.functional.binary_cross_entropy_with_logits


@pytest.fixture
def bigan(build):
    return build("bigan")


def test_who_learns_in_whose_step(bigan, batch):
    parts = {"encoder": bigan.backbone, "to_z": bigan.to_z, "generator": bigan.generator}
    before = {name: state(part) for name, part in parts.items()}
    trunk = state(bigan.discriminator)
    bigan.optimizer_d.minimize(bigan.d_loss, bigan._drawn("d", 0, batch()))
    assert moved(bigan.discriminator, trunk)
    for name, part in parts.items():
        assert not {k for k, _ in part.named_parameters()} & moved(part, before[name]), name
        assert all(p.grad is None for p in part.parameters())
    trunk = state(bigan.discriminator)
    with frozen(bigan.discriminator):
        bigan.optimizer_g.minimize(bigan.g_loss, bigan._drawn("g", 0, batch()))
    assert not {k for k, _ in bigan.discriminator.named_parameters()} & moved(bigan.discriminator, trunk)
    for name, part in parts.items():
        still = {k for k, _ in part.named_parameters()} - moved(part, before[name])
        assert not still, name


def test_the_backbone_is_the_encoder_and_no_part_of_the_discriminator(bigan):
    mine = {id(p) for p in bigan.backbone.parameters()}
    assert not mine & {id(p) for p in bigan.discriminator.parameters()}
    assert not hasattr(bigan, "exported")
    x = torch.rand(2, 3, 16, 16)
    bigan.eval()
    torch.testing.assert_close(bigan.encode(x), bigan.to_z(bigan.backbone(x)))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_perfect_inverse_pair_leaves_nothing_to_discriminate(loss, build):
    """Where (x, E(x)) and (G(z), z) are the same pairs, so are their logits: the loss is that of the equilibrium."""
    method = build("bigan", f"gan.loss={loss}", "gan.norm_d=none").eval()
    z = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        real = method.generator(z)
    known = dict(zip(map(tuple, real.flatten(1).tolist()), z, strict=True))
    method.encode = lambda images: torch.stack([known[tuple(x)] for x in images.flatten(1).tolist()])
    out = method.d_loss({"real": real, "z": z})
    torch.testing.assert_close(out["logit_real"], out["logit_fake"])
    logit = method.discriminate(real, z=z)
    torch.testing.assert_close(out["loss"].detach(), LOSSES[loss].d(logit, logit))
    if LOSSES[loss].boundary is not None:
        torch.testing.assert_close(out["d_real"] + out["d_fake"], torch.ones(()))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_encoders_pairs_are_pushed_to_the_other_side(loss, build, batch):
    """To first order, the step of the generator's side lowers real logits where it raises fake ones."""
    method = build("bigan", f"gan.loss={loss}", "gan.norm_d=none")
    drawn, found = method._drawn("g", 0, batch()), {}
    original = method.discriminator.forward

    def forward(images, label=None, z=None):
        seen = original(images, label, z)
        seen.logit.retain_grad()
        found[z is drawn["z"]] = seen.logit
        return seen

    method.discriminator.forward = forward
    method.g_loss(drawn)["loss"].backward()
    assert (found[True].grad <= 0).all() and (found[True].grad < 0).any()
    assert (found[False].grad >= 0).all() and (found[False].grad > 0).any()


ENCODERS = {  # the encoder's loss: the discriminator's own on real pairs, with the sides exchanged
    "non_saturating": lambda real: bce(real, torch.zeros_like(real)),
    "minimax": lambda real: -bce(real, torch.ones_like(real)),
    "least_squares": lambda real: 0.5 * real.square().mean(),
    "hinge": lambda real: real.mean(),
    "wasserstein": lambda real: real.mean(),
    "relativistic": lambda real: 0.0,  # pairs are compared already
}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_generators_side_is_its_own_game_and_the_encoders(loss, build, batch):
    method = build("bigan", f"gan.loss={loss}", "gan.norm_d=none")
    drawn = method._drawn("g", 0, batch())
    loss_of_both = method.g_loss(drawn)["g_loss"]
    with torch.no_grad():
        fake = method.discriminator(method.generator(drawn["z"]), z=drawn["z"]).logit
        real = method.discriminator(drawn["real"], z=method.encode(drawn["real"])).logit
    torch.testing.assert_close(loss_of_both, LOSSES[loss].g(fake, real) + ENCODERS[loss](real))


def test_the_encoder_is_drawn_to_what_the_discriminator_takes_for_generated(build, batch):
    """A discriminator that stands still and calls z = f(x) generated: E becomes f."""
    method = build("bigan", "gan.optim_g.lr=0.01")
    real = batch(32)

    def wanted(images):
        return 4 * images[:, :, ::8, ::8].flatten(1)[:, :6] - 2

    def forward(images, label=None, z=None):
        return Seen((z - wanted(images)).square().sum(1) - 5, z)

    def error():
        return (method.encode(real["real"]) - wanted(real["real"])).square().mean().item()

    method.discriminator.forward = forward
    first = error()
    for step in range(40):
        method.optimizer_g.minimize(method.g_loss, method._drawn("g", step, real))
    assert error() < 0.5 * first


@pytest.mark.parametrize("more", [(), ("gan.condition=projection",)])
def test_reconstructions_are_pictures_of_the_code(more, build, batch):
    method = build("bigan", *more)
    method.update(batch(), 0)
    columns = method.reconstruct(batch()["real"], 5)
    assert method.training and torch.equal(columns[0], batch()["real"])
    assert len(columns) == (2 if not more else 5)  # one for each class that the generator knows
    assert all(c.shape == (8, 3, 16, 16) and c.min() >= 0 and c.max() <= 1 for c in columns)
    method.eval()
    label = torch.zeros(8, dtype=torch.long) if more else None
    torch.testing.assert_close(columns[1], method.sample(method.encode(batch()["real"]), label))
    if more:
        for module in method.ema.module.modules():
            if hasattr(module, "scale"):
                nn.init.normal_(module.scale.weight)
        assert not torch.allclose(*method.reconstruct(batch()["real"], 5)[1:3])


def test_judging_reads_codes_of_real_images_and_given_ones_of_samples(bigan, batch):
    x, z = batch()["real"], torch.randn(8, 6)
    bigan.eval()
    with torch.no_grad():
        torch.testing.assert_close(bigan.discriminate(x), bigan.discriminator(x, None, bigan.encode(x)).logit)
        torch.testing.assert_close(bigan.discriminate(x, z=z), bigan.discriminator(x, None, z).logit)


def test_a_penalty_names_the_norm_of_its_own_discriminator(build):
    with pytest.raises(UsageError, match="gan.norm_d=none"):
        build("bigan", "gan.penalty=gp")
    build("bigan", "gan.penalty=gp", "gan.norm_d=none")
