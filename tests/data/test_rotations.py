"""Rotations by quarters: which way, and that nothing but positions changes."""

import pytest
import torch

from gssl.data.rotations import TURNS, rotated


def images(side: int = 5) -> torch.Tensor:
    return torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("side", [4, 5])
def test_counter_clockwise_and_back(side):
    turns = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
    out = rotated(images(side), turns)
    for image, turn, found in zip(images(side), turns.tolist(), out, strict=True):
        assert torch.equal(found, torch.rot90(image, turn, (1, 2)))
    assert torch.equal(rotated(out, -turns % TURNS), images(side))
    corner = torch.zeros(1, 3, 5, 5)
    corner[..., 0, -1] = 1  # the upper right corner comes to the upper left
    assert rotated(corner, torch.tensor([1]))[0, 0, 0, 0] == 1


def test_a_replicated_grey_view_can_be_rotated_and_gradients_come_back():
    grey = torch.rand(4, 1, 6, 6).requires_grad_()
    turns = torch.arange(4)
    out = rotated(grey.expand(-1, 3, -1, -1), turns)
    weight = torch.rand(4, 3, 6, 6)
    (gradient,) = torch.autograd.grad((out * weight).sum(), grey)
    torch.testing.assert_close(gradient, rotated(weight, -turns % 4).sum(1, keepdim=True))
