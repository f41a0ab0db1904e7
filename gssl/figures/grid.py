"""Grids of images as PNG files."""

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gssl.figures import style

FRAME, SMALL = 2, 64  # pixels of a frame; smaller images are framed at twice their size
FRAMES = {True: style.SAME, False: style.OTHER, None: style.UNKNOWN}


def save_grid(images: Tensor, path: Path, columns: int | None = None, gap: int = 2) -> None:
    """Write (N, 3, H, W) images in [0, 1] as one PNG, row by row, `columns` wide (default: nearly square)."""
    n, _, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    grid = torch.full((3, rows * (height + gap) - gap, columns * (width + gap) - gap), 255, dtype=torch.uint8)
    pixels = (images.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    for i, image in enumerate(pixels):
        y, x = (i // columns) * (height + gap), (i % columns) * (width + gap)
        grid[:, y : y + height, x : x + width] = image
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid.permute(1, 2, 0).contiguous().numpy()).save(path, pnginfo=style.png_text())


def framed(image: Tensor, same: bool | None) -> Tensor:
    """An image (3, H, W) in a frame that says whether it is of the same class as another; None where nobody knows."""
    if image.shape[1] < SMALL:
        image = image.repeat_interleave(2, 1).repeat_interleave(2, 2)
    height, width = image.shape[1:]
    colour = torch.tensor(style.rgb(FRAMES[same])) / 255
    whole = colour[:, None, None].repeat(1, height + 2 * FRAME, width + 2 * FRAME)
    whole[:, FRAME:-FRAME, FRAME:-FRAME] = image
    return whole
