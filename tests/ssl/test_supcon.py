"""SupCon against its definition, and against NT-Xent (lightly's), which it is where no two labels are equal."""

import math

import pytest
import torch
from lightly.loss.ntx_ent_loss import NTXentLoss

from gssl.ssl.supcon import supcon


def by_definition(z0: torch.Tensor, z1: torch.Tensor, label: torch.Tensor, t: float, inside: bool = False) -> float:
    """L_out or, `inside`, L_in, anchor by anchor."""
    z = torch.cat([z0, z1]).double()
    z, label = z / z.norm(dim=1, keepdim=True), torch.cat([label, label]).tolist()
    total = 0.0
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        every = sum(math.exp(float(z[i] @ z[j]) / t) for j in others)
        probabilities = [math.exp(float(z[i] @ z[j]) / t) / every for j in others if label[j] == label[i]]
        mean = (
            math.log(sum(probabilities) / len(probabilities))
            if inside
            else sum(map(math.log, probabilities)) / len(probabilities)
        )
        total -= mean / len(z)
    return total


@pytest.mark.parametrize(("n", "d", "classes", "t"), [(2, 3, 1, 0.5), (7, 5, 3, 0.2), (12, 8, 4, 0.07)])
def test_it_is_l_out(n, d, classes, t):
    g = torch.Generator().manual_seed(n)
    z0, z1 = (3 * torch.randn(n, d, generator=g) for _ in range(2))
    label = torch.randint(classes, (n,), generator=g)
    expected = by_definition(z0, z1, label, t)
    assert abs(float(supcon(z0, z1, label, t)) - expected) < 1e-5 * max(1.0, expected)
    assert by_definition(z0, z1, label, t, inside=True) < expected - 1e-3  # Jensen: the other form is smaller


@pytest.mark.parametrize(("n", "d", "t"), [(2, 3, 0.5), (16, 8, 0.1), (64, 128, 0.2)])
def test_with_a_class_per_image_it_is_lightlys_nt_xent_forward_and_backward(n, d, t):
    g = torch.Generator().manual_seed(n)
    ours = [torch.randn(n, d, generator=g).requires_grad_() for _ in range(2)]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    losses = supcon(*ours, torch.randperm(n, generator=g), t), NTXentLoss(temperature=t)(*theirs)
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    for a, b in zip(torch.autograd.grad(losses[0], ours), torch.autograd.grad(losses[1], theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_the_names_of_classes_do_not_matter_and_gradients_are_finite():
    g = torch.Generator().manual_seed(0)
    z0, z1 = (torch.randn(8, 4, generator=g).requires_grad_() for _ in range(2))
    label = torch.tensor([0, 1, 2, 0, 1, 2, 0, 3])
    loss = supcon(z0, z1, label, 0.2)
    torch.testing.assert_close(loss, supcon(z0, z1, 10 - label, 0.2))
    torch.testing.assert_close(loss, supcon(z1, z0, label, 0.2))
    assert all(torch.isfinite(x).all() and x.abs().sum() > 0 for x in torch.autograd.grad(loss, [z0, z1]))


def test_the_method_hands_labels_in(build, batch):
    method = build("supcon")
    views = batch(method)
    with torch.no_grad():
        z0, z1 = (method.head(method.backbone(views[v])) for v in ("view0", "view1"))
    out = method.update(views, 0)
    torch.testing.assert_close(out["loss"], supcon(z0, z1, views["label"], method.temperature))
