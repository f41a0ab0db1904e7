"""Shapes, ranges and growth of the generator."""

import pytest
import torch
from torch import nn

from gssl.errors import UsageError
from gssl.nets import Generator


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "start"),
    [(28, (8, 7)), (32, (8, 8)), (36, (8, 9)), (48, (16, 6)), (64, (16, 8)), (224, (64, 7))],
)
def test_images_in_the_unit_range_from_a_small_start(size: int, start: tuple[int, int], channels: int) -> None:
    torch.manual_seed(0)
    net = Generator(5, 2, size, channels)
    images = net(torch.randn(2, 5))
    assert images.shape == (2, 3, size, size)
    assert images.min() >= 0 and images.max() <= 1 and images.std() > 0.01
    assert net.start == (start[0], start[1], start[1])
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convs[:-1]] == [
        (start[0] // 2**i, start[0] // 2 ** (i + 1)) for i in range(len(convs) - 1)
    ]
    assert (convs[-1].in_channels, convs[-1].out_channels) == (2, channels)


def test_grey_is_replicated_and_colour_is_not() -> None:
    torch.manual_seed(0)
    grey, colour = (Generator(5, 4, 16, c)(torch.randn(3, 5)) for c in (1, 3))
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 0], grey[:, 2])
    assert not torch.allclose(colour[:, 0], colour[:, 1])


def test_gradients_reach_every_parameter_and_the_latent() -> None:
    torch.manual_seed(0)
    net, z = Generator(5, 4, 16), torch.randn(4, 5, requires_grad=True)
    images = net(z)
    (images * torch.randn_like(images)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in [*net.parameters(), z])


def test_different_latents_make_different_images() -> None:
    torch.manual_seed(0)
    net = Generator(5, 4, 16).eval()
    with torch.no_grad():
        a, b = net(torch.randn(2, 5))
    assert (a - b).abs().max() > 1e-3


@pytest.mark.parametrize("size", [30, 33, 2])
def test_sizes_that_do_not_divide_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"^data.size={size}"):
        Generator(5, 4, size)


def test_two_channels_are_no_image() -> None:
    with pytest.raises(ValueError, match="channels=2"):
        Generator(5, 4, 32, channels=2)
