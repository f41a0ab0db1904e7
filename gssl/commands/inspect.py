"""`gssl inspect RUN`: which images a trained backbone holds to be alike, as pictures of the validation split.

neighbours.png: a validation image per row, then its nearest training images by cosine; framed green where the class is
the same, red where not (grey without labels). map.png: validation images in two dimensions, one colour per class, or
the images themselves where there are no labels, or too many classes. Where another run is given to compare with also
cka.png: how much alike the two backbones' stages arrange these images.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gssl.data import Draws, Images
from gssl.engine.device import pick_device
from gssl.engine.files import read_json
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment import weight_sources
from gssl.experiment.diagnostics import listed, stage_features
from gssl.experiment.trained import described_weights, splits_of
from gssl.figures import diagrams
from gssl.figures.generator import Sheet, pixels
from gssl.figures.grid import save_grid
from gssl.metrics.cka import cka_matrix
from gssl.probe.features import extract

BATCH = 256
ROWS, NEAREST = 10, 10
LEAST = 5  # images: fewer have no neighbourhoods
BANK = 5000  # training images among which neighbours are sought
SMALL = 64  # pixels: smaller images are drawn at twice their size
THUMBNAILS = 200  # where there are no classes to colour
FRAME = {True: (0.1, 0.65, 0.2), False: (0.85, 0.15, 0.1), None: (0.6, 0.6, 0.6)}


def inspect(
    run: Path, out: Path, images: int = 1000, device: str = "auto", against: Path | None = None
) -> dict[str, Any]:
    """Write the pictures into the folder `out`, all or none; `against`: another run, to compare the stages with.

    Never reads the test split. Raises UsageError.
    """
    for folder in (run, against) if against else (run,):
        described_weights(folder, "backbone", "inspect a finished train-gan or pretrain-ssl run")
    if out.exists() and not out.is_dir():
        raise UsageError(f"-o {out}: expected a folder for the pictures, this is a file")
    splits, written = splits_of(run)
    status = read_json(run / "status.json") or {}
    size = int(written["data"]["size"])
    target = pick_device(device)
    origin = weight_sources.find_weights(str(run))
    assert origin.backbone is not None
    network, _ = weight_sources.build(origin, origin.backbone, size, 0)
    network.to(target).to(memory_format=torch.channels_last)
    draws = Draws(written["seed"])

    def some(name: str, part: Images, count: int) -> tuple[Images, np.ndarray]:
        chosen = part.subset(np.sort(draws.permutation(f"inspect/{name}", 0, len(part))[:count]))
        return chosen, extract(network, chosen, size, BATCH, target)

    held, points = some("val", splits.val, images)
    bank, others = some("train", splits.pretrain, BANK)
    if len(held) < LEAST:
        raise UsageError(f"{run}: its validation split has {len(held)} images, at least {LEAST} are needed for a map")
    rows = np.sort(draws.permutation("inspect/rows", 0, len(held))[:ROWS])
    order = nearest(points[rows], others)[:, :NEAREST]
    same = bank.labels[order] == held.labels[rows][:, None]
    judged = (bank.labels[order] >= 0) & (held.labels[rows][:, None] >= 0)
    queries = pixels(held.subset(rows), size)
    found = pixels(bank.subset(order.ravel()), size).unflatten(0, order.shape)
    alike = compared(network, size, held, against, target) if against else None
    if alike and alike["images"] != (status.get("inputs") or {}).get("images"):
        say(f"note: {against} was trained on other images than {run}, or on another split of them")
    tiles = []
    for i, query in enumerate(queries):
        tiles.append(_framed(query, None))
        tiles += [_framed(x, bool(s) if k else None) for x, s, k in zip(found[i], same[i], judged[i], strict=True)]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        folder = Path(beside)
        save_grid(torch.stack(tiles), folder / "neighbours.png", columns=1 + order.shape[1])
        thumbnails = pixels(held.subset(np.arange(min(len(held), THUMBNAILS))), size)
        heading = f"Features of {status['command']} {run.name}: {len(held):,} validation images"
        diagrams.feature_map(points, held.labels, splits.classes, thumbnails, heading, folder / "map.png")
        files = ["neighbours.png", "map.png"]
        if alike:
            assert against is not None
            names = f"{status['command']} {run.name}", f"{alike['command']} {against.name}"
            heading = f"CKA between the stages of two backbones: {len(held):,} validation images of {run.name}"
            diagrams.cka([(*names, alike["stages"])], heading, folder / "cka.png")
            files.append("cka.png")
        if status["command"] == "train-gan":
            Sheet(run, written, splits, held, bank, network.eval(), target).save(folder / "generator.png")
            files.append("generator.png")
        out.mkdir(exist_ok=True)
        for name in files:
            (folder / name).replace(out / name)
    share = float(same[judged].mean()) if judged.any() else None
    return {"files": files, "images": len(held), "same_class": share, **({"cka": alike} if alike else {})}


def compared(network: nn.Module, size: int, images: Images, other: Path, device: torch.device) -> dict[str, Any]:
    """CKA of a backbone's stages (rows) with those of the run `other`, which sees `images` at its own size."""
    status, written = read_json(other / "status.json") or {}, read_json(other / "weights" / "backbone.json")
    origin = weight_sources.find_weights(str(other))
    assert origin.backbone is not None
    its_size = origin.size or size
    its, _ = weight_sources.build(origin, origin.backbone, its_size, 0)
    its.to(device).to(memory_format=torch.channels_last)
    mine = stage_features(network, images, size, device)
    theirs = stage_features(its, images, its_size, device)
    found = {"against": str(other), "command": status.get("command"), "method": written["method"], "n": len(images)}
    found["images"] = (status.get("inputs") or {}).get("images")  # hash of what it was trained on
    return found | {"stages": listed(cka_matrix(mine, theirs))}


def nearest(queries: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """(m, n) indices of `bank` (n, d) by falling cosine to each of `queries` (m, d)."""
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (queries, bank))
    order: np.ndarray = np.argsort(-(a @ b.T), axis=1, kind="stable")
    return order


def _framed(image: Tensor, same: bool | None) -> Tensor:
    if image.shape[1] < SMALL:
        image = image.repeat_interleave(2, 1).repeat_interleave(2, 2)
    framed = torch.tensor(FRAME[same])[:, None, None].repeat(1, image.shape[1] + 4, image.shape[2] + 4)
    framed[:, 2:-2, 2:-2] = image
    return framed
