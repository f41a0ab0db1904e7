"""The folder of a model: model.safetensors, predict.json (`gssl.model/1`) and README.md, the model card."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

import gssl
from gssl.engine.device import synchronize
from gssl.engine.files import write_json, write_text
from gssl.engine.run import now
from gssl.experiment import model_card
from gssl.experiment.answers import BANK, NEIGHBOURS, THRESHOLD, quantiles
from gssl.experiment.export_formats import steps_of, values_of
from gssl.experiment.model_files import DESCRIPTION, MODEL, WEIGHTS, Described
from gssl.experiment.models import REFERENCE, read_model
from gssl.experiment.out_of_fold import OutOfFold, some
from gssl.experiment.probing import Prober
from gssl.experiment.tasks import Fitted
from gssl.experiment.transfer_results import description, tensors
from gssl.metrics.temperature import calibrate
from gssl.nets.weights import save_weights


def write(folder: Path, prober: Prober, f: Fitted, found: OutOfFold | None, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the model of a fit on all labelled images of `prober`: all three files or none. Returns predict.json.

    found: None where an image has no class. facts: what the comparison says of it (`arm`, `expected`, `data`, …).
    """
    text: dict[str, Any] = {"schema": MODEL, "gssl": gssl.__version__, "created": now(), "task": prober.task.name}
    text |= description(prober, f) | {"seed": prober.cfg.seed, "labels_used": True}
    text["trained"] = {"chosen": f.model.chosen, "images": len(prober.images), "images_hash": prober.images.hash}
    state = tensors(prober, f)
    if found is not None:
        text["calibration"] = calibrate(found.p, found.labels)
        if found.reference is not None:
            state[f"{REFERENCE}features"] = torch.from_numpy(_bank(prober, f)).float()
            text["unknown"] = _reference(found, len(state[f"{REFERENCE}features"]))
    if "range" in text:
        text["values"] = values_of(text["range"])
    text |= facts
    synchronize(prober.device)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        text["sha256"] = save_weights(state, beside / WEIGHTS)
        if found is not None and "clip" not in text:
            text["preprocessing"] = steps_of(read_model(Described(beside / WEIGHTS, text)), "gssl, and exports of it")
        write_json(beside / DESCRIPTION, text)
        write_text(beside / "README.md", model_card.card(text))
        if folder.exists():
            shutil.rmtree(folder)
        beside.chmod(0o755)
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return text


def _bank(prober: Prober, f: Fitted) -> Any:
    """Features of some training images by the network of the fit."""
    few = prober.images.subset(some(prober.images, BANK, prober.draws, "model/reference"))
    if f.reads != "network":
        return prober.features(few, "pooled", f.view)
    from gssl.data.preprocessing import Preprocessing
    from gssl.experiment.answers import features

    view = f.view or Preprocessing(prober.cfg.data.side)
    return features(f.answering.network.backbone, prober.pixels_at(few, view), view, prober.device)


def _reference(found: OutOfFold, bank: int) -> dict[str, Any]:
    assert found.reference is not None
    return {
        "method": f"mean cosine distance of the features to the {NEIGHBOURS} nearest of {bank} training images",
        "neighbours": NEIGHBOURS,
        "bank": bank,
        "n": len(found.reference),
        "quantiles": quantiles(found.reference),
        "threshold": THRESHOLD,
    }
