"""sRGB and CIE Lab: known colours, a separate implementation, and the way back."""

import numpy as np
import pytest
import torch

from gssl.data.lab import lab_to_rgb, rgb_to_lab

# Lab of sRGB colours under D65, to two decimals, as published converters give them (brucelindbloom.com)
KNOWN = {
    (1.0, 1.0, 1.0): (100.0, 0.0, 0.0),
    (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
    (1.0, 0.0, 0.0): (53.24, 80.09, 67.20),
    (0.0, 1.0, 0.0): (87.73, -86.18, 83.18),
    (0.0, 0.0, 1.0): (32.30, 79.19, -107.86),
    (0.0, 1.0, 1.0): (91.11, -48.09, -14.13),
    (1.0, 0.0, 1.0): (60.32, 98.23, -60.82),
    (1.0, 1.0, 0.0): (97.14, -21.55, 94.48),
}


def by_definition(rgb: np.ndarray) -> np.ndarray:
    """One colour (3,) at a time, from the primaries' and the white's chromaticities, in double precision."""
    xy = np.array([(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)])
    white = np.array([0.3127 / 0.3290, 1.0, (1 - 0.3127 - 0.3290) / 0.3290])
    primaries = np.stack([xy[:, 0] / xy[:, 1], np.ones(3), (1 - xy.sum(1)) / xy[:, 1]])
    matrix = primaries * np.linalg.solve(primaries, white)
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    ratio = matrix @ linear / white
    f = [t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in ratio]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def images(count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 5, 7, generator=torch.Generator().manual_seed(seed))


def test_known_colours():
    rgb = torch.tensor(list(KNOWN)).view(-1, 3, 1, 1)
    expected = torch.tensor(list(KNOWN.values())).view(-1, 3, 1, 1)
    torch.testing.assert_close(rgb_to_lab(rgb), expected, atol=0.012, rtol=0)


def test_equals_the_definition_and_dark_colours_too():
    dark = images(seed=1) * 0.03  # both tangents: of the display curve and of the cube root
    for batch in (images(), dark):
        lab = rgb_to_lab(batch).permute(0, 2, 3, 1).reshape(-1, 3).numpy()
        rgb = batch.permute(0, 2, 3, 1).reshape(-1, 3).double().numpy()
        np.testing.assert_allclose(lab, np.stack([by_definition(colour) for colour in rgb]), atol=0.03)


@pytest.mark.parametrize("scale", [1.0, 0.03])
def test_there_and_back(scale):
    batch = images() * scale
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(batch)), batch, atol=2e-5, rtol=0)


def test_grey_has_no_colour_and_lightness_grows():
    grey = torch.linspace(0, 1, 50).view(1, 1, 1, -1).expand(2, 3, -1, -1)
    lab = rgb_to_lab(grey)
    assert lab[:, 1:].abs().max() < 1e-3
    assert bool((lab[:, 0].diff(dim=-1) > 0).all())


def test_colours_that_srgb_lacks_become_valid_ones():
    lab = torch.tensor([[50.0, 120.0, -120.0], [120.0, 0.0, 0.0], [-5.0, 0.0, 0.0]]).view(-1, 3, 1, 1)
    rgb = lab_to_rgb(lab)
    assert rgb.min() >= 0 and rgb.max() <= 1


def test_gradients_are_finite_at_black_and_white():
    x = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1).clone().requires_grad_()
    lab_to_rgb(rgb_to_lab(x)).sum().backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())


def test_equals_kornia():
    kornia = pytest.importorskip("kornia.color")
    batch = images(seed=2)
    torch.testing.assert_close(rgb_to_lab(batch), kornia.rgb_to_lab(batch), atol=0.05, rtol=0)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(batch)), kornia.lab_to_rgb(kornia.rgb_to_lab(batch)),
                               atol=1e-3, rtol=0)  # fmt: skip
