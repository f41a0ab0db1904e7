"""Fine-tuning for masks: a backbone with a pyramid head, cross-entropy of pixels, and mean IoU as the score.

All maps of the encoder (`dense`) are brought to 64 channels by 1×1 convolutions and summed at a quarter of the image's
side; a 3×3 convolution, a norm and a 1×1 convolution give logits, which are brought to the mask's size. It learns from
random crops, which image and mask have in common (`gssl.data.transforms`), and predicts whole images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl import schemas
from gssl.data import Images, division
from gssl.data.transforms import RandomCrop
from gssl.method import Batch
from gssl.nets.norms import groups
from gssl.probe import dense
from gssl.probe.finetune import Finetune
from gssl.probe.folds import image_folds
from gssl.probe.segment import Trial, best, halves
from gssl.probe.setting import Setting, Views
from gssl.schemas import probes as schema
from gssl.statistics.metric import IGNORE, mask_counts, mean_iou_of


def finetune(cfg: schema.Finetune) -> Finetune:
    """The probe `finetune` for masks, by its configuration."""
    own = cfg.masks
    return Finetune(schemas.replace(cfg, lrs=own.lrs, batch_size=own.batch_size, head_l2=None), Masks(own))


class PyramidHead(nn.Module):
    """Maps of all stages → logits at a quarter of the image's side."""

    def __init__(self, dims: Sequence[int], channels: int, n_classes: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(d, channels, 1) for d in dims)
        self.mix = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(groups(channels), channels),
            nn.ReLU(inplace=True),
        )
        self.classify = nn.Conv2d(channels, n_classes, 1)

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        parts = [lateral(dense.brought(m, grid)) for lateral, m in zip(self.laterals, maps, strict=True)]
        return self.classify(self.mix(torch.stack(parts).sum(0)))


class MaskNetwork(nn.Module):
    """A backbone with a pyramid head."""

    def __init__(self, backbone: Any, channels: int, n_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = PyramidHead(backbone.dims, channels, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to logits (B, n_classes, H, W)."""
        logits = self.head(cast(Any, self.backbone).dense(x), dense.grid_of(x))
        return F.interpolate(logits.float(), size=x.shape[-2:], mode="bilinear", align_corners=False)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The backbone's weights by stage, from input to output; one stage where the backbone knows of none."""
        if hasattr(self.backbone, "layer_groups"):
            return cast(Any, self.backbone).layer_groups()
        return [list(self.backbone.parameters())]


@dataclass
class FittedMasks:
    """The trained network. `unselected`: per validated fold the statistics (m, k) of its images' predicted masks."""

    network: MaskNetwork  # in evaluation mode
    device: torch.device
    n_classes: int
    chosen: dict[str, float]
    unselected: list[np.ndarray]
    curve: list[dict[str, float]] = field(default_factory=list)

    @torch.no_grad()
    def masks(self, x: Tensor, size: tuple[int, int]) -> np.ndarray:
        """(B, 3, H, W) in [0, 1] → predicted classes (B, *size) uint8."""
        logits = self.network(x)
        if logits.shape[-2:] != size:
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return logits.argmax(dim=1).to(torch.uint8).cpu().numpy()

    def counts(self, images: Images) -> np.ndarray:
        """(n, k) statistics of the predicted masks of `images`."""
        rows = [
            mask_counts(true.numpy(), self.masks(x, (true.shape[1], true.shape[2])), self.n_classes)
            for x, true in dense.views(images, self.device)
        ]
        return np.concatenate(rows)


class Masks:
    """The objective of images with masks (`gssl.probe.training.Objective`)."""

    metric = "val_mean_iou"

    def __init__(self, cfg: schema.FinetuneMasks) -> None:
        self.cfg = cfg

    def network(self, setting: Setting) -> MaskNetwork:
        """A fresh network in training mode; the same at every call, whatever state torch's global generator is in."""
        setting.draws.reseed(0)
        network = MaskNetwork(setting.build(), self.cfg.channels, setting.n_classes).to(setting.device)
        return network.to(memory_format=torch.channels_last).train()

    def start_head(self, network: MaskNetwork, images: Images, setting: Setting, l2: float) -> None:
        raise NotImplementedError("the head of masks starts from random weights")

    def batch(self, raw: Batch, views: Views, step: int, view: int) -> Batch:
        """One crop and one flip for image and mask; of images that are smaller than a crop, the largest square."""
        images, sides = raw["image"], raw.get("extent")
        crop = RandomCrop((self.cfg.crop, self.cfg.crop), cast(Any, views).draws, purpose=f"masks/{view}")
        drawn = crop.draw(step, len(images), (images.shape[2], images.shape[3]) if sides is None else sides)
        return {"input": crop.apply(drawn, images, "image"), "target": crop.apply(drawn, raw["mask"], "mask")}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Over labelled pixels; 0 where a batch has none."""
        total = F.cross_entropy(outputs, targets.long(), ignore_index=IGNORE, reduction="sum")
        return total / division.current.mean((targets != IGNORE).sum().to(total.dtype)).clamp(min=1 / len(targets))

    def views(self, images: Images, setting: Setting) -> Iterator[Tensor]:
        """Whole images, as they are predicted."""
        return (x for x, _ in dense.views(images, setting.device))

    def folds(self, images: Images, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return image_folds(len(images), images.groups, seed)

    @torch.no_grad()
    def score(self, network: MaskNetwork, images: Images, setting: Setting) -> Trial:
        stats, entropy = [], []
        for x, masks in dense.views(images, setting.device):
            logits, true = network(x).float(), masks.long().to(x.device)
            if not logits.isfinite().all():
                return self.worst(images)
            stats.append(mask_counts(masks.numpy(), logits.argmax(1).cpu().numpy(), setting.n_classes))
            pixels = F.cross_entropy(logits, true, ignore_index=IGNORE, reduction="none").sum((1, 2))
            entropy.append(pixels.double().cpu().numpy())
        return Trial(np.concatenate(stats)[None], np.concatenate(entropy)[None])

    def worst(self, images: Images) -> Trial:
        none = np.zeros((1, len(images), len(images.classes)), dtype=np.int64)
        return Trial(np.concatenate([none, none, none + 1], axis=2), np.full((1, len(images)), np.inf))

    def best(self, trial: Trial) -> int:
        """By mean IoU, ties by cross-entropy."""
        return best([trial])

    def value(self, trials: Sequence[Trial]) -> float:
        return float(mean_iou_of(np.concatenate([trial.stats[0] for trial in trials]).sum(axis=0).astype(np.float64)))

    def unselected(self, trial: Trial, images: Images) -> list[np.ndarray]:
        return [trial.stats[halves(trial), np.arange(len(images))]]

    def fitted(self, network: MaskNetwork, setting: Setting, facts: dict[str, Any]) -> FittedMasks:
        kept = (facts["chosen"], facts["unselected"], facts["curve"])
        return FittedMasks(network, setting.device, setting.n_classes, *kept)
