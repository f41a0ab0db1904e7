"""Colour operations against torchvision on fixed parameters."""

import math

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from gssl.data import colour


def photos(n: int = 8, *, channels: int = 3, height: int = 20, width: int = 20, seed: int = 0) -> torch.Tensor:
    """Smooth random uint8 images with edges, (n, channels, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    smooth[:, :, : height // 3, : width // 3] *= 0.4
    return (smooth * 255).round().to(torch.uint8)


def matrix(n: int, **given) -> tuple[torch.Tensor, torch.Tensor]:
    """`colour_matrix` with the given factors, the others changing nothing."""
    neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "gray": 0.0} | given
    return colour.colour_matrix(**{k: torch.as_tensor(v).float().expand(n) for k, v in neutral.items()})


@pytest.mark.parametrize(
    ("name", "factor", "reference"),
    [
        ("brightness", 0.7, tv.adjust_brightness),
        ("contrast", 0.6, tv.adjust_contrast),
        ("saturation", 0.4, tv.adjust_saturation),
    ],
)
def test_colour_equals_torchvision(name, factor, reference):
    # torchvision's luma weights sum to .9999: hence 2e-4. Factors below 1 never clip.
    x = photos(4).float() / 255
    got = colour.apply_colour(x, *matrix(4, **{name: factor}))
    torch.testing.assert_close(got, reference(x, factor), atol=2e-4, rtol=0)


def test_grayscale_equals_torchvision():
    x = photos(4).float() / 255
    got = colour.apply_colour(x, *matrix(4, gray=1.0, saturation=0.3, hue=0.2))
    want = tv.rgb_to_grayscale(x, num_output_channels=3)
    torch.testing.assert_close(got, want, atol=2e-4, rtol=0)


def test_colours_combine_in_any_order():
    x = photos(4).float() / 255
    steps = {"hue": 0.07, "contrast": 0.5, "brightness": 0.8, "saturation": 1.3}
    at_once = colour.apply_colour(x, *matrix(4, **steps))
    for order in (list(steps), list(reversed(steps))):
        y = x
        for name in order:
            y = colour.apply_colour(y, *matrix(4, **{name: steps[name]}))
        torch.testing.assert_close(at_once, y, atol=1e-5, rtol=0)


def test_hue_is_a_rotation_in_yiq():
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    x = photos(4).float() / 255
    turns = torch.tensor([-0.5, -0.1, 0.1, 0.25])
    got = colour.apply_colour(x, *matrix(4, hue=turns))
    before, after = (torch.einsum("kc,bchw->bkhw", to_yiq, image) for image in (x, got))
    torch.testing.assert_close(after[:, 0], before[:, 0], atol=1e-5, rtol=0)  # luma stays
    rotated = torch.complex(before[:, 1], before[:, 2])
    rotated = rotated * torch.exp(-2j * math.pi * turns).view(-1, 1, 1)
    torch.testing.assert_close(torch.view_as_real(rotated), torch.stack([after[:, 1], after[:, 2]], -1))


@pytest.mark.parametrize("turns", [-0.1, 0.1])
def test_hue_turns_the_way_of_torchvision(turns):
    x = photos(8).float() / 255
    hsv = tv.adjust_hue(x, turns)
    same, other = (colour.apply_colour(x, *matrix(8, hue=s * turns)).clamp(0, 1) for s in (1, -1))
    assert (same - hsv).abs().mean() < 0.6 * (other - hsv).abs().mean()


@pytest.mark.parametrize(("taps", "shape"), [(3, (20, 20)), (9, (18, 31))])
def test_blur_equals_torchvision(taps, shape):
    x = photos(3, height=shape[0], width=shape[1]).float() / 255
    sigma = torch.tensor([0.1, 0.9, 2.0])
    got = colour.blur(x, sigma, taps)
    want = torch.stack([tv.gaussian_blur(x[i], [taps, taps], [float(sigma[i])] * 2) for i in range(3)])
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)


def test_blur_kernel_is_odd_and_a_tenth():
    sizes = {8: 3, 28: 3, 32: 3, 64: 7, 96: 9, 224: 23}
    assert {size: colour.blur_kernel_size(size) for size in sizes} == sizes


def test_solarize_equals_torchvision():
    x = photos(4).float() / 255
    x[:, :, 0, 0] = 0.5
    mask = torch.tensor([True, False, True, False])
    got = colour.solarize(x, mask)
    torch.testing.assert_close(got[mask], tv.solarize(x[mask], 0.5), atol=1e-6, rtol=0)
    torch.testing.assert_close(got[~mask], x[~mask], atol=0, rtol=0)


def test_cutout_fills_a_square():
    x = torch.ones(3, 3, 10, 10)
    at = torch.tensor([[0.5, 0.5], [0.0, 0.99], [0.5, 0.5]])
    got = colour.cutout(x, at, 4, torch.tensor([True, True, False]))
    assert (got[0, :, 3:7, 3:7] == 0.5).all()
    assert [int((image == 0.5).sum()) for image in got] == [
        3 * 16,
        3 * 2 * 3,
        0,
    ]  # the second is cut by a corner
