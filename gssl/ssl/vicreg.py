"""VICReg: two views come to one place, every dimension keeps its spread, no two dimensions vary together.

Bardes, Ponce, LeCun: VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning,
ICLR 2022, arXiv:2105.04906. Values and the measured result: conf/ssl/vicreg.yaml.
With `ssl.variance=0` nothing holds the projections apart: they collapse to one point, and the run says so.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import spread

EPSILON = 1e-4  # under the square root: its slope at 0 is infinite


def variance(z: Tensor) -> Tensor:
    """The hinge max(0, 1 − √(Var + ε)), averaged over the dimensions of `z` (B, d) (eq. 1): in [0, 1), 0 is good."""
    return F.relu(1 - (z.float().var(0) + EPSILON).sqrt()).mean()


def covariance(z: Tensor) -> Tensor:
    """Squared covariances of pairs of different dimensions of `z` (B, d), summed and divided by d (eqs. 3 and 4)."""
    z = z.float() - z.float().mean(0)
    c = (z.T @ z).float() / (len(z) - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / len(c)


def vicreg(z0: Tensor, z1: Tensor) -> dict[str, Tensor]:
    """The three terms (eqs. 1, 4 and 5), unweighted scalars, of two views of the same images, (B, d) each.

    The variance is averaged over the views, the covariance summed and the invariance averaged over dimensions too,
    as the authors' code and every recipe since count them.
    """
    return {
        "invariance": F.mse_loss(z0.float(), z1.float()),
        "variance": (variance(z0) + variance(z1)) / 2,
        "covariance": covariance(z0) + covariance(z1),
    }


class VICReg(nn.Module):
    """Backbone and expander under three terms; the expander is dropped on export."""

    needs = ("view0", "view1")

    def __init__(self, cfg: schema.VICReg, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.invariance, self.variance, self.covariance = cfg.invariance, cfg.variance, cfg.covariance
        self.gather = context.gather
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head])
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z0 = self.head(self.backbone(batch["view0"]))
        z1 = self.head(self.backbone(batch["view1"]))
        z0, z1 = self.gather(z0), self.gather(z1)
        terms = vicreg(z0, z1)
        loss = self.invariance * terms["invariance"] + self.variance * terms["variance"]
        loss = loss + self.covariance * terms["covariance"]
        return {"loss": loss, **terms, **spread(z0)}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch)
