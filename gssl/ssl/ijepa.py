"""I-JEPA: from one part of an image, predict the features of other parts by a slower copy of the network; no pixels.

Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun, Ballas: Self-Supervised Learning from Images with a
Joint-Embedding Predictive Architecture, CVPR 2023, arXiv:2301.08243. Needs a ViT. Values and the measured result:
conf/ssl/ijepa.yaml.

All token counts are fixed by the shape of the target blocks, so nothing is cut to the poorest image of a batch: the
context has as many patches as are left even where no two targets overlap.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.ema import EMA, momentum
from gssl.nets.predictor import Predictor
from gssl.schemas import ssl as schema
from gssl.ssl.losses import spread
from gssl.ssl.patches import need_vit, take


def block_shapes(side: int, scale: list[float], aspect: list[float], blocks: int) -> list[tuple[int, int]]:
    """(height, width) of target blocks on a square of `side`² patches: all whose fraction of it and height / width are
    within the bounds, or else those that come nearest; `blocks` of them never cover everything.
    """

    def outside(value: float, bounds: list[float]) -> float:
        return max(math.log(bounds[0] / value), math.log(value / bounds[1]), 0.0)

    whole = side * side
    cost = {
        (h, w): round(outside(h * w / whole, scale) + outside(h / w, aspect), 6)
        for h in range(1, side + 1)
        for w in range(1, side + 1)
        if h * w * blocks < whole
    }
    if not cost:
        raise UsageError(
            f"ssl=ijepa: {side}×{side} patches are too few for {blocks} target blocks and a context beside them;"
            " set a smaller backbone.patch, a larger data.size or fewer ssl.blocks"
        )
    return [shape for shape, value in cost.items() if value == min(cost.values())]


def block_places(top: Tensor, left: Tensor, shape: tuple[int, int], side: int) -> Tensor:
    """Patches (…, h · w) of blocks whose upper left patch is at row `top`, column `left` (…)."""
    rows = top[..., None] + torch.arange(shape[0])
    columns = left[..., None] + torch.arange(shape[1])
    return (rows[..., :, None] * side + columns[..., None, :]).flatten(-2)


def context_places(targets: Tensor, block: Tensor, noise: Tensor, scale: list[float], count: int) -> Tensor:
    """(B, count) patches that the context encoder reads: at random of a large square block without its targets.

    `targets` (B, M, n); `block` (B, 3) and `noise` (B, T), uniform in [0, 1): the block's fraction of the image within
    `scale`, its place, and the order. Patches outside the block fill up where it has too few; targets never do:
    `count` ≤ T − M n.
    """
    side = int(noise.shape[1] ** 0.5)
    area = scale[0] + (scale[1] - scale[0]) * block[:, :1]
    length = (area.sqrt() * side).round().clamp(1, side)
    start = (block[:, 1:] * (side - length + 1)).floor()  # (B, 2): row, column
    line = torch.arange(side)
    within = (line >= start[..., None]) & (line < (start + length)[..., None])  # (B, 2, side)
    inside = (within[:, 0, :, None] & within[:, 1, None, :]).flatten(1)
    key = (noise + (~inside)).scatter(1, targets.flatten(1), torch.inf)
    return key.argsort(dim=1)[:, :count]


def distance(prediction: Tensor, target: Tensor, kind: str) -> Tensor:
    """Mean over all values of the squared difference ("l2", the paper's equation) or of Huber's ("smooth_l1", the
    authors' code).
    """
    loss = F.smooth_l1_loss if kind == "smooth_l1" else F.mse_loss
    return loss(prediction.float(), target.float())


class IJEPA(nn.Module):
    """Context encoder, predictor, and the running average of the encoder that makes the targets."""

    needs = ("crop0",)

    def __init__(self, cfg: schema.IJEPA, backbone: Backbone, context: Context) -> None:
        super().__init__()
        if cfg.blocks * cfg.scale[1] >= 1:
            raise UsageError(
                f"ssl.blocks={cfg.blocks}, ssl.scale={cfg.scale}: would leave no context; lower one of them"
            )
        self.cfg, self.draws = cfg, context.draws
        self.gather = context.gather
        self.backbone = backbone
        self.side = context.size // need_vit(backbone, "ijepa", context.size).patch
        self.shapes = block_shapes(self.side, cfg.scale, cfg.aspect, cfg.blocks)
        self.period = len(self.shapes)  # they take turns
        self.middle = self.side // 2 * (self.side + 1)  # the patch whose tokens are watched: digits have empty margins
        self.predictor = Predictor(self.backbone.dim, cfg.width, cfg.depth, self.backbone.dim, self.side)
        self.to(context.device)
        self.target = EMA(self.backbone, cfg.momentum)
        self.optimizer = context.optimizer([*self.backbone.parameters(), *self.predictor.parameters()], cfg.optim)

    def exported(self) -> nn.Module:
        return self.target.module if self.cfg.export == "target" else self.backbone

    @torch.no_grad()
    def targets(self, images: Tensor) -> Tensor:
        """(B, T, dim): every patch as the target encoder represents it in the whole image, standardised by itself."""
        net = need_vit(self.target.module, "ijepa", images.shape[-1])
        tokens = net.embed(images)
        return F.layer_norm(net.encode(tokens + net.embedding(*net.grid(images))).float(), (net.dim,))

    def encode(self, images: Tensor, context: Tensor) -> Tensor:
        """(B, c, dim): the context's tokens, which know of no other patch."""
        net = need_vit(self.backbone, "ijepa", images.shape[-1])
        return net.encode(take(net.embed(images) + net.embedding(*net.grid(images)), context))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        images, context, targets = batch["crop0"], batch["context"], batch["targets"]
        blocks = targets.shape[1]
        whole = self.targets(images)
        seen = self.encode(images, context)
        # every block is predicted by itself
        positions, hidden = context.repeat_interleave(blocks, 0), targets.flatten(0, 1)
        prediction = self.predictor(seen.repeat_interleave(blocks, 0), positions, hidden)
        wanted = take(whole, targets.flatten(1)).view_as(prediction)
        return {"loss": distance(prediction, wanted, self.cfg.loss), **spread(self.gather(whole[:, self.middle]))}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        out = self.optimizer.minimize(self.loss, batch | self.masks(step, batch["crop0"]))
        self.target.update(self.backbone, decay=momentum(self.cfg.momentum, self.optimizer.progress))
        return out

    def masks(self, step: int, images: Tensor) -> Batch:
        """Target blocks (B, M, n) and context (B, c) of a step."""
        count, total = len(images), self.side**2
        h, w = self.shapes[step % len(self.shapes)]
        top = self.draws.integers("ijepa/top", step, (count, self.cfg.blocks), self.side - h + 1)
        left = self.draws.integers("ijepa/left", step, (count, self.cfg.blocks), self.side - w + 1)
        targets = block_places(top, left, (h, w), self.side)
        block = self.draws.uniform("ijepa/block", step, (count, 3))
        noise = self.draws.uniform("ijepa/noise", step, (count, total))
        context = context_places(targets, block, noise, self.cfg.context, total - self.cfg.blocks * h * w)
        move = {"targets": targets, "context": context}
        return {key: to_device(value, images.device) for key, value in move.items()}
