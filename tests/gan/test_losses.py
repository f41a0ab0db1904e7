"""Adversarial losses against torch's own cross-entropy."""

import torch
import torch.nn.functional as F

from gssl.config.check import leaves
from gssl.config.gan import DCGAN
from gssl.gan.losses import LOSSES


def test_non_saturating_is_binary_cross_entropy():
    g = torch.Generator().manual_seed(0)
    real, fake = torch.randn(9, generator=g), torch.randn(9, generator=g)
    loss_d, loss_g = LOSSES["non_saturating"]
    one, zero = torch.ones(9), torch.zeros(9)
    expected = F.binary_cross_entropy_with_logits(real, one) + F.binary_cross_entropy_with_logits(fake, zero)
    torch.testing.assert_close(loss_d(real, fake), expected)
    torch.testing.assert_close(loss_g(fake), F.binary_cross_entropy_with_logits(fake, one))


def test_the_generators_gradient_does_not_vanish_where_it_loses():
    fake = torch.tensor([-20.0], requires_grad=True)
    (grad,) = torch.autograd.grad(LOSSES["non_saturating"][1](fake), fake)
    assert abs(float(grad) + 1) < 1e-4


def test_every_loss_can_be_chosen_and_every_choice_exists():
    assert set(leaves(DCGAN)["loss"].meta["choices"]) == set(LOSSES)
