"""Training that goes on from given weights: slower layers, kept batch statistics, and whether it forgets.

What forgets was measured with `efficientnet_lite0`: docs/results/continued_and_distilled.md.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from torch import nn

from gssl import schemas
from gssl.config import arms
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment.weight_sources import WeightSource
from gssl.method import MakeOptimizer, Optimizer
from gssl.nets.backbone import Backbone
from gssl.nets.norms import keep_statistics
from gssl.statistics.paired import newcombe_paired


def check(weights: str, source: WeightSource) -> None:
    """Raises UsageError where no method of ours trains such a network; `weights`: as the user wrote it."""
    if source.kind == "hf" and source.tokenizer is not None:
        raise UsageError(
            f"weights={weights}: a published network of texts is evaluated and fine-tuned (gssl transfer), and no"
            " method of ours goes on from it; use weights=random"
        )


def lr_scales(backbone: Backbone, layer_decay: float) -> dict[nn.Parameter, float]:
    """Factors of the learning rate by stage: `layer_decay` for the last, its square for the one before it, and so on.

    What a method adds to the backbone has the whole learning rate.
    """
    stages = list(reversed(backbone.layer_groups()))
    return {weight: layer_decay ** (i + 1) for i, stage in enumerate(stages) for weight in stage}


def optimizers(make: MakeOptimizer, backbone: Backbone, cfg: schemas.Continued) -> MakeOptimizer:
    """`make`, with the learning rates of the backbone's stages."""
    if cfg.layer_decay == 1:
        return make
    scales = lr_scales(backbone, cfg.layer_decay)

    def made(
        params: Iterable[nn.Parameter],
        cfg: schemas.Optim,
        steady: Iterable[nn.Parameter] = (),
        lr_scales: Mapping[nn.Parameter, float] | None = None,
        factor: Callable[[float], float] | None = None,
    ) -> Optimizer:
        every, own = list(params), lr_scales or {}
        both = {p: scales.get(p, 1.0) * own.get(p, 1.0) for p in every if p in scales or p in own}
        return make(every, cfg, steady=steady, lr_scales=both, factor=factor)

    return made


def kept(weights: str, batch_statistics: str) -> bool:
    """Whether a run from `weights` keeps the batch statistics that its backbone came with.

    Measured with a published network on images of 64 pixels: those of its own weights recomputed on the new images
    cost 19 points of kNN before the first step (see the head of this file).
    """
    if batch_statistics == "auto":
        return bool(arms.PUBLISHED.fullmatch(weights))
    return batch_statistics == "kept" and weights != "random"


def hold(method: nn.Module, cfg: schemas.PretrainSSL) -> None:
    """Keep the batch statistics that the backbone came with, in it and in averages of it, where `cfg` says so."""
    if kept(cfg.weights, cfg.continued.batch_statistics):
        for module in method.modules():
            if isinstance(module, Backbone):
                keep_statistics(module)


def against_start(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """For result.json: kNN accuracy of the weights as they came and at the end, on the same validation images.

    before, after: which images were right, bool (n,). The interval is Newcombe's for paired proportions.
    """
    counts = [int(x.sum()) for x in (after & before, after & ~before, ~after & before, ~after & ~before)]
    change = newcombe_paired(counts[0], counts[1], counts[2], counts[3])
    return {
        "val_knn": float(before.mean()),
        "end": float(after.mean()),
        "change": change.mean,
        "interval": [change.low, change.high],
        "confidence": 0.95,
        "n": len(before),
        "fell": change.high < 0,
    }


def tell(found: dict[str, Any]) -> None:
    """The same in a line on stderr."""
    start, end, change = (100 * found[key] for key in ("val_knn", "end", "change"))
    low, high = (100 * value for value in found["interval"])
    text = (
        f"kNN on {found['n']:,} validation images: {start:.1f} % with the weights as they came, {end:.1f} % at the end"
        f" ({change:+.1f}, 95% interval {low:+.1f} to {high:+.1f})"
    ).replace("-", "−")
    if found["fell"]:
        text = f"warning: {text}: training has forgotten; lower ssl.optim.lr or continued.layer_decay, train for fewer"
        text += " steps (experiment=continued is a start), or use the weights as they were"
    say(text if found["fell"] else f"note: {text}")
