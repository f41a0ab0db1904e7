"""MoCo: a view must find the other view of its image, as an average of past encoders represents it.

v2: among a queue of keys of earlier batches. He et al., CVPR 2020, arXiv:1911.05722; Chen et al.: Improved Baselines
with Momentum Contrastive Learning, 2020, arXiv:2003.04297. v3: among the keys of its batch, through a predictor.
Chen, Xie, He: An Empirical Study of Training Self-Supervised Vision Transformers, ICCV 2021, arXiv:2104.02057.
Values and the measured result: conf/ssl/moco.yaml.
"""

import torch
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.ema import EMA, momentum
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import in_batch, info_nce, spread
from gssl.ssl.queue import Queue


def contrast_v3(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """MoCo v3's loss (arXiv:2104.02057, eq. 1 and algorithm 1): 2τ · InfoNCE with the batch's keys as negatives.

    `query`, `key`: (B, d), of any length. The factor makes the gradient's size independent of τ. Scalar, ≥ 0.
    """
    return 2 * temperature * in_batch(query, key, temperature)


class MoCo(nn.Module):
    """Encoder (backbone and head) for queries, its running average for keys; v2 has a queue, v3 a predictor."""

    needs = ("view0", "view1")

    def __init__(self, cfg: schema.MoCo, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.temperature, self.symmetric = cfg.temperature, cfg.symmetric
        self.first, self.last = cfg.momentum
        self.v3 = cfg.version == "v3"
        self.gather = context.gather
        self.backbone = backbone
        self.encoder = nn.Sequential(backbone, mlp([backbone.dim, *cfg.head], last_norm=self.v3))
        dim = [backbone.dim, *cfg.head][-1]
        self.predictor = mlp([dim, *cfg.predictor, dim]) if self.v3 else nn.Identity()
        self.target = EMA(self.encoder, self.first)
        if not self.v3:
            self.queue = Queue(context.draws.shared.normal("moco/queue", 0, (cfg.queue, dim)))
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        pairs = [("view0", "view1"), ("view1", "view0")] if self.symmetric else [("view0", "view1")]
        with torch.no_grad():
            keys = [self.target(batch[other]) for _, other in pairs]
            keys = [self.gather(key) for key in keys]
        queries = [self.gather(self.predictor(self.encoder(batch[own]))) for own, _ in pairs]
        if self.v3:
            terms = [contrast_v3(q, k, self.temperature) for q, k in zip(queries, keys, strict=True)]
            return {"loss": torch.stack(terms).sum(), **spread(queries[0])}
        terms = [info_nce(q, k, self.queue.keys, self.temperature) for q, k in zip(queries, keys, strict=True)]
        for key in keys:  # now, so that no image is among its own negatives; later micro-batches see earlier ones
            self.queue.push(key)
        return {"loss": torch.stack(terms).mean(), **spread(queries[0])}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        out = self.optimizer.minimize(self.loss, batch)
        self.target.update(self.encoder, decay=momentum(self.first, self.optimizer.progress, self.last))
        return out
