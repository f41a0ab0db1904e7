"""NNCLR: a view must find, in place of the other view, that view's nearest neighbour among past images.

Dwibedi, Aytar, Tompson, Sermanet, Zisserman: With a Little Help from My Friends, ICCV 2021, arXiv:2104.14548.
Values and the measured result: conf/ssl/nnclr.yaml.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import in_batch, spread
from gssl.ssl.queue import Queue


@torch.no_grad()
def nearest(z: Tensor, support: Tensor) -> Tensor:
    """The row of `support` (K, d), of unit length, with the largest cosine to each row of `z` (B, d): (B, d).

    NN(z, Q) of arXiv:2104.14548, eq. 2: between unit vectors the nearest is that of the largest product.
    """
    return support[(F.normalize(z.float(), dim=1) @ support.T).argmax(1)]


def nnclr(z0: Tensor, z1: Tensor, p0: Tensor, p1: Tensor, support: Tensor, temperature: float) -> Tensor:
    """The neighbour of one view's projection must find the other view's prediction in the batch; the mean of both ways.

    `z0`, `z1`, `p0`, `p1`: (B, d), projections and predictions of two views; `support`: (K, d), of unit length.
    arXiv:2104.14548, eq. 4, made symmetric. No gradient passes through a neighbour. Scalar, ≥ 0.
    """
    forth = in_batch(nearest(z0, support), p1, temperature)
    back = in_batch(nearest(z1, support), p0, temperature)
    return (forth + back) / 2


class NNCLR(nn.Module):
    """Backbone, projection head and predictor; the queue holds projections of the first view."""

    needs = ("view0", "view1")

    def __init__(self, cfg: schema.NNCLR, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.temperature = cfg.temperature
        self.gather = context.gather
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head], last_norm=True)
        dim = cfg.head[-1]
        self.predictor = mlp([dim, *cfg.predictor, dim])
        self.queue = Queue(context.draws.shared.normal("nnclr/queue", 0, (cfg.queue, dim)))
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z0, z1 = (self.head(self.backbone(batch[name])) for name in self.needs)
        z0, z1, p0, p1 = map(self.gather, (z0, z1, self.predictor(z0), self.predictor(z1)))
        loss = nnclr(z0, z1, p0, p1, self.queue.keys, self.temperature)
        # how near neighbours are: near 1 means that the queue adds nothing to the other view
        cosine = F.cosine_similarity(z0.detach().float(), nearest(z0, self.queue.keys), dim=1).mean()
        self.queue.push(z0)
        return {"loss": loss, "neighbour_cosine": cosine, **spread(z0)}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch)
