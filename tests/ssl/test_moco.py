"""MoCo: the queue and the target of v2, the loss of v3."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from gssl.ssl.losses import info_nce
from gssl.ssl.moco import contrast_v3


@pytest.mark.parametrize(("n", "d", "t"), [(2, 3, 0.2), (9, 5, 1.0), (32, 16, 0.1)])
def test_v3_is_its_definition_written_out(n, d, t):
    g = torch.Generator().manual_seed(n)
    query, key = (3 * torch.randn(n, d, generator=g, dtype=torch.float64) for _ in range(2))
    q, k = query / query.norm(dim=1, keepdim=True), key / key.norm(dim=1, keepdim=True)
    total = 0.0
    for i in range(n):
        every = [math.exp(float(q[i] @ k[j]) / t) for j in range(n)]
        total -= 2 * t * math.log(every[i] / sum(every)) / n
    assert abs(float(contrast_v3(query.float(), key.float(), t)) - total) < 1e-5


@pytest.mark.parametrize("symmetric", [True, False])
def test_v2_compares_with_the_old_queue_and_then_puts_its_keys_in(symmetric, build, batch):
    method = build("moco", f"ssl.symmetric={symmetric}", "ssl.queue=40", "ssl.momentum=[1.0,1.0]")
    method.update(batch(method, seed=1), 0)  # encoder and target differ from here on
    views, old, place = batch(method, seed=2), method.queue.keys.clone(), int(method.queue.pushed)
    with torch.no_grad():
        # target and encoder in training mode: their own batch statistics
        k0, k1 = (copy.deepcopy(method.target)(views[v]) for v in method.needs)
        q0, q1 = (copy.deepcopy(method.encoder)(views[v]) for v in method.needs)
    expected, new = info_nce(q0, k1, old, 0.2), k1
    if symmetric:
        expected, new = (expected + info_nce(q1, k0, old, 0.2)) / 2, torch.cat([k1, k0])
    assert method.temperature == 0.2 and place == len(new)
    torch.testing.assert_close(method.update(views, 1)["loss"], expected)
    torch.testing.assert_close(method.queue.keys[place : place + len(new)], F.normalize(new, dim=1))
    assert torch.equal(method.queue.keys[:place], old[:place])
    assert torch.equal(method.queue.keys[place + len(new) :], old[place + len(new) :])


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_the_target_follows_exactly_and_is_never_trained(version, build, batch):
    method = build("moco", f"ssl.version={version}", "ssl.momentum=[0.8,0.9]")
    method.optimizer.progress = 0.25
    before = {name: p.clone() for name, p in method.target.module.named_parameters()}
    method.update(batch(method), 0)
    decay = 0.9 - 0.1 * (math.cos(math.pi / 4) + 1) / 2
    online = dict(method.encoder.named_parameters())
    moved = 0
    for name, p in method.target.module.named_parameters():
        assert p.grad is None and not p.requires_grad
        torch.testing.assert_close(p, decay * before[name] + (1 - decay) * online[name])
        moved += not torch.equal(p, before[name])
    assert moved
    trained = {id(p) for group in method.optimizer.inner.param_groups for p in group["params"]}
    assert trained == {id(p) for p in [*method.encoder.parameters(), *method.predictor.parameters()]}


def test_v3_adds_both_ways_and_has_a_predictor_instead_of_a_queue(build, batch):
    method = build("moco", "ssl.version=v3", "ssl.momentum=[1.0,1.0]")
    method.update(batch(method, seed=1), 0)
    views, online = batch(method, seed=2), copy.deepcopy(torch.nn.Sequential(method.encoder, method.predictor))
    with torch.no_grad():
        k0, k1 = (copy.deepcopy(method.target)(views[v]) for v in method.needs)
        q0, q1 = (online(views[v]) for v in method.needs)
    out = method.loss(views)
    torch.testing.assert_close(out["loss"].detach(), contrast_v3(q0, k1, 0.2) + contrast_v3(q1, k0, 0.2))
    keys = {name.split(".")[0] for name in method.state_dict()}
    assert "predictor" in keys and "queue" not in keys
    keys = {name.split(".")[0] for name in build("moco", "ssl.version=v2").state_dict()}
    assert "queue" in keys and "predictor" not in keys
