"""`gssl inspect RUN`: which images a trained backbone finds alike, as pictures of the validation split.

neighbours.png: a validation image per row, then its nearest training images by cosine; framed green where the class is
the same, pink where not (grey without labels). map.png: validation images in two dimensions, one colour per class, or
the images themselves where there are no labels, or too many classes. Where another run is given to compare with also
cka.png: how alike the two backbones' stages arrange these images. Of a GAN run also generator.png.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl.data import Draws, Images, targets
from gssl.engine import outputs
from gssl.engine.device import pick_device
from gssl.engine.files import read_json
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment import stage_similarity
from gssl.experiment.answers import features
from gssl.experiment.crops import centre_crops
from gssl.experiment.generator_examples import GeneratorExamples, explained
from gssl.experiment.trained import described_weights, encoder_of, splits_of
from gssl.figures import cka, feature_map
from gssl.figures.grid import framed, save_grid
from gssl.metrics.tsne import tsne
from gssl.words import count

PICTURES = ("neighbours.png", "map.png", "cka.png", "generator.png")
ROWS, NEAREST = 10, 10
LEAST = 5  # images: fewer have no neighbourhoods
BANK, THUMBNAILS = 5000, 200  # training images among which neighbours are sought; pictures where there are no classes


def inspect(
    run: Path,
    out: Path,
    images: int = 1000,
    device: str = "auto",
    against: Path | None = None,
    force: bool = False,
    root: str | None = None,
) -> dict[str, Any]:
    """Write the pictures into the folder `out`, all or none; `against`: another run, to compare the stages with.

    `root`: where the run's images lie now. Never reads the test split. Raises UsageError.
    """
    if against:
        described_weights(against, "backbone", "compare with a finished train-gan or pretrain-ssl run")
    if out.exists() and not out.is_dir():
        raise UsageError(f"-o {out}: expected a folder for the pictures, this is a file")
    if out.resolve() != (run / "pictures").resolve():  # which is ours
        for file in PICTURES:
            outputs.check(out / file, ".png", force)
    network, view, _ = encoder_of(run, "inspect a finished train-gan, pretrain-ssl, transfer or compare run")
    splits, written = splits_of(run, root)
    status = read_json(run / "status.json") or {}
    name, target, draws = f"{status.get('command')} {run.name}", pick_device(device), Draws(written.get("seed", 0))
    size, goal = view.size, targets.of_columns(splits.columns)
    network.to(target).to(memory_format=torch.channels_last)

    # features of some validation images, and of the training images among which their neighbours are sought
    held, bank = chosen(splits.val, draws, "val", images), chosen(splits.pretrain, draws, "train", BANK)
    if len(held) < LEAST:
        raise UsageError(f"{run}: its validation split has {count(len(held), goal.row)}, a map needs {LEAST} or more")
    of_held, of_bank = (features(network, part, view, target) for part in (held, bank))
    rows = np.sort(draws.permutation("inspect/rows", 0, len(held))[:ROWS])
    order = nearest(of_held[rows], of_bank)[:, :NEAREST]
    same = bank.labels[order] == held.labels[rows][:, None]
    known = (bank.labels[order] >= 0) & (held.labels[rows][:, None] >= 0)
    compared = stage_similarity.of_runs(network, size, held, against, target) if against else None
    if compared and compared["images"] != (status.get("inputs") or {}).get("images"):
        say(f"note: {against} was trained on other images than {run}, or on another split of them")

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        folder = Path(beside)
        queries, found = centre_crops(held.subset(rows), size), centre_crops(bank.subset(order.ravel()), size)
        tiles = neighbour_tiles(queries, found.unflatten(0, order.shape), same, known)
        save_grid(tiles, folder / "neighbours.png", columns=1 + order.shape[1])
        thumbnails = centre_crops(held.subset(np.arange(min(len(held), THUMBNAILS))), size)
        heading, points = goal.said(f"Features of {name}: {len(held):,} validation images"), tsne(of_held)
        feature_map.figure(points, held.labels, splits.classes, thumbnails, heading).save(folder / "map.png")
        if compared and against:
            table = cka.Similarity(name, f"{compared['command']} {against.name}", compared["stages"])
            heading = f"CKA between the stages of two backbones: {len(held):,} validation images of {run.name}"
            cka.figure([table], goal.said(heading)).save(folder / "cka.png")
        if explained(run, status):
            GeneratorExamples(run, written, splits, held, bank, network.eval(), target).save(folder / "generator.png")
        out.mkdir(exist_ok=True)
        files = [file for file in PICTURES if (folder / file).exists()]
        for file in files:
            (folder / file).replace(out / file)
    fraction = float(same[known].mean()) if known.any() else None
    return {"files": files, "images": len(held), "same_class": fraction, **({"cka": compared} if compared else {})}


def chosen(part: Images, draws: Draws, name: str, count: int) -> Images:
    """At most `count` images of a split, drawn."""
    return part.subset(np.sort(draws.permutation(f"inspect/{name}", 0, len(part))[:count]))


def nearest(queries: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """(m, n) indices of `bank` (n, d) by falling cosine to each of `queries` (m, d)."""
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (queries, bank))
    order: np.ndarray = np.argsort(-(a @ b.T), axis=1, kind="stable")
    return order


def neighbour_tiles(queries: Tensor, found: Tensor, same: np.ndarray, known: np.ndarray) -> Tensor:
    """Each image (m, 3, S, S) before its neighbours (m, k, 3, S, S), in frames that say whether classes are equal."""
    tiles = []
    for query, row, equal, labelled in zip(queries, found, same, known, strict=True):
        tiles.append(framed(query, None))
        tiles += [framed(x, bool(e) if k else None) for x, e, k in zip(row, equal, labelled, strict=True)]
    return torch.stack(tiles)
