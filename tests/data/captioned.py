"""A small set of images with captions: a square of one of three colours, high or low."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 60, 220)}


def picture(path: Path, colour: str, low: bool, seed: int, side: int = 24) -> Path:
    """A PNG of `side` pixels: the square lies at its left, at a height that `seed` moves a little."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(90, 130, (side, side, 3)).astype(np.uint8)
    top = (14 if low else 2) + seed % 2
    pixels[top : top + 8, 4 : 4 + 8 + seed % 4] = COLOURS[colour]
    Image.fromarray(pixels).save(path)
    return path


def set_of_captioned(root: Path, count: int = 60, split: bool = True) -> Path:
    """captions.csv with two captions of every image, a group of two and a class, and the images."""
    rows = []
    for i in range(count):
        colour, low = list(COLOURS)[i % 3], i // 3 % 2 == 1
        name = f"images/{i:03}.png"
        picture(root / name, colour, low, i)
        part = ["train", "train", "train", "val", "test"][i // 6 % 5] if split else ""
        rest = f"{part},g{i // 2},{'low' if low else 'high'}"
        rows += [f'{name},"a {colour} square, {"low" if low else "high"}",{rest}', f"{name},{colour},{rest}"]
    (root / "captions.csv").write_text("path,caption,split,group,class\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return root
