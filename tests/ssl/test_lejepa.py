"""LeJEPA: lightly's SIGReg on the same directions, the Epps-Pulley statistic by integration, what it is small for."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss.lejepa_loss import LeJEPALoss, SIGReg
from scipy.integrate import quad

from gssl.ssl.lejepa import epps_pulley, invariance, sigreg

NULL = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))  # the statistic's mean under normality: 1.06


def directions(k: int, d: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(k, d, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize(
    ("n", "d", "k", "limit", "knots"), [(4, 3, 5, 3.0, 17), (32, 8, 16, 5.0, 9), (7, 2, 3, 1.0, 2)]
)
def test_equals_lightlys_in_value_and_gradient(n, d, k, limit, knots, monkeypatch):
    g = torch.Generator().manual_seed(n)
    z = [(2 * torch.randn(n, d, generator=g) + 0.5).requires_grad_() for _ in range(3)]
    a = directions(k, d)
    monkeypatch.setattr(SIGReg, "_generate_unit_vectors", lambda self, device, dtype, num_features: a.T)
    loss = LeJEPALoss(lambda_param=0.1, sigreg_knots=knots, sigreg_t_max=limit, sigreg_num_vectors=k)
    z_all = torch.stack(z)
    theirs = 0.1 * loss.sigreg(z_all) + 0.9 * (z_all.mean(0) - z_all).square().mean()
    normality = torch.stack([sigreg(view, a, limit, knots) for view in z]).mean()
    torch.testing.assert_close(normality, loss.sigreg(z_all), rtol=1e-5, atol=1e-5)
    ours = 0.1 * normality + 0.9 * invariance(z)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for mine, other in zip(torch.autograd.grad(ours, z), torch.autograd.grad(theirs, z), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_equals_its_definition_by_numerical_integration():
    x = np.random.default_rng(0).gamma(2.0, size=11) - 1.0

    def integrand(t: float) -> float:
        return abs(np.exp(1j * t * x).mean() - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2)

    for limit in (1.5, 3.0):
        expected = len(x) * quad(integrand, -limit, limit)[0]
        fine = epps_pulley(torch.tensor(x)[:, None], limit, 2001)
        assert abs(float(fine) - expected) < 1e-4 * expected
        coarse = epps_pulley(torch.tensor(x)[:, None], limit, 17)
        assert abs(float(coarse) - expected) < 2e-2 * expected


def test_small_for_normal_embeddings_and_large_for_all_others():
    g = torch.Generator().manual_seed(0)
    n, d = 512, 16
    normal, a = torch.randn(n, d, generator=g), directions(64, d)

    def statistic(z: torch.Tensor) -> float:
        return float(sigreg(z, a, 3.0, 17))

    good = statistic(normal)
    assert 0.5 * NULL < good < 2 * NULL
    collapsed = math.sqrt(2 * math.pi) - 2 * math.sqrt(math.pi) + math.sqrt(2 * math.pi / 3)  # n times the integral
    assert abs(statistic(torch.zeros(n, d)) - n * collapsed) < 0.02 * n * collapsed
    stretched = torch.cat([3 * normal[:, :4], 0.1 * normal[:, 4:]], dim=1)
    low_rank = normal[:, :1].expand(n, d)
    two_lumps = normal.sign()  # right mean and variance; along an axis only two values
    for z in (stretched, low_rank, normal + 1, 2 * normal, 0.5 * normal):
        assert statistic(z) > 5 * good
    assert float(epps_pulley(two_lumps, 3.0, 17).mean()) > 5 * good


def test_descent_makes_a_collapsed_cloud_standard_normal():
    g = torch.Generator().manual_seed(0)
    z = (0.1 * torch.randn(64, 4, generator=g) + torch.tensor([1.0, 0, 0, -1])).requires_grad_()
    for step in range(200):
        (grad,) = torch.autograd.grad(sigreg(z, directions(32, 4, step), 3.0, 17), z)
        z = (z - 0.3 * grad).detach().requires_grad_()
    with torch.no_grad():
        torch.testing.assert_close(z.mean(0), torch.zeros(4), rtol=0, atol=0.15)
        torch.testing.assert_close(torch.cov(z.T), torch.eye(4), rtol=0, atol=0.3)


def test_directions_are_new_in_every_step_and_a_function_of_the_seed(build, batch, monkeypatch):
    seen = []

    def kept(z, directions, limit, knots):
        seen.append(directions)
        return sigreg(z, directions, limit, knots)

    monkeypatch.setattr("gssl.ssl.lejepa.sigreg", kept)
    for seed in (0, 0, 1):
        method = build("lejepa", "ssl.head=[8,6]", "ssl.directions=10", seed=seed)
        for step in range(2):
            method.update(batch(method), step)
    first, other = seen[0], seen[2]
    assert first.shape == (10, 6)
    torch.testing.assert_close(first.norm(dim=1), torch.ones(10))
    assert first is seen[1]  # both views
    assert not torch.equal(first, other) and torch.equal(first, seen[4]) and not torch.equal(first, seen[8])


def test_runs_on_a_convnet_and_in_micro_batches(build, batch):
    method = build("lejepa", "backbone=convnet", "ssl.head=[8,6]")
    method.optimizer.accumulate = 3
    out = method.update(batch(method, 8), 0)
    assert torch.isfinite(out["loss"])
