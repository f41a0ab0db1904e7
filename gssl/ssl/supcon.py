"""SupCon: all views of all images of a class must find each other. It reads every label: an upper reference.

Khosla et al.: Supervised Contrastive Learning, NeurIPS 2020, arXiv:2004.11362. Values and the measured result:
conf/ssl/supcon.yaml.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.losses import spread


def supcon(z0: Tensor, z1: Tensor, label: Tensor, temperature: float) -> Tensor:
    """L_out of Khosla et al. 2020 (arXiv:2004.11362, eq. 2): the mean over an anchor's partners is outside the log.

    `z0`, `z1`: (B, d), two views of the same B images, of any length; `label`: (B,). Partners of one of the 2B
    vectors are the other view of its image and both views of its class; NT-Xent where no two labels are equal.
    Returns the mean over the 2B anchors, a scalar ≥ 0.
    """
    z = F.normalize(torch.cat([z0, z1]).float(), dim=1)
    label = torch.cat([label, label])
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    partner = (label[:, None] == label) & ~itself
    logits = (z @ z.T / temperature).masked_fill(itself, float("-inf"))
    # zero where there is no partner: a product with −∞ would be no number
    found = F.log_softmax(logits.float(), dim=1).masked_fill(~partner, 0.0)
    return -(found.sum(1) / partner.sum(1)).mean()


class SupCon(nn.Module):
    """SimCLR's networks under the supervised loss."""

    needs = ("view0", "view1", "label")

    def __init__(self, cfg: schema.SupCon, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.temperature = cfg.temperature
        self.gather = context.gather
        self.backbone = backbone
        self.head = mlp([backbone.dim, *cfg.head])
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z0 = self.head(self.backbone(batch["view0"]))
        z1 = self.head(self.backbone(batch["view1"]))
        z0, z1 = self.gather(z0), self.gather(z1)
        return {"loss": supcon(z0, z1, self.gather(batch["label"]), self.temperature), **spread(z0)}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch)
