"""What a transfer run records beside its scores: accuracy per class, confusion, calibration, CKA, corruptions.

Everything is computed of answers that were given already, or of labelled training images. Nothing here opens the test
set, and nothing here chooses: which probe is shown is decided by what probes declare, which label budget by the number
of labels.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl import schemas
from gssl.data import Images
from gssl.data.corruptions import KINDS, STRENGTHS, corrupt
from gssl.data.memory import in_memory
from gssl.data.preprocessing import Preprocessing
from gssl.engine.outputs import open_to_append
from gssl.engine.progress import Meter, say
from gssl.errors import Interrupted
from gssl.experiment import diagnostic_pictures, stage_similarity
from gssl.experiment.crops import centre_crops
from gssl.experiment.evaluated import Evaluated
from gssl.experiment.probing import POOLED, Prober
from gssl.experiment.tasks import Fitted
from gssl.metrics import calibration
from gssl.metrics.accuracy import confusion
from gssl.probe import majority

OF_CLASSES = ("confusion.png", "mistakes.png", "saliency.png", "reliability.png", "map.png", "cka.png")
CHUNK = 64 << 20  # bytes of test images that are corrupted at a time


def diagnose(evaluated: Evaluated, cfg: schemas.Diagnose, run_dir: Path) -> dict[str, Any]:
    """Entries for result.json; writes run_dir/pictures, all or none.

    What takes more than arithmetic never costs the scores: where it fails, a line says so, the traceback goes to
    log.txt and its entry is missing.
    """
    result = answers(evaluated)
    if evaluated.prober.origin.kind == majority.NAME:  # nothing to look at
        return result
    more: dict[str, Callable[[], Any]] = {}
    if cfg.pictures:  # its picture is what it is for; it reads images twice
        more["cka"] = lambda: stage_similarity.of_prober(evaluated.prober)
    if cfg.corruptions:
        more["corruptions"] = lambda: corruptions(evaluated)
    for name, measure in more.items():
        if (found := guarded(name, run_dir, measure)) is not None:
            result[name] = found
    if cfg.pictures or cfg.map:
        only = None if cfg.pictures else ("map.png",)
        result |= (
            guarded("pictures", run_dir, lambda: diagnostic_pictures.write(evaluated, result, run_dir, only)) or {}
        )
    return result


def one_figure(figure: str, why: str, draw: Callable[[], None], cfg: schemas.Diagnose, run_dir: Path) -> dict[str, Any]:
    """Entries of a task that draws `figure` in place of those of images with one class each, and why."""

    def make() -> dict[str, Any]:
        (run_dir / figure).parent.mkdir(exist_ok=True)
        draw()
        return {"pictures": [figure], **left_out(why)}

    return (guarded("pictures", run_dir, make) or {}) if cfg.pictures else {}


def left_out(why: str) -> dict[str, Any]:
    return {"pictures_left_out": dict.fromkeys(OF_CLASSES, why)}


def guarded(name: str, run_dir: Path, make: Callable[[], Any]) -> Any:
    """What `make` gives, or None where it fails."""
    try:
        return make()
    except Interrupted:
        raise
    except Exception as error:
        with open_to_append(run_dir / "log.txt") as log:
            traceback.print_exc(file=log)
        say(f"warning: no {name}: {type(error).__name__}: {error} ({run_dir / 'log.txt'}); the scores are kept")
        return None


def answers(evaluated: Evaluated) -> dict[str, Any]:
    """What follows from the answers alone: accuracy per class, confusion, calibration."""
    labels, count = evaluated.test.labels, len(evaluated.prober.classes)
    per_class, calibrated = [], []
    for i in evaluated.most().values():
        matrix = confusion(labels, evaluated.found[i].guess, count)
        n, right = matrix.sum(1).tolist(), np.diag(matrix).tolist()
        accuracy = [k / total if total else None for k, total in zip(right, n, strict=True)]
        per_class.append({**evaluated.key(i), "n": n, "accuracy": accuracy})
        confidence, correct = evaluated.found[i].confidence, evaluated.found[i].guess == labels
        if confidence is not None:
            bins = [asdict(b) for b in calibration.reliability(confidence, correct)]
            ece = calibration.ece(confidence, correct)
            calibrated.append({**evaluated.key(i), "n": len(labels), "ece": ece, "bins": bins})
    result: dict[str, Any] = {"per_class": per_class, "calibration": calibrated}
    if (shown := evaluated.shown()) is not None:
        matrix = confusion(labels, evaluated.found[shown].guess, count)
        result["confusion"] = {**evaluated.key(shown), "matrix": matrix.tolist()}
    return result


# ── corruptions ──────────────────────────────────────────────────────────────────────────────────


def corruptions(evaluated: Evaluated) -> dict[str, Any]:
    """Accuracy on corrupted test images: of `most`, for each kind at each strength.

    Images are centre-cropped first and rounded to the 256 levels they came from; `clean` is the accuracy without that.
    """
    prober, test = evaluated.prober, evaluated.test
    chosen = list(evaluated.most().values())
    views = {i: evaluated.fitted[i].view or prober.views[0] for i in chosen}
    right = np.zeros((len(chosen), len(KINDS), len(STRENGTHS)), dtype=np.int64)
    sizes = list(dict.fromkeys(views.values()))
    todo, done, since = len(sizes) * len(test) * len(KINDS) * len(STRENGTHS), 0, time.perf_counter()
    with Meter("corruptions", prober.cfg.engine.progress) as meter:
        for view, start, part in ((v, *some) for v in sizes for some in _parts(test, v.size)):
            clean = rounded(prober.pixels_at(part, view), view)
            fits = [(row, evaluated.fitted[i]) for row, i in enumerate(chosen) if views[i] == view]
            for k, kind in enumerate(KINDS):
                for s, strength in enumerate(STRENGTHS):
                    made = corrupt(clean, kind, strength, prober.draws, first=start)
                    images = in_memory(made, part.labels, part.classes)
                    for row, guess in _answers(prober, fits, images, view.size):
                        right[row, k, s] += (guess == part.labels).sum()
                    done += len(part)
                    seconds = time.perf_counter() - since
                    meter.update(done / todo, done // len(test), seconds, done / seconds, None)
    entries = [_robustness(evaluated, i, table) for i, table in zip(chosen, right / len(test), strict=True)]
    return {"n": len(test), "kinds": list(KINDS), "strengths": list(STRENGTHS), "probes": entries}


def _parts(test: Images, size: int) -> Iterator[tuple[int, Images]]:
    """Test images that are corrupted at a time, and the position of the first."""
    step = max(1, CHUNK // (size * size * test.channels))
    for start in range(0, len(test), step):
        yield start, test.subset(np.arange(start, min(start + step, len(test))))


def _answers(
    prober: Prober, fits: Sequence[tuple[int, Fitted]], images: Images, size: int
) -> Iterator[tuple[int, np.ndarray]]:
    """What each fit says of images that are cropped to `size` already."""
    view = Preprocessing(size)
    asked = {f.reads for _, f in fits} & POOLED
    read: dict[str, Any] = {reads: prober.features(images, reads, view) for reads in asked}
    for row, f in fits:
        model = f.model if f.reads in POOLED else replace(f.answering, size=view)
        yield row, model.predict(read.get(f.reads, images))


def _robustness(evaluated: Evaluated, index: int, table: np.ndarray) -> dict[str, Any]:
    """The entry of a fit from its accuracies (kinds, strengths)."""
    clean = float((evaluated.found[index].guess == evaluated.test.labels).mean())
    return {
        **evaluated.key(index),
        "clean": clean,
        "accuracy": {kind: row.tolist() for kind, row in zip(KINDS, table, strict=True)},
        "mean_per_kind": {kind: float(row.mean()) for kind, row in zip(KINDS, table, strict=True)},
        "mean": float(table.mean()),
    }


def rounded(images: Images, size: int | Preprocessing) -> np.ndarray:
    """Images as a network reads them, uint8 (n, size, size, channels)."""
    crops = centre_crops(images, size)[:, : images.channels]
    return (crops * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
