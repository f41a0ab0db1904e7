"""NNCLR: neighbours against lightly's memory bank, the loss against its definition."""

import math

import pytest
import torch
import torch.nn.functional as F
from lightly.models.modules.nn_memory_bank import NNMemoryBankModule

from gssl.ssl.nnclr import nearest, nnclr


@pytest.mark.parametrize(("n", "k", "d"), [(2, 3, 4), (8, 50, 16), (64, 512, 128)])
def test_neighbours_are_lightlys(n, k, d):
    g = torch.Generator().manual_seed(n)
    bank = NNMemoryBankModule((k, d))
    bank.bank = F.normalize(torch.randn(k, d, generator=g), dim=1)
    z = 4 * torch.randn(n, d, generator=g)
    assert torch.equal(nearest(z, bank.bank), bank(z, update=False))


@pytest.mark.parametrize(("n", "d", "t"), [(2, 3, 0.2), (7, 5, 1.0), (16, 8, 0.1)])
def test_the_loss_is_its_definition_written_out(n, d, t):
    g = torch.Generator().manual_seed(d)
    z0, z1, p0, p1 = ([3 * row for row in torch.randn(n, d, generator=g, dtype=torch.float64)] for _ in range(4))
    support = list(F.normalize(torch.randn(12, d, generator=g, dtype=torch.float64), dim=1))
    total = 0.0
    for z, p in ((z0, p1), (z1, p0)):
        for i in range(n):
            neighbour = max(support, key=lambda s: float(F.cosine_similarity(s, z[i], dim=0)))
            every = [math.exp(float(neighbour @ other / other.norm()) / t) for other in p]
            total -= math.log(every[i] / sum(every)) / (2 * n)
    loss = nnclr(*(torch.stack(x).float() for x in (z0, z1, p0, p1, support)), t)
    assert abs(float(loss) - total) < 1e-5


def test_no_gradient_passes_through_a_neighbour():
    z0, z1, p0, p1 = (torch.randn(6, 4, requires_grad=True) for _ in range(4))
    loss = nnclr(z0, z1, p0, p1, F.normalize(torch.randn(9, 4), dim=1), 0.2)
    grads = torch.autograd.grad(loss, [z0, z1, p0, p1], allow_unused=True)
    assert grads[0] is None and grads[1] is None
    assert grads[2].abs().sum() > 0 and grads[3].abs().sum() > 0


def test_the_first_views_projections_become_neighbours_after_the_loss(build, batch):
    method = build("nnclr", "ssl.queue=12")
    views, old = batch(method, 8), method.queue.keys.clone()
    with torch.no_grad():
        z0, z1 = (method.head(method.backbone(views[v])) for v in method.needs)
        expected = nnclr(z0, z1, method.predictor(z0), method.predictor(z1), old, method.temperature)
    torch.testing.assert_close(method.update(views, 0)["loss"], expected)
    torch.testing.assert_close(method.queue.keys[:8], F.normalize(z0, dim=1))
    assert torch.equal(method.queue.keys[8:], old[8:])
