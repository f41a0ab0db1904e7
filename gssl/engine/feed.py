"""Batches as a method wants them: it names the tensors it needs, and this file makes them.

| name | tensor |
|---|---|
| `view0`, `view1`, … | random views by the data's view policy, (B, 3, S, S) in [0, 1] |
| `crop0`, `crop1`, … | the policy's random crops with rotation and flip, colours untouched |
| `real` | centre crop, flipped where the policy flips, (B, 3, S, S) in [0, 1] |
| `label` | class of each image, (B,) int64; the data must be labelled throughout |
"""

import re
from collections.abc import Sequence

import numpy as np

from gssl import schemas
from gssl.data import Batches, Draws, Images, RandomViews
from gssl.errors import UsageError
from gssl.method import Batch

KNOWN = "view0, view1, …, crop0, …, real, label"


class Feed:
    """`feed(step)` is the batch of a step: a pure function of (seed, step)."""

    def __init__(self, batches: Batches, images: Images, needs: Sequence[str], cfg: schemas.Data, draws: Draws) -> None:
        self.batches, self.needs = batches, tuple(needs)
        for name in needs:
            if not re.fullmatch(r"(view|crop)\d+|real|label", name):
                raise UsageError(f"this method needs '{name}', which no batch of images carries (known: {KNOWN})")
        if "label" in needs and (not len(images.classes) or bool(np.any(images.labels < 0))):
            raise UsageError(
                f"this method needs a label for every training image; data={cfg.name} has images without one;"
                " label them, or take a method that needs none"
            )
        views = cfg.views
        second = schemas.replace(
            views,
            blur=views.blur if views.second_blur is None else views.second_blur,
            solarize=views.solarize if views.second_solarize is None else views.second_solarize,
        )
        self.random = RandomViews(views, cfg.side, draws), RandomViews(second, cfg.side, draws)
        placed = schemas.replace(views, jitter=0.0, grayscale=0.0, blur=0.0, solarize=0.0, cutout=0.0)
        self.placed = RandomViews(placed, cfg.side, draws)
        still = schemas.replace(placed, crop_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0], rotate=0.0)
        self.still = RandomViews(still, cfg.side, draws)

    @property
    def size(self) -> int:
        """Images per step, of all processes."""
        return self.batches.whole

    def __call__(self, step: int) -> Batch:
        raw = self.batches(step)
        image, extent = raw["image"], raw.get("extent")
        batch: Batch = {}
        for name in self.needs:
            if name == "label":
                batch[name] = raw["label"]
            elif name == "real":
                batch[name] = self.still(image, step, 0, extent)
            else:
                number = int(name[4:])
                make = self.placed if name.startswith("crop") else self.random[number % 2]
                batch[name] = make(image, step, number, extent)
        return batch
