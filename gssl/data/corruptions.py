"""Common corruptions of test images, five strengths each (Hendrycks & Dietterich 2019, arXiv:1903.12261).

Strengths are the authors' own for CIFAR-10-C: those of their photographs of 224 pixels would leave little of an image
of 32. For other sides, what depends on pixels grows with the square root of side / 32 (the shorter side; never below
1): noise, blur and the number of pixels that become one. That is near what they chose for 64 pixels (strongest noise
.18, blur 1.5, half of the pixels along a side kept; here .14, 1.4 and .46) and for 224 (.38, 6 and .25; here .26, 2.6
and .25). Contrast knows no pixels and stays as it is; so does JPEG's quality, whose blocks of 8 pixels are a smaller
part of a larger image.

Unlike theirs, results are rounded to the nearest level; theirs are rounded down, which darkens a little.
"""

import io
import math

import numpy as np
from PIL import Image

from gssl.data.draws import Draws

STRENGTHS = (1, 2, 3, 4, 5)
SIDE = 32  # pixels for which the levels are meant
LEVELS: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation where white is 1
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # standard deviation in pixels
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor of the distance to the mean of the image's channel
    "jpeg": (80, 65, 58, 50, 40),  # quality
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # fraction of the pixels along a side that stay apart
}
KINDS = tuple(LEVELS)
TRUNCATE = 4.0  # standard deviations at which the blur's kernel ends
BLOCK = 1 << 22  # pixel values in floating point at once


def corrupt(pixels: np.ndarray, kind: str, strength: int, draws: Draws, first: int = 0) -> np.ndarray:
    """uint8 (N, H, W, C), C in {1, 3}, to a new array of the same shape.

    `kind` in `KINDS`, `strength` in `STRENGTHS`, 5 the strongest. A function of its arguments: image i gets the noise
    number first + i of `draws`, so that any batches of one set give the same images, and the same noise at every
    strength, only larger.
    """
    assert pixels.dtype == np.uint8 and pixels.ndim == 4 and strength in STRENGTHS
    level = LEVELS[kind][strength - 1]
    height, width, channels = pixels.shape[1:]
    growth = math.sqrt(max(1.0, min(height, width) / SIDE))
    result = np.empty_like(pixels)
    if kind == "jpeg":
        for image, out in zip(pixels, result, strict=True):
            out[:] = _jpeg(image, int(level))
        return result
    if kind == "gaussian_blur":
        down, across = _blur(level * growth, height), _blur(level * growth, width)
    elif kind == "pixelate":
        down, across = _cells(level / growth, height), _cells(level / growth, width)
    step = max(1, BLOCK // (height * width * channels))
    for start in range(0, len(pixels), step):
        x = pixels[start : start + step].astype(np.float32)
        if kind == "gaussian_noise":
            for i, image in enumerate(x, first + start):
                noise = draws.generator("corruptions/noise", i).standard_normal(image.shape, dtype=np.float32)
                image += np.float32(255 * level * growth) * noise
        elif kind == "contrast":
            mean = x.mean(axis=(1, 2), keepdims=True)
            x = (x - mean) * np.float32(level) + mean
        else:
            planes = down @ x.transpose(0, 3, 1, 2) @ across.T
            x = planes.transpose(0, 2, 3, 1)
        result[start : start + step] = np.rint(x).clip(0, 255)
    return result


def _blur(sigma: float, side: int) -> np.ndarray:
    """(side, side) float32: row i holds the weights that make pixel i; beyond the border its pixel is repeated."""
    reach = int(TRUNCATE * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    source = (np.arange(side)[:, None] + offsets).clip(0, side - 1)
    matrix = np.zeros((side, side))
    np.add.at(matrix, (np.arange(side)[:, None], source), weights / weights.sum())
    return matrix.astype(np.float32)


def _cells(fraction: float, side: int) -> np.ndarray:
    """(side, side) float32: every pixel becomes the mean of those whose centres lie in the same cell as its own."""
    count = max(1, int(fraction * side))
    cell = (2 * np.arange(side) + 1) * count // (2 * side)
    same = cell[:, None] == cell
    return (same / same.sum(axis=1, keepdims=True)).astype(np.float32)


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """(H, W, C) through a JPEG file in memory, with Pillow's usual settings (colour at half the resolution)."""
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
    with Image.open(file) as read:
        return np.asarray(read).reshape(image.shape)
