"""BYOL: one view predicts what a slow average of the network makes of the other view; no negatives.

Grill, Strub, Altché et al.: Bootstrap Your Own Latent, NeurIPS 2020, arXiv:2006.07733. Values and the measured
result: conf/ssl/byol.yaml.
"""

import torch
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.ema import EMA, momentum
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import negative_cosine, spread


def regression(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the unit vectors, 2 − 2 cos, averaged over the batch (eq. 2); (B, d) each → in [0, 4].

    Gradients flow into both: whoever calls it hands in a `target` without.
    """
    return 2 + 2 * negative_cosine(prediction, target)


class BYOL(nn.Module):
    """Backbone, projection head and predictor; the target is an average of the first two and never trained."""

    needs = ("view0", "view1")

    def __init__(self, cfg: schema.BYOL, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.momentum = cfg.momentum
        self.gather = context.gather
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head], last_norm=cfg.last_norm)
        width = cfg.head[-1]
        self.predictor = mlp([width, cfg.predictor, width])
        self.target = EMA(self._online(), cfg.momentum)
        self.to(context.device)
        trained = [*self._online().parameters(), *self.predictor.parameters()]
        self.optimizer = context.optimizer(trained, cfg.optim)

    def _online(self) -> nn.Sequential:
        """What the target follows. Made when needed: kept as a module, it would be saved twice."""
        return nn.Sequential(self.backbone, self.head)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():  # in training mode: the target normalises by its batch, as the network does
            t0, t1 = self.target(batch["view0"]), self.target(batch["view1"])
        z0 = self.head(self.backbone(batch["view0"]))
        z1 = self.head(self.backbone(batch["view1"]))
        p0, p1 = self.predictor(z0), self.predictor(z1)
        # of the predictions: where a norm ends the head, it keeps projections from becoming all one point
        return {"loss": regression(p0, t1) + regression(p1, t0), **spread(self.gather(p0))}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        out = self.optimizer.minimize(self.loss, batch)
        self.target.update(self._online(), decay=momentum(self.momentum, self.optimizer.progress))
        return out
