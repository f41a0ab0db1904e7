"""What a finished run without pairs makes of images: a picture, translated files, and figures on held-out images."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gssl.data import Draws
from gssl.engine import outputs
from gssl.engine.files import read_json, write_text
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment.generation import LEAST, MOST, Asked, held_out
from gssl.experiment.generators import BACK, RESIDUAL, as_stored, kind_of, load_translator
from gssl.experiment.new_pictures import NewPictures
from gssl.experiment.predicted_masks import mask_names
from gssl.experiment.trained import splits_of
from gssl.experiment.translation import TRAIN
from gssl.experiment.unpaired import Domains, Way, in_batches, measure, save_twos
from gssl.figures.style import png_text
from gssl.metrics.evaluator import make_evaluator
from gssl.nets.translator import SMALLEST

STEP = 4  # a translator halves the sides twice


def is_run(run: Path) -> bool:
    """Whether a run's generator has learned from two domains without pairs."""
    return kind_of(run) == RESIDUAL


def draw(run: Path, n: int, out: Path, seed: int, device: torch.device, root: str | None = None) -> dict[str, Any]:
    """Write inputs with their outputs on the right to the PNG `out`, of at most `n` validation images by the seed.
    root: where the run's images lie now."""
    network, _ = load_translator(run, device)
    splits, _ = splits_of(run, root)
    given = Domains.of(splits.val, n, Draws(seed), network.shape.size).given
    save_twos(given, as_stored(in_batches(network, device)(given)), out)
    return {"file": str(out), "images": len(given), "size": network.shape.size, "seed": seed}


def evaluate_run(run: Path, asked: Asked, device: torch.device) -> dict[str, Any]:
    """`gssl.unpaired/1`: `gssl.experiment.unpaired.measure` on held-out images. Raises UsageError."""
    if asked.truncation is not None:
        raise UsageError(f"--truncation {asked.truncation}: {run} makes images from images, there is no z to cut")
    network, text = load_translator(run, device)
    back = load_translator(run, device, BACK)[0] if (run / "weights" / f"{BACK}.json").is_file() else None
    splits, _ = splits_of(run, asked.root)
    size, draws = network.shape.size, Draws(asked.seed)
    evaluator = make_evaluator(asked.evaluator, splits, size, device, asked.evaluator_weights)
    count = splits.summary["counts"][asked.split]
    if count < LEAST:
        raise UsageError(f"{run}: the {asked.split} split has {count} images, at least {LEAST} are needed")
    held = Domains.of(held_out(run, splits, asked), asked.images or MOST, draws, size)
    known = Domains.of(splits.train, TRAIN, draws, size)
    say(f"{len(held.given):,} {asked.split} images, {len(held.made):,} of the wanted domain, by {evaluator.name}")
    own = Way(in_batches(network, device), back and in_batches(back, device))
    return {
        "schema": "gssl.unpaired/1",
        "run": str(run),
        "method": text["method"]["name"],
        "generator": text["sha256"],
        "evaluator": evaluator.record(),
        "split": asked.split,
        "n_train": [len(known.given), len(known.made)],
        "seed": asked.seed,
        "data": splits.hash,
        **measure(own, held, known, evaluator, device),
        "test_openings": (read_json(run / "status.json") or {}).get("test_openings", 0),
    }


# ── files of the user's own ──────────────────────────────────────────────────────────────────────


def write(
    run: Path, folder: Path, out: Path, device: torch.device, about: dict[str, Any], force: bool
) -> dict[str, Any]:
    """Every image below `folder` translated, as PNGs of the same height and width in a folder beside `out`
    (OUT_images), and a row per image in `out`: file, translated. Raises UsageError.

    An image is translated whole, its short side scaled to the size that the generator has learned from, so masks and
    boxes of it fit what is written, and no detail is finer than that size has.
    """
    outputs.check(out, ".csv", force)
    network, text = load_translator(run, device)
    pictures = NewPictures(None, folder)
    files, place = mask_names(pictures.names), out.with_name(f"{out.stem}_images")
    for file in files:
        outputs.check(place / file, ".png", force)
    apply, table = in_batches(network, device), io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "translated"])
    for (name, image), file in zip(pictures, files, strict=True):
        writer.writerow([name, "" if image is None else f"{place.name}/{file}"])
        if image is None:
            continue
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
        made = (whole(pixels, network.shape.size, apply)[0] * 255).round().to(torch.uint8).permute(1, 2, 0)
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(made.contiguous().numpy()).resize(image.size, Image.Resampling.BICUBIC)
        picture.save(place / file, pnginfo=png_text())
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    outputs.describe(out, about | {"model_sha256": text["sha256"]})
    count = len(files) - len(pictures.skipped)
    return {"file": str(out), "translated": str(place), "images": count, "skipped": pictures.skipped}


def whole(image: Tensor, size: int, apply: Any) -> Tensor:
    """`apply` on an image (1, 3, h, w) in [0, 1] of any sides: the short one scaled to `size`, both continued by
    reflection to a multiple of 4. (1, 3, h', w') of 256 levels, without what was added."""
    height, width = image.shape[-2:]
    scale = size / min(height, width)
    sides = [max(SMALLEST, round(side * scale)) for side in (height, width)]
    x = F.interpolate(image, size=sides, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    more = [-side % STEP for side in sides]
    made: Tensor = apply(F.pad(x, (0, more[1], 0, more[0]), mode="reflect"))
    return as_stored(made[..., : sides[0], : sides[1]])
