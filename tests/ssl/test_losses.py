"""NT-Xent against its definition, written out pair by pair; it and the other shared losses against lightly's."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss.negative_cosine_similarity import NegativeCosineSimilarity
from lightly.loss.ntx_ent_loss import NTXentLoss

from gssl.ssl.losses import in_batch, info_nce, negative_cosine, nt_xent, spread


def by_definition(z0: np.ndarray, z1: np.ndarray, temperature: float) -> float:
    z = np.concatenate([z0, z1])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    n = len(z0)
    total = 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = [math.exp(float(z[i] @ z[k]) / temperature) for k in range(2 * n) if k != i]
        total -= math.log(math.exp(float(z[i] @ z[partner]) / temperature) / sum(others))
    return total / (2 * n)


def test_equals_the_definition():
    g = torch.Generator().manual_seed(0)
    for n, d, t in ((2, 3, 0.5), (7, 5, 0.2), (16, 8, 1.0)):
        z0, z1 = (torch.randn(n, d, generator=g, dtype=torch.float64).float() for _ in range(2))
        expected = by_definition(z0.double().numpy(), z1.double().numpy(), t)
        assert abs(float(nt_xent(z0, z1, t)) - expected) < 1e-5


def test_gradient_equals_a_numerical_one():
    g = torch.Generator().manual_seed(1)
    z0 = torch.randn(4, 3, generator=g, requires_grad=True)
    z1 = torch.randn(4, 3, generator=g)
    (grad,) = torch.autograd.grad(nt_xent(z0, z1, 0.5), z0)
    base, other = z0.detach().double().numpy(), z1.double().numpy()
    for i, j in ((0, 0), (2, 1), (3, 2)):
        up, down = base.copy(), base.copy()
        up[i, j] += 1e-5
        down[i, j] -= 1e-5
        slope = (by_definition(up, other, 0.5) - by_definition(down, other, 0.5)) / 2e-5
        assert abs(float(grad[i, j]) - slope) < 1e-4


def test_symmetric_scale_free_and_lower_for_better_pairs():
    g = torch.Generator().manual_seed(2)
    z0, z1 = torch.randn(8, 4, generator=g), torch.randn(8, 4, generator=g)
    loss = nt_xent(z0, z1, 0.2)
    torch.testing.assert_close(loss, nt_xent(z1, z0, 0.2))
    torch.testing.assert_close(loss, nt_xent(3 * z0, 0.1 * z1, 0.2))
    order = torch.randperm(8, generator=g)
    torch.testing.assert_close(loss, nt_xent(z0[order], z1[order], 0.2))
    assert nt_xent(z0, z0, 0.2) < loss


# (B, d, temperature)
SHAPES = [(2, 3, 0.5), (16, 8, 0.1), (64, 128, 0.2)]


def agree(loss, other, n, d):
    """Two losses of a pair of (n, d) have one value and one gradient."""
    g = torch.Generator().manual_seed(n)
    ours = [(3 * torch.randn(n, d, generator=g)).requires_grad_() for _ in range(2)]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    losses = loss(*ours), other(*theirs)
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    for a, b in zip(torch.autograd.grad(losses[0], ours), torch.autograd.grad(losses[1], theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n", "d", "t"), SHAPES)
def test_nt_xent_is_lightlys(n, d, t):
    agree(lambda a, b: nt_xent(a, b, t), NTXentLoss(temperature=t), n, d)


@pytest.mark.parametrize(("n", "d", "t"), SHAPES)
def test_info_nce_is_lightlys_with_a_memory_bank(n, d, t):
    theirs = NTXentLoss(temperature=t, memory_bank_size=(50, d))
    bank = theirs.memory_bank.bank.clone()  # of unit length
    agree(lambda a, b: info_nce(a, b, 7 * bank, t), theirs, n, d)


@pytest.mark.parametrize(("n", "d", "t"), SHAPES)
def test_in_batch_is_torchs_cross_entropy_of_cosines(n, d, t):
    def cosines(a, b):
        return F.cross_entropy(F.cosine_similarity(a[:, None], b[None], dim=2) / t, torch.arange(n))

    agree(lambda a, b: in_batch(a, b, t), cosines, n, d)


@pytest.mark.parametrize(("n", "d", "_"), SHAPES)
def test_negative_cosine_is_lightlys(n, d, _):
    agree(negative_cosine, NegativeCosineSimilarity(), n, d)


def test_spread_tells_a_full_sphere_from_a_point():
    z = torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
    cosines = F.normalize(z, dim=1) @ F.normalize(z, dim=1).T
    full, point = spread(5 * z), spread(torch.ones(6, 4) * torch.arange(1, 7)[:, None])
    expected = (cosines.sum() - cosines.trace()) / (500 * 499)
    torch.testing.assert_close(full["z_cosine"], expected, rtol=1e-3, atol=1e-5)
    assert 0.95 < full["z_std"] <= 1.01
    assert point["z_std"] < 1e-3 and point["z_cosine"] > 0.999
