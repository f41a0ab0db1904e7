"""Denoising autoencoder: the whole image is predicted from one that noise and holes have spoilt.

Vincent, Larochelle, Bengio, Manzagol: Extracting and Composing Robust Features with Denoising Autoencoders, ICML
2008; masking noise as there, Gaussian noise as in Vincent et al., JMLR 11 (2010). There are no skip connections: what
the decoder makes has passed the backbone's last stage. Values and the measured result: conf/ssl/denoising.yaml.
"""

import math

import torch
from torch import Tensor, nn

from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.decoder import Decoder, last_side
from gssl.nets.norms import evaluating
from gssl.schemas import ssl as schema


def spoil(image: Tensor, noise: Tensor, lost: Tensor) -> Tensor:
    """`image` (B, 3, S, S) with `noise` (B, 1 or 3, S, S) added, and mid-grey where `lost` (B, 1, S, S) is true.

    Mid-grey is what backbones normalise to 0, the value of lost inputs in the paper. Not clamped.
    """
    return (image + noise).masked_fill(lost, 0.5)


def squared_error(made: Tensor, image: Tensor) -> Tensor:
    """Mean over all values; (B, 3, S, S) each."""
    return (made.float() - image).square().mean()


class Denoising(nn.Module):
    """Backbone and decoder, trained to undo `spoil`."""

    needs = ("real",)

    def __init__(self, cfg: schema.Denoising, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.sigma, self.mask, self.cell = cfg.sigma, cfg.mask, cfg.cell
        self.draws, self.channels = context.draws, context.channels
        self.backbone = backbone
        self.decoder = Decoder(backbone.dim, last_side(backbone, context.size), context.size, 3, cfg.decoder)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def spoilt(self, image: Tensor, step: int) -> Tensor:
        count, _, height, width = image.shape
        # grey images get one noise for their three equal channels: their mean would be rid of most of it
        noise = self.sigma * self.draws.normal("denoising/noise", step, (count, self.channels, height, width))
        cells = (count, 1, math.ceil(height / self.cell), math.ceil(width / self.cell))
        lost = self.draws.uniform("denoising/mask", step, cells) < self.mask
        lost = lost.repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3)[:, :, :height, :width]
        return spoil(image, to_device(noise, image.device), to_device(lost, image.device)).contiguous(
            memory_format=torch.channels_last
        )

    def decode(self, spoilt: Tensor) -> Tensor:
        made: Tensor = torch.sigmoid(self.decoder(self.backbone.dense(spoilt)[-1]))
        return made

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": squared_error(self.decode(batch["spoilt"]), batch["real"])}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.optimizer.minimize(self.loss, batch | {"spoilt": self.spoilt(batch["real"], step)})

    @torch.no_grad()
    def reconstruct(self, images: Tensor, step: int) -> list[Tensor]:
        """The spoilt images, what is made of them, and the images, (B, 3, S, S) each in [0, 1]."""
        spoilt = self.spoilt(images, step)
        with evaluating(self):
            made = self.decode(spoilt)
        return [spoilt.clamp(0, 1), made, images]
