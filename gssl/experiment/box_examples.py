"""What a transfer run shows beside its scores where boxes are predicted: test images, labelled and predicted boxes.

The images that are most right, those that are most wrong, and some that nobody chose. Right is by F1: boxes with a
score of `SURE` or more against objects of their class, at an IoU of .5.
"""

from pathlib import Path
from typing import Any

import numpy as np

from gssl import schemas
from gssl.data import Images
from gssl.experiment.diagnostics import Evaluated, one_figure
from gssl.experiment.tasks import Fitted
from gssl.figures.boxes import Shown, save_boxes
from gssl.probe import dense
from gssl.probe.boxes import objects
from gssl.statistics.detection import Detections, Objects, matched_once

SHOWN = 4  # test images of each kind
SURE = 0.3  # score from which a box is shown
FIGURE = "pictures/boxes.png"
WHY = "of one answer per image; there are any number of boxes"


def diagnose(evaluated: Evaluated, cfg: schemas.Diagnose, run_dir: Path) -> dict[str, Any]:
    """Entries for result.json; a figure that fails costs no score."""
    return one_figure(FIGURE, WHY, lambda: draw(evaluated, run_dir), cfg, run_dir)


def draw(evaluated: Evaluated, run_dir: Path) -> None:
    """Write the figure of the fits with the most labels, one of each probe; the first decides which images."""
    test, best = evaluated.test, evaluated.most()
    fits = [evaluated.fitted[index] for index in best.values()]
    names = [evaluated.name(index) for index in best.values()]
    given = objects(test)
    scores = np.array([f1(own, theirs) for own, theirs in zip(given, sure(fits[0], test), strict=True)])
    order = np.argsort(-scores, kind="stable")
    count = min(SHOWN, max(1, len(test) // 2))
    even = np.unique(np.linspace(0, len(test) - 1, min(SHOWN, len(test))).astype(int))
    title = f"Predicted boxes. {evaluated.who}, {evaluated.of(len(test))}"
    what = f"F1 of {names[0]}: boxes with a score of {SURE:g} or more against objects, at an IoU of .5."
    sections = [
        _section("Most right", f"{what} Crossed out: no object of that class is there.", order[:count], scores),
        _section("Most wrong", "The same from the other end.", order[::-1][:count], scores),
        _section("Evenly spaced", f"{len(even)} of {len(test):,} test images that nobody chose.", even, scores),
    ]
    save_boxes(title, [_filled(own, test, fits, names, evaluated) for own in sections], evaluated.prober.classes,
               run_dir / FIGURE)  # fmt: skip


def _section(title: str, text: str, which: np.ndarray, scores: np.ndarray) -> tuple[str, str, np.ndarray, list[str]]:
    return title, text, which, [f"F1 {scores[i]:.2f}" for i in which]


def _filled(
    section: tuple[str, str, np.ndarray, list[str]],
    test: Images,
    fits: list[Fitted],
    names: list[str],
    evaluated: Evaluated,
) -> Any:
    """The section with its images and boxes."""
    title, text, which, captions = section
    some = test.subset(which)
    given = objects(some)
    images = [x[i].cpu() for x in dense.pictures(some, evaluated.prober.device) for i in range(len(x))]
    boxes = {"labelled": [Shown(own.boxes, own.classes, np.zeros(len(own.boxes), bool)) for own in given]}
    for fit, name in zip(fits, names, strict=True):
        rows = zip(given, sure(fit, some), strict=True)
        boxes[name] = [Shown(own.boxes, own.classes, ~matched_once(true, own)) for true, own in rows]
    return title, text, images, boxes, captions


def sure(fit: Fitted, images: Images) -> list[Detections]:
    """Of each image the boxes that are shown."""
    return [Detections(*(part[own.scores >= SURE] for part in own)) for own in fit.answering.detections(images)]


def f1(true: Objects, found: Detections) -> float:
    """1 where nothing is there and nothing is found. Crowds count nowhere."""
    right = int(matched_once(true, found).sum())
    total = int((~true.crowd).sum()) + len(found.scores)
    return 2 * right / total if total else 1.0
