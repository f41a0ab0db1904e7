"""The U-Net: sizes, what it reads, and that details skip the bottleneck."""

import pytest
import torch

from gssl.errors import UsageError
from gssl.nets.generator import Shape
from gssl.nets.unet import UNet


def made(size: int, channels: int = 3) -> UNet:
    torch.manual_seed(0)
    return UNet(Shape("unet", 1, 4, size, channels))


@pytest.mark.parametrize(("size", "smallest"), [(16, 4), (28, 7), (48, 6), (64, 4)])
def test_an_image_of_the_same_size_comes_out(size, smallest) -> None:
    network = made(size).eval()
    x = torch.rand(2, 3, size, size)
    y = network(x)
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1
    found = []
    network.down[-1].register_forward_hook(lambda _, __, out: found.append(out.shape[-1]))
    network(x)
    assert found == [smallest]


def test_grey_images_are_replicated_and_the_first_colour_is_as_asked() -> None:
    network = made(16, channels=1).eval()
    y = network(torch.rand(2, 3, 16, 16))
    assert torch.equal(y[:, 0], y[:, 2])
    network = made(16)
    torch.nn.init.zeros_(network.to_image.weight)
    torch.nn.init.zeros_(network.to_image.bias)
    network.begin((0.2, 0.5, 0.7))
    torch.testing.assert_close(network(torch.rand(2, 3, 16, 16)).mean((0, 2, 3)), torch.tensor([0.2, 0.5, 0.7]))


def test_a_pixel_of_the_input_reaches_its_place_without_the_bottleneck() -> None:
    network = made(32).eval()
    with torch.no_grad():
        network.up[0][0].weight.zero_()  # nothing comes from the smallest map
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    network(x)[0, :, 10, 20].sum().backward()
    assert x.grad[0, :, 10, 20].abs().sum() > 0


@pytest.mark.parametrize("size", [8, 30, 12])
def test_sizes_that_cannot_be_halved_are_refused(size) -> None:
    with pytest.raises(UsageError, match=f"data.size={size}"):
        made(size)
