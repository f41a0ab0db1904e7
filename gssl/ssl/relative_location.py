"""Relative location: on which of its eight sides did this tile lie beside the central one?

Doersch, Gupta, Efros: Unsupervised Visual Representation Learning by Context Prediction, ICCV 2015,
arXiv:1505.05192. Values and the measured result: conf/ssl/relative_location.yaml.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.tiles import Tiles

GRID, CENTRE, SIDES = 3, 4, 8


def cells(sides: Tensor) -> Tensor:
    """The cells of `sides` (B, K) in 0 … 7, with the centre put before them: (B, 1 + K), numbered row by row.

    Sides are numbered row by row too, from the upper left one to the lower right one, without the centre.
    """
    return torch.cat([torch.full_like(sides[:, :1], CENTRE), sides + (sides >= CENTRE)], dim=1)


class RelativeLocation(nn.Module):
    """The backbone reads each tile by itself; a head reads the pair of features and names the side."""

    needs = ("real",)

    def __init__(self, cfg: schema.RelativeLocation, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.draws = context.draws
        self.pairs = cfg.pairs
        self.tiles = Tiles(cfg.tiles, GRID, context.size, backbone)
        self.backbone = backbone
        self.head = mlp([2 * backbone.dim, *cfg.head, SIDES])
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def logits(self, batch: Batch) -> Tensor:
        """(B·K, 8): one row for each pair of a central tile and one of its neighbours."""
        images, sides = batch["real"], batch["sides"]
        tiles = self.tiles.cut(images, cells(sides), batch["luck"])
        features = self.backbone(tiles).unflatten(0, (len(images), -1))
        centre, others = features[:, :1].expand(-1, sides.shape[1], -1), features[:, 1:]
        logits: Tensor = self.head(torch.cat([centre, others], dim=2).flatten(0, 1))
        return logits.float()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits, sides = self.logits(batch), batch["sides"].flatten()
        return {"loss": F.cross_entropy(logits, sides), "accuracy": (logits.argmax(1) == sides).float().mean()}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        images = batch["real"]
        # the ranks of uniform numbers: `pairs` different neighbours of each centre, whose features serve them all
        sides = self.draws.uniform("relative/sides", step, (len(images), SIDES)).argsort(1)[:, : self.pairs]
        luck = self.tiles.draw(self.draws, step, len(images), 1 + self.pairs)
        drawn = {"sides": sides, "luck": luck}
        drawn = {name: to_device(value, images.device) for name, value in drawn.items()}
        return self.optimizer.minimize(self.loss, batch | drawn)
