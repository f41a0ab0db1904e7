"""Damaged training images: what trivial pictures get in place of generated ones, by the same evaluator."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data import Draws, Images
from gssl.metrics.classifier import Side, crops
from gssl.metrics.evaluator import evaluator_features
from gssl.metrics.evaluator_base import Evaluator
from gssl.metrics.generation import Reference
from gssl.metrics.grading import CONTROLS, kept

BATCH = 256
REDUCED = {"half": 2, "quarter": 4, "eighth": 8}


def measure_controls(
    reference: Reference, train: Images, evaluator: Evaluator, seed: int, device: torch.device
) -> dict[str, dict[str, Any]]:
    """name → its figures against the reference's real images; as many as these are, of at least two training images."""
    order = Draws(seed).permutation("controls/images", 0, len(train))[: len(reference.real)]
    if len(order) < 2:
        return {}
    few = train.subset(np.sort(order))
    found = {}
    for name in CONTROLS:
        features = evaluator_features(evaluator, damaged(name, few, evaluator.size, seed, device), BATCH, device)
        found[name] = kept(reference.measure(features))
    return found


def damaged(name: str, images: Images, size: Side, seed: int, device: torch.device) -> Iterator[Tensor]:
    """Batches (B, 3, size, size) in [0, 1], of 256 levels, as stored images have."""
    rng = Draws(seed).generator("controls/noise")
    for x in crops(images, size, device, BATCH):
        if name in REDUCED:
            sides = (size, size) if isinstance(size, int) else size
            x = F.interpolate(x, size=tuple(max(1, side // REDUCED[name]) for side in sides), mode="area")
            x = F.interpolate(x, size=sides, mode="bilinear", align_corners=False)
        else:
            mean, std = x.mean(dim=(0, 2, 3), keepdim=True), x.std(dim=(0, 2, 3), keepdim=True)
            noise = torch.from_numpy(rng.standard_normal(tuple(x.shape), dtype=np.float32)).to(device)
            x = mean + std * noise
        yield (x.clamp(0, 1) * 255).round() / 255
