"""Barlow Twins: the two views' projections agree in every dimension, and no two dimensions say the same.

Zbontar, Jing, Misra, LeCun, Deny: Barlow Twins: Self-Supervised Learning via Redundancy Reduction, ICML 2021,
arXiv:2103.03230. Values and the measured result: conf/ssl/barlow_twins.yaml.
"""

import torch
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import spread

EPSILON = 1e-5  # added to variances, as a batch norm does


def cross_correlation(z0: Tensor, z1: Tensor) -> Tensor:
    """Correlation over the batch of every dimension of `z0` with every dimension of `z1`: (B, d) each → (d, d).

    Within [-1, 1]. A dimension that does not vary correlates with nothing (0).
    """

    def standardised(z: Tensor) -> Tensor:
        variance, mean = torch.var_mean(z.float(), 0, correction=0)
        return (z.float() - mean) * torch.rsqrt(variance + EPSILON)

    return (standardised(z0).T @ standardised(z1)).float() / len(z0)


def barlow_twins(z0: Tensor, z1: Tensor, redundancy: float) -> tuple[Tensor, Tensor]:
    """The loss Σᵢ (1 − Cᵢᵢ)² + λ Σᵢ≠ⱼ Cᵢⱼ² (eq. 1) of the cross-correlation C, and the mean of Cᵢᵢ; scalars.

    `z0`, `z1`: (B, d), two views of the same images, standardised here; `redundancy`: λ. The loss lies in
    [0, 4d + λ d(d − 1)] and is 0 where C is the identity.
    """
    c = cross_correlation(z0, z1)
    own = c.diagonal()
    others = c.square().sum() - own.square().sum()
    return (1 - own).square().sum() + redundancy * others, own.mean()


class BarlowTwins(nn.Module):
    """Backbone and projection head under one loss; the head is dropped on export."""

    needs = ("view0", "view1")

    def __init__(self, cfg: schema.BarlowTwins, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.redundancy, self.scale = cfg.redundancy, cfg.scale
        self.gather = context.gather
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head])
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z0 = self.head(self.backbone(batch["view0"]))
        z1 = self.head(self.backbone(batch["view1"]))
        z0, z1 = self.gather(z0), self.gather(z1)
        loss, own = barlow_twins(z0, z1, self.redundancy)
        return {"loss": self.scale * loss, "correlation": own, **spread(z0)}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch)
