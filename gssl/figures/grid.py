"""Grids of images as PNG files."""

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor


def save_grid(images: Tensor, path: Path, columns: int | None = None, gap: int = 2) -> None:
    """Write (N, 3, H, W) images in [0, 1] as one PNG, row by row, `columns` wide (default: nearly square)."""
    n, _, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = torch.full((3, rows * (height + gap) - gap, columns * (width + gap) - gap), 255, dtype=torch.uint8)
    pixels = (images.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    for i, image in enumerate(pixels):
        y, x = (i // columns) * (height + gap), (i % columns) * (width + gap)
        sheet[:, y : y + height, x : x + width] = image
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet.permute(1, 2, 0).contiguous().numpy()).save(path)
