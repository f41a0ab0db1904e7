"""`gssl embed RUN FOLDER`: the features of every image in a folder, by a trained network."""

from pathlib import Path
from typing import Any

import numpy as np

from gssl.engine import outputs
from gssl.engine.device import pick_device
from gssl.experiment.answers import features
from gssl.experiment.trained import encoder_of, images_in


def embed(run: Path, folder: Path, out: Path, device: str = "auto", force: bool = False) -> dict[str, Any]:
    """Write features (n, d) float32 and paths of all images below `folder` to `out` (.npz)."""
    outputs.check(out, ".npz", force)
    network, view, text = encoder_of(run, "embed with a finished train-gan, pretrain-ssl, transfer or compare run")
    target = pick_device(device)
    skipped: list[str] = []
    images = images_in(folder, view.need, skipped, text.get("range"))
    found = features(network.to(target), images, view, target)
    paths = np.array([images.name(i) for i in range(len(images))])
    out.parent.mkdir(parents=True, exist_ok=True)
    mark = outputs.npz_mark({"schema": "gssl.embed/1", "run": str(run), "view": view.record(), "range": images.range})
    np.savez(out, features=found, paths=paths, gssl=np.array(mark))
    return {"file": str(out), "images": len(images), "dim": int(found.shape[1]), "skipped": skipped}
