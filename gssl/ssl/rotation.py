"""RotNet: by how many quarter turns was the image rotated? To say so, one must know what is up in what is shown.

Gidaris, Singh, Komodakis: Unsupervised Representation Learning by Predicting Image Rotations, ICLR 2018,
arXiv:1803.07728. Values and the measured result: conf/ssl/rotation.yaml.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from gssl.data.rotations import TURNS, rotated
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.schemas import ssl as schema


class Rotation(nn.Module):
    """Backbone and linear classifier of four turns, under cross-entropy (the paper's eq. 2 and 3)."""

    needs = ("real",)

    def __init__(self, cfg: schema.Rotation, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.draws = context.draws
        self.copies = cfg.copies
        self.backbone = backbone
        self.head = nn.Linear(backbone.dim, TURNS)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        # one pass for all turns: batch statistics of one turn alone would be another network for each answer
        images = batch["real"].repeat_interleave(self.copies, dim=0)
        turns = batch["turns"].flatten()
        logits = self.head(self.backbone(rotated(images, turns))).float()
        return {"loss": F.cross_entropy(logits, turns), "accuracy": (logits.argmax(1) == turns).float().mean()}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        images = batch["real"]
        # the ranks of uniform numbers: each image gets `copies` different turns
        turns = self.draws.uniform("rotation/turns", step, (len(images), TURNS)).argsort(1)[:, : self.copies]
        return self.optimizer.minimize(self.loss, batch | {"turns": to_device(turns, images.device)})
