"""Figures of translations without pairs: by an independent formula, and what each of them can and cannot see."""

import numpy as np
import pytest
import torch

from gssl.metrics.unpaired import ChannelMatch, after_jpeg, structure


@pytest.fixture
def images() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    base = torch.rand(3, 3, 8, 8, generator=g)
    return torch.nn.functional.interpolate(base, size=(24, 24), mode="bilinear") * 0.8 + 0.1


def test_structure_is_what_its_formula_says(images) -> None:
    made = (images.flip(1) * 0.5 + 0.2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(1))).clamp(
        0, 1
    )
    x, y = (np.einsum("bchw,c->bhw", a.double().numpy(), [0.299, 0.587, 0.114]) for a in (images, made))
    for i, found in enumerate(structure(made, images)):
        above = below = 0.0
        for r in range(24 - 6):
            for c in range(24 - 6):
                p, q = x[i, r : r + 7, c : c + 7].ravel(), y[i, r : r + 7, c : c + 7].ravel()
                cov, constant = np.cov(p, q, bias=True)[0, 1], 0.03**2 / 2
                above += p.std() * (cov + constant) / (p.std() * q.std() + constant)
                below += p.std()
        assert float(found) == pytest.approx(above / below, rel=1e-6)


def test_structure_knows_no_levels_and_sees_what_is_exchanged(images) -> None:
    assert torch.allclose(structure(images, images), torch.ones(3, dtype=torch.float64))
    assert (structure(0.5 * images + 0.3, images) > 0.95).all()
    assert (structure(1 - images, images) < -0.8).all()
    assert (structure(images.roll(1, 0), images).abs() < 0.4).all()


def test_channels_have_the_moments_of_the_other_domain_and_come_back(images) -> None:
    other = images.flip(1) * 0.5 + 0.1
    match = ChannelMatch(images, other)
    made = match(images)
    torch.testing.assert_close(made.mean((0, 2, 3)), other.mean((0, 2, 3)))
    torch.testing.assert_close(made.std((0, 2, 3)), other.std((0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(match.back(made), images, rtol=1e-3, atol=1e-4)


def test_jpeg_takes_away_faint_noise_and_keeps_the_picture(images) -> None:
    images = images[:, :1].expand(-1, 3, -1, -1)  # of colours JPEG keeps a quarter of the places
    sign = (torch.arange(24) % 2 * 2.0 - 1) * (torch.arange(24)[:, None] % 2 * 2.0 - 1)
    hidden = images + sign / 255
    assert (after_jpeg(hidden) - images).abs().mean() < 0.02
    left = ((after_jpeg(hidden) - after_jpeg(images)) * sign).mean() * 255
    assert abs(float(left)) < 0.5  # of 1
