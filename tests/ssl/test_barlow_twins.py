"""Barlow Twins: lightly's loss, and what a cross-correlation matrix must be."""

import pytest
import torch
from lightly.loss.barlow_twins_loss import BarlowTwinsLoss

from gssl.ssl.barlow_twins import barlow_twins, cross_correlation


@pytest.mark.parametrize(("n", "d", "redundancy"), [(4, 3, 0.005), (16, 8, 0.0051), (33, 64, 0.1), (8, 5, 0.0)])
def test_equals_lightlys_in_value_and_gradient(n, d, redundancy):
    g = torch.Generator().manual_seed(n)
    z = [(3 * torch.randn(n, d, generator=g) + 1).requires_grad_() for _ in range(2)]
    ours = barlow_twins(*z, redundancy)[0]
    mine = torch.autograd.grad(ours, z)
    theirs = BarlowTwinsLoss(lambda_param=redundancy)(*z)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for a, b in zip(mine, torch.autograd.grad(theirs, z), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def orthogonal(n: int, d: int) -> torch.Tensor:
    """(n, d) columns that are centred and of which no two correlate."""
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (torch.linalg.qr(z - z.mean(0))[0] * n**0.5).float()


def test_an_identity_of_correlations_costs_nothing_whatever_the_scale_and_offset():
    z = orthogonal(64, 6)
    loss, own = barlow_twins(z, 5 * z - 2, 0.5)
    assert float(loss) < 1e-4 and abs(float(own) - 1) < 1e-4


def test_what_disagreement_and_redundancy_cost():
    z = orthogonal(64, 6)
    # views that have nothing to do with each other: every diagonal element is 0
    loss, own = barlow_twins(z[:, :3], z[:, 3:], 0.5)
    assert abs(float(loss) - 3) < 1e-4 and abs(float(own)) < 1e-4
    # one dimension twice: two off-diagonal elements are 1, weighted
    twice = torch.cat([z[:, :3], z[:, :1]], dim=1)
    assert abs(float(barlow_twins(twice, twice, 0.5)[0]) - 2 * 0.5) < 1e-4


def test_a_constant_dimension_correlates_with_nothing():
    z = orthogonal(32, 3)
    z[:, 1] = 7.0
    c = cross_correlation(z, z)
    torch.testing.assert_close(c, torch.diag(torch.tensor([1.0, 0.0, 1.0])), rtol=0, atol=1e-4)


def test_the_logged_loss_is_scaled(build, batch):
    full, tenth = (build("barlow_twins", "ssl.head=[8,8]", f"ssl.scale={s}") for s in (1.0, 0.1))
    images = batch(full)
    torch.testing.assert_close(full.loss(images)["loss"] / 10, tenth.loss(images)["loss"])
