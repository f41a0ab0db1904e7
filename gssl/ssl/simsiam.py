"""SimSiam: one view predicts the other; no negatives and no average, only a stopped gradient.

Chen, He: Exploring Simple Siamese Representation Learning, CVPR 2021, arXiv:2011.10566. Values and the measured
result: conf/ssl/simsiam.yaml.
"""

from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import negative_cosine, spread


def symmetric(p0: Tensor, p1: Tensor, z0: Tensor, z1: Tensor, stop_gradient: bool = True) -> Tensor:
    """½ D(p0, z1) + ½ D(p1, z0) with D = −cos (eq. 4); predictions p and projections z, (B, d) each → in [−1, 1].

    `stop_gradient`: the projections are targets only. Without, they move towards the predictions as well, and soon
    all are one point (fig. 2 of the paper).
    """
    if stop_gradient:
        z0, z1 = z0.detach(), z1.detach()
    return (negative_cosine(p0, z1) + negative_cosine(p1, z0)) / 2


class SimSiam(nn.Module):
    """Backbone, projection head that ends in a norm, and a narrow predictor whose learning rate does not fall."""

    needs = ("view0", "view1")

    def __init__(self, cfg: schema.SimSiam, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.stop_gradient = cfg.stop_gradient
        self.gather = context.gather
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head], last_norm=True)
        width = cfg.head[-1]
        self.predictor = mlp([width, cfg.predictor, width])
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim, steady=self.predictor.parameters())

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z0 = self.head(self.backbone(batch["view0"]))
        z1 = self.head(self.backbone(batch["view1"]))
        p0, p1 = self.predictor(z0), self.predictor(z1)
        # of the predictions: the norm that ends the head keeps the mean of the projections at 0, so that they cannot
        # all be one point
        return {"loss": symmetric(p0, p1, z0, z1, self.stop_gradient), **spread(self.gather(p0))}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch)
