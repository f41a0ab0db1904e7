"""The pictures of a transfer run: what each of them shows, and why some are left out."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gssl.experiment import examples
from gssl.experiment.crops import centre_crops
from gssl.experiment.evaluated import Evaluated
from gssl.experiment.examples import LeftOut
from gssl.figures import cka, confusion, corruptions, feature_map, reliability
from gssl.metrics.tsne import tsne

MOST = 1000  # images on the map
LEAST = 5  # fewer images have no neighbourhoods
THUMBNAILS = 200  # on a map without classes to colour
NO_LABELS = "no probe that reads labels"


def write(
    evaluated: Evaluated, result: dict[str, Any], run_dir: Path, only: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """Draw everything, or `only` some, into run_dir/pictures: `pictures`, the files, and `pictures_left_out`, name:
    why."""
    todo: dict[str, Callable[[Evaluated, dict[str, Any], Path], None]] = {
        "confusion.png": draw_confusion,
        "mistakes.png": draw_mistakes,
        "saliency.png": draw_saliency,
        "reliability.png": draw_reliability,
        "map.png": draw_map,
        "cka.png": draw_cka,
    }
    if "corruptions" in result:
        todo["corruptions.png"] = draw_corruptions
    todo = {name: draw for name, draw in todo.items() if only is None or name in only}
    left_out = {}
    with tempfile.TemporaryDirectory(prefix=".pictures-", dir=run_dir) as beside:
        for name, draw in todo.items():
            try:
                draw(evaluated, result, Path(beside) / name)
            except LeftOut as reason:
                left_out[name] = str(reason)
        out = run_dir / "pictures"
        out.mkdir(exist_ok=True)
        files = [name for name in todo if name not in left_out]
        for name in files:
            (Path(beside) / name).replace(out / name)
    return {"pictures": [f"pictures/{name}" for name in files], "pictures_left_out": left_out}


def _of_test(evaluated: Evaluated) -> str:
    return f"{evaluated.who}, {evaluated.of(len(evaluated.test))}"


def _shown(evaluated: Evaluated) -> int:
    index = evaluated.shown()
    if index is None:
        raise LeftOut(NO_LABELS)
    return index


def draw_confusion(evaluated: Evaluated, result: dict[str, Any], path: Path) -> None:
    heading = f"Confusion: {evaluated.name(_shown(evaluated))}. {_of_test(evaluated)}"
    confusion.figure(np.array(result["confusion"]["matrix"]), evaluated.prober.classes, heading).save(path)


def draw_mistakes(evaluated: Evaluated, result: dict[str, Any], path: Path) -> None:
    index = _shown(evaluated)
    heading = f"Most confident mistakes: {evaluated.name(index)}. {_of_test(evaluated)}"
    size, classes = evaluated.prober.cfg.data.side, evaluated.prober.classes
    examples.mistakes(evaluated.test, evaluated.found[index], size, classes, heading, path)


def draw_saliency(evaluated: Evaluated, result: dict[str, Any], path: Path) -> None:
    if evaluated.prober.network is None:
        raise LeftOut(f"weights={evaluated.prober.origin.kind} has no network")
    index = evaluated.explained()
    if index is None:
        raise LeftOut("needs a probe with a linear head on the last stage's features, such as linear or finetune")
    heading = f"What spoke for confident answers: {evaluated.name(index)}. {_of_test(evaluated)}"
    fit, found = evaluated.fitted[index], evaluated.found[index]
    examples.saliency(evaluated.prober, fit, found, evaluated.test, heading, path)


def draw_reliability(evaluated: Evaluated, result: dict[str, Any], path: Path) -> None:
    if not result["calibration"]:
        raise LeftOut(NO_LABELS)
    best = evaluated.most()
    found = []
    for one in result["calibration"]:
        bins = [reliability.Bin(b["low"], b["count"], b["confidence"], b["accuracy"]) for b in one["bins"]]
        found.append(reliability.Calibration(evaluated.name(best[one["probe"]]), one["ece"], one["n"], bins))
    reliability.figure(found, f"Reliability. {_of_test(evaluated)}").save(path)


def draw_map(evaluated: Evaluated, result: dict[str, Any], path: Path) -> None:
    prober, test = evaluated.prober, evaluated.test
    few = test.subset(np.sort(prober.draws.permutation("diagnose/map", 0, len(test))[:MOST]))
    if len(few) < LEAST:
        raise LeftOut(f"{len(few)} test images; at least {LEAST} are needed")
    thumbnails = centre_crops(few.subset(np.arange(min(len(few), THUMBNAILS))), prober.cfg.data.side)
    heading = f"Features of {evaluated.who}: {evaluated.of(len(few))}"
    shown = evaluated.shown()  # at the size of the probe that the other pictures are of
    positions = tsne(prober.features(few, view=None if shown is None else evaluated.fitted[shown].view))
    feature_map.figure(positions, few.labels, prober.classes, thumbnails, heading).save(path)


def draw_cka(evaluated: Evaluated, result: dict[str, Any], path: Path) -> None:
    if (found := result.get("cka")) is None:
        raise LeftOut("needs a network, and labelled training images")
    who = evaluated.who
    tables = [cka.Similarity(who, who, found["stages"])]
    if found["random"]:
        tables.append(cka.Similarity(who, "the same network with random weights", found["random"]))
    cka.figure(tables, f"CKA between stages. {evaluated.of(found['n'], 'labelled training')}").save(path)


def draw_corruptions(evaluated: Evaluated, result: dict[str, Any], path: Path) -> None:
    found, best = result["corruptions"], evaluated.most()
    if not found["probes"]:
        raise LeftOut(NO_LABELS)
    drawn = [
        corruptions.Robustness(evaluated.name(best[one["probe"]]), one["clean"], one["mean"], one["accuracy"])
        for one in found["probes"]
    ]
    heading = f"Corruptions. {evaluated.who}, {evaluated.of(found['n'])}"
    corruptions.figure(drawn, found["strengths"], len(evaluated.prober.classes), heading).save(path)
