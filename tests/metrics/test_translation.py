"""Figures of translated images: by an independent formula, and what each of them can and cannot see."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from gssl.metrics.translation import COLOURS, Lookup, Reader, mean_interval, pairwise


def label_maps(count: int, seed: int = 0, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps of four colours in blocks, and photographs of them: a texture of each label with noise."""
    random = np.random.default_rng(seed)
    palette = np.array([[0, 0, 0.6], [1, 0, 0], [0, 1, 0.5], [1, 1, 0]])
    texture = np.array([[0.2, 0.3, 0.8], [0.7, 0.4, 0.3], [0.3, 0.6, 0.2], [0.9, 0.9, 0.8]])
    ids = random.integers(0, 4, (count, 4, 4)).repeat(side // 4, 1).repeat(side // 4, 2)
    photo = texture[ids] + random.normal(0, 0.05, (count, side, side, 3))
    maps, photos = (torch.from_numpy(x).float().permute(0, 3, 1, 2).contiguous() for x in (palette[ids], photo))
    return maps, photos.clamp(0, 1)


def ssim_by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, of (C, H, W), where the window of 11 pixels lies inside."""

    def blur(x: np.ndarray) -> np.ndarray:
        return np.stack([gaussian_filter(c, 1.5, truncate=5 / 1.5)[5:-5, 5:-5] for c in x])

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return float((((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def test_pairwise_figures_agree_with_an_independent_formula() -> None:
    torch.manual_seed(0)
    true = torch.rand(3, 3, 24, 20)
    made = (true + 0.2 * torch.randn_like(true)).clamp(0, 1)
    found = pairwise(made.double(), true.double())
    for i in range(3):
        a, b = made[i].double().numpy(), true[i].double().numpy()
        assert found.psnr[i].item() == pytest.approx(10 * np.log10(1 / ((a - b) ** 2).mean()), rel=1e-9)
        assert found.ssim[i].item() == pytest.approx(ssim_by_scipy(a, b), rel=1e-6)
        assert found.l1[i].item() == pytest.approx(np.abs(a - b).mean(), rel=1e-9)


def test_a_mean_has_an_interval_that_narrows_with_the_images() -> None:
    values = np.random.default_rng(0).normal(3, 1, 400)
    few, many = mean_interval(values[:25]), mean_interval(values)
    assert many["value"] == pytest.approx(values.mean()) and many["low"] < many["value"] < many["high"]
    assert many["high"] - many["low"] == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert few["high"] - few["low"] > 2 * (many["high"] - many["low"])


def test_the_mean_colour_of_each_label_is_that_of_the_training_photos() -> None:
    maps, photos = label_maps(20)
    lookup = Lookup(maps, photos)
    others, _ = label_maps(3, seed=1)
    made = lookup(others)
    assert made.shape == others.shape and len(lookup.centres) == COLOURS
    for colour in maps.permute(0, 2, 3, 1).reshape(-1, 3).unique(dim=0):
        own = (maps == colour.view(1, 3, 1, 1)).all(1)
        expected = photos.permute(0, 2, 3, 1)[own].mean(0)
        at = (others == colour.view(1, 3, 1, 1)).all(1)
        torch.testing.assert_close(made.permute(0, 2, 3, 1)[at], expected.expand(int(at.sum()), 3), atol=1e-4, rtol=0)
    assert torch.equal(made, Lookup(maps, photos)(others))


def test_the_input_is_read_back_from_true_images_and_not_from_others() -> None:
    reader = Reader(*label_maps(20))
    maps, photos = label_maps(6, seed=1)
    true = reader.agreement(photos, maps)
    assert true.min() > 0.8
    assert reader.agreement(photos.roll(1, 0), maps).abs().max() < 0.4
    assert torch.equal(reader.agreement(torch.full_like(photos, 0.5), maps), torch.zeros(6))
    read = reader(photos).double()
    flat = [
        np.concatenate([(x[0, c] - x[0, c].mean()).numpy().ravel() for c in range(3)]) for x in (read, maps.double())
    ]
    assert true[0].item() == pytest.approx(np.corrcoef(*flat)[0, 1], rel=1e-6)
