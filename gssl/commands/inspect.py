"""`gssl inspect RUN`: which images a trained backbone holds to be alike, as two pictures of the validation split.

neighbours.png: a validation image per row, then its nearest training images by cosine; framed green where the class is
the same, red where not (grey without labels). map.png: validation images in two dimensions by t-SNE (van der Maaten &
Hinton 2008), one colour per class, or the images themselves where there are no labels.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl.commands.evaluate import splits_of
from gssl.commands.sheet import Sheet, pixels
from gssl.commands.use import described
from gssl.data import Draws, Images
from gssl.engine import source
from gssl.engine.device import pick_device
from gssl.engine.files import read_json
from gssl.engine.grid import save_grid
from gssl.errors import UsageError
from gssl.probe.features import extract

BATCH = 256
ROWS, NEAREST = 10, 10
LEAST = 5  # images: fewer have no neighbourhoods
BANK = 5000  # training images among which neighbours are sought
SMALL = 64  # pixels: smaller images are drawn at twice their size
THUMBNAILS = 200  # where there are no classes to colour
FRAME = {True: (0.1, 0.65, 0.2), False: (0.85, 0.15, 0.1), None: (0.6, 0.6, 0.6)}


def inspect(run: Path, out: Path, images: int = 1000, device: str = "auto") -> dict[str, Any]:
    """Write the pictures into the folder `out`, all or none. Never reads the test split. Raises UsageError."""
    described(run, "backbone", "inspect a finished train-gan or pretrain-ssl run")
    if out.exists() and not out.is_dir():
        raise UsageError(f"-o {out}: expected a folder for the pictures, this is a file")
    splits, written = splits_of(run)
    status = read_json(run / "status.json") or {}
    size = int(written["data"]["size"])
    target = pick_device(device)
    origin = source.find(str(run))
    assert origin.backbone is not None
    network, _ = source.build(origin, origin.backbone, size, 0)
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
    tiles = []
    for i, query in enumerate(queries):
        tiles.append(_framed(query, None))
        tiles += [_framed(x, bool(s) if k else None) for x, s, k in zip(found[i], same[i], judged[i], strict=True)]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        folder = Path(beside)
        save_grid(torch.stack(tiles), folder / "neighbours.png", columns=1 + order.shape[1])
        _map(points, held, splits.classes, size, folder / "map.png", f"{status['command']} {run.name}")
        files = ["neighbours.png", "map.png"]
        if status["command"] == "train-gan":
            Sheet(run, written, splits, held, bank, network.eval(), target).save(folder / "generator.png")
            files.append("generator.png")
        out.mkdir(exist_ok=True)
        for name in files:
            (folder / name).replace(out / name)
    share = float(same[judged].mean()) if judged.any() else None
    return {"files": files, "images": len(held), "same_class": share}


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


def _map(points: np.ndarray, images: Images, classes: list[str], size: int, path: Path, title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage
    from sklearn.manifold import TSNE

    unit = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    perplexity = min(30.0, (len(unit) - 1) / 3)
    place = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(unit)
    figure, axes = pyplot.subplots(figsize=(8, 7), dpi=120)
    labelled = images.labels >= 0
    if labelled.any():
        colours = pyplot.get_cmap("tab10" if len(classes) <= 10 else "gist_rainbow", max(len(classes), 2))
        for c, name in enumerate(classes):
            mine = images.labels == c
            axes.scatter(
                place[mine, 0], place[mine, 1], s=12, color=colours(c), label=name if len(classes) <= 20 else None
            )
        if len(classes) <= 20:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    else:
        few = np.arange(min(len(images), THUMBNAILS))
        axes.scatter(place[:, 0], place[:, 1], s=1, color="0.8")
        for xy, image in zip(place[few], pixels(images.subset(few), size), strict=True):
            picture = OffsetImage(image.permute(1, 2, 0).numpy(), zoom=24 / size)
            axes.add_artist(AnnotationBbox(picture, xy, frameon=False))
    axes.set(xticks=[], yticks=[], title=f"{title}: {len(images):,} validation images by t-SNE")
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)
