"""What a transfer run shows beside its scores where clips have a class: strips of frames, named right and wrong.

Which clips is decided by their order among the test clips and by whether they were named right; which fit by the number
of labels (`Evaluated.shown`). Figures that are about single images are left out, and the record says so.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl import schemas
from gssl.data import Images, sequential
from gssl.experiment.diagnostics import Evaluated, one_figure
from gssl.experiment.forecast import frames_in
from gssl.figures.clips import save_strips

SHOWN = 6  # clips of each kind
FIGURE = "pictures/clips.png"
WHY = "of single images; here clips have a class"


def diagnose(evaluated: Evaluated, cfg: schemas.Diagnose, run_dir: Path) -> dict[str, Any]:
    """Entries for result.json; a figure that fails costs no score."""
    if evaluated.shown() is None:
        return {}
    return one_figure(FIGURE, WHY, lambda: draw(evaluated, run_dir), cfg, run_dir)


def draw(evaluated: Evaluated, run_dir: Path) -> None:
    """Write the figure of the fit that is shown."""
    index = evaluated.shown()
    assert index is not None
    test, guess = evaluated.test, evaluated.found[index].guess
    right = guess == test.labels
    chosen = {name: _spread(np.flatnonzero(own)) for name, own in (("right", right), ("wrong", ~right))}
    classes, size = test.classes, evaluated.prober.cfg.data.side
    rows = []
    for name, rows_of in chosen.items():
        strips = _strips(test.subset(rows_of), size)
        for i, strip in zip(rows_of.tolist(), strips, strict=True):
            rows.append((name, f"{classes[test.labels[i]]} → {classes[guess[i]]}", strip))
    counts = f"{int(right.sum()):,} of {len(test):,} test clips are named right"
    title = f"Test clips. {evaluated.who}, {evaluated.name(index)}"
    save_strips(title, f"{counts}. Label → answer; each evenly spread over its kind.", rows, run_dir / FIGURE)


def _spread(index: np.ndarray) -> np.ndarray:
    """At most `SHOWN` of them, evenly."""
    if not len(index):
        return index
    return index[np.unique(np.linspace(0, len(index) - 1, min(SHOWN, len(index))).astype(int))]


def _strips(clips: Images, size: int) -> list[torch.Tensor]:
    """(T, 3, size, size) each, in [0, 1]."""
    if not len(clips):
        return []
    return [clip for batch in sequential(clips, SHOWN, torch.device("cpu")) for clip in frames_in(batch, size)]
