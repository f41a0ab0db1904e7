"""SimSiam: its loss against lightly's, whose gradient is stopped, and what happens where none is."""

import pytest
import torch
from lightly.loss.negative_cosine_similarity import NegativeCosineSimilarity

from gssl.ssl.losses import spread
from gssl.ssl.simsiam import symmetric


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize(("n", "d"), [(2, 3), (16, 32)])
def test_equals_lightlys_forward_and_backward(n, d, stop):
    g = torch.Generator().manual_seed(n)
    p0, p1, z0, z1 = ours = [torch.randn(n, d, generator=g).requires_grad_() for _ in range(4)]
    cosine = NegativeCosineSimilarity()
    t0, t1 = (z0.detach(), z1.detach()) if stop else (z0, z1)
    losses = symmetric(*ours, stop_gradient=stop), 0.5 * (cosine(p0, t1) + cosine(p1, t0))
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)
    found, expected = (torch.autograd.grad(loss, ours, allow_unused=True) for loss in losses)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert (found[2] is None) == stop


def test_the_projections_get_their_gradient_through_the_predictor_only(build, batch):
    method = build("simsiam")
    for p in method.predictor.parameters():
        p.data.zero_()
    loss = method.loss(batch(method))["loss"]  # a constant prediction: nothing flows back through it
    grads = torch.autograd.grad(loss, list(method.backbone.parameters()), allow_unused=True)
    assert all(g is None or not g.any() for g in grads)
    method.stop_gradient = False
    for p in method.predictor.parameters():
        p.data.normal_()
    loss = method.loss(batch(method))["loss"]
    grads = torch.autograd.grad(loss, list(method.backbone.parameters()))
    assert all(g.any() for g in grads)


def test_the_predictors_learning_rate_does_not_fall(build, batch):
    method = build("simsiam", "ssl.optim.schedule=cosine", "ssl.optim.lr=0.1")
    method.optimizer.progress = 0.5
    method.update(batch(method), 0)
    rates = {id(p): group["lr"] for group in method.optimizer.inner.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in method.predictor.parameters()} == {0.1}
    rest = {rates[id(p)] for part in (method.backbone, method.head) for p in part.parameters()}
    assert len(rest) == 1 and rest.pop() == pytest.approx(0.05)


@pytest.mark.long
def test_without_the_stop_the_projections_collapse(build):
    """Views that have nothing in common, so that only a collapse lowers the loss."""
    loss, cosine = {}, {}
    for stop in ("true", "false"):
        method = build(
            "simsiam", f"ssl.stop_gradient={stop}", "ssl.optim.lr=0.5", "ssl.head=[32,32]", "ssl.predictor=16"
        )
        for step in range(30):
            g = torch.Generator().manual_seed(step)
            views = {name: torch.rand(16, 3, 8, 8, generator=g) for name in method.needs}
            loss[stop] = float(method.update(views, step)["loss"])
        with torch.no_grad():
            cosine[stop] = float(spread(method.head(method.backbone(views["view0"])))["z_cosine"])
    assert loss["false"] < -0.4 < loss["true"]
    assert cosine["false"] > 0.3 and abs(cosine["true"]) < 0.1
