"""Normalisation: equal to its definition, in the units of whoever trained the network, outside the state dict."""

import copy

import pytest
import torch
from torch import nn

from gssl.errors import UsageError
from gssl.nets.convnet import ConvNet
from gssl.nets.inputs import IMAGENET, SIGNED, Inputs, adjusted, resized
from gssl.nets.resnet import ResNet
from gssl.nets.vit import ViT

MEAN, STD = [0.2, 0.5, 0.3], [0.1, 0.25, 0.7]


def images(size: int = 16, requires_grad: bool = False) -> torch.Tensor:
    x = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last).requires_grad_(requires_grad)


def by_hand(x: torch.Tensor, mean, std) -> torch.Tensor:
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (mean, std))
    return (x.double() - mean) / std


@pytest.mark.parametrize(("mean", "std"), [SIGNED, IMAGENET, (MEAN, STD), (MEAN, [0.5] * 3), ([0.4] * 3, STD)])
def test_it_is_the_definition_and_keeps_the_layout(mean, std) -> None:
    x = images()
    given = Inputs(mean, std)(x)
    torch.testing.assert_close(given.double(), by_hand(x, mean, std), rtol=1e-6, atol=1e-6)
    assert given.dtype == torch.float32 and given.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("mean", "std"), [SIGNED, (MEAN, STD)])
def test_gradients_reach_the_image(mean, std) -> None:
    x = images(requires_grad=True)
    Inputs(mean, std)(x).sum().backward()
    expected = torch.tensor(std).reciprocal().view(3, 1, 1).expand_as(x)
    torch.testing.assert_close(x.grad, expected)


def test_one_number_for_all_channels_is_what_it_was_bit_for_bit() -> None:
    x = torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    assert torch.equal(Inputs(*SIGNED)(x), x * 2 - 1)
    assert not list(Inputs(*SIGNED).buffers())  # an average of the weights has nothing to copy


def test_the_record_makes_the_same_again() -> None:
    one = Inputs(MEAN, STD)
    assert one.record() == {"mean": MEAN, "std": STD}
    assert torch.equal(Inputs(**one.record())(images()), one(images()))


@pytest.mark.parametrize("net", [
    ConvNet("convnet", "batch", 4, 1, 16), ViT("vit_micro", "none", 24, 4, 16), ResNet("resnet18", "batch", 64, 1, 16),
])  # fmt: skip
def test_a_backbones_normalisation_is_exchanged_not_learnt(net: nn.Module) -> None:
    keys = list(net.state_dict())
    assert not any("inputs" in key for key in keys) and not list(net.inputs.parameters())
    own = IMAGENET if isinstance(net, ResNet) else SIGNED
    assert net.inputs.record() == dict(zip(("mean", "std"), own, strict=True))
    other = copy.deepcopy(net).eval()
    other.inputs = Inputs(MEAN, STD)
    assert list(other.state_dict()) == keys
    # what the first layer reads is the same for images that differ as the normalisations do
    x = images()
    moved = net.inputs(x) * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(other(moved), net.eval()(x), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(other(x), net(x), atol=1e-3)


@pytest.mark.parametrize(
    ("mean", "std", "span"),
    [
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], [0, 255]),
        (None, None, [0, 255]),
        (None, None, [-1, 1]),
        ([10.0, 20.0, 30.0], None, [-128, 127]),
        (None, [2.0, 3.0, 4.0], [0, 2]),
    ],
)
def test_a_range_is_of_the_pixels_that_the_network_learnt_from(mean, std, span) -> None:
    x = images()
    pixels = span[0] + x.double() * (span[1] - span[0])
    expected = by_hand(pixels, mean or [0.0] * 3, std or [1.0] * 3)
    found = adjusted(Inputs(*IMAGENET), mean, std, span)(x)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


def test_without_a_range_what_is_not_given_stays() -> None:
    own = Inputs(*IMAGENET)
    assert adjusted(own) is own
    assert adjusted(own, mean=MEAN).record() == {"mean": MEAN, "std": IMAGENET[1]}
    assert adjusted(own, std=STD).record() == {"mean": IMAGENET[0], "std": STD}
    same = adjusted(own, [123.675, 116.28, 103.53], [58.395, 57.12, 57.375], [0, 255])
    assert same.mean == pytest.approx(own.mean) and same.std == pytest.approx(own.std)


@pytest.mark.parametrize(
    ("mean", "std", "span", "message"),
    [
        ([0.5], None, None, "input.mean"),
        ([0.5, float("nan"), 0.5], None, None, "input.mean"),
        (None, [1.0, 0.0, 1.0], None, "input.std"),
        (None, [1.0, 2.0], [0, 255], "input.std"),
        (None, None, [1, 1], "input.range"),
        (None, None, [0, float("inf")], "input.range"),
        (None, None, [255], "input.range"),
    ],
)
def test_what_is_no_normalisation_is_one_line(mean, std, span, message) -> None:
    with pytest.raises(UsageError, match=message) as error:
        adjusted(Inputs(*SIGNED), mean, std, span)
    assert "\n" not in str(error.value)


def test_resizing_stays_in_range_and_leaves_the_right_size_alone() -> None:
    x = (images(16) > 0.5).float()
    assert torch.equal(resized(x, 16, "bicubic"), x)
    large = resized(x, 40, "bicubic")
    assert large.shape == (3, 3, 40, 40) and large.min() >= 0 and large.max() <= 1
    torch.testing.assert_close(resized(torch.full((1, 3, 9, 9), 0.3), 4, "bilinear"), torch.full((1, 3, 4, 4), 0.3))
