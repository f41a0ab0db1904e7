"""VICReg: lightly's loss, what each term alone wants, and the collapse without variance."""

import pytest
import torch
from lightly.loss.vicreg_loss import VICRegLoss

from gssl.ssl.vicreg import covariance, variance, vicreg


@pytest.mark.parametrize(("n", "d", "weights"), [(4, 3, (25, 25, 1)), (16, 8, (1, 0, 2)), (33, 64, (25, 25, 1))])
def test_equals_lightlys_in_value_and_gradient(n, d, weights):
    g = torch.Generator().manual_seed(n)
    z = [(0.9 * torch.randn(n, d, generator=g) + 1).requires_grad_() for _ in range(2)]
    ours = sum(w * term for w, term in zip(weights, vicreg(*z).values(), strict=True))
    mine = torch.autograd.grad(ours, z)
    theirs = VICRegLoss(*weights)(*z)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for a, b in zip(mine, torch.autograd.grad(theirs, z), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_variance_is_a_hinge_at_a_standard_deviation_of_one():
    z = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    z = (z - z.mean(0)) / z.std(0)
    assert float(variance(1.1 * z)) == 0 and float(variance(5 * z)) == 0
    assert abs(float(variance(0.6 * z)) - 0.4) < 1e-3
    point = torch.ones(64, 4, requires_grad=True)
    lost = variance(point)
    lost.backward()
    assert abs(float(lost.detach()) - 0.99) < 1e-4  # 1 − √ε
    assert torch.isfinite(point.grad).all()


def test_the_covariance_is_of_different_dimensions_only():
    z = torch.randn(64, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = (torch.linalg.qr(z - z.mean(0))[0] * 63**0.5).float()  # variance 1, no two covary
    assert float(covariance(3 * z + 2)) < 1e-8
    z[:, 1] = z[:, 0]  # one pair covaries by 1: two elements of five rows
    assert abs(float(covariance(z)) - 2 / 5) < 1e-5


@pytest.mark.parametrize(("weight", "collapses"), [(0, True), (25, False)])
def test_without_the_variance_term_the_projections_collapse(weight, collapses, build, batch):
    method = build("vicreg", f"ssl.variance={weight}", "ssl.head=[16,16]", "ssl.optim.name=adamw", "ssl.optim.lr=0.01")
    for step in range(25):
        images = batch(method, 16, seed=step)
        out = method.update(images | {"view1": images["view1"].flip(3)}, step)
    assert (float(out["variance"]) > 0.9) == collapses == (float(out["invariance"]) < 1e-3)
    assert (float(out["z_std"]) < 0.6) == collapses == (float(out["z_cosine"]) > 0.5)


def test_each_weight_counts_its_own_term(build, batch):
    names = ("invariance", "variance", "covariance")
    for chosen in names:
        method = build("vicreg", "ssl.head=[8,8]", *(f"ssl.{n}={3 if n == chosen else 0}" for n in names))
        out = method.loss(batch(method))
        torch.testing.assert_close(out["loss"], 3 * out[chosen])
