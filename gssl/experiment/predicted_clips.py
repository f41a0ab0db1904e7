"""What `gssl predict` writes of films: a class per film, by the clip in its middle."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gssl.data import centre, video
from gssl.data.sources.films import ANIMATED, FILMS, Film, films_below
from gssl.data.sources.folders import one_line
from gssl.data.video import Sampling, WrongVideo
from gssl.engine import outputs
from gssl.engine.files import write_text
from gssl.errors import UsageError
from gssl.experiment import told
from gssl.experiment.models import Model

BATCH = 16  # clips


def write(
    model: Model, folder: Path, out: Path, device: torch.device, about: dict[str, Any], force: bool
) -> dict[str, Any]:
    """A row per film below `folder` in `out`: file, label, probability, and the probability of every class.

    Films that cannot be read, or are too short, are named and have a row without a label. Raises UsageError.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of films")
    films = films_below(folder)
    if not films:
        raise UsageError(
            f"{folder}: no films in it; expected {', '.join((*FILMS[:4], *ANIMATED[:1]))} or frame folders"
        )
    sampling, skipped = _sampling(model), list[str]()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "label", "probability", *(f"probability_{name}" for name in model.classes)])
    for start in range(0, len(films), BATCH):
        some = films[start : start + BATCH]
        clips = [_clip(film, folder, sampling, int(model.size), skipped) for film in some]
        given = iter(_probabilities(model, [clip for clip in clips if clip is not None], device))
        for film, clip in zip(some, clips, strict=True):
            if clip is None:
                writer.writerow([film.name, *[""] * (2 + len(model.classes))])
                continue
            p = next(given)
            best = int(p.argmax())
            writer.writerow([film.name, model.classes[best], f"{p[best]:.4f}", *(f"{value:.4f}" for value in p)])
    told.skipped(skipped, len(films))
    if len(skipped) == len(films):
        raise UsageError(f"{folder}: none of its {len(films)} films can be read: {skipped[0]}")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, table.getvalue())
    outputs.describe(out, about)
    found = {"file": str(out), "images": len(films) - len(skipped), "classes": model.classes, "skipped": skipped}
    return found | {"probe": model.text.get("probe")}


def _sampling(model: Model) -> Sampling:
    """Which frames the model learnt from."""
    own = model.text["clip"]
    return Sampling(int(own["frames"]), int(own.get("stride") or 1), own.get("fps"))


def _clip(film: Film, folder: Path, sampling: Sampling, size: int, skipped: list[str]) -> Tensor | None:
    """(T, 3, size, size) in [0, 1]; None, and a line in `skipped`, where there is none."""
    try:
        frames = video.read(film, str(folder), sampling, size).frames[0]
    except WrongVideo as error:
        skipped.append(f"{folder / film.name} ({error.kind}: {one_line(str(error))})")
        return None
    return centre(torch.from_numpy(frames).permute(0, 3, 1, 2), size).expand(-1, 3, -1, -1)


@torch.no_grad()
def _probabilities(model: Model, clips: list[Tensor], device: torch.device) -> np.ndarray:
    """(n, classes)."""
    if not clips:
        return np.zeros((0, len(model.classes)))
    found: np.ndarray = model.probabilities(torch.stack(clips).to(device)).cpu().numpy()
    return found
