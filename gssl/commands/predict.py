"""`gssl predict MODEL FOLDER`: the class of every image in a folder, or of every pixel, by a trained model."""

from pathlib import Path
from typing import Any

import numpy as np

from gssl.engine import outputs
from gssl.engine.device import pick_device
from gssl.engine.files import sha256, write_text
from gssl.engine.progress import say
from gssl.engine.run import command_line, now
from gssl.errors import UsageError
from gssl.experiment import captioner, predicted_images, unpaired_runs
from gssl.experiment.answers import THRESHOLD, both, trained_on, unknown
from gssl.experiment.generators import translates
from gssl.experiment.model_files import find
from gssl.experiment.models import Model, read_model
from gssl.experiment.predictions import checked, labels_of, table
from gssl.experiment.tasks import NAMED
from gssl.experiment.trained import images_in
from gssl.experiment.transfer_results import MISTAKES, mistakes_table
from gssl.names import load


def predict(
    run: Path,
    folder: Path,
    out: Path,
    device: str = "auto",
    top: int = 1,
    probabilities: bool = False,
    labels: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write a row per image below `folder` to `out` (.csv); of a model for masks also a PNG per image.

    `run`: a comparison, a model folder or a transfer run. `top`: how many classes stand in a row, the likeliest first;
    `probabilities`: of every class as well. `labels`: a CSV (path,label) by which answers are checked; without it
    folders that are named like classes are. Images that cannot be read are named, and have a row without a label.
    Of a run of ssl=caption a caption of each image. Of a train-gan run that makes images from images: what it makes of
    each, as PNGs beside the table.
    """
    if captioner.is_run(run):
        if top != 1 or probabilities or labels is not None:
            raise UsageError(f"--top, --probabilities, --labels: {run} writes captions; leave them out")
        return captioner.predict(run, folder, out, pick_device(device), force)
    outputs.check(out, ".csv", force)
    if translates(run):
        if labels is not None or probabilities or top != 1:
            raise UsageError(f"--labels, --probabilities, --top: {run} makes images, no classes; leave them out")
        text = {"schema": "gssl.predictions/1", "run": str(run), "folder": str(folder)}
        text |= {"command": command_line(), "created": now()}
        own = unpaired_runs if unpaired_runs.is_run(run) else predicted_images
        return own.write(run, folder, out, pick_device(device), text, force)
    found = find(run)
    model = read_model(found)
    target = pick_device(device)
    about = {"schema": "gssl.predictions/1", "model": str(found.file), "model_sha256": sha256(found.file)}
    about |= {"folder": str(folder), "command": command_line(), "created": now()}
    say(f"predicting by {model.head}")
    if (write := NAMED[model.task].predict) is not None:
        written: dict[str, Any] = load(write)(model.to(target), folder, out, target, about, force)
        return written
    skipped: list[str] = []
    images = images_in(folder, model.preprocessing.need, skipped, model.range)
    names = [str(images.name(i)) for i in range(len(images))]
    known = labels_of(names, folder, model.classes, labels)
    if known is not None:
        outputs.check(out.with_name(MISTAKES), ".csv", force)
    features, given = both(model.to(target), images, target)
    far = unknown(model, features)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(
        out, table(names, folder, model.classes, given, far, min(top, len(model.classes)), probabilities, skipped)
    )
    outputs.describe(out, about)
    result: dict[str, Any] = {"file": str(out), "images": len(images), "classes": model.classes, "skipped": skipped}
    result |= {"probe": model.text.get("probe"), "temperature": model.temperature}
    _about_unknown(model, far)
    if known_to_it := trained_on(model, features):
        say(f"warning: at least {known_to_it} of {len(images)} images are among those that the model was trained on")
        if known is not None:
            say("warning: accuracy on these says nothing about new images")
    if far is not None:
        result["unlike"] = int((far >= THRESHOLD).sum())
    return result | (_check(names, folder, model, given, known, out, about) if known is not None else {})


def _about_unknown(model: Model, far: np.ndarray | None) -> None:
    if far is None:
        say("note: the column unknown is empty: only the model of a comparison knows its training images")
    elif (unlike := int((far >= THRESHOLD).sum())) > 0:
        say(f"{unlike} of {len(far)} images are unlike the training images (unknown ≥ {THRESHOLD:g})")


def _check(
    names: list[str], folder: Path, model: Model, given: np.ndarray, known: list[str | None], out: Path, about: Any
) -> dict[str, Any]:
    """Accuracy on the images whose label is known, and a file that lists the mistakes."""
    found, rows = checked(names, folder, model.classes, given, known)
    place = out.with_name(MISTAKES)
    write_text(place, mistakes_table(rows))
    outputs.describe(place, about)
    low, high = found["interval"]
    say(
        f"accuracy {found['accuracy']:.3f} ({low:.3f} to {high:.3f}) on {found['n']} labelled images;"
        f" {len(rows)} mistakes are in {place}"
    )
    return found | {"mistakes": str(place)}
