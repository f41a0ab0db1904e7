"""What a transfer run shows beside its scores where real images are told from generated ones: right and wrong ones.

Of each probe's fit with the most labels, the held-out generators' images and the real ones at both ends of the scores.
Figures of classification are left out, and the record says so.
"""

from pathlib import Path
from typing import Any

import numpy as np

from gssl import schemas
from gssl.experiment.crops import centre_crops
from gssl.experiment.diagnostics import Evaluated, one_figure
from gssl.figures.tiles import Row, Section, Tile, save_page
from gssl.statistics.fake import COUNT, HELD_OUT, REAL

SHOWN = 12
FIGURE = "pictures/fake.png"
WHY = "of classes; test images here are real or generated, of several generators"


def diagnose(evaluated: Evaluated, cfg: schemas.Diagnose, run_dir: Path) -> dict[str, Any]:
    """Entries for result.json; a figure that fails costs no score."""
    return one_figure(FIGURE, WHY, lambda: draw(evaluated, run_dir), cfg, run_dir)


def draw(evaluated: Evaluated, run_dir: Path) -> None:
    """Write the figure."""
    sections = []
    for index in evaluated.most().values():
        rows = []
        for name, chosen in chosen_images(evaluated.found[index].stats).items():
            images = centre_crops(evaluated.test.subset(chosen), evaluated.prober.cfg.data.side)
            score = evaluated.found[index].stats[chosen, -1]
            rows.append(Row(name, [Tile(x, f"{s:.3f}") for x, s in zip(images, score, strict=True)]))
        text = "Below each image the probability that it is generated. Which ones is decided by these alone."
        sections.append(Section(evaluated.name(index), text, rows))
    save_page(
        f"Real or generated. {evaluated.who}, {evaluated.of(len(evaluated.test))}", "", sections, run_dir / FIGURE
    )


def chosen_images(stats: np.ndarray) -> dict[str, np.ndarray]:
    """Indices of test images by what they show, from rows (n, k); what no image shows is left out."""
    of, right = stats[:, :COUNT] > 0, stats[:, COUNT : 2 * COUNT].max(axis=1) > 0
    order = np.argsort(stats[:, -1], kind="stable")
    fake, real = order[of[order, HELD_OUT]], order[of[order, REAL]]
    found = {
        "wrong: generated,\ntaken for real": fake[~right[fake]],
        "wrong: real,\ntaken for generated": real[~right[real]][::-1],
        "right: generated": fake[right[fake]][::-1],
        "right: real": real[right[real]],
    }
    return {name: chosen[:SHOWN] for name, chosen in found.items() if len(chosen)}
