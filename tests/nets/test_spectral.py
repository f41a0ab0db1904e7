"""Spectral norm against torch's own, against a singular value decomposition, and in a discriminator."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm as torchs

from gssl import schemas
from gssl.nets import EMA, build_backbone, fold_spectral_norm, load_into
from gssl.nets.discriminator import Discriminator, Heads
from gssl.nets.spectral import SpectralNorm, spectral_norm


def wrapped(*layers: nn.Module) -> nn.Sequential:
    net = nn.Sequential(*layers)
    spectral_norm(net)
    return net


def vectors(net: nn.Module) -> list[torch.Tensor]:
    return [b.detach().clone() for m in net.modules() if isinstance(m, SpectralNorm) for b in (m.u, m.v)]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("make", [lambda: nn.Linear(7, 5), lambda: nn.Conv2d(3, 6, 3)], ids=["linear", "conv"])
def test_the_weight_ends_with_a_largest_singular_value_of_one(make):
    torch.manual_seed(0)
    layer = make()
    bare = layer.weight.detach().clone()
    net = wrapped(layer)
    for _ in range(300):
        weight = layer.weight
    assert torch.linalg.matrix_norm(weight.detach().flatten(1), 2).item() == pytest.approx(1, abs=1e-5)
    expected = bare / torch.linalg.svdvals(bare.flatten(1))[0]
    torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-5)
    assert net.eval() is net
    torch.testing.assert_close(layer.weight, expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_torchs():
    """Both have converged; the gradient goes through σ with u and v held."""
    torch.manual_seed(0)
    mine = nn.Conv2d(2, 4, 3)
    other = torchs(copy.deepcopy(mine), n_power_iterations=200)
    wrapped(mine)
    for _ in range(200):
        _ = mine.weight
    x, found = torch.randn(3, 2, 5, 5), []
    for layer in (mine, other):
        y = layer(x)
        y.square().sum().backward()
        found += [y.detach(), layer.parametrizations.weight.original.grad]
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], found[3], rtol=1e-3, atol=1e-4)


def test_one_iteration_per_pass_and_none_in_evaluation_without_gradients_or_frozen():
    torch.manual_seed(0)
    net, x = wrapped(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)), torch.randn(2, 6)
    before = vectors(net)
    net.eval()(x)
    net.train()
    with torch.no_grad():
        net(x)
    net.requires_grad_(False)
    still = net(x.requires_grad_())
    assert same(before, vectors(net))
    still.sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0  # the gradient goes through all the same
    net.requires_grad_(True)
    weight = net[0].parametrizations.weight.original.detach()
    net(x)
    v = nn.functional.normalize(weight.T @ before[0], dim=0)
    u = nn.functional.normalize(weight @ v, dim=0)
    torch.testing.assert_close(vectors(net)[:2], [u, v])


def test_two_passes_before_one_backward():
    """The second pass writes u and v while the first one's graph waits."""
    net, x = wrapped(nn.Linear(6, 5)), torch.randn(2, 6)
    (net(x).sum() + net(x + 1).sum()).backward()


def test_the_start_is_near_the_true_value_already():
    torch.manual_seed(0)
    net = wrapped(nn.Linear(64, 32)).eval()
    assert torch.linalg.matrix_norm(net[0].weight.detach(), 2).item() == pytest.approx(1, abs=0.1)


def test_every_linear_and_convolution_is_wrapped_once():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    spectral_norm(net)
    spectral_norm(net)
    assert [parametrize.is_parametrized(m) for m in net] == [True, False, False, True]
    assert len(net[0].parametrizations.weight) == 1


def test_under_reduced_precision():
    net, x = wrapped(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2)), torch.randn(2, 3, 8, 8)
    expected = net.eval()(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x)
        net.train()(x).float().sum().backward()
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)
    assert vectors(net)[0].dtype == torch.float32


def test_a_running_average_carries_the_vectors():
    net = wrapped(nn.Linear(6, 5))
    ema = EMA(net, decay=0.5)
    net(torch.randn(2, 6))
    ema.update(net)
    assert same(vectors(net), vectors(ema.module))


@pytest.fixture
def discriminators():
    """A trained-on discriminator under spectral norm, and a backbone without it."""
    torch.manual_seed(0)
    trunk, bare = (
        build_backbone(schemas.Backbone(name="convnet", norm="none", width=4, patch=1), 16) for _ in range(2)
    )
    net = Discriminator(trunk, Heads(attention=True, projection=3, classes=3, turns=True, summed=True), 16)
    spectral_norm(net)
    x = torch.rand(4, 3, 16, 16)
    for _ in range(3):
        net(x, torch.tensor([0, 1, 2, 0]))
    return net, bare, x


def test_the_folded_trunk_is_a_plain_backbone_with_the_same_features(discriminators):
    net, bare, x = discriminators
    assert load_into(bare, fold_spectral_norm(net.backbone)).complete
    net.eval(), bare.eval()
    torch.testing.assert_close(bare(x), net.backbone(x))
    whole = Discriminator(bare, net.heads, 16)
    assert load_into(whole, fold_spectral_norm(net), ignore=()).complete
    whole.eval()
    label = torch.tensor([2, 1, 0, 1])
    torch.testing.assert_close(whole(x, label).logit, net(x, label).logit)


def test_inside_cached_it_is_computed_once(discriminators, monkeypatch):
    net, _, x = discriminators
    calls: list[int] = []
    original = SpectralNorm.forward
    monkeypatch.setattr(SpectralNorm, "forward", lambda self, w: calls.append(id(self)) or original(self, w))
    label = torch.zeros(4, dtype=torch.long)
    with parametrize.cached():
        for _ in range(3):
            net(x, label)
    assert len(calls) == len(set(calls)) > 5
