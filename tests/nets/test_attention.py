"""Self-attention over a feature map against a loop over its positions."""

import math

import pytest
import torch
import torch.nn.functional as F

from gssl.nets.attention import SelfAttention


@pytest.fixture
def block() -> SelfAttention:
    torch.manual_seed(0)
    return SelfAttention(16)


@pytest.mark.parametrize(("side", "pooled"), [(8, 16), (7, 9), (14, 49), (2, 1)])
def test_rows_add_up_to_one_for_odd_sides_too(side, pooled, block):
    x = torch.randn(2, 16, side, side)
    weights = block.weights(x)
    assert weights.shape == (2, side * side, pooled) and (weights >= 0).all()
    torch.testing.assert_close(weights.sum(2), torch.ones(2, side * side))
    assert block(x).shape == x.shape


def test_it_does_nothing_at_the_start_and_is_not_stuck_there(block):
    x = torch.randn(2, 16, 4, 4, requires_grad=True)
    y = block(x)
    assert torch.equal(y, x)
    (y * torch.randn_like(y)).sum().backward()
    assert block.gamma.grad is not None and block.gamma.grad.abs() > 0


def test_it_is_the_written_out_loop(block):
    torch.nn.init.constant_(block.gamma, 0.7)
    x = torch.randn(1, 16, 3, 4)
    wq, wk, wv, wo = (c.weight.flatten(1) for c in (block.query, block.key, block.value, block.out))
    assert wq.shape == wk.shape == (2, 16) and wv.shape == (8, 16) and wo.shape == (16, 8)
    # an odd row and column is left out by pooling: 3×4 → 1×2
    keys, values = [], []
    for corner in (0, 2):
        four = [x[0, :, r, c] for r in (0, 1) for c in (corner, corner + 1)]
        keys.append(torch.stack([wk @ p for p in four]).amax(0))
        values.append(torch.stack([wv @ p for p in four]).amax(0))
    expected = x.clone()
    for r in range(3):
        for c in range(4):
            scores = [math.exp((wq @ x[0, :, r, c] @ key).item()) for key in keys]
            read = sum(s / sum(scores) * value for s, value in zip(scores, values, strict=True))
            expected[0, :, r, c] += 0.7 * (wo @ read)
    torch.testing.assert_close(block(x), expected)


def test_images_do_not_see_each_other(block):
    torch.nn.init.ones_(block.gamma)
    x = torch.randn(3, 16, 6, 6)
    torch.testing.assert_close(block(x)[1:], block(x[1:]))


def test_few_channels_and_gradients_everywhere():
    torch.manual_seed(0)
    block = SelfAttention(4)
    torch.nn.init.ones_(block.gamma)
    y = block(torch.randn(2, 4, 6, 6))
    F.mse_loss(y, torch.randn_like(y)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (*block.out.parameters(), block.value.weight))
    x = torch.randn(2, 16, 6, 6)
    wide = SelfAttention(16)
    torch.nn.init.ones_(wide.gamma)
    wide(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in wide.parameters())
