"""What `gssl predict` writes of sounds: a class per file, of each as much as the model learned from."""

import csv
import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from gssl.data import audio
from gssl.data.audio import Shape, WrongAudio
from gssl.data.sources.audio import sounds_below
from gssl.engine import outputs
from gssl.engine.files import write_text
from gssl.errors import UsageError
from gssl.experiment.models import Model
from gssl.nets.log_mel import SoundInputs

BATCH = 64


def write(
    model: Model, folder: Path, out: Path, device: torch.device, about: dict[str, Any], force: bool
) -> dict[str, Any]:
    """A row per sound below `folder` in `out`: path, label, probability, and the probability of every class. Files that
    are wrong have a row without a label. Raises UsageError."""
    names = sounds_below(folder) if folder.is_dir() else []
    if not names:
        raise UsageError(f"{folder}: no sounds below it; give a folder with {', '.join(audio.SUFFIXES)} files")
    inputs = cast(SoundInputs, model.backbone.inputs)
    shape = Shape(int(inputs.rate or 0), int(inputs.samples or 0))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "label", "probability", *(f"probability_{name}" for name in model.classes)])
    skipped: list[str] = []
    for start in range(0, len(names), BATCH):
        some = names[start : start + BATCH]
        rows = [_read(f"{folder}/{name}", shape, skipped) for name in some]
        known = [row for row in rows if row is not None]
        given = iter(_probabilities(model, known, device))
        for name, row in zip(some, rows, strict=True):
            if row is None:
                writer.writerow([name, *[""] * (2 + len(model.classes))])
                continue
            p = next(given)
            best = int(p.argmax())
            writer.writerow([name, model.classes[best], f"{p[best]:.4f}", *(f"{value:.4f}" for value in p)])
    if len(skipped) == len(names):
        raise UsageError(f"{folder}: none of {len(names)} sounds can be read; the first is {skipped[0]}")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    outputs.describe(out, about)
    made = {"file": str(out), "images": len(names) - len(skipped), "classes": model.classes, "skipped": skipped}
    return made | {"probe": model.text.get("probe")}


def _read(path: str, shape: Shape, skipped: list[str]) -> np.ndarray | None:
    try:
        return audio.read(path, shape).samples
    except WrongAudio as error:
        skipped.append(f"{path} ({error})")
        return None


@torch.no_grad()
def _probabilities(model: Model, rows: list[np.ndarray], device: torch.device) -> np.ndarray:
    """(n, classes)."""
    if not rows:
        return np.zeros((0, len(model.classes)))
    found: np.ndarray = model.probabilities(torch.from_numpy(np.stack(rows)).to(device)).cpu().numpy()
    return found
