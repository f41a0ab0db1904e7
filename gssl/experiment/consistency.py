"""Whether an output shows its input, by how the input came about: three figures with one interface.

Inputs that are pictures are read back by a ridge regression (`gssl.metrics.translation.Reader`), classes of masks by a
segmenter, and of an input that was made from the true image the same is made from the output again. Each is fitted on
true training pairs, and beside its figure of outputs stand those of true images and of images of other pairs.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gssl.config.paths import conf_dir
from gssl.data import Draws
from gssl.data.memory import in_memory
from gssl.data.pairs import Given
from gssl.engine.documents import read_yaml
from gssl.metrics.evaluator import RandomEvaluator
from gssl.metrics.translation import Reader, mean_interval, miou_interval
from gssl.probe.dense import DenseSetting, brought, grid_of, pixels
from gssl.probe.segment import Segment
from gssl.schemas.probes import Segment as SegmentKeys
from gssl.statistics.metric import IGNORE, mask_counts

STRIDE = 2  # pixels per position at which the segmenter has features
BATCH = 32
SEED = 0


class Consistency(Protocol):
    key: str  # of its figure

    def __call__(self, images: Tensor, inputs: Tensor) -> tuple[dict[str, float | int], Tensor | None]:
        """Of outputs (n, 3, S, S) and their inputs (n, K, S, S): the figure with its 95% interval over pairs, and that
        of each pair (n,), None where it is no mean over pairs."""
        ...


class ReadBack:
    """Correlation of what is read from outputs with the inputs."""

    key = "input_read"

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.reader = Reader(inputs, targets)

    def __call__(self, images: Tensor, inputs: Tensor) -> tuple[dict[str, float | int], Tensor | None]:
        found = self.reader.agreement(images, inputs)
        return mean_interval(found.numpy()), found


class MadeAgain:
    """Mean absolute difference, on [0, 1], between the input and what is made from the output as the input was from the
    true image: 0 for the true image."""

    key = "input_l1"

    def __init__(self, given: Given) -> None:
        self.given = given

    def __call__(self, images: Tensor, inputs: Tensor) -> tuple[dict[str, float | int], Tensor | None]:
        found = (self.given.again(images) - inputs).abs().flatten(1).mean(1)
        return mean_interval(found.numpy()), found


class Segmenter:
    """Mean IoU of the classes that a segmenter finds in outputs, against those that they were made from.

    It is the segmentation probe (`gssl.probe.segment`) on frozen random filters and colours, fitted on true training
    pairs at the outputs' size. It shares no weight with any generator.
    """

    key = "input_miou"

    def __init__(self, inputs: Tensor, targets: Tensor, device: torch.device) -> None:
        """Of training pairs: one-hot (n, K, S, S) and (n, 3, S, S) in [0, 1]."""
        self.classes, self.device = inputs.shape[1], device
        self.filters = RandomEvaluator(targets.shape[-1]).to(device)
        photos = (targets * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        names = [str(i) for i in range(self.classes)]
        known = in_memory(photos, np.full(len(photos), -1), names, masks=ids_of(inputs).numpy())
        keys = SegmentKeys(**(read_yaml(conf_dir() / "probe" / "segment.yaml") or {}))
        setting = DenseSetting(self._maps, self.classes, device, SEED, Draws(SEED))
        self.probe = Segment(keys).fit(known, setting)

    @torch.no_grad()
    def _maps(self, x: Tensor, stride: int = STRIDE) -> Tensor:
        grid = grid_of(x, STRIDE)
        return torch.cat([brought(m, grid) for m in (*self.filters.levels(x), pixels(x, STRIDE))], dim=1)

    def __call__(self, images: Tensor, inputs: Tensor) -> tuple[dict[str, float | int], Tensor | None]:
        size = (images.shape[-2], images.shape[-1])
        found = [self.probe.masks(x.to(self.device), size) for x in images.split(BATCH)]
        counts = mask_counts(ids_of(inputs).numpy(), np.concatenate(found), self.classes)
        return miou_interval(counts), None


def ids_of(inputs: Tensor) -> Tensor:
    """One-hot (n, K, S, S) → ids (n, S, S) uint8, IGNORE where there is no class."""
    return torch.where(inputs.sum(1) > 0, inputs.argmax(1), IGNORE).to(torch.uint8)


def consistency(given: Given, inputs: Tensor, targets: Tensor, device: torch.device) -> Consistency:
    """Of inputs and true images of training pairs (n, K or 3, S, S)."""
    if given.kind == "masks":
        return Segmenter(inputs, targets, device)
    return ReadBack(inputs, targets) if given.kind == "files" else MadeAgain(given)
