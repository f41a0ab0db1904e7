"""Shapes and layers of the heads."""

import pytest
import torch
from torch import nn

from gssl.errors import UsageError
from gssl.nets import mlp


def kinds(net: nn.Sequential) -> list[type]:
    return [type(m) for m in net]


def test_layers_in_order() -> None:
    norm, relu, linear = nn.BatchNorm1d, nn.ReLU, nn.Linear
    assert kinds(mlp([8, 6, 5, 4])) == [linear, norm, relu, linear, norm, relu, linear]
    assert kinds(mlp([8, 6, 4], last_norm=True)) == [linear, norm, relu, linear, norm]
    assert kinds(mlp([8, 6, 4], norm="none", last_norm=True)) == [linear, relu, linear]
    assert kinds(mlp([8, 8, 4], norm="group")) == [linear, nn.GroupNorm, relu, linear]
    assert kinds(mlp([8, 4])) == [linear]


def test_a_linear_layer_has_a_bias_where_no_norm_follows() -> None:
    net = mlp([8, 6, 4])
    assert net[0].bias is None and net[3].bias is not None
    assert mlp([8, 6, 4], last_norm=True)[3].bias is None


def test_the_last_norm_standardises_without_parameters() -> None:
    torch.manual_seed(0)
    net = mlp([8, 16, 4], last_norm=True)
    out = net(torch.randn(64, 8))
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(0, unbiased=False), torch.ones(4), atol=1e-2, rtol=0)
    assert list(net[4].parameters()) == []


def test_one_size_is_the_identity() -> None:
    x = torch.randn(3, 8)
    assert torch.equal(mlp([8])(x), x)


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(UsageError, match="norm=layer"):
        mlp([8, 4], norm="layer")
