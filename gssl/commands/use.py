"""What one does with a finished run: `gssl sample`, `gssl embed`, `gssl predict`."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from gssl import schemas
from gssl.data import Draws, Images
from gssl.data.sources.imagefolder import read_folder
from gssl.engine.device import pick_device
from gssl.engine.files import read_json, sha256, write_text
from gssl.errors import UsageError
from gssl.experiment import weight_sources
from gssl.experiment.generators import load_generator
from gssl.figures.grid import save_grid
from gssl.nets.backbone import build_backbone
from gssl.nets.inputs import Inputs
from gssl.nets.weights import load_into
from gssl.probe.features import extract
from gssl.probe.finetune import Classifier, predict_proba

BATCH = 256


def described(run: Path, name: str, what: str) -> tuple[Path, dict[str, Any]]:
    """The weights file `name` of a run and its description, hash checked. Raises UsageError."""
    if not run.is_dir():
        raise UsageError(f"{run}: no such run directory; `gssl runs list` shows what there is")
    file = run / "weights" / f"{name}.safetensors"
    text = read_json(file.with_suffix(".json"))
    if not file.is_file() or not text:
        status = read_json(run / "status.json") or {}
        kind = f"{status['command']} run, {status['state']}" if status else "no gssl run"
        raise UsageError(f"{run}: has no {name} ({kind}); {what}")
    if sha256(file) != text["sha256"]:
        raise UsageError(f"{file}: its sha256 is not the one on record: damaged or replaced")
    return file, text


def read_classifier(file: Path | str) -> Classifier:
    """The fine-tuned network in `file`, which the .json beside it describes, in eval mode: images → logits."""
    text = read_json(Path(file).with_suffix(".json"))
    backbone = build_backbone(backbone_of(text), text["backbone"]["size"])
    if text.get("input"):  # older ones do not say
        backbone.inputs = Inputs(**text["input"])
    network = Classifier(backbone, len(text["classes"]), Draws(0))
    load_into(network, load_file(file), ignore=())  # a classifier: nothing to unwrap
    return network.eval()


def backbone_of(text: dict[str, Any]) -> schemas.Backbone:
    """The network that a description of weights names."""
    return schemas.Backbone(**{key: value for key, value in text["backbone"].items() if key != "size"})


def _writable(out: Path, suffix: str) -> None:
    if out.suffix != suffix:
        raise UsageError(f"-o {out}: expected a file name that ends in {suffix}")
    if out.parent.exists() and not out.parent.is_dir():
        raise UsageError(f"-o {out}: {out.parent} is not a folder")


def sample(
    run: Path,
    n: int,
    out: Path,
    seed: int,
    device: str = "auto",
    truncation: float | None = None,
    classes: list[str] | None = None,
) -> dict[str, Any]:
    """Write a grid of `n` images of a GAN run's generator (its running average) to `out` (.png).

    `classes`: of a conditional generator, in turn; None: all. `truncation`: |z| stays below; None: the run's own.
    """
    made = load_generator(run, pick_device(device))
    _writable(out, ".png")
    if classes and not made.classes:
        raise UsageError(f"--class: the generator of {run} ({made.method}) is not told the class; leave it out")
    if unknown := [name for name in classes or [] if name not in made.classes]:
        raise UsageError(f"--class {unknown[0]}: the classes of {run} are {', '.join(made.classes)}")
    if truncation is not None and truncation <= 0:
        raise UsageError(f"--truncation {truncation}: expected a number above 0")
    labels = made.labels(n)
    if classes:
        labels = np.array([made.classes.index(name) for name in classes])[np.arange(n) % len(classes)]
    images = torch.cat([part.cpu() for part in made.batches(labels, seed, "sample", truncation)])
    # a conditional generator's grid has a class per column
    columns = len(classes or made.classes) if made.classes and len(classes or made.classes) <= 20 else None
    save_grid(images, out, columns=columns)
    return {"file": str(out), "images": n, "size": made.size, "seed": seed}


def _folder(folder: Path, size: int) -> Images:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of images")
    return read_folder(folder, size)


def embed(run: Path, folder: Path, out: Path, device: str = "auto") -> dict[str, Any]:
    """Write features (n, d) float32 and paths of all images below `folder` to `out` (.npz)."""
    described(run, "backbone", "embed with a finished train-gan or pretrain-ssl run")
    _writable(out, ".npz")
    target = pick_device(device)
    origin = weight_sources.find(str(run))
    assert origin.backbone is not None and origin.size is not None
    images = _folder(folder, origin.size)
    network, _ = weight_sources.build(origin, origin.backbone, origin.size, 0)
    network.to(target).to(memory_format=torch.channels_last)
    features = extract(network, images, origin.size, BATCH, target)
    paths = np.array([images.name(i) for i in range(len(images))])
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, features=features, paths=paths)
    return {"file": str(out), "images": len(images), "dim": int(features.shape[1])}


def predict(run: Path, folder: Path, out: Path, device: str = "auto") -> dict[str, Any]:
    """Write path, label and probability of every image below `folder` to `out` (.csv)."""
    file, text = described(run, "finetuned", "predict with a `gssl transfer probe.use=[finetune]` run")
    _writable(out, ".csv")
    target = pick_device(device)
    images = _folder(folder, text["image_size"])
    network = read_classifier(file).to(target).to(memory_format=torch.channels_last)
    sure = predict_proba(network, images, text["image_size"], target)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["path", "label", "probability"])
    for i, row in enumerate(sure):
        best = int(row.argmax())
        rows.writerow([images.name(i), text["classes"][best], f"{float(row[best]):.4f}"])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    return {"file": str(out), "images": len(images), "classes": text["classes"]}
