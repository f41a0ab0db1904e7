"""Neighbouring frames as positives: SimCLR whose second view is a view of the next frame of the clip.

Time as the augmentation, as in Sermanet et al.: Time-Contrastive Networks, ICRA 2018, arXiv:1704.06888, and in the
positives of Knights et al., arXiv:2008.05819; the loss is NT-Xent (Chen et al. 2020, arXiv:2002.05709). What neighbours
have in common is the background and the person: test on other persons. Values and the measured result:
conf/ssl/neighbours.yaml.
"""

from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import nt_xent, spread


class Neighbours(nn.Module):
    """Backbone and projection head under one loss; the head is dropped on export."""

    needs = ("near0", "near1")

    def __init__(self, cfg: schema.Neighbours, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.temperature = cfg.temperature
        self.gather = context.gather
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head])
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z0, z1 = (self.gather(self.head(self.backbone(batch[name]))) for name in self.needs)
        return {"loss": nt_xent(z0, z1, self.temperature), **spread(z0)}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch)
