"""Errors of predicted frames, against torchmetrics and against sums written out."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from gssl.metrics.forecast import MOVING, errors, ratio_interval, ssim, straight_on


@pytest.fixture
def frames() -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    base = torch.rand(1, 4, 3, 24, 20, generator=g)
    return (base + 0.1 * torch.randn(3, 4, 3, 24, 20, generator=g)).clamp(0, 1)


def test_ssim_and_psnr_are_those_of_torchmetrics(frames) -> None:
    predicted, true, last = frames
    _, places = structural_similarity_index_measure(
        predicted, true, data_range=1.0, kernel_size=11, sigma=1.5, return_full_image=True
    )
    theirs = places[..., 5:-5, 5:-5].flatten(1).mean(1)  # where the window lies within the image
    found = errors(predicted, true, last)
    torch.testing.assert_close(found.ssim, theirs, atol=1e-5, rtol=1e-5)
    for i in range(4):
        own = peak_signal_noise_ratio(predicted[i], true[i], data_range=1.0)
        torch.testing.assert_close(found.psnr[i], own, atol=1e-4, rtol=1e-4)


def test_equal_frames_have_no_error(frames) -> None:
    found = errors(frames[1], frames[1], frames[2])
    assert found.mse.max() == 0 and found.psnr.min() == 100 and torch.allclose(found.ssim, torch.ones(4))
    small = frames[..., :8, :9]
    assert torch.isfinite(ssim(small[0], small[1])).all()


def test_moving_pixels_are_those_that_differ_from_the_last_frame(frames) -> None:
    predicted, true, last = (x.double().numpy() for x in frames)
    found = errors(*frames)
    for i in range(4):
        error, count = 0.0, 0
        for y in range(24):
            for x in range(20):
                if max(abs(true[i, c, y, x] - last[i, c, y, x]) for c in range(3)) > MOVING:
                    error += sum((predicted[i, c, y, x] - true[i, c, y, x]) ** 2 for c in range(3))
                    count += 3
        assert int(found.moving[i]) == count and float(found.moving_error[i]) == pytest.approx(error, rel=1e-4)


def test_straight_on_goes_on_and_stays_in_range() -> None:
    before, last = torch.tensor([0.2, 0.9]), torch.tensor([0.3, 0.5])
    torch.testing.assert_close(straight_on(before, last, 2), torch.tensor([0.5, 0.0]))


def test_the_interval_of_a_ratio_counts_groups() -> None:
    random = np.random.default_rng(0)
    below = random.uniform(1, 2, 40)
    above = below * np.repeat(random.uniform(0.5, 1, 8), 5)
    ratio, low, high = ratio_interval(above, below, None)
    same, lower, higher = ratio_interval(above, below, np.repeat(np.arange(8), 5))
    assert ratio == same == pytest.approx(above.sum() / below.sum())
    assert lower < low < ratio < high < higher
