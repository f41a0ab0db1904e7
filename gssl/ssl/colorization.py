"""Colorization: the network reads lightness only and predicts the colour of every cell out of a grid of colours.

Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016, arXiv:1603.08511. The plane of a and b (CIE Lab) is cut
into cells; rare colours weigh more. One colour per cell is the target, where the paper spreads it over five.
Values and the measured result: conf/ssl/colorization.yaml.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.data.lab import lab_to_rgb, rgb_to_lab
from gssl.errors import UsageError
from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.decoder import Decoder, last_side
from gssl.nets.norms import evaluating
from gssl.schemas import ssl as schema

COLOURLESS = 0.5  # mean |a| and |b| of grey images stored as RGB; CIFAR-10's is about 7
REACH = 110  # |a| and |b| stay below it in sRGB
SHADES = 65  # per channel, to find the colours that exist; a finer cube finds the same cells of width 10


def palette(grid: float) -> tuple[Tensor, Tensor]:
    """The colours (Q, 2) on a square lattice of width `grid` that are the nearest to some sRGB colour, and the table
    (n, n) of the nearest of them to each point of the lattice from −n//2 to n//2.

    `grid` = 10 gives 261 of them (the paper counts 313: every cell that the gamut touches at some lightness).
    """
    shade = torch.linspace(0, 1, SHADES)
    cube = torch.stack(torch.meshgrid(shade, shade, shade, indexing="ij")).view(1, 3, SHADES, -1)
    exist = torch.unique((rgb_to_lab(cube)[0, 1:] / grid).round().flatten(1), dim=1).T * grid
    reach = math.ceil(REACH / grid)
    line = torch.arange(-reach, reach + 1) * float(grid)
    lattice = torch.cartesian_prod(line, line)
    return exist, torch.cdist(lattice, exist).argmin(1).view(len(line), len(line))


def nearest(ab: Tensor, table: Tensor, grid: float) -> Tensor:
    """Colour of each cell as an index into the palette: (B, 2, h, w) → (B, h, w) int64."""
    reach = len(table) // 2
    a, b = ((ab / grid).round().long().clamp(-reach, reach) + reach).unbind(1)
    return table[a, b]


def rebalanced(frequency: Tensor, smooth: Tensor, mix: float) -> Tensor:
    """Weights of the colours, (Q,), from how often they come (Q,): eq. 4. Their mean over all cells is 1.

    `smooth` (Q, Q), rows and columns summing to about 1, blurs the frequencies; a fraction `mix` becomes uniform.
    """
    p = smooth @ frequency
    weight = 1 / ((1 - mix) * p + mix / len(p))
    return weight / (frequency * weight).sum()


def colour_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross-entropy, mean over cells (eq. 2): (B, Q, h, w), (B, h, w), (B, h, w) → scalar."""
    return (F.cross_entropy(logits.float(), target, reduction="none") * weight).mean()


def annealed_mean(logits: Tensor, colours: Tensor, temperature: float) -> Tensor:
    """One colour per cell out of a distribution (eq. 5): (B, Q, h, w), (Q, 2) → ab (B, 2, h, w)."""
    return torch.einsum("bqhw,qc->bchw", (logits.float() / temperature).softmax(1), colours)


@torch.no_grad()
def blind(backbone: nn.Module) -> None:
    """Give the first layer one filter for all three channels, so that it answers to their mean only.

    What it makes of grey images does not change, and as it is trained on grey alone, it stays so. Otherwise the answer
    of random filters to the colours of an image would be in its features for ever: kNN on coloured validation images
    of CIFAR-10 after 300 steps .300, with this .340. (Nearly so for a ResNet, which scales channels differently.)
    """
    first = next(m for m in backbone.modules() if isinstance(m, nn.Conv2d))
    first.weight.copy_(first.weight.mean(1, keepdim=True).expand_as(first.weight))


class Colorization(nn.Module):
    """Backbone on grey images, and a decoder that classifies the colour of each cell."""

    needs = ("crop0",)
    colours: Tensor
    table: Tensor
    smooth: Tensor
    frequency: Tensor

    def __init__(self, cfg: schema.Colorization, backbone: Backbone, context: Context) -> None:
        super().__init__()
        if context.channels == 1:
            raise UsageError("ssl=colorization: needs images in colour, and these are grey; use e.g. ssl=rotation")
        self.grid, self.mix, self.temperature = cfg.grid, cfg.mix, cfg.temperature
        self.cells = math.ceil(context.size / cfg.cell)
        colours, table = palette(cfg.grid)
        smooth = torch.exp(-0.5 * (torch.cdist(colours, colours) / cfg.smooth) ** 2)
        self.register_buffer("colours", colours, persistent=False)
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("smooth", smooth / smooth.sum(1, keepdim=True), persistent=False)
        self.register_buffer("frequency", torch.full((len(colours),), 1 / len(colours)))
        blind(backbone)
        self.mean = context.mean
        self.backbone = backbone
        self.decoder = Decoder(backbone.dim, last_side(backbone, context.size), self.cells, len(colours), cfg.decoder)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def check(self, batch: Batch) -> None:
        """Grey images that were stored as RGB have nothing to predict. Raises UsageError."""
        if float(rgb_to_lab(batch["crop0"])[:, 1:].abs().mean()) < COLOURLESS:
            raise UsageError("ssl=colorization: needs images in colour, and these are grey; use e.g. ssl=rotation")

    def grey(self, lightness: Tensor) -> Tensor:
        """(B, 1, S, S) → the grey of that lightness, (B, 3, S, S) in [0, 1]."""
        lab = torch.cat([lightness, torch.zeros_like(lightness).expand(-1, 2, -1, -1)], dim=1)
        return lab_to_rgb(lab).contiguous(memory_format=torch.channels_last)

    def logits(self, grey: Tensor) -> Tensor:
        out: Tensor = self.decoder(self.backbone.dense(grey)[-1])
        return out

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        logits, target = self.logits(batch["grey"]), batch["target"]
        loss = colour_loss(logits, target, batch["weight"])
        return {"loss": loss, "accuracy": (logits.argmax(1) == target).float().mean()}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        with torch.no_grad():
            lab = rgb_to_lab(batch["crop0"])
            ab = F.adaptive_avg_pool2d(lab[:, 1:], self.cells)
            target = nearest(ab, self.table, self.grid)
            counts = torch.zeros_like(self.frequency).scatter_add_(
                0, target.flatten(), torch.ones_like(target, dtype=self.frequency.dtype).flatten()
            )
            self.frequency.lerp_(self.mean(counts / target.numel()), 1 / (step + 1))  # the mean of all batches so far
            weight = rebalanced(self.frequency, self.smooth, self.mix)[target]
            grey = self.grey(lab[:, :1])
        out = self.optimizer.minimize(self.loss, batch | {"grey": grey, "target": target, "weight": weight})
        return out | {"chroma": self.mean(ab.square().sum(1).sqrt().mean())}

    @torch.no_grad()
    def reconstruct(self, images: Tensor, step: int) -> list[Tensor]:
        """Lightness, the image with colours of the network's making, and the image; (B, 3, S, S) each in [0, 1]."""
        lightness = rgb_to_lab(images)[:, :1]
        grey = self.grey(lightness)
        with evaluating(self):
            ab = annealed_mean(self.logits(grey), self.colours, self.temperature)
        ab = F.interpolate(ab, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return [grey, lab_to_rgb(torch.cat([lightness, ab], dim=1)), images]
