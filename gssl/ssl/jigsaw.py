"""Jigsaw: in which order were the tiles of an image shuffled? To put them back, one must know the parts of things.

Noroozi, Favaro: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles, ECCV 2016,
arXiv:1603.09246. Values and the measured result: conf/ssl/jigsaw.yaml.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.schemas import ssl as schema
from gssl.ssl.tiles import Tiles

SQUARE = {2: (1, 1), 3: (2, 0)}  # grid: (s, t) with w² = s + t·w, which no number modulo `grid` solves


def permutations(grid: int, count: int) -> Tensor:
    """(count, n) int64, n = grid²: permutations of n tiles, as far apart in Hamming distance as any set of that size.

    The tile in row r and column c stands for r + c·w, an element of the field with n elements. The maps z → a·z + b
    with a ≠ 0 are n(n − 1) permutations, and two of them agree in one place at most, for (a − a')·z = b' − b has one
    solution or none: their distance is n − 1, and no larger set has it. The first n (a = 1) agree in none. In each
    place every tile stands equally often, so that one tile alone says nothing (a whole number of n permutations).
    Raises UsageError where `count` is larger than the set.
    """
    n = grid * grid
    if count > n * (n - 1):
        raise UsageError(
            f"ssl.permutations={count}: {grid}×{grid} tiles have {n * (n - 1)} that are far apart; set less"
        )
    s, t = SQUARE[grid]
    index = torch.arange(n)
    one = index == grid
    a = torch.cat([index[one], index[(index > 0) & ~one]]).view(-1, 1, 1)
    b, z = index.view(-1, 1), index
    (ar, ac), (br, bc), (zr, zc) = ((x // grid, x % grid) for x in (a, b, z))
    row = (ar * zr + s * ac * zc + br) % grid
    column = (ar * zc + ac * zr + t * ac * zc + bc) % grid
    return (row * grid + column).flatten(0, 1)[:count].clone()


class Jigsaw(nn.Module):
    """The backbone reads each tile by itself; a head reads all their features, in order, and names the permutation."""

    needs = ("real",)
    orders: Tensor

    def __init__(self, cfg: schema.Jigsaw, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.draws = context.draws
        self.tiles = Tiles(cfg.tiles, cfg.grid, context.size, backbone)
        # not persistent: a constant
        self.register_buffer("orders", permutations(cfg.grid, cfg.permutations), persistent=False)
        self.backbone = backbone
        self.head = mlp([cfg.grid**2 * backbone.dim, *cfg.head, cfg.permutations])
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def logits(self, batch: Batch) -> Tensor:
        """(B, permutations): place i of image b shows the tile that was in cell `orders[order[b], i]`."""
        images = batch["real"]
        tiles = self.tiles.cut(images, self.orders[batch["order"]], batch["luck"])
        logits: Tensor = self.head(self.backbone(tiles).unflatten(0, (len(images), -1)).flatten(1))
        return logits.float()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits, order = self.logits(batch), batch["order"]
        return {"loss": F.cross_entropy(logits, order), "accuracy": (logits.argmax(1) == order).float().mean()}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        images = batch["real"]
        drawn = {
            "order": self.draws.integers("jigsaw/order", step, (len(images),), len(self.orders)),
            "luck": self.tiles.draw(self.draws, step, len(images), self.orders.shape[1]),
        }
        drawn = {name: to_device(value, images.device) for name, value in drawn.items()}
        return self.optimizer.minimize(self.loss, batch | drawn)
