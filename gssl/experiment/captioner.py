"""Runs of ssl=caption: what they write beside their backbone, and captions of other images."""

import csv
import io
from pathlib import Path
from typing import Any

import torch

from gssl import schemas
from gssl.data import Images
from gssl.data.draws import digest
from gssl.engine import outputs
from gssl.engine.files import read_json, sha256, write_json, write_text
from gssl.engine.run import command_line, now
from gssl.errors import UsageError
from gssl.experiment.answers import relative
from gssl.experiment.caption_evaluation import Writer, evaluate
from gssl.experiment.captioned import tokenizer_of
from gssl.experiment.generation import Asked, held_out
from gssl.experiment.trained import encoder_of, images_in, splits_of
from gssl.nets.captioner import Captioner
from gssl.nets.weights import read_tensors, save_weights
from gssl.ssl.caption import Caption

SCHEMA, EXPECTED = "gssl.captioner/1", "give a finished run of ssl=caption"


def write(method: Caption, run: Path, images: Images, cfg: schemas.PretrainSSL) -> dict[str, Any]:
    """Write weights/captioner.safetensors, its description and the tokenizer; returns the entry for result.json."""
    file = run / "weights" / "captioner.safetensors"
    hashed = save_weights(method.captioner, file)
    tokenizer = images.store.meta["tokenizer"]
    write_text(file.with_name("tokenizer.json"), tokenizer)
    own = method.cfg
    arguments = {"features": method.backbone.dim, "prefix": own.prefix, "decoder": own.decoder, "width": own.width}
    description = {
        "schema": SCHEMA,
        "method": own.name,
        "seed": cfg.seed,
        "sha256": hashed,
        "captioner": arguments | {"vocab": int(images.store.meta["tokens"])},
        "caption_tokens": cfg.data.caption_tokens,
        "tokenizer": digest("tokenizer", tokenizer).hex(),
    }
    write_json(file.with_suffix(".json"), description)
    return {"file": "weights/captioner.safetensors", "sha256": hashed}


def is_run(run: Path) -> bool:
    """Whether a run writes captions."""
    return (run / "weights" / "captioner.json").is_file()


def read(run: Path) -> tuple[Writer, dict[str, Any]]:
    """The networks of a finished run, on the CPU, and the description of its captioner. Raises UsageError."""
    file = run / "weights" / "captioner.safetensors"
    text = read_json(file.with_suffix(".json"))
    if not text or not file.is_file():
        raise UsageError(f"{run}: writes no captions; {EXPECTED}")
    if sha256(file) != text.get("sha256"):
        raise UsageError(f"{file}: its sha256 is not the one on record: damaged or replaced")
    network, view, _ = encoder_of(run, EXPECTED)
    captioner = Captioner(**text["captioner"])
    captioner.load_state_dict(read_tensors(file))
    return Writer(network, captioner.eval(), view.size, text["caption_tokens"]), text


def predict(run: Path, folder: Path, out: Path, device: torch.device, force: bool) -> dict[str, Any]:
    """Write a caption of each image below `folder` to `out` (.csv: path,caption), as `data=imagetext` reads it. Images
    that cannot be read are named, and have no caption. Raises UsageError."""
    outputs.check(out, ".csv", force)
    network, text = read(run)
    tokenizer = tokenizer_of(run, text)
    skipped: list[str] = []
    images = images_in(folder, network.size, skipped)
    found = network.to(device).written(network.features(images, device), device)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "caption"])
    for i, ids in enumerate(found):
        writer.writerow([relative(str(images.name(i)), folder), tokenizer.decode(ids.tolist())])
    for line in skipped:
        writer.writerow([relative(line.rsplit(" (", 1)[0], folder), ""])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    about = {"schema": "gssl.predictions/1", "run": str(run), "captioner_sha256": text["sha256"]}
    outputs.describe(out, about | {"folder": str(folder), "command": command_line(), "created": now()})
    return {"file": str(out), "images": len(images), "skipped": skipped}


def evaluate_run(run: Path, asked: Asked, device: torch.device) -> dict[str, Any]:
    """`gssl.captioning/1`: what `evaluate` says of validation or test images of a finished run. Raises UsageError."""
    if asked.truncation is not None or asked.images is not None:
        raise UsageError(f"-n and --truncation: {run} makes no images, and all with captions are read; leave them out")
    network, _ = read(run)
    splits, _ = splits_of(run, asked.root)
    held = held_out(run, splits, asked)
    found = evaluate(network, held, splits.pretrain, device, asked.split)
    status = read_json(run / "status.json") or {}
    return {
        "schema": "gssl.captioning/1",
        "run": str(run),
        "split": asked.split,
        "data": splits.hash,
        "test_openings": status.get("test_openings", 0),
        **found,
    }
