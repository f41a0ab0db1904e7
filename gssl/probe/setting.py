"""What a probe that trains the network is given beside its labelled images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gssl import schemas
from gssl.data import Draws, Images
from gssl.data.preprocessing import Preprocessing
from gssl.method import Batch, MakeOptimizer

Views = Callable[[Tensor, int, int, Tensor | None], Tensor]  # (uint8 images, step, view, extent) → (B, 3, size, size)


class Fit(Protocol):
    """One training by the engine (`gssl.engine.fits`), which goes on after a kill where it has a folder."""

    @property
    def optimizer(self) -> MakeOptimizer: ...

    def train(self, task: Any, feed: Callable[[int], Batch], draws: Draws, count: int) -> list[dict[str, Any]]:
        """Train `task` for `count` steps on the batches of `feed(step)`; returns an entry per evaluation."""


class Fits(Protocol):
    """Makes them: by a title for people, a key of everything that determines the result, and the batch size."""

    def __call__(self, title: str, key: str, batch_size: int) -> Fit: ...

    def alarm(self, text: str) -> None:
        """Show what went wrong with one of them."""


@dataclass(frozen=True)
class Setting:
    """The same for every source. Nothing of it leads to the test images.

    build: a fresh copy of the source's network. views: random views as `data.views` says. fits: how the engine trains.
    unlabelled: images to learn from without labels, every label -1; None where there are none. whole: how whole images
    are brought to the network; None: centre crops of `size` pixels.
    """

    build: Callable[[], nn.Module]
    n_classes: int
    views: Views
    views_cfg: schemas.Views
    size: int
    device: torch.device
    seed: int  # of the folds
    draws: Draws  # of everything that is drawn in training
    fits: Fits
    unlabelled: Images | None = None
    whole: Preprocessing | None = None

    @property
    def crop(self) -> Preprocessing:
        """How whole images are brought to the network."""
        return self.whole or Preprocessing(self.size)
