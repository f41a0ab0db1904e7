"""Adversarial losses against torch's own and against the papers' formulas, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.config.keys import keys_of
from gssl.gan.losses import LOSSES
from gssl.schemas.gan import GAN


def bce(logit: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logit, torch.full_like(logit, target))


def margin(logit: Tensor, sign: int) -> Tensor:
    return torch.stack([(1 - sign * v).clamp_min(0) for v in logit]).mean()


WRITTEN = {  # discriminator of (real, fake), generator of (fake, real)
    "non_saturating": (lambda r, f: bce(r, 1) + bce(f, 0), lambda f, r: bce(f, 1)),
    "minimax": (lambda r, f: bce(r, 1) + bce(f, 0), lambda f, r: -bce(f, 0)),
    "least_squares": (
        lambda r, f: 0.5 * (F.mse_loss(r, torch.ones_like(r)) + F.mse_loss(f, torch.zeros_like(f))),
        lambda f, r: 0.5 * F.mse_loss(f, torch.ones_like(f)),
    ),
    "hinge": (lambda r, f: margin(r, 1) + margin(f, -1), lambda f, r: -f.mean()),
    "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda f, r: -f.mean()),
    "relativistic": (lambda r, f: bce(r - f, 1), lambda f, r: bce(f - r, 1)),
}


def test_every_loss_can_be_chosen_every_choice_exists_and_each_is_tested():
    assert set(keys_of(GAN)["loss"].choices) == set(LOSSES) == set(WRITTEN)


@pytest.mark.parametrize("name", LOSSES)
def test_the_formula_and_its_gradient(name):
    g = torch.Generator().manual_seed(0)
    real, fake = (3 * torch.randn(2, 9, generator=g, dtype=torch.float64)).requires_grad_().unbind()
    for ours, written, args in zip(LOSSES[name][:2], WRITTEN[name], [(real, fake), (fake, real)], strict=True):
        expected = written(*args)
        torch.testing.assert_close(ours(*args), expected)
        assert expected.shape == ()
        given, wanted = (
            torch.autograd.grad(value, args, retain_graph=True, allow_unused=True) for value in (ours(*args), expected)
        )
        for a, b in zip(given, wanted, strict=True):
            torch.testing.assert_close(torch.zeros(9).double() if a is None else a, b if b is not None else 0 * real)


@pytest.mark.parametrize("name", LOSSES)
def test_the_flags_say_what_the_functions_do(name):
    loss = LOSSES[name]
    real, fake = torch.tensor([0.3, 1.2]), torch.tensor([-0.4, 0.1], requires_grad=True)
    # paired: the generator's loss changes with the logits of real images
    assert loss.paired == (loss.g(fake, real) != loss.g(fake, real + 1))
    # no boundary: a shift of all logits changes nothing in the discriminator's loss
    shifted = torch.isclose(loss.d(real, fake), loss.d(real + 5, fake + 5))
    assert (loss.boundary is None) == bool(shifted)
    if loss.boundary is not None:  # real and fake are exchanged when logits are mirrored at it
        mirrored = loss.d(2 * loss.boundary - fake, 2 * loss.boundary - real)
        torch.testing.assert_close(loss.d(real, fake), mirrored)


@pytest.mark.parametrize("name", LOSSES)
def test_each_player_is_pushed_to_its_side(name):
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    up, down = torch.autograd.grad(LOSSES[name].d(real, fake), (real, fake))
    assert (up < 0).all() and (down >= 0).all()
    if name != "least_squares":  # at 0 its samples are where it wants them
        assert (down > 0).all()
    (rising,) = torch.autograd.grad(LOSSES[name].g(fake, real), fake)
    assert (rising < 0).all()


def test_the_generators_gradient_vanishes_where_it_loses_in_the_minimax_game_only():
    slopes = {}
    for name in ("minimax", "non_saturating"):
        fake = torch.tensor([-20.0, 20.0], requires_grad=True)
        slopes[name] = 2 * torch.autograd.grad(LOSSES[name].g(fake, fake.detach()), fake)[0]
    torch.testing.assert_close(slopes["non_saturating"], torch.tensor([-1.0, 0.0]))
    torch.testing.assert_close(slopes["minimax"], torch.tensor([0.0, -1.0]))


@pytest.mark.parametrize("name", LOSSES)
def test_finite_far_out(name):
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    for value in (LOSSES[name].d(far, far.flip(0)), LOSSES[name].g(far, far.flip(0))):
        assert torch.isfinite(value)
        assert torch.isfinite(torch.autograd.grad(value, far)[0]).all()
