"""What a transfer run shows beside its scores where anomalies are found: test images that are told right and wrong.

Of a probe's fit with the most good images: the defects that look most like good images and the good images that look
least like them, which are wrong wherever a threshold is put, and the ends that are right. Each with its map and with
what is labelled. Figures that are about one answer per image are left out, and the record says so.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl import schemas
from gssl.data import Images
from gssl.data.columns import IGNORE, anomalous
from gssl.experiment.diagnostics import Evaluated, one_figure
from gssl.figures.tiles import Row, Section, Tile, heat, overlay, save_page
from gssl.probe.patches import views
from gssl.statistics.anomaly import kinds_in

SHOWN = 8  # images of a row
SIDE = 128  # pixels of a tile at most
FIGURE = "pictures/anomalies.png"
WHY = "of one answer per image; anomalies have a score and a map"
LABELLED = torch.tensor([1.0, 0.35, 0.1])[:, None, None]  # colour of what is labelled


def diagnose(evaluated: Evaluated, cfg: schemas.Diagnose, run_dir: Path) -> dict[str, Any]:
    """Entries for result.json; a figure that fails costs no score."""
    return one_figure(FIGURE, WHY, lambda: draw(evaluated, run_dir), cfg, run_dir)


def draw(evaluated: Evaluated, run_dir: Path) -> None:
    """Write the figure of the fits with the most good images, one of each probe."""
    sections = [_section(evaluated, index) for index in evaluated.most().values()]
    title = f"Anomalies. {evaluated.who}, {evaluated.of(len(evaluated.test))}"
    text = "Below each image its score. Maps of a probe have one scale: how far a place is from good images."
    save_page(title, text, sections, run_dir / FIGURE, SIDE)


def _section(evaluated: Evaluated, index: int) -> Section:
    stats, test = evaluated.found[index].stats, evaluated.test
    chosen = chosen_images(stats)
    shown = {
        name: _shown(evaluated.fitted[index].answering, test.subset(own), evaluated.prober.device)
        for name, own in chosen.items()
    }
    top = max((float(m.max()) for own in shown.values() for m in own.maps), default=0.0)
    rows = []
    for name, own in shown.items():
        captions = [f"{kind}, {score:.3g}" for kind, score in _told(stats[chosen[name]], test.classes)]
        rows.append(Row(name, [Tile(x, text) for x, text in zip(own.images, captions, strict=True)]))
        if own.maps:
            rows.append(Row("map", [Tile(_over(x, m, top)) for x, m in zip(own.images, own.maps, strict=True)]))
        if not stats[chosen[name], 0].any():  # defects
            rows.append(Row("labelled", [Tile(_marked(x, m)) for x, m in zip(own.images, own.labelled, strict=True)]))
    text = "Which images is decided by their scores alone: the ends of both orders."
    return Section(evaluated.name(index), text, rows)


def chosen_images(stats: np.ndarray) -> dict[str, np.ndarray]:
    """Indices of test images by what they show, from rows (n, k) of scores; what no image shows is left out."""
    good, score = stats[:, 0] > 0, stats[:, kinds_in(stats.shape[1])]
    order = np.argsort(score, kind="stable")
    low, high = order[~good[order]], order[good[order]][::-1]  # each from its wrong end
    found = {
        "wrong: defects that\nlook like good ones": low[: _half(low)],
        "wrong: good ones that\nlook like defects": high[: _half(high)],
        "right: defects": low[_half(low) :][::-1],
        "right: good ones": high[_half(high) :][::-1],
    }
    return {name: chosen[:SHOWN] for name, chosen in found.items() if len(chosen)}


def _half(chosen: np.ndarray) -> int:
    """So many stand at the wrong end: none is shown at both."""
    return -(-len(chosen) // 2)


def _told(stats: np.ndarray, classes: list[str]) -> list[tuple[str, float]]:
    kinds = kinds_in(stats.shape[1])
    return [(classes[int(row[:kinds].argmax())], float(row[kinds])) for row in stats]


class Shown(NamedTuple):
    """Images (3, H, W), their maps (H, W), none where there are no maps, and what is labelled (H, W)."""

    images: list[Tensor]
    maps: list[Tensor]
    labelled: list[Tensor]


def _shown(fit: Any, images: Images, device: torch.device) -> Shown:
    found = Shown([], [], [])
    for x, kinds in views(images, device):
        _, places = fit.scores(x)
        found.images.extend(x.cpu())
        found.maps.extend([] if places is None else places.cpu())
        found.labelled.extend(torch.from_numpy(anomalous(kinds.numpy())))
    return found


def _over(image: Tensor, map_: Tensor, top: float) -> Tensor:
    """A map over its image; `top`: the value that is brightest."""
    side = max(image.shape[1:])
    colours = heat(map_[None], side, top)
    if colours.shape[2:] != image.shape[1:]:
        colours = F.interpolate(colours, image.shape[1:])
    return overlay(image, colours)[0]


def _marked(image: Tensor, labelled: Tensor) -> Tensor:
    """The defects of an image in colour; all grey where nobody has said where they are."""
    grey = image.mean(0, keepdim=True).expand(3, -1, -1)
    if bool((labelled == IGNORE).all()):
        return torch.full_like(grey, 0.8)
    return torch.where(labelled[None] == 1, 0.4 * grey + 0.6 * LABELLED, grey)
