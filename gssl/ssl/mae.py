"""MAE: three quarters of the patches are taken away; the encoder reads the rest, a light decoder paints what is gone.

He, Chen, Xie, Li, Dollár, Girshick: Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, arXiv:2111.06377.
Needs a ViT. Values and the measured result: conf/ssl/mae.yaml.
"""

import torch
from torch import Tensor, nn

from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.predictor import Predictor
from gssl.schemas import ssl as schema
from gssl.ssl.patches import (
    GREY,
    hidden_count,
    hidden_mse,
    need_vit,
    patchify,
    put,
    split_order,
    standardised,
    take,
    unpatchify,
)


class MAE(nn.Module):
    """ViT on the visible patches, decoder on all positions; the decoder is dropped on export."""

    needs = ("crop0",)

    def __init__(self, cfg: schema.MAE, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.draws, self.normalise = context.draws, cfg.normalise
        self.backbone = backbone
        self.patch = need_vit(backbone, "mae", context.size).patch
        rows, columns = (-(-side // self.patch) for side in context.shape or (context.size, context.size))
        self.total = rows * columns
        self.hidden = hidden_count(self.total, cfg.mask)
        out = backbone.takes.channels * self.patch**2
        self.decoder = Predictor(self.backbone.dim, cfg.width, cfg.depth, out, rows, columns)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def encode(self, images: Tensor, visible: Tensor) -> Tensor:
        """(B, 3, S, S), (B, v) → (B, v, dim): the visible patches' tokens, which know of no other patch."""
        net = need_vit(self.backbone, "mae", images.shape[-1])
        return net.encode(take(net.embed(images) + net.embedding(*net.grid(images)), visible))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        images, visible, hidden = batch["crop0"], batch["visible"], batch["hidden"]
        prediction = self.decoder(self.encode(images, visible), visible, hidden)
        return {"loss": hidden_mse(prediction, patchify(images, self.patch), hidden, self.normalise)}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch | self.mask("mae/mask", step, batch["crop0"]))

    def mask(self, purpose: str, step: int, images: Tensor) -> Batch:
        noise = self.draws.uniform(purpose, step, (len(images), self.total))
        visible, hidden = (to_device(x, images.device) for x in split_order(noise, self.hidden))
        return {"visible": visible, "hidden": hidden}

    @torch.no_grad()
    def reconstruct(self, images: Tensor, step: int) -> list[Tensor]:
        """What was visible (the rest grey), the same with the hidden patches painted, and the originals."""
        mask = self.mask("mae/show", step, images)
        visible, hidden = mask["visible"], mask["hidden"]
        painted = self.decoder(self.encode(images, visible), visible, hidden).float()
        patches = patchify(images, self.patch).float()
        if self.normalise:
            # the network was never asked for a patch's mean and contrast: the picture borrows the true ones
            _, mean, std = standardised(take(patches, hidden))
            painted = painted * std + mean
        columns = [put(patches, hidden, new) for new in (torch.full_like(painted, GREY), painted)]
        return [*(unpatchify(column, self.patch).clamp(0, 1) for column in columns), images]
