"""NT-Xent against its definition, written out pair by pair."""

import math

import numpy as np
import torch

from gssl.ssl.losses import nt_xent


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
