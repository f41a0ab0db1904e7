"""Fine-tuning for boxes: a backbone with a head of centre points (`gssl.probe.centres`), and average precision.

All maps of the encoder (`dense`) are brought to 64 channels by 1×1 convolutions and summed at a quarter of the image's
side, at half of it for small images; 3×3 convolutions, norms and 1×1 convolutions give heat and edges. It learns from
whole images, flipped and a little brighter or darker; where sizes differ, the smaller ones have zeros around them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from gssl import schemas
from gssl.data import Images, division
from gssl.data.transforms import boxes as box_flips
from gssl.data.transforms.image import whole
from gssl.method import Batch, to_device
from gssl.nets.norms import groups
from gssl.probe import centres, dense
from gssl.probe.finetune import Finetune
from gssl.probe.folds import image_folds
from gssl.probe.setting import Setting, Views
from gssl.schemas import probes as schema
from gssl.statistics.detection import Detections, Objects, average_precision, box_matches

PRIOR = -4.0  # logit of the heat before training: almost nowhere is a centre
SMALL = 200  # pixels of data.size below which a cell is 2 pixels wide and not 4
GIOU = 2.0  # weight of the loss of edges


def finetune(cfg: schema.Finetune) -> Finetune:
    """The probe `finetune` for boxes, by its configuration."""
    return BoxTuning(settings(cfg), Boxes(cfg.boxes))


def settings(cfg: schema.Finetune) -> schema.Finetune:
    """Fine-tuning with what is different where boxes are learned."""
    return schemas.replace(cfg, lrs=cfg.boxes.lrs, batch_size=cfg.boxes.batch_size, head_l2=None)


class BoxTuning(Finetune):
    """Fine-tuning that counts the objects which no cell can learn."""

    def fit(self, images: Images, setting: Setting, extra: Images | None = None) -> "FittedBoxes":
        found: FittedBoxes = super().fit(images, setting, extra)
        found.chosen["same_cell"] = same_cell(images, stride_of(setting.size))
        return found


class BoxHead(nn.Module):
    """Maps of all stages → (B, classes + 4, h, w): logits of the heat, then raw distances of the edges.

    standardised: mean and scale of the channels of each map are part of it, for features that stay frozen.
    """

    def __init__(self, dims: Sequence[int], channels: int, n_classes: int, standardised: bool = False) -> None:
        super().__init__()
        self.channels, self.standardised = channels, standardised
        self.laterals = nn.ModuleList(nn.Conv2d(d, channels, 1) for d in dims)
        self.mix = _block(channels)
        self.heat = nn.Sequential(_block(channels), nn.Conv2d(channels, n_classes, 1))
        self.edges = nn.Sequential(_block(channels), nn.Conv2d(channels, 4, 1))
        nn.init.constant_(cast(Any, self.heat[-1]).bias, PRIOR)
        for i, d in enumerate(dims if standardised else ()):
            self.register_buffer(f"mean{i}", torch.zeros(d, 1, 1))
            self.register_buffer(f"scale{i}", torch.ones(d, 1, 1))

    def forward(self, maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        mixed: Any = 0
        for i, (lateral, own) in enumerate(zip(self.laterals, maps, strict=True)):
            if self.standardised:
                own = (own - getattr(self, f"mean{i}")) / getattr(self, f"scale{i}")
            if own.shape[2] > grid[0] or own.shape[3] > grid[1]:  # the order that costs less; both give the same
                mixed = mixed + lateral(dense.brought(own, grid))
            else:
                mixed = mixed + dense.brought(lateral(own), grid)
        mixed = self.mix(mixed)
        return torch.cat([self.heat(mixed), self.edges(mixed)], dim=1)


def _block(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.GroupNorm(groups(channels), channels),
        nn.ReLU(inplace=True),
    )


class BoxNetwork(nn.Module):
    """A backbone with a head of centre points; frozen: it is never trained and stays in evaluation mode."""

    def __init__(self, backbone: Any, channels: int, n_classes: int, stride: int, frozen: bool = False) -> None:
        super().__init__()
        self.backbone, self.stride, self.frozen = backbone, stride, frozen
        self.head = BoxHead(backbone.dims, channels, n_classes, frozen)
        if frozen:
            backbone.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, n_classes + 4, ⌈H/stride⌉, ⌈W/stride⌉), see `BoxHead`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = cast(Any, self.backbone).dense(x)
        return self.head([own.float() for own in maps] if self.frozen else maps, dense.grid_of(x, self.stride))

    def shape(self, height: int, width: int, n_classes: int) -> str:
        """Of what comes out for images of this size, in words."""
        rows, columns = (-(-side // self.stride) for side in (height, width))
        return f"(batch, {n_classes} + 4, {rows}, {columns})"

    def gives(self, height: int, width: int, n_classes: int) -> tuple[str, str]:
        """As of `ExportedBoxes`, of the network as it was trained."""
        meaning = "logits of the classes, then four numbers that gssl.probe.centres.edges_of makes edges of"
        return f"outputs {self.shape(height, width, n_classes)}", meaning

    def exported(self) -> nn.Module:
        """What other programs are given."""
        return ExportedBoxes(self)

    def train(self, mode: bool = True) -> "BoxNetwork":
        super().train(mode)
        if self.frozen:
            cast(nn.Module, self.backbone).eval()
        return self

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The backbone's weights by stage, from input to output; one stage where the backbone knows of none."""
        if hasattr(self.backbone, "layer_groups"):
            return cast(Any, self.backbone).layer_groups()
        return [list(self.backbone.parameters())]


class ExportedBoxes(nn.Module):
    """A network as other programs use it: scores and edges in place of logits and raw distances."""

    def __init__(self, network: BoxNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, classes + 4, h, w): scores in [0, 1], then left, top, right, bottom in pixels."""
        outputs = self.network(x)
        return torch.cat([outputs[:, :-4].sigmoid(), centres.edges_of(outputs[:, -4:], self.network.stride)], dim=1)

    def gives(self, height: int, width: int, n_classes: int) -> tuple[str, str]:
        """What comes out for images of this size, and what it means: for descriptions of exported files."""
        return f"scores {self.network.shape(height, width, n_classes)}", (
            "scores of the classes in [0, 1], then left, top, right and bottom edge in pixels; a box is where a score"
            " is the highest of its 3 × 3 cells, and of boxes of one class that overlap with an IoU above"
            f" {centres.OVERLAP:g} the surest is kept"
        )


@dataclass
class FittedBoxes:
    """The trained network. `unselected`: per validated fold the statistics (m, k) of its images' predicted boxes."""

    network: BoxNetwork  # in evaluation mode
    device: torch.device
    n_classes: int
    chosen: dict[str, float]
    unselected: list[np.ndarray]
    curve: list[dict[str, float]] = field(default_factory=list)

    def boxes(self, x: Tensor) -> list[Detections]:
        """(B, 3, H, W) in [0, 1] → the boxes of each image, in its pixels, the surest first."""
        return predicted(self.network, x)

    def detections(self, images: Images) -> list[Detections]:
        """Of each image."""
        return [own for x in dense.pictures(images, self.device) for own in self.boxes(x)]

    def counts(self, images: Images) -> np.ndarray:
        """(n, k) statistics of the predicted boxes of `images`."""
        return box_matches(objects(images), self.detections(images), self.n_classes)


@torch.no_grad()
def predicted(network: BoxNetwork, x: Tensor) -> list[Detections]:
    """(B, 3, H, W) in [0, 1] → boxes in pixels, the surest first."""
    scores, edges = centres.peaks(network(x).float(), network.stride)
    made = centres.found(scores, edges, (x.shape[2], x.shape[3]))
    return [Detections(*(part.cpu().numpy() for part in own)) for own in made]


def objects(images: Images) -> list[Objects]:
    """The true boxes of images that have any."""
    given = images.boxes
    assert given is not None
    return [Objects(own[:, :4], own[:, 4].astype(np.int64), own[:, 5] > 0) for own in given]


def stride_of(size: int) -> int:
    """Pixels per cell for images whose shorter side is `size`."""
    return 2 if size < SMALL else 4


def same_cell(images: Images, stride: int) -> int:
    """Objects whose centre is in the cell of another one of their class: one of them is not learned."""
    count = 0
    for own in objects(images):
        cell = np.floor((own.boxes[:, :2] + own.boxes[:, 2:]) / (2 * stride))[~own.crowd]
        count += len(cell) - len(np.unique(np.column_stack([cell, own.classes[~own.crowd]]), axis=0))
    return count


class Trial(NamedTuple):
    """Statistics (points, n, k) of predicted boxes of n validation images, a row of the grid each."""

    stats: np.ndarray


class Boxes:
    """The objective of images with boxes (`gssl.probe.training.Objective`). stride: of the networks it has made."""

    metric = "val_ap"
    stride = 0

    def __init__(self, cfg: schema.FinetuneBoxes) -> None:
        self.cfg = cfg

    def network(self, setting: Setting) -> BoxNetwork:
        """A fresh network in training mode; the same at every call, whatever state torch's global generator is in."""
        setting.draws.reseed(0)
        return self.with_head(setting.build(), setting)

    def with_head(self, backbone: Any, setting: Setting, frozen: bool = False) -> BoxNetwork:
        self.stride = stride_of(setting.size)
        network = BoxNetwork(backbone, self.cfg.channels, setting.n_classes, self.stride, frozen)
        return network.to(setting.device).to(memory_format=torch.channels_last).train()

    def start_head(self, network: BoxNetwork, images: Images, setting: Setting, l2: float) -> None:
        raise NotImplementedError("the head of boxes starts from random weights")

    def batch(self, raw: Batch, views: Views, step: int, view: int) -> Batch:
        """Whole images: flipped left to right, and upside down where that may be, and brighter or darker."""
        x, draws, count = whole(raw["image"]), cast(Any, views).draws, len(raw["image"])
        drawn = draws.uniform(f"boxes/{view}/flip", step, (count, 2)) < torch.tensor([0.5, 0.5 * self.cfg.upside_down])
        light = 1 + self.cfg.brightness * (2 * draws.uniform(f"boxes/{view}/light", step, (count, 1)) - 1)
        drawn, light = to_device(drawn, x.device), to_device(light, x.device)
        boxes = box_flips.flipped(raw["boxes"], (x.shape[2], x.shape[3]), drawn[:, 0], drawn[:, 1])
        for axis, own in ((3, drawn[:, 0]), (2, drawn[:, 1])):
            x = torch.where(own[:, None, None, None], x.flip(axis), x)
        x = (x * light[:, :, None, None]).clamp(0, 1)
        return {"input": x.contiguous(memory_format=torch.channels_last), "target": boxes}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Focal loss of the heat per object, and `GIOU` times that of the edges, weighted by the heat near a centre."""
        grid, n_classes = (outputs.shape[2], outputs.shape[3]), outputs.shape[1] - 4
        made = centres.targets(targets, grid, self.stride, n_classes)
        count = division.current.mean((made.heat == 1).sum().to(outputs.dtype)).clamp(min=1)
        heat = centres.focal_loss(outputs[:, :-4], made.heat, made.counted) / count
        edges = centres.edges_of(outputs[:, -4:], self.stride)
        each = centres.giou_loss(edges.transpose(0, 1), made.edges.transpose(0, 1)) * made.near
        return heat + GIOU * each.sum() / division.current.mean(made.near.sum()).clamp(min=1)

    def views(self, images: Images, setting: Setting) -> Iterator[Tensor]:
        """Whole images, as they are predicted."""
        return dense.pictures(images, setting.device)

    def folds(self, images: Images, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return image_folds(len(images), images.groups, seed)

    def score(self, network: BoxNetwork, images: Images, setting: Setting) -> Trial:
        made = [own for x in dense.pictures(images, setting.device) for own in predicted(network, x)]
        return Trial(box_matches(objects(images), made, setting.n_classes)[None])

    def worst(self, images: Images) -> Trial:
        nothing = Detections(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
        return Trial(box_matches(objects(images), [nothing] * len(images), len(images.classes))[None])

    def best(self, trial: Trial) -> int:
        """By average precision, ties by order."""
        return int(np.argmax([value_of(row) for row in trial.stats]))

    def value(self, trials: Sequence[Trial]) -> float:
        return value_of(np.concatenate([trial.stats[0] for trial in trials]))

    def unselected(self, trial: Trial, images: Images) -> list[np.ndarray]:
        """Of a grid of one point all; else each half of the images has the best row of the other one."""
        found = trial.stats[0].copy()
        second = np.arange(len(images)) % 2 == 1
        for one, other in ((second, ~second), (~second, second)):
            if len(trial.stats) > 1 and other.any():
                found[one] = trial.stats[self.best(Trial(trial.stats[:, other]))][one]
        return [found]

    def fitted(self, network: BoxNetwork, setting: Setting, facts: dict[str, Any]) -> FittedBoxes:
        kept = (facts["chosen"], facts["unselected"], facts["curve"])
        return FittedBoxes(network, setting.device, setting.n_classes, *kept)


def value_of(stats: np.ndarray) -> float:
    """The average precision of rows (n, k); 0 where no object is among them."""
    return float(np.nan_to_num(average_precision(stats, np.ones((1, len(stats))))[0]))
