"""Regularisers on networks whose gradients are known, and their part in training."""

import math

import pytest
import torch

from gssl.gan.penalties import consistency, gradient_penalty, lecam, zero_centred

SHAPE = (5, 3, 4, 4)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weight(length: float) -> torch.Tensor:
    """A linear critic's weight, for images in [−1, 1], of this length."""
    w = rand(*SHAPE[1:], seed=7) - 0.5
    return (length * w / w.norm()).requires_grad_()


def linear(w: torch.Tensor):
    return lambda images: ((2 * images - 1) * w).flatten(1).sum(1) + 3


def quadratic(w: torch.Tensor):
    """½ w ‖x‖² for x in [−1, 1]: the gradient is w · x."""
    return lambda images: 0.5 * w * (2 * images - 1).flatten(1).square().sum(1)


def test_r1_of_a_linear_critic_is_half_its_squared_length_in_the_papers_range():
    w = weight(3.0)
    images = rand(*SHAPE).requires_grad_()
    found = zero_centred(linear(w)(images), images)
    torch.testing.assert_close(found, torch.tensor(4.5, dtype=torch.float32), check_dtype=False)
    torch.testing.assert_close(torch.autograd.grad(found, w)[0], w.detach(), rtol=1e-5, atol=1e-6)


def test_r1_of_a_quadratic_critic_and_its_gradient():
    w = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    images = rand(*SHAPE).requires_grad_()
    square = (2 * images - 1).flatten(1).square().sum(1).mean().item()
    found = zero_centred(quadratic(w)(images), images)
    assert found.item() == pytest.approx(0.5 * 0.49 * square, rel=1e-5)
    assert torch.autograd.grad(found, w)[0].item() == pytest.approx(0.7 * square, rel=1e-5)


@pytest.mark.parametrize("length", [0.25, 1.0, 4.0])
def test_the_gradient_penalty_of_a_linear_critic(length):
    w = weight(length)
    found = gradient_penalty(linear(w), rand(*SHAPE), rand(*SHAPE, seed=1), rand(5, seed=2))
    assert found.item() == pytest.approx((length - 1) ** 2, abs=1e-6)
    (gradient,) = torch.autograd.grad(found, w)
    torch.testing.assert_close(gradient, 2 * (length - 1) * w.detach() / length, rtol=1e-4, atol=1e-5)


def test_the_gradient_penalty_looks_between_real_and_fake():
    real, fake, mixing = rand(*SHAPE), rand(*SHAPE, seed=1), torch.tensor([1.0, 0.0, 0.5, 0.25, 0.75]).double()
    w = torch.tensor(0.3, dtype=torch.float64)
    between = 2 * torch.stack([s * r + (1 - s) * f for s, r, f in zip(mixing, real, fake, strict=True)]) - 1
    expected = (0.3 * between.flatten(1).norm(dim=1) - 1).square().mean()
    found = gradient_penalty(quadratic(w), real, fake, mixing)
    torch.testing.assert_close(found, expected, check_dtype=False, rtol=1e-5, atol=1e-6)


def test_a_flat_critic_has_a_finite_gradient():
    w = torch.zeros(SHAPE[1:], dtype=torch.float64, requires_grad=True)
    found = gradient_penalty(linear(w), rand(*SHAPE), rand(*SHAPE, seed=1), rand(5, seed=2))
    assert torch.isfinite(torch.autograd.grad(found, w)[0]).all()


def test_consistency_and_lecam_as_written():
    a, b = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, -1.0, 3.0])
    assert float(consistency(a, b)) == pytest.approx((1 + 1 + 6.25) / 3)
    usual_real, usual_fake = torch.tensor(0.8), torch.tensor(-0.6)
    expected = sum(max(0.0, r + 0.6) ** 2 for r in a.tolist()) / 3 + sum(max(0.0, 0.8 - f) ** 2 for f in b.tolist()) / 3
    assert float(lecam(a, b, usual_real, usual_fake)) == pytest.approx(expected)


# ── in training ──────────────────────────────────────────────────────────────────────────────────


def test_a_lazy_penalty_counts_as_often_as_it_is_left_out(build, batch):
    eager, lazy = (build("dcgan", "gan.penalty=r1", "gan.r_weight=[3,3]", f"gan.penalty_every={k}") for k in (1, 4))
    outs = [m.d_loss(m._drawn("d", 0, batch())) for m in (eager, lazy)]
    torch.testing.assert_close(outs[0]["penalty"], outs[1]["penalty"])
    parts = [out["loss"] - out["d_loss"] for out in outs]
    torch.testing.assert_close(parts[1], 4 * parts[0])
    torch.testing.assert_close(parts[0], outs[0]["penalty"])
    logged = ["penalty" in lazy.update(batch(), step) for step in range(6)]
    assert logged == [True, False, False, False, True, False]


@pytest.mark.parametrize(
    ("n_dis", "every", "penalty", "period"), [(2, 3, "r1", 6), (4, 6, "r2", 12), (3, 5, "none", 3)]
)
def test_the_period_is_the_time_until_the_same_work_comes_again(n_dis, every, penalty, period, build):
    method = build("dcgan", f"gan.n_dis={n_dis}", f"gan.penalty_every={every}", f"gan.penalty={penalty}")
    assert method.period == period


@pytest.mark.parametrize("penalty", ["r1", "r2", "r1_r2"])
def test_r1_looks_at_real_images_and_r2_at_fakes(penalty, build, batch):
    method = build("r3gan", f"gan.penalty={penalty}", "gan.r_weight=[2,2]")
    drawn = method._drawn("d", 0, batch())
    found = method.d_loss(drawn)["penalty"]
    with torch.no_grad():
        fake = method.generator(drawn["z"])
    sides = {"r1": drawn["real"], "r2": fake}
    expected = torch.zeros(())
    for name, images in sides.items():
        if name in penalty:
            x = (2 * images - 1).detach().requires_grad_()  # the papers' range
            (slope,) = torch.autograd.grad(method.discriminator((x + 1) / 2).logit.sum(), x)
            expected = expected + slope.flatten(1).square().sum(1).mean()
    torch.testing.assert_close(found, expected)


def test_the_weight_falls_along_a_cosine(build, batch):
    method = build("r3gan", "gan.r_weight=[0.4,0.1]")
    found = []
    for progress in (0.0, 0.25, 0.5, 1.0, 1.5):
        method.optimizer_d.progress = progress
        found.append(method.d_loss(method._drawn("d", 0, batch()))["penalty"].item())
    expected = [0.4, 0.1 + 0.15 * (1 + math.sqrt(0.5)), 0.25, 0.1, 0.1]
    assert [v / found[0] for v in found] == pytest.approx([e / 0.4 for e in expected], rel=1e-4)


def test_running_averages_of_logits(build, batch):
    method = build("dcgan", "gan.lecam=0.3", "gan.lecam_decay=0.75")
    usual = torch.zeros(2)
    for step in range(3):
        out = method.update(batch(seed=step), step)
        usual = 0.75 * usual + 0.25 * torch.stack([out["logit_real"], out["logit_fake"]])
        torch.testing.assert_close(method.usual, usual)
    assert "usual" in method.state_dict()  # a resumed run goes on with them


@pytest.mark.parametrize(("key", "name"), [("lecam", "lecam"), ("consistency", "consistency")])
def test_a_term_is_weighted_and_added(key, name, build, batch):
    method = build("dcgan", f"gan.{key}=7")
    method.usual.copy_(torch.tensor([0.9, -0.9]))
    out = method.d_loss(method._drawn("d", 0, batch()))
    assert out[name].item() > 0
    torch.testing.assert_close(out["loss"], out["d_loss"] + 7 * out[name])
