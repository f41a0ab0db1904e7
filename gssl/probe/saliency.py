"""Grad-CAM: which positions of an image speak for a class (Selvaraju et al. 2017, arXiv:1610.02391).

The maps of the last stage, each weighted by the mean gradient of the class's logit over its positions, added up; what
speaks against the class is cut off. A linear head on the averaged maps has the same gradient everywhere, so there it is
the class activation map of Zhou et al. 2016 (arXiv:1512.04150) divided by the number of positions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLOSE = 1e-3  # of the largest feature: as exact as two ways through a network in float32 agree
NEVER = -1e30  # the logit of a class without a row


class NotPooled(ValueError):
    """The features are something else than the last stage averaged over its positions."""


def grad_cam(backbone: Any, head: Callable[[Tensor], Tensor], x: Tensor, classes: Tensor) -> Tensor:
    """Maps (B, h, w) >= 0, float32, as large as the last stage's, for images x (B, 3, S, S) in [0, 1].

    `backbone` in the sense of `gssl.nets.backbone`, `head`: features (B, dim) to logits (B, C), `classes`: int64 (B,),
    of which class each map is to be. In evaluation mode; modules get their modes back and no parameter a gradient.
    Raises NotPooled where a map of the last stage does not lead to the features by averaging.
    """
    modules = [m for m in (backbone, head) if isinstance(m, nn.Module)]
    modes = {part: part.training for module in modules for part in module.modules()}
    for module in modules:
        module.eval()
    try:
        with torch.no_grad():
            maps = backbone.dense(x)[-1].float()
            features = backbone(x).float()
        pooled = maps.mean((2, 3))
        if pooled.shape != features.shape or (pooled - features).abs().max() > CLOSE * features.abs().max():
            raise NotPooled("its features are not the mean of its last stage's maps over their positions")
        with torch.enable_grad():
            maps.requires_grad_(True)
            logits = head(maps.mean((2, 3)))
            total = logits.gather(1, classes[:, None]).sum()  # an image's logit depends on its own maps only
            (gradient,) = torch.autograd.grad(total, maps)
    finally:
        for part, mode in modes.items():
            part.training = mode
    weight = gradient.mean((2, 3), keepdim=True)
    return (weight * maps.detach()).sum(1).clamp_min(0)


def linear_head(
    weight: np.ndarray, bias: np.ndarray, classes: np.ndarray, n_classes: int, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """A fitted linear probe as a head: weight (C, dim) and bias (C,) on raw features, classes (C,) int64 of the rows.

    A class that the probe has not learnt gets a logit that does not depend on the image, so its map is empty.
    """
    rows = torch.from_numpy(np.asarray(classes, dtype=np.int64))
    table, offset = torch.zeros(n_classes, weight.shape[1]), torch.full((n_classes,), NEVER)
    table[rows], offset[rows] = torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
    table, offset = table.to(device), offset.to(device)
    return lambda features: F.linear(features, table, offset)
