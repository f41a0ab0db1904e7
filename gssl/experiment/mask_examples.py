"""What a transfer run shows beside its scores where masks are predicted: test images, labelled and predicted masks.

Which images is decided by their order among the test images alone, which fit by the number of labels. Figures that are
about one answer per image are left out, and the record says so.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl import schemas
from gssl.data import Images
from gssl.experiment.diagnostics import Evaluated, one_figure
from gssl.experiment.tasks import Fitted
from gssl.figures.masks import save_masks
from gssl.probe import dense

SHOWN = 6  # test images
FIGURE = "pictures/masks.png"
WHY = "of one answer per image; masks have a class per pixel"


def diagnose(evaluated: Evaluated, cfg: schemas.Diagnose, run_dir: Path) -> dict[str, Any]:
    """Entries for result.json; a figure that fails costs no score."""
    return one_figure(FIGURE, WHY, lambda: draw(evaluated, run_dir), cfg, run_dir)


def draw(evaluated: Evaluated, run_dir: Path) -> None:
    """Write the figure of the fits with the most labels, one of each probe."""
    test, best = evaluated.test, evaluated.most()
    some = test.subset(np.unique(np.linspace(0, len(test) - 1, min(SHOWN, len(test))).astype(int)))
    images, labelled = shown(some, evaluated.prober.device)
    masks = {"labelled": labelled}
    for index in best.values():
        masks[evaluated.name(index)] = predicted(evaluated.fitted[index], some, evaluated.prober.device)
    title = f"Predicted masks. {evaluated.who}, {evaluated.of(len(test))}"
    text = f"{len(some)} of {len(test):,} test images, evenly spaced. Grey pixels have no label and count nowhere."
    save_masks(title, text, images, masks, evaluated.prober.classes, run_dir / FIGURE)


def shown(images: Images, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 3, H, W) and masks (n, H, W), of one size: that of the largest."""
    parts = list(dense.views(images, device))
    size = (max(x.shape[2] for x, _ in parts), max(x.shape[3] for x, _ in parts))
    return torch.cat([_on(x.cpu(), size, 1.0) for x, _ in parts]), torch.cat([_on(m, size, 255) for _, m in parts])


def predicted(fit: Fitted, images: Images, device: torch.device) -> torch.Tensor:
    """Masks (n, H, W) on the same canvas."""
    parts = [torch.from_numpy(fit.answering.masks(x, (m.shape[1], m.shape[2]))) for x, m in dense.views(images, device)]
    size = (max(m.shape[1] for m in parts), max(m.shape[2] for m in parts))
    return torch.cat([_on(m, size, 255) for m in parts])


def _on(x: torch.Tensor, size: tuple[int, int], value: float) -> torch.Tensor:
    """Padded below and to the right."""
    return torch.nn.functional.pad(x, (0, size[1] - x.shape[-1], 0, size[0] - x.shape[-2]), value=value)
