"""What `gssl predict` writes where a model finds anomalies: a map per image, in the image's own size, and scores."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gssl.engine import outputs
from gssl.engine.files import write_text
from gssl.experiment.models import Model
from gssl.experiment.new_pictures import NewPictures
from gssl.experiment.predicted_masks import as_read, mask_names
from gssl.figures import style
from gssl.probe.anomaly import AnomalyNetwork


def write(
    model: Model, folder: Path, out: Path, device: torch.device, about: dict[str, Any], force: bool
) -> dict[str, Any]:
    """Maps as grey PNGs in a folder beside `out` (OUT_maps), and a row per image in `out`, the highest score first.

    A row: file, score (how far the farthest patch is from good images), map, height, width. White in a map is the
    largest value of all maps of the folder, which the description of `out` names (`white`).
    """
    pictures = NewPictures(model.range, folder)
    place = out.with_name(f"{out.stem}_maps")
    files = mask_names(pictures.names)
    for file in files:
        outputs.check(place / file, ".png", force)
    rows, unread, maps = list[list[Any]](), list[str](), dict[str, np.ndarray]()
    for (name, image), file in zip(pictures, files, strict=True):
        if image is None:
            unread.append(name)
            continue
        score, maps[file] = found(model, as_read(image, model.size), (image.height, image.width), device)
        rows.append([name, f"{score:.6g}", f"{place.name}/{file}", image.height, image.width])
    white = max(float(own.max()) for own in maps.values())
    for file, own in maps.items():
        save(own / max(white, 1e-12), place / file)
    rows.sort(key=lambda row: -float(row[1]))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([["file", "score", "map", "height", "width"], *rows])
    writer.writerows([name, *[""] * 4] for name in unread)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    outputs.describe(out, about | {"white": white})
    made: dict[str, Any] = {"file": str(out), "maps": str(place), "images": len(rows), "white": white}
    return made | {"skipped": pictures.skipped, "probe": model.text.get("probe")}


@torch.no_grad()
def found(model: Model, image: np.ndarray, size: tuple[int, int], device: torch.device) -> tuple[float, np.ndarray]:
    """The score of an image (H, W, 3) uint8 as the network reads it, and its map float32 of `size` (h, w)."""
    network = model.network
    assert isinstance(network, AnomalyNetwork)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].to(device).float().div_(255)
    score, map_ = network.scored(x.contiguous(memory_format=torch.channels_last))
    if map_.shape[1:] != size:
        map_ = torch.nn.functional.interpolate(map_[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    return float(score), map_[0].float().cpu().numpy()


def save(shares: np.ndarray, path: Path) -> None:
    """A grey PNG of values (h, w) in [0, 1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray((np.clip(shares, 0, 1) * 255).round().astype(np.uint8))
    picture.save(path, pnginfo=style.png_text())
