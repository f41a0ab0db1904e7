"""What `gssl predict` writes where a model predicts boxes: COCO's json of results, and a table.

OUT.csv has a row per image, OUT_boxes.json what COCO calls a data set: images, categories and annotations with scores,
in pixels of the image as it is (upright).
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl.engine import outputs
from gssl.engine.files import write_text
from gssl.experiment.models import Model
from gssl.experiment.new_pictures import NewPictures
from gssl.experiment.predicted_masks import as_read
from gssl.probe.boxes import BoxNetwork, predicted
from gssl.statistics.detection import Detections

SURE = 0.3  # score from which a box is counted in the table


def write(
    model: Model, folder: Path, out: Path, device: torch.device, about: dict[str, Any], force: bool
) -> dict[str, Any]:
    """Boxes of every image below `folder` in a json beside `out` (OUT_boxes.json), and a row per image in `out`.

    A row: file, height, width, and how many boxes of each class have a score of `SURE` or more.
    """
    pictures = NewPictures(model.range, folder)
    place = out.with_name(f"{out.stem}_boxes.json")
    outputs.check(place, ".json", force)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "height", "width", *(f"boxes_{name}" for name in model.classes)])
    images: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for name, image in pictures:
        if image is None:
            writer.writerow([name, *[""] * (2 + len(model.classes))])
            continue
        found = boxes(model, as_read(image, model.size), (image.height, image.width), device)
        images.append({"id": len(images) + 1, "file_name": name, "width": image.width, "height": image.height})
        rows += annotations(found, len(images), len(rows) + 1)
        counts = np.bincount(found.classes[found.scores >= SURE], minlength=len(model.classes))
        writer.writerow([name, image.height, image.width, *counts.tolist()])
    out.parent.mkdir(parents=True, exist_ok=True)
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(model.classes)]
    write_text(place, json.dumps({"images": images, "annotations": rows, "categories": categories}) + "\n")
    write_text(out, table.getvalue())
    outputs.describe(out, about)
    found_: dict[str, Any] = {"file": str(out), "boxes": str(place), "images": len(images)}
    return found_ | {"classes": model.classes, "skipped": pictures.skipped, "probe": model.text.get("probe")}


@torch.no_grad()
def boxes(model: Model, image: np.ndarray, size: tuple[int, int], device: torch.device) -> Detections:
    """Of an image (H, W, C) uint8 as the network reads it; `size`: h and w of the image that edges are in pixels of."""
    network = model.network
    assert isinstance(network, BoxNetwork)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].to(device).float().div_(255)
    (found,) = predicted(network, x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last))
    scale = np.array([size[1] / image.shape[1], size[0] / image.shape[0]] * 2)
    return found._replace(boxes=found.boxes * scale)


def annotations(found: Detections, image: int, first: int) -> list[dict[str, Any]]:
    """Boxes as COCO has them: left, top, width, height; ids from `first`."""
    made = []
    for i, (edges, kind, score) in enumerate(zip(found.boxes.tolist(), found.classes, found.scores, strict=True)):
        left, top, right, bottom = edges
        box = [round(value, 2) for value in (left, top, right - left, bottom - top)]
        row = {"id": first + i, "image_id": image, "category_id": int(kind) + 1, "bbox": box}
        made.append(row | {"area": round(box[2] * box[3], 2), "score": round(float(score), 5), "iscrowd": 0})
    return made
