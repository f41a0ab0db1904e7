"""Examples of answers: the most confident mistakes, and which positions spoke for an answer (Grad-CAM)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data import Images
from gssl.experiment.crops import centre_crops
from gssl.experiment.probing import Prober
from gssl.experiment.tasks import Answers, Fitted
from gssl.figures.confusion import short
from gssl.figures.tiles import Row, Section, Tile, enlarged, heat, joined, overlay, save_page
from gssl.probe.saliency import NotPooled, grad_cam, linear_head

MISTAKES, IN_A_ROW = 24, 6
RIGHT, WRONG, PAIRS, TRIPLES = 8, 6, 4, 3  # answers with a map, and how many of them in a row
LETTER = 6.3  # pixels of a caption's letter, nearly


class LeftOut(Exception):
    """A picture that this run cannot have, and why."""


def mistakes(test: Images, found: Answers, size: int, classes: list[str], title: str, path: Path) -> None:
    """The wrong answers given with the highest confidence, each with its image."""
    wrong = most_confident(found, found.guess != test.labels)
    shown = wrong[:MISTAKES]
    rows = []
    if len(shown):
        images = enlarged(centre_crops(test.subset(shown), size))
        letters = int(1.5 * images.shape[-1] / LETTER)
        blocks: list[list[Tile | None]] = []
        for image, i in zip(images, shown.tolist(), strict=True):
            blocks.append(
                [Tile(image, caption(classes, test.labels[i], found.guess[i], confidences(found)[i], letters))]
            )
        rows = [Row("", joined(blocks[i : i + IN_A_ROW])) for i in range(0, len(blocks), IN_A_ROW)]
    text = f"{len(wrong):,} of {len(test):,} answers are wrong; these are the {len(shown)} most confident of them."
    more = "Under each the true class → the answer, and the confidence in it. A label may be wrong as well."
    save_page(title, "", [Section(text, more, rows) if len(wrong) else Section("No answer is wrong.", "")], path)


def saliency(prober: Prober, fit: Fitted, found: Answers, test: Images, title: str, path: Path) -> None:
    """Grad-CAM of confident answers: right ones, and wrong ones for the true class too. Raises LeftOut."""
    right = most_confident(found, found.guess == test.labels)
    # one of each class, or the most confident would often be of one class alone
    first = np.sort(np.unique(test.labels[right], return_index=True)[1])[:RIGHT]
    wrong = most_confident(found, found.guess != test.labels)[:WRONG]
    sections = [
        _explained(prober, fit, found, test, "Right answers", right[first]),
        _explained(prober, fit, found, test, "Wrong answers", wrong),
    ]
    text = (
        "Where it is light, the last stage's maps speak for the class (Grad-CAM, arXiv:1610.02391); each map has a"
        " scale of its own, and where nothing speaks for the class it is dark. Under an image its true class, under a"
        " map the class that is explained and the probability that the probe gives it."
    )
    save_page(title, text, sections, path)


EXPLAINED = {
    "Right answers": "The most confident right answer of each class; the most confident classes are shown.",
    "Wrong answers": "The most confident wrong answers: what spoke for the answer, and what for the true class.",
}


def _explained(prober: Prober, fit: Fitted, found: Answers, test: Images, kind: str, index: np.ndarray) -> Section:
    """The answers `index` with a map for the answer, and of wrong ones with another for the true class."""
    if not len(index):
        return Section(kind, "There are none.")
    some, labels, guess = test.subset(index), test.labels[index], found.guess[index]
    view = fit.view or prober.views[0]
    some = prober.pixels_at(some, view)
    images = centre_crops(some, view)
    p = fit.model.probabilities(some if fit.reads == "network" else prober.features(some, fit.reads, view))
    shown = enlarged(images)
    explained = [guess] if kind == "Right answers" else [guess, labels]
    maps = [class_maps(prober, fit, images, which, shown.shape[-1]) for which in explained]
    letters = int(shown.shape[-1] / LETTER) - 4
    blocks: list[list[Tile | None]] = []
    for i, image in enumerate(shown):
        block: list[Tile | None] = [Tile(image, short(prober.classes[labels[i]], letters + 4))]
        for which, found_maps in zip(explained, maps, strict=True):
            text = f"{short(prober.classes[which[i]], letters)} {decimals(p[i, which[i]])}"
            block.append(Tile(overlay(image, found_maps[i : i + 1])[0], text))
        blocks.append(block)
    wide = PAIRS if len(explained) == 1 else TRIPLES
    rows = [Row("", joined(blocks[i : i + wide])) for i in range(0, len(blocks), wide)]
    heads = ["image", "answer", "true class"][: 1 + len(explained)]
    line = [head for _ in range(min(wide, len(blocks))) for head in ["", *heads]][1:]
    return Section(kind, EXPLAINED[kind], rows, line)


def class_maps(prober: Prober, fit: Fitted, images: Tensor, classes: np.ndarray, side: int) -> Tensor:
    """Grad-CAM of `images` (n, 3, S, S) for `classes` (n,), as colours (n, 3, side, side). Raises LeftOut."""
    backbone: Any = prober.network
    model = fit.model
    if fit.reads == "network":
        backbone, head = model.network.backbone, model.network.head
    else:
        head = linear_head(model.weight, model.bias, model.classes, len(prober.classes), prober.device)
    index = torch.from_numpy(classes.astype(np.int64)).to(prober.device)
    try:
        maps = grad_cam(backbone, head, images.to(prober.device), index)
    except NotPooled as error:
        raise LeftOut(str(error)) from None
    if maps.shape[1:].numel() == 1:
        raise LeftOut("the last stage's maps have one position only")
    smooth = F.interpolate(maps[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]
    return heat(smooth, side)


def most_confident(found: Answers, which: np.ndarray) -> np.ndarray:
    """Indices of the answers in `which` (n,) bool, the most confident first; equal ones in their order."""
    index = np.flatnonzero(which)
    return index[np.argsort(-confidences(found)[index], kind="stable")]


def confidences(found: Answers) -> np.ndarray:
    assert found.confidence is not None
    return found.confidence


def caption(classes: list[str], true: int, guess: int, confidence: float, letters: int) -> str:
    """ "cat → dog .97" in `letters` letters; of two long names the longer one is cut first."""
    room = letters - 7
    a, b = classes[true], classes[guess]
    if len(a) + len(b) > room:
        half = room // 2
        a = short(a, max(half, room - len(b)))
        b = short(b, max(half, room - len(a)))
    return f"{a} → {b} {decimals(confidence)}"


def decimals(p: float) -> str:
    """ ".97"; what is nearly 1 is not called 1."""
    return f"{p:.2f}"[1:] if p < 0.995 else ">.99"
