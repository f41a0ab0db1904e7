"""LeJEPA: views come to one point, and the points of all images together look like a standard normal cloud.

Balestriero, LeCun: LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics, 2025,
arXiv:2511.08544. No teacher, no stop-gradient. Values and the measured result: conf/ssl/lejepa.yaml.
SIGReg is its regulariser: along random directions the projections are tested for normality by the characteristic
function (Epps & Pulley 1983, Biometrika 70); a cloud that is normal along every line is normal (Cramér & Wold).
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import spread


def epps_pulley(x: Tensor, limit: float, knots: int) -> Tensor:
    """Epps-Pulley statistic of every column of `x` (n, k) against N(0, 1): (k,), each in [0, 7.5 n).

    n ∫ |φ(t) − exp(−t²/2)|² exp(−t²/2) dt over [−limit, limit] by the trapezoidal rule, with φ(t) the mean of
    exp(itx) over the n numbers. Standard normal numbers give 1.06 on average, whatever n (limit = ∞); numbers that
    are all 0 give 0.41 n. The integrand is even and 0 at t = 0: `knots` points in [0, limit] are enough, the first
    for nothing.
    """
    t = torch.linspace(0, limit, knots, device=x.device)[1:]
    normal = torch.exp(-t.square() / 2)  # the characteristic function of N(0, 1), and the weight
    weight = 2 * limit / (knots - 1) * normal
    weight = torch.cat([weight[:-1], weight[-1:] / 2])
    angle = x.float()[:, :, None] * t
    error = (angle.cos().mean(0) - normal).square() + angle.sin().mean(0).square()
    return len(x) * (error * weight).sum(1)


def sigreg(z: Tensor, directions: Tensor, limit: float, knots: int) -> Tensor:
    """Mean Epps-Pulley statistic of the embeddings `z` (B, d) along `directions` (k, d), of unit length; a scalar."""
    return epps_pulley((z.float() @ directions.T).float(), limit, knots).mean()


def invariance(views: list[Tensor]) -> Tensor:
    """Mean squared distance, per dimension, of every view's embedding (B, d) from the mean of the image's views."""
    z = torch.stack([view.float() for view in views])
    return (z - z.mean(0)).square().mean()


class LeJEPA(nn.Module):
    """Backbone and projection head under two terms; the head is dropped on export."""

    needs = ("view0", "view1")

    def __init__(self, cfg: schema.LeJEPA, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.draws = context.draws
        self.weight, self.limit, self.knots = cfg.weight, cfg.limit, cfg.knots
        self.shape = (cfg.directions, cfg.head[-1])
        self.gather = context.gather
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head])
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch, directions: Tensor) -> dict[str, Tensor]:
        views = [self.gather(self.head(self.backbone(batch[name]))) for name in self.needs]
        normality = torch.stack([sigreg(z, directions, self.limit, self.knots) for z in views]).mean()
        pull = invariance(views)
        loss = self.weight * normality + (1 - self.weight) * pull
        return {"loss": loss, "sigreg": normality, "invariance": pull, **spread(views[0])}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        # new in every step, so that over the run all directions are tested; the same for all micro-batches
        directions = F.normalize(self.draws.shared.normal("lejepa/directions", step, self.shape), dim=1)
        directions = to_device(directions, batch["view0"].device)
        return self.optimizer.minimize(partial(self.loss, directions=directions), batch)
