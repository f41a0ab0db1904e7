"""Images of a run's generator and the real ones that it was trained on, as files that have gone the same way.

Both are uint8 images of the generator's side, in grey or in colour as it makes them, saved as PNG by the same function:
`real/` and `fake/NAME/` in one folder. `data=fake` learns from such a folder. made.json in it says of which run each
part is, so that a second generator is added only where it was trained on the same images.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gssl.data import Draws
from gssl.engine.files import read_json, write_json
from gssl.errors import UsageError
from gssl.experiment.crops import centre_crops
from gssl.experiment.generators import as_stored, load_generator
from gssl.experiment.trained import splits_of

ABOUT, SCHEMA = "made.json", "gssl.real_and_fake/1"


def write(
    run: Path, out: Path, count: int, seed: int, device: torch.device, truncation: float | None = None
) -> dict[str, Any]:
    """Write `count` images of the run's generator to out/fake/METHOD-SEED, and as many real ones to out/real where
    there are none yet.

    Raises UsageError where the folder is somebody else's, has this generator already, or is of other images.
    """
    sampler = load_generator(run, device)
    splits, written = splits_of(run)
    name = f"{sampler.method}-{written['seed']}"
    known = read_json(out / ABOUT) or {}
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and known.get("schema") != SCHEMA)):
        raise UsageError(f"-o {out}: exists and was not written by gssl sample --files; choose another folder")
    channels = sampler.generator.shape.channels
    about = {"images": splits.hash, "size": sampler.generator.shape.size, "channels": channels}
    if known and known["of"] != about:
        raise UsageError(
            f"-o {out}: its images are of {known['of']['size']} px and of another data set or split than those of"
            f" {run}; real and generated images must be of one; choose another folder"
        )
    if name in known.get("generators", {}):
        raise UsageError(f"-o {out}: has {name} already, of {known['generators'][name]}; choose another folder")
    real = None if known else _real(splits.pretrain, count, sampler.generator.shape.size, channels, written["seed"])
    made = sampler.stored(sampler.labels(count), seed, "sample/files", truncation, channels)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        parts = {"real": real, f"fake/{name}": made}
        for place, pixels in parts.items():
            if pixels is not None:
                _save(pixels, Path(beside) / place)
        for place, pixels in parts.items():  # whole or not at all
            if pixels is not None:
                (out / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(Path(beside) / place, out / place)
    generators = {**known.get("generators", {}), name: str(run)}
    write_json(out / ABOUT, {"schema": SCHEMA, "of": about, "generators": generators})
    counted = {"real": 0 if real is None else len(real), "generated": len(made)}
    return {"folder": str(out), "generator": name, **counted, "size": sampler.generator.shape.size, "seed": seed}


def _real(images: Any, count: int, size: int, channels: int, seed: int) -> np.ndarray:
    """uint8 (n, size, size, channels) of images that a generator was trained on, as it saw them."""
    chosen = np.sort(Draws(seed).permutation("sample/files", 0, len(images))[:count])
    crops = as_stored(centre_crops(images.subset(chosen), size))[:, :channels]
    pixels: np.ndarray = (crops * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


def _save(pixels: np.ndarray, folder: Path) -> None:
    """PNG files of uint8 (n, h, w, 1 or 3). Nothing in them says where they come from."""
    folder.mkdir(parents=True)
    for i, image in enumerate(pixels):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{i:05}.png")
