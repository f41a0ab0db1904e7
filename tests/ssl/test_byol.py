"""BYOL: its loss against lightly's and torch's, and a target that only follows."""

import copy

import pytest
import torch
import torch.nn.functional as F
from lightly.loss.negative_cosine_similarity import NegativeCosineSimilarity

from gssl.nets.ema import momentum
from gssl.ssl.byol import regression
from gssl.ssl.losses import negative_cosine


@pytest.mark.parametrize(("n", "d", "scale"), [(2, 3, 1.0), (7, 5, 10.0), (64, 128, 0.1)])
def test_the_cosine_is_lightlys_forward_and_backward(n, d, scale):
    g = torch.Generator().manual_seed(n)
    ours = [scale * torch.randn(n, d, generator=g) for _ in range(2)]
    theirs = [x.clone().requires_grad_() for x in ours]
    ours = [x.requires_grad_() for x in ours]
    losses = negative_cosine(*ours), NegativeCosineSimilarity()(*theirs)
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    for a, b in zip(torch.autograd.grad(losses[0], ours), torch.autograd.grad(losses[1], theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_loss_is_the_squared_distance_of_unit_vectors():
    g = torch.Generator().manual_seed(0)
    p, t = (3 * torch.randn(9, 6, generator=g) for _ in range(2))
    distance = (F.normalize(p, dim=1) - F.normalize(t, dim=1)).square().sum(1).mean()
    torch.testing.assert_close(regression(p, t), distance, rtol=1e-5, atol=1e-6)
    assert regression(p, 5 * p).abs() < 1e-6
    torch.testing.assert_close(regression(p, -p), torch.tensor(4.0))


def test_the_target_follows_exactly_and_is_never_trained(build, batch):
    method = build("byol", "ssl.momentum=0.9")
    method.optimizer.progress = 0.3
    trained = {id(p) for group in method.optimizer.inner.param_groups for p in group["params"]}
    target = dict(method.target.module.named_parameters())
    assert not trained & {id(p) for p in target.values()}
    assert trained == {id(p) for p in method.parameters() if p.requires_grad}
    before = copy.deepcopy(target)
    method.update(batch(method), 0)
    decay = momentum(0.9, 0.3)
    online = dict(torch.nn.Sequential(method.backbone, method.head).named_parameters())
    for name, p in method.target.module.named_parameters():
        assert p.grad is None
        torch.testing.assert_close(p, decay * before[name] + (1 - decay) * online[name])
    assert any(not torch.equal(p, before[name]) for name, p in target.items())


def test_each_view_is_compared_with_the_targets_of_the_other(build, batch):
    method = build("byol", "ssl.momentum=1.0")
    views = batch(method)
    method.update(views, 0)  # network and target differ from here on
    online = torch.nn.Sequential(method.backbone, method.head)
    with torch.no_grad():
        p0, p1 = (method.predictor(online(views[v])) for v in method.needs)
        t0, t1 = (method.target(views[v]) for v in method.needs)
        torch.testing.assert_close(method.loss(views)["loss"], regression(p0, t1) + regression(p1, t0))
