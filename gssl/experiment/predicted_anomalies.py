"""What `gssl predict` writes where a model finds anomalies: a map per image, in the image's own size, and scores."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gssl.data import decode
from gssl.data.cache import join
from gssl.data.opening import opened
from gssl.data.sources.folders import SUFFIXES, Told, images_below, one_line
from gssl.data.values import Mapping
from gssl.engine import outputs
from gssl.engine.files import write_text
from gssl.errors import UsageError
from gssl.experiment import told
from gssl.experiment.models import Model
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
    names, beside = _images_of(folder)
    place = out.with_name(f"{out.stem}_maps")
    files = mask_names(names)
    for file in files:
        outputs.check(place / file, ".png", force)
    mapping = Mapping(model.range)
    given = mapping.of("new", join(folder, names), None, decode.threads(0)) or "full"
    rows, skipped, maps = list[list[Any]](), list[str](), dict[str, np.ndarray]()
    for name, file in zip(names, files, strict=True):
        try:
            with opened(folder / name) as source:
                image = decode.picture(source, str(folder / name), given)
        except Exception as error:  # Pillow raises anything on malformed files
            skipped.append(f"{folder / name} ({one_line(f'{type(error).__name__}: {error}')})")
            continue
        score, maps[file] = found(model, as_read(image, model.size), (image.height, image.width), device)
        rows.append([name, f"{score:.6g}", f"{place.name}/{file}", image.height, image.width])
    told.left_out(beside)
    told.skipped(skipped, len(names))
    told.mapping(mapping, "this network")
    if not rows:
        raise UsageError(f"{folder}: none of its {len(names)} images can be read")
    white = max(float(own.max()) for own in maps.values())
    for file, own in maps.items():
        save(own / max(white, 1e-12), place / file)
    rows.sort(key=lambda row: -float(row[1]))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([["file", "score", "map", "height", "width"], *rows])
    writer.writerows([text.rsplit(" (", 1)[0].removeprefix(f"{folder}/"), *[""] * 4] for text in skipped)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    outputs.describe(out, about | {"white": white})
    made: dict[str, Any] = {"file": str(out), "maps": str(place), "images": len(rows), "white": white}
    return made | {"skipped": skipped, "probe": model.text.get("probe")}


def _images_of(folder: Path) -> tuple[list[str], Told]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of images")
    beside = Told()
    names = images_below(folder, [], beside)
    if not names:
        rest = "".join(f"; {text}" for text in beside.texts())
        raise UsageError(
            f"{folder}: no images in it; expected files that end in {', '.join(SUFFIXES[:4])} or the like{rest}"
        )
    return names, beside


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
