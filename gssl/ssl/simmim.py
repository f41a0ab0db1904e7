"""SimMIM: hidden parts of the image are replaced, and a single layer on top of the backbone predicts their pixels.

Xie, Zhang, Cao, Lin, Bao, Yao, Dai, Hu: SimMIM: A Simple Framework for Masked Image Modeling, CVPR 2022,
arXiv:2111.09886. On a ViT a learnt token takes the place of hidden patches, on any other backbone a learnt colour
that of hidden pixels. Values and the measured result: conf/ssl/simmim.yaml.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.decoder import last_side
from gssl.nets.norms import evaluating
from gssl.nets.patch_encoder import patch_encoder
from gssl.schemas import ssl as schema
from gssl.ssl.patches import GREY, as_grid, hidden_count, need_vit, split_order


def standardised(images: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (B, 3, S, S) less the mean of the `window`² around them, over its deviation, colour by colour; and both.

    At the margin, the pixels of the window that exist. `window` is odd. Keeps a network from painting nothing but mean
    colours; an option of the authors' later code.
    """

    def mean_of(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, window, stride=1, padding=window // 2, count_include_pad=False)

    images = images.float()
    mean = mean_of(images)
    std = ((mean_of(images**2) - mean**2).clamp_min(0) + 1e-4).sqrt()
    return (images - mean) / std, mean, std


def hidden_l1(prediction: Tensor, images: Tensor, mask: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Mean absolute error over the hidden pixels and their colours (section 3.4).

    `prediction`, `images` (B, 3, S, S), standardised or not; `mask` (B, 1, S, S), 1 where hidden, else 0. `hidden`: how
    many to divide by, where they are not those of this batch alone. Scalar.
    """
    hidden = mask.sum() if hidden is None else hidden
    return ((prediction.float() - images).abs() * mask).sum() / (hidden * images.shape[1])


def stride(side: int, size: int) -> int:
    """Pixels of an image of `size` to a place of a map of `side`: a power of two, for odd halves are rounded up."""
    found = 1
    while side * found < size:
        found *= 2
    return found


class SimMIM(nn.Module):
    """Backbone and one 1×1 convolution, which is dropped on export as are token and colour."""

    needs = ("crop0",)

    def __init__(self, cfg: schema.SimMIM, backbone: Backbone, context: Context) -> None:
        super().__init__()
        vit = patch_encoder(backbone)
        if vit and cfg.unit % vit.patch:
            raise UsageError(f"ssl.unit={cfg.unit}: must be a multiple of backbone.patch={vit.patch}")
        self.draws, self.size, self.unit = context.draws, context.size, cfg.unit
        self.window = cfg.window
        if cfg.window is not None and cfg.window % 2 == 0:
            raise UsageError(f"ssl.window={cfg.window}: must be odd, so that a pixel is in its middle")
        self.side = math.ceil(context.size / cfg.unit)  # squares at the lower and right margin may be cut
        self.hidden = hidden_count(self.side**2, cfg.mask)
        self.mean = context.mean
        self.backbone = backbone
        if vit:
            need_vit(backbone, "simmim", context.size)
            self.token = nn.Parameter(torch.zeros(backbone.dim))
            nn.init.trunc_normal_(self.token, std=0.02)
            self.stride = vit.patch
        else:
            self.token = nn.Parameter(torch.full((3, 1, 1), GREY))
            self.stride = stride(last_side(backbone, context.size), context.size)
        self.head = nn.Conv2d(backbone.dim, 3 * self.stride**2, 1)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def covered(self, images: Tensor, mask: Tensor) -> Tensor:
        """Images whose hidden pixels are of the learnt colour (a ViT's are grey: what it reads there is no pixel)."""
        colour = GREY if patch_encoder(self.backbone) else self.token
        return images * (1 - mask) + colour * mask

    def paint(self, images: Tensor, mask: Tensor) -> Tensor:
        """(B, 3, S, S), pixel mask (B, 1, S, S) → all pixels as predicted from the visible ones, (B, 3, S, S)."""
        net = patch_encoder(self.backbone)
        if net:
            hidden = mask[:, :, :: net.patch, :: net.patch].flatten(2).transpose(1, 2)
            tokens = net.embed(images) * (1 - hidden) + self.token * hidden
            tokens = net.encode(tokens + net.embedding(*net.grid(images)))
            last = tokens.transpose(1, 2).unflatten(2, (self.size // net.patch, -1))
        else:
            last = self.backbone.dense(self.covered(images, mask))[-1]
        return F.pixel_shuffle(self.head(last), self.stride)[:, :, : self.size, : self.size]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        images, mask = batch["crop0"], self.pixels(batch["mask"])
        target = standardised(images, self.window)[0] if self.window else images
        # squares at the border are cut, so that not every part of a batch hides as many pixels
        return {"loss": hidden_l1(self.paint(images, mask), target, mask, self.mean(mask.sum()))}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch | {"mask": self.mask("simmim/mask", step, batch["crop0"])})

    def mask(self, purpose: str, step: int, images: Tensor) -> Tensor:
        """(B, 1, side, side): 1 where a square of `unit` pixels is hidden."""
        noise = self.draws.uniform(purpose, step, (len(images), self.side**2))
        return to_device(as_grid(split_order(noise, self.hidden)[1], self.side), images.device)

    def pixels(self, mask: Tensor) -> Tensor:
        """Squares (B, 1, side, side) → pixels (B, 1, S, S)."""
        return F.interpolate(mask, scale_factor=self.unit, mode="nearest")[:, :, : self.size, : self.size]

    @torch.no_grad()
    def reconstruct(self, images: Tensor, step: int) -> list[Tensor]:
        """The covered images, the same with the hidden pixels painted, and the originals."""
        mask = self.pixels(self.mask("simmim/show", step, images))
        with evaluating(self):
            painted = self.paint(images, mask).float()
        if self.window:
            # the network was never asked for brightness and contrast: the picture borrows the true ones
            _, mean, std = standardised(images, self.window)
            painted = painted * std + mean
        painted = painted * mask + images * (1 - mask)
        covered = self.covered(images, mask)
        return [covered.clamp(0, 1), painted.clamp(0, 1), images]
