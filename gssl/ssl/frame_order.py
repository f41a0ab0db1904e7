"""Frame order: were the last two of three frames exchanged?

Misra, Zitnick, Hebert: Shuffle and Learn: Unsupervised Learning using Temporal Order Verification, ECCV 2016,
arXiv:1603.08561. A motion that is the same backwards gives nothing away from its direction, an exchange does. Values
and the measured result: conf/ssl/frame_order.yaml.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema


def arranged(features: list[Tensor], exchanged: Tensor) -> Tensor:
    """Features of three frames (B, d) side by side, (B, 3 d), the last two exchanged where `exchanged` (B,) is 1."""
    first, second, third = features
    other = exchanged.bool()[:, None]
    return torch.cat([first, torch.where(other, third, second), torch.where(other, second, third)], dim=1)


class FrameOrder(nn.Module):
    """Backbone on three frames, and a head that says whether they are in order; the head is dropped on export."""

    needs = ("frame0", "frame1", "frame2")

    def __init__(self, cfg: schema.FrameOrder, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.draws = context.draws
        self.backbone = backbone
        self.head = mlp([3 * backbone.dim, *cfg.head, 2])
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        # features are exchanged, not frames: each frame keeps its pass, and so its batch statistics
        features = [self.backbone(batch[name]) for name in self.needs]
        logits = self.head(arranged(features, batch["exchanged"])).float()
        right = (logits.argmax(1) == batch["exchanged"]).float().mean()
        return {"loss": F.cross_entropy(logits, batch["exchanged"]), "order_accuracy": right}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        drawn = self.draws.integers("frame_order/exchanged", step, (len(batch["frame0"]),), 2)
        return self.optimizer.minimize(self.loss, batch | {"exchanged": to_device(drawn, batch["frame0"].device)})
