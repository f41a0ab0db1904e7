"""SimCLR: two random views of an image must find each other among all others of the batch.

Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual Representations,
ICML 2020, arXiv:2002.05709. Values and the measured result: conf/ssl/simclr.yaml.
"""

from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import nt_xent, spread


class SimCLR(nn.Module):
    """Backbone and projection head under one loss; the head is dropped on export."""

    needs = ("view0", "view1")

    def __init__(self, cfg: schema.SimCLR, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.temperature = cfg.temperature
        self.gather = context.gather
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head])
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        # one pass per view: faster on a CPU than one concatenated pass, and each view has its own batch statistics
        z0 = self.head(self.backbone(batch["view0"]))
        z1 = self.head(self.backbone(batch["view1"]))
        z0, z1 = self.gather(z0), self.gather(z1)
        return {"loss": nt_xent(z0, z1, self.temperature), **spread(z0)}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch)
