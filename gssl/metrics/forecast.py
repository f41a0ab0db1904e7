"""Predicted frames against true ones, and against what costs nothing: the last frame again, and straight on.

All errors are means per pixel and colour, of values in [0, 1]; papers that sum over the pixels of a frame have larger
numbers. Of a still background every prediction is right that says nothing, so errors are also given of moving pixels
alone: those that differ from the last frame by more than `MOVING`.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MOVING = 0.05  # difference from the last frame, of the colour that differs most
WINDOW, SIGMA = 11, 1.5  # of SSIM (Wang et al. 2004, IEEE Transactions on Image Processing 13)
K1, K2 = 0.01, 0.03
WORST = 1e-10  # least MSE for which a PSNR is computed: 100 dB
RESAMPLES = 1000
SEED = 0x5EED


class Errors(NamedTuple):
    """Of frames (B,): mean squared error, peak signal-to-noise ratio in dB, structural similarity, and of moving pixels
    the sum of squared errors and their number (pixels and colours)."""

    mse: Tensor
    psnr: Tensor
    ssim: Tensor
    moving_error: Tensor
    moving: Tensor


def errors(predicted: Tensor, true: Tensor, last: Tensor) -> Errors:
    """Of frames (B, C, H, W) in [0, 1] each; last: the last frame that was known."""
    square = (predicted - true).square()
    mse = square.flatten(1).mean(1)
    moving = ((true - last).abs().amax(1, keepdim=True) > MOVING).expand_as(square)
    own = (square * moving).flatten(1).sum(1)
    return Errors(mse, psnr_of(mse), ssim(predicted, true), own, moving.flatten(1).sum(1))


def psnr_of(mse: Tensor) -> Tensor:
    """In dB, of values in [0, 1]."""
    return -10 * torch.log10(mse.clamp(min=WORST))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (B,) of images (B, C, H, W) in [0, 1]: a Gaussian window, where it lies within the image.

    The window has 11 pixels, in smaller images the largest odd number of pixels that fits.
    """
    side = min(WINDOW, a.shape[-1] - (a.shape[-1] + 1) % 2, a.shape[-2] - (a.shape[-2] + 1) % 2)
    line = torch.arange(side, dtype=a.dtype, device=a.device) - (side - 1) / 2
    line = torch.exp(-line.square() / (2 * SIGMA**2))
    line = line / line.sum()
    channels = a.shape[1]

    def blurred(x: Tensor) -> Tensor:
        x = F.conv2d(x, line.view(1, 1, -1, 1).expand(channels, 1, side, 1), groups=channels)
        return F.conv2d(x, line.view(1, 1, 1, -1).expand(channels, 1, 1, side), groups=channels)

    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a.square(), blurred(b * b) - mean_b.square()
    cov = blurred(a * b) - mean_a * mean_b
    c1, c2 = K1**2, K2**2
    above = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    below = (mean_a.square() + mean_b.square() + c1) * (var_a.clamp(min=0) + var_b.clamp(min=0) + c2)
    return (above / below).flatten(1).mean(1)


def straight_on(before: Tensor, last: Tensor, horizon: int) -> Tensor:
    """Linear extrapolation: what changed last changes again, `horizon` times; in [0, 1]."""
    return (last + horizon * (last - before)).clamp(0, 1)


def ratio_interval(
    above: np.ndarray, below: np.ndarray, groups: np.ndarray | None, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """sum(above) / sum(below) of items (n,), and its 95% interval by the percentiles of a bootstrap.

    groups: int (n,), 0, 1, …: items that belong together are drawn together; None: each by itself.
    """
    of = np.arange(len(above)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(of.max()) + 1
    top, bottom = np.bincount(of, above, count), np.bincount(of, below, count)
    random = np.random.Generator(np.random.Philox(key=SEED))
    times = random.multinomial(count, np.full(count, 1 / count), size=resamples)
    low, high = np.percentile((times @ top) / np.maximum(times @ bottom, 1e-30), [2.5, 97.5])
    return float(top.sum() / max(bottom.sum(), 1e-30)), float(low), float(high)
