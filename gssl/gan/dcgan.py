"""DCGAN: a convolutional generator and discriminator under binary cross-entropy.

Radford, Metz, Chintala: Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
Networks, ICLR 2016, arXiv:1511.06434. The discriminator's trunk is the shared backbone. Samples come from a
running average of the generator. Values and the measured result: conf/gan/dcgan.yaml.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gssl.config import gan as schema
from gssl.gan.losses import LOSSES
from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.ema import EMA
from gssl.nets.generator import Generator


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No weight gradients of `module` inside: the generator's step needs only the gradient through it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


class DCGAN(nn.Module):
    """Generator, its running average, and a discriminator made of backbone and linear head."""

    needs = ("real",)

    def __init__(self, cfg: schema.DCGAN, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.latent, self.draws = cfg.latent, context.draws
        self.period = cfg.n_dis  # steps after which the work repeats: FLOPs are counted over one period
        self.loss_d, self.loss_g = LOSSES[cfg.loss]
        self.backbone = backbone
        self.discriminator = nn.Sequential(backbone, nn.Linear(backbone.dim, 1), nn.Flatten(0))
        self.generator = Generator(cfg.latent, cfg.width, context.size, channels=context.channels)
        self.to(context.device)
        self.ema = EMA(self.generator, decay=cfg.ema)
        self.optimizer_d = context.optimizer(self.discriminator.parameters(), cfg.optim_d)
        self.optimizer_g = context.optimizer(self.generator.parameters(), cfg.optim_g)

    def d_loss(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.generator(batch["z"])
        # real and fake in passes of their own: batch norm must not tell them apart by the mixture
        on_real, on_fake = self.discriminator(batch["real"]), self.discriminator(fake)
        return {
            "loss": self.loss_d(on_real, on_fake),
            "d_real": (on_real > 0).float().mean(),
            "d_fake": (on_fake < 0).float().mean(),
        }

    def g_loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.loss_g(self.discriminator(self.generator(batch["z"])))}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        shape, device = (len(batch["real"]), self.latent), batch["real"].device
        z = self.draws.normal("latent/d", step, shape).to(device, non_blocking=True)
        d = self.optimizer_d.minimize(self.d_loss, batch | {"z": z})
        out = {"loss": d["loss"], "d_real": d["d_real"], "d_fake": d["d_fake"]}
        if step % self.period == 0:
            z = self.draws.normal("latent/g", step, shape).to(device, non_blocking=True)
            with frozen(self.discriminator):
                out["g_loss"] = self.optimizer_g.minimize(self.g_loss, {"z": z})["loss"]
            self.ema.update(self.generator)
        return out

    @torch.no_grad()
    def sample(self, z: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] of the averaged generator; `z` (B, latent) standard normal."""
        self.ema.eval()
        images: Tensor = self.ema.module(z)
        return images
