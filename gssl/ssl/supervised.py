"""Supervised training on every label: the upper reference, never a contestant.

Values and the measured result: conf/ssl/supervised.yaml.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.schemas import ssl as schema


class Supervised(nn.Module):
    """Backbone and linear classifier under cross-entropy; uses the labels of all training images."""

    needs = ("view0", "label")

    def __init__(self, cfg: schema.Supervised, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.smoothing = cfg.label_smoothing
        self.backbone = backbone
        self.head = nn.Linear(backbone.dim, context.classes)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.head(self.backbone(batch["view0"]))
        loss = F.cross_entropy(logits.float(), batch["label"], label_smoothing=self.smoothing)
        return {"loss": loss, "accuracy": (logits.argmax(1) == batch["label"]).float().mean()}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch)
