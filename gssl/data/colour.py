"""Colour jitter, blur, solarize and cut-out of whole batches with per-image parameters: pure functions.

Brightness, contrast, saturation, hue and grayscale are each affine in RGB, so one 3×3 matrix and one offset
per image make all of them. Without the clamps in between, they commute: there is no order to shuffle.
Parameters are tensors on the image's device; nothing here waits for the device.
"""

import math

import numpy as np
import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_YIQ = torch.tensor([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)], dtype=torch.float64)
_TURN = torch.tensor([(0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)], dtype=torch.float64)
_GREY = torch.tensor([LUMA] * 3, dtype=torch.float64)
# Any jitter is a sum of these: what makes grey, the identity on chroma, a quarter turn of chroma.
_BASIS = torch.stack([_GREY, torch.eye(3, dtype=torch.float64) - _GREY, torch.linalg.inv(_YIQ) @ _TURN @ _YIQ])


def colour_matrix(
    brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor, gray: Tensor
) -> tuple[Tensor, Tensor]:
    """One affine map of RGB per image: x ↦ matrix · x + lift · (mean grey of the image).

    `brightness`, `contrast`, `saturation`: (B,) factors, 1 changes nothing, as in torchvision's `adjust_*`.
    `hue`: (B,) turns in [-0.5, 0.5] by which the chroma plane of YIQ (BT.601) is rotated, in the direction of
    torchvision's `adjust_hue`. `gray`: (B,) bool or {0, 1}: the image is replaced by its luma.
    Returns the matrix (B, 3, 3) and the lift (B,), float32 and for pixels on any scale.

    YIQ keeps luma where HSV keeps the largest and the smallest channel, so it differs from `adjust_hue`:
    mean absolute difference on 1,000 CIFAR-10 images in [0, 1], clamped, .0298 at hue +0.1, .0309 at -0.1 and
    .0175 for hues uniform in between, where YIQ changes the images by .0175 on average and HSV by .0135.
    """
    gain = brightness * contrast
    chroma = gain * saturation * (1 - gray.to(gain.dtype))
    cos, sin = cos_sin(2 * math.pi * hue)
    grey, chroma_kept, chroma_turned = _BASIS.to(gain.device, gain.dtype, non_blocking=True).unbind(0)
    # Written out: a product of matrices this small costs more in threads than in sums.
    matrix = gain.view(-1, 1, 1) * grey
    matrix = torch.addcmul(matrix, (chroma * cos).view(-1, 1, 1), chroma_kept)
    matrix = torch.addcmul(matrix, (chroma * sin).view(-1, 1, 1), chroma_turned)
    return matrix, brightness * (1 - contrast)


def cos_sin(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of an angle in radians, elementwise.

    On the CPU by NumPy: torch starts its threads even for 256 numbers, which took 8 ms instead of 2 µs where
    another process kept the second core busy.
    """
    if angle.device.type == "cpu":
        return torch.from_numpy(np.cos(angle.numpy())), torch.from_numpy(np.sin(angle.numpy()))
    return torch.cos(angle), torch.sin(angle)


def mean_grey(x: Tensor) -> Tensor:
    """Mean luma of each image, (B, C, H, W) with C in {1, 3} → (B,), on the scale of `x`."""
    mean = x.flatten(2).mean(2)
    if mean.shape[1] == 1:
        return mean[:, 0]
    return LUMA[0] * mean[:, 0] + LUMA[1] * mean[:, 1] + LUMA[2] * mean[:, 2]


def apply_colour(x: Tensor, matrix: Tensor, lift: Tensor, mean: Tensor | None = None) -> Tensor:
    """`colour_matrix` applied to `x` (B, C, H, W), float, C in {1, 3}; not clamped, a new tensor.

    `mean` (B,) is the mean grey that contrast pulls towards; None: that of `x`. One channel stays one.
    """
    offset = lift * (mean_grey(x) if mean is None else mean)
    if x.shape[1] == 1:  # each row of the matrix sums to the gain: chroma does not exist
        gain = matrix[:, 0].sum(1)
        return torch.addcmul(offset.view(-1, 1, 1, 1), x, gain.view(-1, 1, 1, 1))
    return torch.baddbmm(offset.view(-1, 1, 1), matrix, x.flatten(2)).view(x.shape)


def blur_kernel_size(size: int) -> int:
    """Taps of the blur for images of `size` pixels: odd, about a tenth of the side (SimCLR), at least 3."""
    return max(3, size // 10 // 2 * 2 + 1)


def blur(x: Tensor, sigma: Tensor, taps: int) -> Tensor:
    """Gaussian blur with one sigma per image; borders are reflected, as in torchvision's `gaussian_blur`.

    `x`: (B, C, H, W) float; `sigma`: (B,) pixels, above 0; `taps`: odd, at most twice the side minus one.
    Each axis is one batched product with a banded matrix that holds the taps and the reflection.
    """
    batch, channels, height, width = x.shape
    across = _band(sigma, taps, width)
    down = across if height == width else _band(sigma, taps, height)
    x = torch.bmm(x.reshape(batch, channels * height, width), across.transpose(1, 2))
    return torch.matmul(down[:, None], x.view(batch, channels, height, width))


def _band(sigma: Tensor, taps: int, side: int) -> Tensor:
    """(B, side, side): row i holds the weights with which the pixels of a line make its blurred pixel i."""
    reach = torch.arange(taps, device=sigma.device) - taps // 2
    weight = torch.softmax(-0.5 * (reach / sigma[:, None]) ** 2, dim=1)  # normalised Gaussian
    line = torch.arange(side, device=sigma.device)
    source = (line[None, :] + reach[:, None]).abs()  # (taps, side), reflected at 0
    source = (side - 1) - ((side - 1) - source).abs()  # and at the far end
    one_hot = (source[:, :, None] == line).to(weight.dtype)  # F.one_hot would wait for the device
    return (weight @ one_hot.flatten(1)).view(-1, side, side)


def solarize(x: Tensor, mask: Tensor) -> Tensor:
    """Invert the values from one half up, x ↦ 1 - x, in images where `mask` (B,) is true. `x` in [0, 1]."""
    # min(x, 1 - x) does just that; min(x, 2 - x) = x leaves the others alone.
    return torch.minimum(x, (2 - mask.to(x.dtype)).view(-1, 1, 1, 1) - x)


def cutout(x: Tensor, centre: Tensor, side: int, mask: Tensor) -> Tensor:
    """Fill a square with mid-grey 0.5, which backbones normalise to 0, in images where `mask` (B,) is true.

    `centre`: (B, 2) row and column in [0, 1) of the sides; `side`: pixels. The square is cut at the borders
    (DeVries and Taylor 2017, arXiv:1708.04552). `x`: (B, C, H, W), values in [0, 1].
    """
    height, width = x.shape[-2:]
    rows = _inside(centre[:, 0], side, height) & mask.bool()[:, None]
    columns = _inside(centre[:, 1], side, width)
    square = (rows[:, :, None] & columns[:, None, :])[:, None]
    return x.clone().masked_fill_(square, 0.5)  # out of place, masked_fill would lose channels_last


def _inside(centre: Tensor, side: int, length: int) -> Tensor:
    """(B, length) bool: the `side` pixels around `centre` (B,) in [0, 1)."""
    start = torch.floor(centre * length) - side // 2
    line = torch.arange(length, device=centre.device)
    return (line >= start[:, None]) & (line < start[:, None] + side)
