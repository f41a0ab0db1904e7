"""DCGAN's update: who learns when, from what."""

import copy

import pytest
import torch
from torch import nn

from gssl.config import gan as gan_schema
from gssl.config import schema
from gssl.data import Draws
from gssl.engine.device import Precision
from gssl.engine.optim import Optimizer
from gssl.gan.dcgan import DCGAN
from gssl.method import Context
from gssl.nets.backbone import build_backbone

CPU = torch.device("cpu")


def adam(lr=1e-3):
    return schema.Optim("adam", lr, 0.0, 0.0, [0.5, 0.99], 0.0, "constant", None)


@pytest.fixture
def gan():
    torch.manual_seed(0)
    cfg = gan_schema.DCGAN(
        name="dcgan", batch_size=8, loss="non_saturating", latent=6, width=4, n_dis=2, ema=0.9, optim_g=adam(),
        optim_d=adam(),
    )  # fmt: skip
    backbone = build_backbone(schema.Backbone("convnet", "batch", 8, 1), 16)
    context = Context(
        draws=Draws(0), device=CPU, size=16, channels=1, classes=0,
        optimizer=lambda params, optim: Optimizer(params, optim, device=CPU, precision=Precision("fp32", CPU)),
    )  # fmt: skip
    return DCGAN(cfg, backbone, context)


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def moved(module: nn.Module, before: list[torch.Tensor]) -> bool:
    return any(not torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))


def real():
    return {"real": torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))}


def test_n_dis_updates_of_the_discriminator_per_update_of_the_generator(gan):
    for step in range(4):
        d, g = weights(gan.discriminator), weights(gan.generator)
        out = gan.update(real(), step)
        assert moved(gan.discriminator, d)
        assert moved(gan.generator, g) == (step % 2 == 0) == ("g_loss" in out)
    assert int(gan.ema.updates) == 2


def test_the_generators_step_leaves_the_discriminator_alone(gan):
    d = weights(gan.discriminator)
    from gssl.gan.dcgan import frozen

    with frozen(gan.discriminator):
        gan.optimizer_g.minimize(gan.g_loss, {"z": torch.randn(8, 6)})
    assert not moved(gan.discriminator, d)
    assert all(p.grad is None for p in gan.discriminator.parameters())
    assert all(p.requires_grad for p in gan.discriminator.parameters())


def test_the_backbone_is_the_discriminators_trunk(gan):
    before = weights(gan.backbone)
    gan.update(real(), 0)
    assert moved(gan.backbone, before)
    x = real()["real"]
    gan.eval()
    torch.testing.assert_close(gan.discriminator(x), gan.discriminator[1](gan.backbone(x)).squeeze(1))


def test_the_discriminator_wins_against_a_generator_that_stands_still(gan):
    gan.period = 10**9  # the generator moves at step 0 only
    first = gan.update(real(), 0)["loss"]
    for step in range(1, 80):
        last = gan.update(real(), step)
    assert last["loss"] < 0.5 * first
    assert last["d_real"] == 1 and last["d_fake"] == 1


def test_samples_are_images_of_the_average_and_a_function_of_z(gan):
    z = torch.randn(5, 6)
    gan.update(real(), 0)
    images = gan.sample(z)
    assert images.shape == (5, 3, 16, 16)
    assert images.min() >= 0 and images.max() <= 1
    assert torch.equal(images, gan.sample(z))
    torch.testing.assert_close(images[:2], gan.sample(z[:2]))
    assert torch.equal(images[:, 0], images[:, 2])  # grey data, grey samples


def test_the_same_seed_and_step_make_the_same_update(gan):
    other = copy.deepcopy(gan.state_dict())
    a = gan.update(real(), 4)["loss"]
    gan.load_state_dict(other)
    for opt in (gan.optimizer_d, gan.optimizer_g):
        opt.inner.state.clear()
    b = gan.update(real(), 4)["loss"]
    assert torch.equal(a, b)
