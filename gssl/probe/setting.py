"""What a probe that trains the network is given beside its labelled images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gssl import schemas
from gssl.data import Draws, Images

Views = Callable[[Tensor, int, int, Tensor | None], Tensor]  # (uint8 images, step, view, extent) → (B, 3, size, size)


@dataclass(frozen=True)
class Setting:
    """The same for every source. Nothing of it leads to the test images.

    build: a fresh copy of the source's network. views: random views as `data.views` says. unlabelled: images to learn
    from without labels, every label -1; None where there are none.
    """

    build: Callable[[], nn.Module]
    n_classes: int
    views: Views
    views_cfg: schemas.Views
    size: int
    device: torch.device
    seed: int  # of the folds
    draws: Draws  # of everything that is drawn in training
    unlabelled: Images | None = None
