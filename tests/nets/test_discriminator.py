"""The discriminator's heads on a trunk that stays what it is."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gssl import schemas
from gssl.nets import build_backbone
from gssl.nets.discriminator import ATTENDED, Discriminator, Heads

LABEL = torch.tensor([2, 0, 1, 2])


def make(backbone: str = "convnet", size: int = 16, **heads: Any) -> Discriminator:
    torch.manual_seed(0)
    width, patch, norm = (24, 4, "none") if backbone.startswith("vit") else (4, 1, "group")
    trunk = build_backbone(schemas.Backbone(name=backbone, norm=norm, width=width, patch=patch), size)
    return Discriminator(trunk, Heads(**heads), size).eval()


def images() -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_logit_is_linear_in_the_trunks_features():
    net = make()
    found = net(images())
    assert torch.equal(found.features, net.backbone(images()))
    torch.testing.assert_close(found.logit, found.features @ net.logit.weight[0] + net.logit.bias)
    assert found.logit.shape == (4,)
    assert net.classify is None and net.turn is None and net.project is None and net.attention is None


@pytest.mark.parametrize(
    ("backbone", "size", "positions"), [("convnet", 16, 4), ("convnet", 28, 16), ("vit_micro", 16, 16)]
)
def test_summed_features_are_sums_over_the_positions_of_the_last_map(backbone, size, positions):
    net, x = make(backbone, size, summed=True), torch.rand(2, 3, size, size)
    assert net.scale == positions
    torch.testing.assert_close(net(x).features, net.backbone.dense(x)[-1].sum((2, 3)))
    torch.testing.assert_close(net(x).features, positions * net.backbone(x))


def test_counting_places_leaves_the_trunk_as_it_was():
    torch.manual_seed(0)
    trunk = build_backbone(schemas.Backbone(name="convnet", norm="batch", width=4, patch=1), 16)
    before = copy.deepcopy(trunk.state_dict())
    net = Discriminator(trunk, Heads(summed=True), 16)
    assert trunk.training and all(torch.equal(value, before[key]) for key, value in net.backbone.state_dict().items())


def test_projection_adds_the_product_of_class_embedding_and_features():
    net = make(projection=3)
    found = net(images(), LABEL)
    embedded = F.embedding(LABEL, net.project.weight)  # a row per class
    expected = net.logit(found.features).squeeze(1) + (embedded * found.features).sum(1)
    torch.testing.assert_close(found.logit, expected)
    assert not torch.allclose(found.logit, net(images(), LABEL.roll(1)).logit)


def test_heads_of_other_tasks_leave_the_logit_alone():
    small, full = make(), make(classes=3, turns=True)
    full.load_state_dict(small.state_dict(), strict=False)
    a, b = small(images()), full(images())
    assert torch.equal(a.logit, b.logit)
    assert full.classify(b.features).shape == (4, 3) and full.turn(b.features).shape == (4, 4)


@pytest.mark.parametrize("backbone", ["convnet", "vit_micro"])
def test_attention_stands_beside_a_trunk_that_stays_plain(backbone):
    net, small = make(backbone, attention=True), make(backbone)
    assert net.backbone.state_dict().keys() == small.backbone.state_dict().keys()
    nn.init.ones_(net.attention.gamma)
    found = net(images())
    beside = net.backbone.dims[ATTENDED]
    assert found.features.shape == (4, net.backbone.dim + beside)
    torch.testing.assert_close(found.features[:, :-beside], net.backbone(images()))
    attended = net.attention(net.backbone.dense(images())[ATTENDED])
    torch.testing.assert_close(found.features[:, -beside:], F.leaky_relu(attended, 0.1).mean((2, 3)))
    found.logit.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_pairs_are_judged_by_both_of_their_parts():
    net = make(latent=5)
    x, z = images(), torch.randn(4, 5)
    logit = net(x, z=z).logit
    assert not torch.allclose(logit, net(x, z=z.roll(1, 0)).logit)
    assert not torch.allclose(logit, net(x.roll(1, 0), z=z).logit)
    order = torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(net(x[order], z=z[order]).logit, logit[order])
    # no sum of what either part says alone: whether they belong together must be known
    swapped = net(x[[1, 0]], z=z[:2]).logit
    assert (logit[0] + logit[1] - swapped.sum()).abs() > 1e-5
    features = F.leaky_relu(net.joint(torch.cat([net.backbone(x), net.embed_z(z)], 1)), 0.1)
    torch.testing.assert_close(net(x, z=z).features, features)


def test_everything_at_once():
    net = make(attention=True, projection=3, classes=3, turns=True, latent=5)
    nn.init.ones_(net.attention.gamma)
    found = net(images(), LABEL, torch.randn(4, 5))
    (
        found.logit.sum() + net.classify(found.features).square().sum() + net.turn(found.features).square().sum()
    ).backward()
    dead = [k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead
    assert Heads(**net.heads.record()) == net.heads
