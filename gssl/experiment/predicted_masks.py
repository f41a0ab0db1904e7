"""What `gssl predict` writes where a model predicts masks: a PNG per image, in the image's own size, and a table."""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gssl.data import decode
from gssl.data.cache import join
from gssl.data.opening import opened
from gssl.data.sources.folders import SUFFIXES, Told, images_below, one_line
from gssl.data.sources.segmentation import goal
from gssl.data.values import Mapping
from gssl.engine import outputs
from gssl.engine.files import write_text
from gssl.errors import UsageError
from gssl.experiment import told
from gssl.experiment.answers import mask
from gssl.experiment.models import Model
from gssl.figures import style
from gssl.figures.masks import colours_of


def write(
    model: Model, folder: Path, out: Path, device: torch.device, about: dict[str, Any], force: bool
) -> dict[str, Any]:
    """Masks as palette PNGs of class ids in a folder beside `out` (OUT_masks), and a row per image in `out`.

    A row: file, mask, height, width, and what fraction of the image each class has.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of images")
    beside = Told()
    names = images_below(folder, [], beside)
    if not names:
        rest = "".join(f"; {text}" for text in beside.texts())
        raise UsageError(
            f"{folder}: no images in it; expected files that end in {', '.join(SUFFIXES[:4])} or the like{rest}"
        )
    place = out.with_name(f"{out.stem}_masks")
    files = mask_names(names)
    for file in files:
        outputs.check(place / file, ".png", force)
    mapping = Mapping(model.range)
    given = mapping.of("new", join(folder, names), None, decode.threads(0)) or "full"
    table, skipped = io.StringIO(), list[str]()
    writer = csv.writer(table, lineterminator="\n")
    fractions = [f"fraction_{name}" for name in model.classes]
    writer.writerow(["file", "mask", "height", "width", *fractions])
    for name, file in zip(names, files, strict=True):
        try:
            with opened(folder / name) as source:
                image = decode.picture(source, str(folder / name), given)
        except Exception as error:  # Pillow raises anything on malformed files
            skipped.append(f"{folder / name} ({one_line(f'{type(error).__name__}: {error}')})")
            writer.writerow([name, *[""] * (3 + len(fractions))])
            continue
        found = mask(model, as_read(image, model.size), (image.height, image.width), device)
        save(found, len(model.classes), place / file)
        part = np.bincount(found.ravel(), minlength=len(model.classes)) / found.size
        writer.writerow([name, f"{place.name}/{file}", *found.shape, *(f"{p:.4f}" for p in part)])
    told.left_out(beside)
    told.skipped(skipped, len(names))
    told.mapping(mapping, "this network")
    if len(skipped) == len(names):
        raise UsageError(f"{folder}: none of its {len(names)} images can be read")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    outputs.describe(out, about)
    found_: dict[str, Any] = {"file": str(out), "masks": str(place), "images": len(names) - len(skipped)}
    return found_ | {"classes": model.classes, "skipped": skipped, "probe": model.text.get("probe")}


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
