"""`gssl predict RUN FOLDER`: the class of every image in a folder, by a fine-tuned network."""

import csv
import io
from pathlib import Path
from typing import Any

import torch

from gssl.engine.device import pick_device
from gssl.engine.files import write_text
from gssl.experiment.trained import check_output, described_weights, images_in, read_classifier
from gssl.probe.finetune import predict_proba


def predict(run: Path, folder: Path, out: Path, device: str = "auto") -> dict[str, Any]:
    """Write path, label and probability of every image below `folder` to `out` (.csv)."""
    file, text = described_weights(run, "finetuned", "predict with a `gssl transfer probe.use=[finetune]` run")
    check_output(out, ".csv")
    target = pick_device(device)
    images = images_in(folder, text["image_size"])
    network = read_classifier(file).to(target).to(memory_format=torch.channels_last)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["path", "label", "probability"])
    for i, confidence in enumerate(predict_proba(network, images, text["image_size"], target)):
        best = int(confidence.argmax())
        rows.writerow([images.name(i), text["classes"][best], f"{float(confidence[best]):.4f}"])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    return {"file": str(out), "images": len(images), "classes": text["classes"]}
