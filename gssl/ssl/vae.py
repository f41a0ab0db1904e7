"""Variational autoencoder: an image becomes a Gaussian over a few numbers per place, and is remade from a draw of it.

Kingma, Welling: Auto-Encoding Variational Bayes, ICLR 2014, arXiv:1312.6114. Mean and log-variance are linear in each
position of the backbone's last map: with 128 numbers for the image as a whole instead of 8 for each of 16 positions,
the averaged features that are exported were worse (kNN on validation images of CIFAR-10 after 300 steps, one run each,
.277 against .2985). Values and the measured result: conf/ssl/vae.yaml.
"""

import torch
from torch import Tensor, nn

from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.decoder import Decoder, last_side
from gssl.nets.norms import evaluating
from gssl.schemas import ssl as schema


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(0, 1)) summed over the latent numbers (appendix B); (B, …) each → (B,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)


def negative_elbo(made: Tensor, image: Tensor, divergence: Tensor, beta: float) -> Tensor:
    """½ ‖made − image‖² + beta · KL per image, divided by the count of its values; mean over the batch, a scalar.

    It is the negative evidence lower bound (eq. 3, one draw) up to a constant and a factor, where pixels have the
    variance `beta`. `made`, `image`: (B, 3, S, S); `divergence`: (B,).
    """
    error = 0.5 * (made.float() - image).square().flatten(1).sum(1)
    return (error + beta * divergence).mean() / image[0].numel()


class VAE(nn.Module):
    """Backbone, a head for mean and log-variance, and a decoder."""

    needs = ("real",)

    def __init__(self, cfg: schema.VAE, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.beta, self.latent, self.draws = cfg.beta, cfg.latent, context.draws
        self.backbone = backbone
        self.side = last_side(backbone, context.size)
        self.head = nn.Conv2d(backbone.dim, 2 * cfg.latent, 1)
        self.decoder = Decoder(cfg.latent, self.side, context.size, 3, cfg.decoder)
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, (B, latent, side, side) each, in full precision."""
        mean, log_variance = self.head(self.backbone.dense(image)[-1]).float().chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        made: Tensor = torch.sigmoid(self.decoder(z))
        return made

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        mean, log_variance = self.encode(batch["real"])
        made = self.decode(mean + (0.5 * log_variance).exp() * batch["noise"])
        divergence = kl(mean, log_variance)
        return {
            "loss": negative_elbo(made, batch["real"], divergence, self.beta),
            "error": (made.detach().float() - batch["real"]).square().mean(),
            "kl": divergence.mean(),
        }

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        image = batch["real"]
        shape = (len(image), self.latent, self.side, self.side)
        noise = to_device(self.draws.normal("vae/noise", step, shape), image.device)
        return self.optimizer.minimize(self.loss, batch | {"noise": noise})

    @torch.no_grad()
    def reconstruct(self, images: Tensor, step: int) -> list[Tensor]:
        """The images and what is made of their means, (B, 3, S, S) each in [0, 1]."""
        with evaluating(self):
            made = self.decode(self.encode(images)[0])
        return [images, made]
