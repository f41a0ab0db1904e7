"""SwAV: assignments and loss against lightly's, the queue's and the prototypes' schedules."""

import pytest
import torch
import torch.nn.functional as F
from lightly.loss.swav_loss import SwaVLoss
from lightly.loss.swav_loss import sinkhorn as theirs

from gssl.ssl import swav
from gssl.ssl.swav import sinkhorn, swapped


@pytest.mark.parametrize(("n", "p", "epsilon", "iterations"), [(2, 3, 0.05, 3), (64, 10, 0.1, 1), (16, 300, 0.05, 3)])
def test_codes_are_lightlys(n, p, epsilon, iterations):
    scores = 2 * torch.rand(n, p, generator=torch.Generator().manual_seed(n)) - 1
    expected = theirs(scores, iterations=iterations, epsilon=epsilon)
    torch.testing.assert_close(sinkhorn(scores, epsilon, iterations), expected, rtol=1e-5, atol=1e-6)


def test_codes_have_the_marginals_and_no_epsilon_is_too_small():
    scores = 2 * torch.rand(48, 12, generator=torch.Generator().manual_seed(0)) - 1
    codes = sinkhorn(scores, 0.05, 3)
    torch.testing.assert_close(codes.sum(1), torch.ones(48))
    many = sinkhorn(scores, 0.05, 300)
    torch.testing.assert_close(many.sum(0), torch.full((12,), 4.0), rtol=1e-3, atol=0)
    torch.testing.assert_close(many.sum(1), torch.ones(48))
    assert (codes.sum(0) - 4).abs().max() < (torch.softmax(scores / 0.05, 1).sum(0) - 4).abs().max()
    hard = sinkhorn(scores, 0.001, 3)  # e^1000 is no float
    assert torch.isfinite(hard).all() and hard.max(1).values.mean() > codes.max(1).values.mean()


@pytest.mark.parametrize("queue", [0, 24])
@pytest.mark.parametrize(("n", "p", "t"), [(2, 3, 0.1), (32, 40, 0.5)])
def test_the_loss_is_lightlys_forward_and_backward(n, p, t, queue):
    g = torch.Generator().manual_seed(n + queue)
    ours = [(2 * torch.rand(n, p, generator=g) - 1).requires_grad_() for _ in range(2)]
    past = [2 * torch.rand(queue, p, generator=g) - 1 for _ in range(2)]
    copies = [x.detach().clone().requires_grad_() for x in ours]
    expected = SwaVLoss(temperature=t)(copies, [], past if queue else None).squeeze()
    codes = [sinkhorn(torch.cat([s, old]), 0.05, 3)[:n] for s, old in zip(ours, past, strict=True)]
    assert not any(c.requires_grad for c in codes)
    loss = (swapped(ours[0], codes[1], t) + swapped(ours[1], codes[0], t)) / 2
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for a, b in zip(torch.autograd.grad(loss, ours), torch.autograd.grad(expected, copies), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_method_makes_that_loss_of_unit_vectors_and_keeps_them(build, batch):
    method = build("swav", "ssl.queue=16", "ssl.queue_from=0", "ssl.prototypes=20", "ssl.freeze=0")
    past: list[list[torch.Tensor]] = [[], []]
    for step in range(3):
        views = batch(method, 8, seed=step)
        with torch.no_grad():
            weight = F.normalize(method.prototypes.weight, dim=1)
            z = [F.normalize(method.head(method.backbone(views[v])), dim=1) for v in method.needs]
            old = [torch.cat(each) @ weight.T for each in past] if step == 2 else None  # full from then on
            loss = SwaVLoss(temperature=method.temperature)([x @ weight.T for x in z], [], old).squeeze()
        torch.testing.assert_close(method.update(views, step)["loss"], loss, rtol=1e-5, atol=1e-5)
        for each, new in zip(past, z, strict=True):
            each.append(new)


def test_the_queue_joins_when_it_is_time_and_it_is_full(build, batch, monkeypatch):
    method = build("swav", "ssl.queue=16", "ssl.queue_from=0.5")
    rows = []
    monkeypatch.setattr(swav, "sinkhorn", lambda s, e, i: (rows.append(len(s)), sinkhorn(s, e, i))[1])
    for step, progress in ((0, 0.9), (1, 0.9), (2, 0.4), (2, 0.5)):
        method.optimizer.progress = progress
        method.update(batch(method, 8), step)
    assert rows == [8, 8, 8, 8, 8, 8, 24, 24]
    assert not list(build("swav", "ssl.queue=0").queues)


@pytest.mark.parametrize("name", ["sgd", "adam", "lars"])
def test_prototypes_are_of_length_one_and_rest_at_first(name, build, batch):
    method = build("swav", "ssl.freeze=0.5", f"ssl.optim.name={name}", "ssl.optim.weight_decay=0.1")
    method.update(batch(method), 0)
    first = method.prototypes.weight.detach().clone()
    torch.testing.assert_close(first.norm(dim=1), torch.ones(len(first)))
    method.optimizer.progress = 0.49
    method.update(batch(method), 1)
    assert not method.prototypes.weight.grad.any()  # nor do averages of gradients move them later
    torch.testing.assert_close(method.prototypes.weight, first, rtol=0, atol=1e-6)
    method.optimizer.progress = 0.5
    method.update(batch(method), 2)
    assert (method.prototypes.weight - first).abs().max() > 1e-4
