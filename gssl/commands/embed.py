"""`gssl embed RUN FOLDER`: the features of every image in a folder, by a trained network."""

from pathlib import Path
from typing import Any

import numpy as np

from gssl.engine import outputs
from gssl.engine.device import pick_device
from gssl.errors import UsageError
from gssl.experiment import captioned
from gssl.experiment.answers import features
from gssl.experiment.trained import encoder_of, images_in


def embed(run: Path, folder: Path, out: Path, device: str = "auto", force: bool = False) -> dict[str, Any]:
    """Write features (n, d) float32 and paths of all images below `folder` to `out` (.npz).

    Of a run that learned from images with captions `shared` (n, k) beside them, of length 1: vectors in the space of
    both sides. There `folder` may be a .txt file: of each of its lines `shared` (n, k) and `texts`. Raises UsageError.
    """
    outputs.check(out, ".npz", force)
    if captioned.is_run(run) and folder.is_file():
        return _texts(run, folder, out, device)
    network, view, text = encoder_of(run, "embed with a finished train-gan, pretrain-ssl, transfer or compare run")
    target = pick_device(device)
    skipped: list[str] = []
    images = images_in(folder, view.need, skipped, text.get("range"))
    found = features(network.to(target), images, view, target)
    paths = np.array([images.name(i) for i in range(len(images))])
    out.parent.mkdir(parents=True, exist_ok=True)
    mark = outputs.npz_mark({"schema": "gssl.embed/1", "run": str(run), "view": view.record(), "range": images.range})
    both: dict[str, Any] = (
        {"shared": captioned.read(run)[0].to(target).images(images, target)} if captioned.is_run(run) else {}
    )
    np.savez(out, features=found, paths=paths, gssl=np.array(mark), **both)
    return {"file": str(out), "images": len(images), "dim": int(found.shape[1]), "skipped": skipped}


def _texts(run: Path, file: Path, out: Path, device: str) -> dict[str, Any]:
    """Vectors of the lines of a file that are not blank."""
    if file.suffix.lower() != ".txt":
        raise UsageError(f"{file}: expected a folder of images, or a .txt file with a text in every line")
    try:
        texts = [line for line in file.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    if not texts:
        raise UsageError(f"{file}: has no text; put one into every line")
    network, text = captioned.read(run)
    target = pick_device(device)
    found = network.to(target).texts(captioned.encoded(run, text, texts), target)
    out.parent.mkdir(parents=True, exist_ok=True)
    mark = outputs.npz_mark({"schema": "gssl.embed/1", "run": str(run)})
    np.savez(out, shared=found, texts=np.array(texts), gssl=np.array(mark))
    return {"file": str(out), "texts": len(texts), "dim": int(found.shape[1])}
