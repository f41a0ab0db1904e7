"""Features of a data set's images by a network that has seen none of them, for the data report."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gssl.data import Images, decode, sequential
from gssl.data.draws import digest
from gssl.data.pool import Pool
from gssl.data.views import centre
from gssl.errors import UsageError
from gssl.metrics.evaluator import RandomEvaluator
from gssl.metrics.evaluator_base import weights_hash
from gssl.nets import foreign, inputs, ready_made
from gssl.probe.feature_cache import FeatureCache
from gssl.schemas.ready_made import READY_MADE, weights_file

NAME = "efficientnet_lite0"
SIDE = 128  # pixels that the ready-made network looks at: smaller images are enlarged
RANDOM_SIDE = 64
BATCH = 64
FORMAT = 1  # part of the key of what is kept


class Network(NamedTuple):
    """`about`: what it is, as a sentence says it; `note`: what its features do not know, if anything."""

    name: str
    about: str
    note: str
    side: int
    module: nn.Module


class _Pooled(nn.Module):
    """timm's network without its classifier, for images in [0, 1]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net: nn.Module = net
        cfg: Any = net.pretrained_cfg
        self.inputs = inputs.Inputs(cfg["mean"], cfg["std"])

    def forward(self, x: Tensor) -> Tensor:
        net = self.net
        found: Tensor = net.forward_head(net.forward_features(self.inputs(x)), pre_logits=True)  # type: ignore[operator]
        return found


def network() -> Network:
    """EfficientNet-Lite0 of ImageNet where its package is installed, else random convolutions; says which."""
    made = READY_MADE[NAME]
    try:
        weights_file(NAME)
    except UsageError as error:
        note = (
            "random filters know textures and colours, not objects: outliers, clusters and label suspects mean less;"
            f" {str(error).split('; ')[-1]} for a network that has learned from ImageNet"
        )
        return Network("random-conv", "random convolutions", note, RANDOM_SIDE, RandomEvaluator(RANDOM_SIDE))
    net = foreign.with_classifier(made.timm)
    net.load_state_dict(ready_made.tensors(NAME), strict=False)
    return Network(NAME, f"EfficientNet-Lite0, which learned from {made.learned_from}", "", SIDE, _Pooled(net).eval())


def features(pool: Pool, chosen: np.ndarray, by: Network, device: torch.device, progress: bool = False) -> np.ndarray:
    """(n, d) float32 of the images `chosen` (n,) of the pool: centre crops. Kept in the cache, image by image."""
    module = by.module.to(device).to(memory_format=torch.channels_last)
    key = digest("data-features", FORMAT, by.name, by.side, weights_hash(module), device.type, torch.__version__).hex()
    kept = FeatureCache(key)
    found: list[np.ndarray | None] = [None] * len(chosen)
    with decode.bar(f"features of {len(chosen):,} images by {by.name}", len(chosen), progress) as advance:

        @torch.inference_mode()
        def compute(images: Images) -> np.ndarray:
            rows = []
            for batch in sequential(images, BATCH, device):
                rows.append(module(centre(batch["image"], by.side, batch.get("extent"))).float().cpu().numpy())
                advance(len(rows[-1]))
            return np.concatenate(rows)

        for number, images in enumerate(pool.parts):
            mine = np.flatnonzero(pool.part[chosen] == number)
            if len(mine):
                few = images.subset(chosen[mine] - pool.starts[number])
                for i, row in zip(mine.tolist(), kept.features(few, compute), strict=True):
                    found[i] = row
    return np.stack([row for row in found if row is not None])


def some(pool: Pool, most: int) -> np.ndarray:
    """int64, ascending: at most `most` images, of every class of every part in proportion, by content."""
    if len(pool) <= most:
        return np.arange(len(pool))
    _, codes, counts = np.unique(
        pool.part * (len(pool.classes) + 2) + pool.labels, return_inverse=True, return_counts=True
    )
    order = np.lexsort((np.arange(len(pool)), pool.contents, codes))
    starts = np.searchsorted(codes[order], codes[order])
    rank = np.empty(len(pool), np.int64)
    rank[order] = np.arange(len(pool)) - starts
    first = np.argsort((rank + 0.5) / counts[codes], kind="stable")[:most]
    return np.sort(first)
