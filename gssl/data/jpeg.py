"""JPEG files as bytes: made, and decoded by the quickest decoder that is installed.

simplejpeg where it is installed, else torchvision, and Pillow for what that one refuses: all of them are libjpeg-turbo
with its exact settings, and their pixels are the same. All free the interpreter lock while they decode.
"""

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

QUALITY = 95


def decoded(data: np.ndarray, channels: int, turn: int = 1) -> np.ndarray:
    """uint8 (h, w, channels), upright, of the file `data`, uint8 (n,). Raises what Pillow raises where it is damaged.

    channels: 1, or 3, where grey is replicated; turn: EXIF orientation, 1 to 8.
    """
    try:
        pixels = _decoder()(data, channels)
    except Exception:  # whatever it is that one of them does not take
        pixels = by_pillow(data.tobytes(), channels)
    return upright(pixels, turn)


def by_pillow(data: bytes, channels: int) -> np.ndarray:
    """uint8 (h, w, channels), as it lies in the file."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return pixels[:, :, None] if channels == 1 else pixels


@cache
def _decoder() -> Callable[[np.ndarray, int], np.ndarray]:
    try:
        return _simplejpeg()
    except ImportError:
        return _torchvision()


def _simplejpeg() -> Callable[[np.ndarray, int], np.ndarray]:
    from simplejpeg import decode_jpeg

    return lambda data, channels: np.asarray(decode_jpeg(data, "GRAY" if channels == 1 else "RGB", strict=False))


def _torchvision() -> Callable[[np.ndarray, int], np.ndarray]:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    modes = {1: ImageReadMode.GRAY, 3: ImageReadMode.RGB}

    def decode(data: np.ndarray, channels: int) -> np.ndarray:
        found: Any = decode_jpeg(torch.from_numpy(data.copy()), modes[channels])  # torch warns of read-only memory
        return np.asarray(found.permute(1, 2, 0).numpy())

    return decode


def upright(pixels: np.ndarray, turn: int) -> np.ndarray:
    """(h, w, c) rotated and mirrored as EXIF's `turn` says, in C order."""
    if turn in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def encoded(pixels: np.ndarray) -> bytes:
    """A file of uint8 (h, w, c), grey or colour, whose colours are not subsampled."""
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(
        file, "JPEG", quality=QUALITY, subsampling=0
    )
    return file.getvalue()
