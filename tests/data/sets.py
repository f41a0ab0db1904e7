"""Small folders of boxes and of anomalies, as users have them."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.probe.test_boxes import CLASSES, rectangles


def boxes(root: Path, train: int, test: int) -> None:
    """Rectangles on images of 48 × 32 pixels, as YOLO writes them."""
    for part, n, seed in (("train", train, 0), ("test", test, 1)):
        made = rectangles(n, seed)
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
        for i, (pixels, own) in enumerate(zip(made.store.pixels, made.boxes, strict=True)):
            Image.fromarray(pixels).save(root / "images" / part / f"{i}.png")
            rows = [f"{int(c)} {(a + x) / 64} {(b + y) / 48} {(x - a) / 32} {(y - b) / 24}" for a, b, x, y, c, _ in own]
            (root / "labels" / part / f"{i}.txt").write_text("\n".join(rows))
    (root / "data.yaml").write_text(f"names: [{', '.join(CLASSES)}]")


def defects(root: Path, good: int, test: int) -> None:
    """`good` images to learn from; `test` more and as many with a dark quarter to find."""
    random = np.random.default_rng(0)
    for folder, count in (("train/good", good), ("test/good", test), ("test/spot", test)):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(100, 140, (32, 32, 3), dtype=np.uint8)
            pixels[: 8 * folder.endswith("spot")] = 20
            Image.fromarray(pixels).save(root / folder / f"{i}.png")
