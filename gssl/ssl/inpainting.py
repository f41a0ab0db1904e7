"""Context encoder: a block of the image is taken out and predicted from what surrounds it.

Pathak, Krähenbühl, Donahue, Darrell, Efros: Context Encoders: Feature Learning by Inpainting, CVPR 2016,
arXiv:1604.07379. With `adversarial` above 0, a discriminator of its own must also take the block for a real one.
Values and the measured result: conf/ssl/inpainting.yaml.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.convnet import ConvNet
from gssl.nets.decoder import Decoder, last_side
from gssl.nets.norms import evaluating
from gssl.schemas import ssl as schema


def block(corner: Tensor, side: int, size: int) -> Tensor:
    """1 inside a square of `side` pixels, 0 elsewhere, (B, 1, size, size); `corner` (B, 2): its top and left pixel."""
    line = torch.arange(size, device=corner.device)
    inside = (line >= corner[:, :, None]) & (line < corner[:, :, None] + side)  # (B, 2, size)
    rows, columns = inside.float().unbind(1)
    return (rows[:, :, None] * columns[:, None, :])[:, None]


def hollow(image: Tensor, mask: Tensor) -> Tensor:
    """`image` (B, 3, S, S) with the mean colour of what is seen where `mask` (B, 1, S, S) is 1."""
    seen = 1 - mask
    mean = (image * seen).sum((2, 3), keepdim=True) / seen.sum((2, 3), keepdim=True)
    return image * seen + mean * mask


def block_error(made: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error inside the block (eq. 1), a scalar; shapes as in `hollow`."""
    return ((made.float() - image).square() * mask).sum() / (3 * mask.sum())


class Inpainting(nn.Module):
    """Backbone and decoder; optionally a discriminator with an optimiser of its own."""

    needs = ("real",)

    def __init__(self, cfg: schema.Inpainting, backbone: Backbone, context: Context) -> None:
        super().__init__()
        self.size, self.draws = context.size, context.draws
        self.side, self.random = round(cfg.block * context.size), cfg.place == "random"
        if not 0 < self.side < context.size:
            raise UsageError(f"ssl.block={cfg.block}: leaves nothing to see or to predict; set e.g. ssl.block=0.5")
        self.weight = cfg.adversarial
        self.backbone = backbone
        self.decoder = Decoder(backbone.dim, last_side(backbone, context.size), context.size, 3, cfg.decoder)
        if self.weight:
            # group norm: real and completed images come in passes of their own
            trunk = ConvNet("ssl.width_d", "group", cfg.width_d, 1, context.size)
            self.discriminator = nn.Sequential(trunk, nn.Linear(trunk.dim, 1), nn.Flatten(0))
        self.to(context.device)
        self.optimizer = context.optimizer([*self.backbone.parameters(), *self.decoder.parameters()], cfg.optim)
        if self.weight:
            self.optimizer_d = context.optimizer(self.discriminator.parameters(), cfg.optim_d)

    def mask(self, count: int, step: int, device: torch.device) -> Tensor:
        room = self.size - self.side
        if self.random:
            corner = self.draws.integers("inpainting/corner", step, (count, 2), room + 1)
        else:
            corner = torch.full((count, 2), room // 2)
        return block(to_device(corner, device), self.side, self.size)

    def complete(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What the network makes of the hollow image, and the image with its block replaced by that."""
        given = hollow(image, mask).contiguous(memory_format=torch.channels_last)
        made = torch.sigmoid(self.decoder(self.backbone.dense(given)[-1]).float())
        return made, image * (1 - mask) + made * mask

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        image, mask = batch["real"], batch["mask"]
        made, completed = self.complete(image, mask)
        error = block_error(made, image, mask)
        if not self.weight:
            return {"loss": error}
        fooled = F.softplus(-self.discriminator(completed).float()).mean()
        return {"loss": (1 - self.weight) * error + self.weight * fooled, "error": error, "fooled": fooled}

    def d_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy between images and completed ones (eq. 2)."""
        with torch.no_grad():
            completed = self.complete(batch["real"], batch["mask"])[1]
        on_real, on_made = self.discriminator(batch["real"]).float(), self.discriminator(completed).float()
        return {"loss": (F.softplus(-on_real) + F.softplus(on_made)).mean()}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        image = batch["real"]
        batch = batch | {"mask": self.mask(len(image), step, image.device)}
        if not self.weight:
            return self.optimizer.minimize(self.loss, batch)
        d = self.optimizer_d.minimize(self.d_loss, batch)
        self.discriminator.requires_grad_(False)
        out = self.optimizer.minimize(self.loss, batch)
        self.discriminator.requires_grad_(True)
        return out | {"d_loss": d["loss"]}

    @torch.no_grad()
    def reconstruct(self, images: Tensor, step: int) -> list[Tensor]:
        """The hollow images, the completed ones and the images, (B, 3, S, S) each in [0, 1]."""
        mask = self.mask(len(images), step, images.device)
        with evaluating(self):
            completed = self.complete(images, mask)[1]
        return [hollow(images, mask), completed, images]
