"""The running average against its definition."""

import pytest
import torch
from torch import nn

from gssl.nets import EMA
from gssl.nets.ema import copy, follow, momentum


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_it_is_the_definition_with_warm_up() -> None:
    torch.manual_seed(0)
    source, decay = net(), 0.3
    ema, expected = EMA(source, decay), source[0].weight.detach().clone()
    for n in range(6):  # (1 + n) / (10 + n) passes .3 at n = 3
        with torch.no_grad():
            source[0].weight.normal_()
        ema.update(source)
        d = min(decay, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * source[0].weight.detach()
        torch.testing.assert_close(ema.module[0].weight, expected)
    assert ema.updates == 6


def test_buffers_are_copied_and_the_source_is_left_alone() -> None:
    source = net()
    ema = EMA(source, 0.99)
    source(torch.rand(4, 3, 2, 2) + 3)
    before = {key: value.clone() for key, value in source.state_dict().items()}
    ema.update(source)
    for key, value in source.named_buffers():
        assert torch.equal(ema.module.get_buffer(key), value)
        assert ema.module.get_buffer(key).data_ptr() != value.data_ptr()
    assert all(torch.equal(value, before[key]) for key, value in source.state_dict().items())


def test_the_copy_has_no_gradients_and_starts_in_eval_mode() -> None:
    source = net()
    ema = EMA(source, 0.99)
    assert not any(p.requires_grad for p in ema.parameters()) and not ema.module.training
    assert all(p.requires_grad for p in source.parameters()) and source.training
    assert torch.equal(ema(torch.ones(1, 3, 2, 2)), ema.module(torch.ones(1, 3, 2, 2)))


def test_a_restored_average_goes_on_where_it_was() -> None:
    torch.manual_seed(0)
    source = net()
    whole, first = EMA(source, 0.9), EMA(source, 0.9)
    steps = [[torch.randn_like(p) for p in source.parameters()] for _ in range(6)]

    def run(ema: EMA, some: list[list[torch.Tensor]]) -> None:
        for values in some:
            with torch.no_grad():
                for p, value in zip(source.parameters(), values, strict=True):
                    p.copy_(value)
            ema.update(source)

    run(whole, steps)
    run(first, steps[:3])
    second = EMA(net(), 0.9)
    second.load_state_dict(first.state_dict())
    run(second, steps[3:])
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_a_decay_that_is_given_is_taken_from_the_first_update_on() -> None:
    torch.manual_seed(0)
    source = net()
    ema, expected = EMA(source, 0.5), source[0].weight.detach().clone()
    for decay in (0.9, 0.99, 0.0, 0.7, 1.0):  # neither warmed up nor bounded by the constructor's
        with torch.no_grad():
            source[0].weight.normal_()
        ema.update(source, decay=decay)
        expected = decay * expected + (1 - decay) * source[0].weight.detach()
        torch.testing.assert_close(ema.module[0].weight, expected)
    assert ema.updates == 5


def test_decay_one_keeps_and_decay_zero_copies() -> None:
    source, other = net(), net()
    ema = EMA(source, 0.9)
    ema.update(other, decay=1.0)
    assert torch.equal(ema.module[0].weight, source[0].weight)
    ema.update(other, decay=0.0)
    assert torch.equal(ema.module[0].weight, other[0].weight)


def test_the_momentum_of_a_target_rises_to_one_along_a_cosine() -> None:
    for base in (0.0, 0.9, 0.996):
        assert momentum(base, 0.0) == pytest.approx(base)
        assert momentum(base, 0.5) == pytest.approx((1 + base) / 2)
        assert momentum(base, 1.0) == 1
        assert 1 - momentum(base, 0.25) == pytest.approx((1 - base) * (2 + 2**0.5) / 4)
        values = [momentum(base, i / 20) for i in range(21)]
        assert values == sorted(values)


@pytest.mark.parametrize("weight", [0.0, 0.004, 0.7, 1.0])
def test_one_kernel_for_all_is_as_one_for_each(weight: float) -> None:
    g = torch.Generator().manual_seed(0)
    mine, theirs = ([torch.randn(shape, generator=g) for shape in [(3, 4), (5,), ()]] for _ in range(2))
    other = [value.clone() for value in mine]
    follow(mine, theirs, torch.tensor(weight), together=False)
    follow(other, theirs, torch.tensor(weight), together=True)
    torch.testing.assert_close(mine, other)


def test_buffers_of_several_types_are_copied_together() -> None:
    theirs = [torch.randn(3), torch.tensor(7), torch.randn(2, 2), torch.tensor([True, False])]
    for together in (False, True):
        mine = [torch.zeros_like(value) for value in theirs]
        copy(mine, theirs, together)
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    copy([], [], together=True)
