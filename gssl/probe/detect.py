"""Detection by a head of centre points on frozen dense features: that of fine-tuning, with the same batches and loss.

Every channel of the features is standardised by its mean and spread over the labelled images, so that one learning rate
serves all sources.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gssl import schemas
from gssl.data import Images
from gssl.probe import boxes, dense
from gssl.probe.boxes import Boxes, BoxNetwork, BoxTuning, FittedBoxes
from gssl.probe.dense import DenseSetting, Maps, NetworkMaps
from gssl.probe.folds import image_folds
from gssl.probe.setting import Setting
from gssl.schemas import probes as schema
from gssl.statistics.detection import MOST, Detections, box_matches, ious

STATISTICS_IMAGES = 256  # images whose features say how channels are standardised
CANDIDATES = 1000  # boxes of training images that the control chooses among
LEAST_STD = 1e-6


class Rule(nn.Module):
    """Features by a rule and without a network, as an encoder has them."""

    def __init__(self, maps: Maps, stride: int) -> None:
        super().__init__()
        self.maps, self.stride = maps, stride
        self.dims = [maps(torch.zeros(1, 3, 8, 8)).shape[1]]

    def dense(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) → one map at the stride."""
        return [self.maps(x, self.stride)]


class FrozenBoxes(Boxes):
    """The objective of a head alone."""

    def __init__(self, cfg: schema.FinetuneBoxes, maps: Maps, images: Images, setting: Setting) -> None:
        super().__init__(cfg)
        self.stride = boxes.stride_of(setting.size)
        if isinstance(maps, NetworkMaps):
            self.backbone: Any = deepcopy(maps.network).eval()  # its weights are not to be trained: others train theirs
        else:
            self.backbone = Rule(maps, self.stride)
        few = images.subset(np.arange(0, len(images), -(-len(images) // STATISTICS_IMAGES)))
        self.moments = _moments(self.backbone, few, setting.device, self.stride)

    def network(self, setting: Setting) -> BoxNetwork:
        setting.draws.reseed(0)
        network = self.with_head(self.backbone, setting, frozen=True)
        for i, (mean, std) in enumerate(self.moments):
            getattr(network.head, f"mean{i}").copy_(mean)
            getattr(network.head, f"scale{i}").copy_(std)
        return network


@torch.no_grad()
def _moments(backbone: Any, images: Images, device: torch.device, stride: int) -> list[tuple[Tensor, Tensor]]:
    """Mean and standard deviation (d, 1, 1) of the channels of each map on the grid; 1 where a channel is constant."""
    sums: list[Tensor] = []
    count = 0
    for x in dense.pictures(images, device):
        grid = dense.grid_of(x, stride)
        maps = [dense.brought(own.float(), grid).double() for own in backbone.dense(x)]
        own = [torch.stack([m.sum((0, 2, 3)), (m**2).sum((0, 2, 3))]) for m in maps]
        sums = own if not sums else [a + b for a, b in zip(sums, own, strict=True)]
        count += len(x) * grid[0] * grid[1]
    found = []
    for first, second in sums:
        mean = first / count
        std = (second / count - mean**2).clamp(min=0).sqrt()
        std = torch.where(std > LEAST_STD, std, 1.0)
        found.append((mean.float()[:, None, None], std.float()[:, None, None]))
    return found


class Detect:
    """The probe by its configuration, and that of fine-tuning."""

    def __init__(self, cfg: schema.Detect, tuning: schema.Finetune) -> None:
        own = schemas.replace(boxes.settings(tuning), steps=cfg.steps, train="all", layer_decay=1.0)
        self.cfg = schemas.replace(own, points=0)

    def fit(self, images: Images, setting: DenseSetting) -> FittedBoxes:
        """On labelled `images`, as `gssl.probe.finetune.Finetune.fit` says."""
        training = setting.training
        assert training is not None
        objective = FrozenBoxes(self.cfg.boxes, setting.maps, images, training)
        return BoxTuning(self.cfg, objective).fit(images, training)


# ── the control that looks at no image ───────────────────────────────────────────────────────────


@dataclass
class Always:
    """The same boxes for every image, in fractions of its sides."""

    found: Detections
    n_classes: int
    chosen: dict[str, Any]
    unselected: list[np.ndarray] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)

    def detections(self, images: Images) -> list[Detections]:
        """Of each image."""
        sides = images.store.shapes[images.rows][:, ::-1]
        return [self.found._replace(boxes=self.found.boxes * np.tile(own, 2)) for own in sides]

    def counts(self, images: Images) -> np.ndarray:
        """(n, k) statistics of the predicted boxes of `images`."""
        return box_matches(boxes.objects(images), self.detections(images), self.n_classes)


class Majority:
    """The control that looks at no image: boxes that fit an object of their class in the most training images.

    A box's score is the part of the training images that have an object with an IoU of .5 or more with it.
    """

    def fit(self, images: Images, setting: DenseSetting) -> Always:
        folds = image_folds(len(images), images.groups, setting.seed)
        kept = [self._always(images.subset(fit), setting).counts(images.subset(val)) for fit, val in folds]
        whole = self._always(images, setting)
        whole.unselected = kept
        return whole

    def _always(self, images: Images, setting: DenseSetting) -> Always:
        sides = np.tile(images.store.shapes[images.rows][:, ::-1], 2)
        each = [own._replace(boxes=own.boxes / side) for own, side in zip(boxes.objects(images), sides, strict=True)]
        image = np.repeat(np.arange(len(each)), [len(own.boxes) for own in each])
        kept = np.concatenate([~own.crowd for own in each])
        image = image[kept]
        where = np.concatenate([own.boxes for own in each])[kept].astype(np.float64)
        kind = np.concatenate([own.classes for own in each])[kept]
        few = np.arange(0, len(kind), max(1, -(-len(kind) // CANDIDATES)))
        fits = (ious(where[few], where) >= 0.5) & (kind[few][:, None] == kind)
        score = np.array([len(np.unique(image[row])) for row in fits]) / max(1, len(images))
        chosen: list[int] = []
        for i in np.argsort(-score, kind="stable"):
            own = [j for j in chosen if kind[few[j]] == kind[few[i]]]
            if len(chosen) < MOST and not (ious(where[few[[i]]], where[few[own]]) >= 0.5).any():
                chosen.append(int(i))
        best = few[chosen]
        found = Detections(where[best], kind[best], score[chosen])
        return Always(found, setting.n_classes, {"boxes": len(best)})
