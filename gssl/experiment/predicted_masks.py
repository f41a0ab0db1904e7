"""What `gssl predict` writes where a model predicts masks: a PNG per image, in the image's own size, and a table."""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gssl.data.sources.segmentation import goal
from gssl.engine import outputs
from gssl.engine.files import write_text
from gssl.experiment.answers import mask
from gssl.experiment.models import Model
from gssl.experiment.new_pictures import NewPictures
from gssl.figures import style
from gssl.figures.masks import colours_of


def write(
    model: Model, folder: Path, out: Path, device: torch.device, about: dict[str, Any], force: bool
) -> dict[str, Any]:
    """Masks as palette PNGs of class ids in a folder beside `out` (OUT_masks), and a row per image in `out`.

    A row: file, mask, height, width, and what fraction of the image each class has.
    """
    pictures = NewPictures(model.range, folder)
    place = out.with_name(f"{out.stem}_masks")
    files = mask_names(pictures.names)
    for file in files:
        outputs.check(place / file, ".png", force)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    fractions = [f"fraction_{name}" for name in model.classes]
    writer.writerow(["file", "mask", "height", "width", *fractions])
    for (name, image), file in zip(pictures, files, strict=True):
        if image is None:
            writer.writerow([name, *[""] * (3 + len(fractions))])
            continue
        found = mask(model, as_read(image, model.size), (image.height, image.width), device)
        save(found, len(model.classes), place / file)
        part = np.bincount(found.ravel(), minlength=len(model.classes)) / found.size
        writer.writerow([name, f"{place.name}/{file}", *found.shape, *(f"{p:.4f}" for p in part)])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    outputs.describe(out, about)
    found_: dict[str, Any] = {"file": str(out), "masks": str(place), "images": len(files) - len(pictures.skipped)}
    return found_ | {"classes": model.classes, "skipped": pictures.skipped, "probe": model.text.get("probe")}


def as_read(image: Image.Image, size: Any) -> np.ndarray:
    """uint8 (H, W, 3) as images are stored for training: `size` as data.size."""
    wanted = goal(*image.size, size)
    if wanted != image.size:
        image = image.resize(wanted, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(image.convert("RGB"))


def save(ids: np.ndarray, classes: int, path: Path) -> None:
    """A palette PNG: the value of a pixel is its class, and it has the class's colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(ids)
    picture.putpalette([part for colour in colours_of(classes) for part in style.rgb(colour)])
    picture.save(path, pnginfo=style.png_text())


def mask_names(names: list[str]) -> list[str]:
    """A PNG for each image; where two would have the same, both keep their suffix."""
    short = [str(Path(name).with_suffix(".png")) for name in names]
    counts = Counter(short)
    return [name if counts[name] == 1 else f"{full}.png" for name, full in zip(short, names, strict=True)]
