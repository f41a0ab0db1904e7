"""Counted FLOPs equal the analytic ones."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gssl.engine.flops import CountFlops
from gssl.errors import JobError


def test_linear_forward_and_backward():
    layer = nn.Linear(16, 8)
    x = torch.randn(4, 16, requires_grad=True)
    with CountFlops() as counted:
        layer(x).sum().backward()
    assert counted.total == 3 * 2 * 4 * 16 * 8  # forward, gradient of x, gradient of W


def test_convolution_forward_and_backward():
    layer = nn.Conv2d(3, 5, 3, padding=1)
    x = torch.randn(2, 3, 6, 6)
    with CountFlops() as counted:
        layer(x).sum().backward()
    one = 2 * 2 * 5 * 6 * 6 * 3 * 9
    assert counted.total == 2 * one  # the images need no gradient


def test_attention_counts_on_the_cpu():
    q, k, v = (torch.randn(2, 3, 10, 8) for _ in range(3))
    with CountFlops() as counted:
        F.scaled_dot_product_attention(q, k, v)
    assert counted.total == 2 * (2 * 2 * 3 * 10 * 10 * 8)


def test_gradient_penalty_does_not_crash():
    layer = nn.Linear(4, 1)
    x = torch.randn(3, 4, requires_grad=True)
    with CountFlops() as counted:
        (grad,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
        grad.square().sum().backward()
    assert counted.total > 2 * 3 * 4


def test_an_unknown_heavy_op_fails_instead_of_counting_zero():
    x, weight, bias = torch.randn(5, 2, 3), torch.randn(3, 3, 4), torch.zeros(4)
    with pytest.raises(JobError, match="conv_tbc"), CountFlops():
        torch.conv_tbc(x, weight, bias)
