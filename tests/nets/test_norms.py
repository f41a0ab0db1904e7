"""Norm layers by name, and batch statistics computed afresh."""

import pytest
import torch
from torch import nn

from gssl.nets import recompute_batch_norm
from gssl.nets.norms import Shift, groups, norm2d


def test_statistics_are_those_of_the_batches_layer_by_layer() -> None:
    torch.manual_seed(0)
    first, second = nn.BatchNorm2d(3), nn.BatchNorm2d(4)
    conv = nn.Conv2d(3, 4, 3)
    net = nn.Sequential(first, conv, second)
    net(torch.rand(8, 3, 5, 5) * 9)  # statistics to be forgotten
    batches = [torch.rand(n, 3, 5, 5) for n in (4, 4, 2)]
    recompute_batch_norm(net, iter(batches))

    def by_definition(maps: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        fraction = [len(m) / sum(map(len, maps)) for m in maps]
        mean = sum(s * m.mean((0, 2, 3)) for s, m in zip(fraction, maps, strict=True))
        var = sum(s * m.var((0, 2, 3), unbiased=True) for s, m in zip(fraction, maps, strict=True))
        return mean, var

    def normed(x: torch.Tensor) -> torch.Tensor:
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt()

    for norm, maps in ((first, batches), (second, [conv(normed(b)).detach() for b in batches])):
        mean, var = by_definition(maps)
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, var, rtol=1e-4, atol=1e-5)


def test_only_batch_norm_is_in_train_mode_and_modes_come_back() -> None:
    modes = []

    class Spy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            modes.append((self.training, torch.is_grad_enabled()))
            return x

    norm, spy = nn.BatchNorm2d(3, momentum=0.2), Spy()
    net = nn.Sequential(spy, norm).train()
    spy.eval()
    weight = norm.weight.detach().clone()
    recompute_batch_norm(net, [torch.rand(4, 3, 2, 2)])
    assert modes == [(False, False)]
    assert (net.training, norm.training, spy.training, norm.momentum) == (True, True, False, 0.2)
    assert torch.equal(norm.weight, weight)


def test_without_batch_norm_nothing_is_drawn() -> None:
    def batches():
        raise AssertionError("drawn")
        yield

    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8))
    before = [p.clone() for p in net.parameters()]
    recompute_batch_norm(net, batches())
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_no_batches_is_an_error() -> None:
    with pytest.raises(ValueError, match="no batch"):
        recompute_batch_norm(nn.BatchNorm2d(3), [])


def test_groups_divide_the_channels_and_hold_at_least_four() -> None:
    assert [groups(c) for c in (1, 3, 4, 16, 64, 128, 2048)] == [1, 1, 1, 4, 16, 32, 32]
    assert all(c % groups(c) == 0 and groups(c) <= 32 for c in range(1, 300))


def test_a_shift_adds_its_bias_per_channel() -> None:
    shift = norm2d("none", 2)
    assert isinstance(shift, Shift)
    with torch.no_grad():
        shift.bias.copy_(torch.tensor([1.0, -2.0]))
    x = torch.zeros(1, 2, 3, 3)
    assert shift(x)[0, 0].eq(1).all() and shift(x)[0, 1].eq(-2).all()
