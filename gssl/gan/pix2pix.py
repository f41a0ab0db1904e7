"""pix2pix: one image of a pair is made from the other; a discriminator reads both.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks, CVPR 2017, arXiv:1611.07004.
Kept: a U-Net, a loss of the mean absolute difference beside the adversarial one, a discriminator of patches of pairs.
Different: its trunk is the shared backbone, which reads the output and then the input; a small head reads both maps
place by place. So its trunk is the backbone, as in every recipe, and reads single images. With gan.adversarial=0 the
discriminator still learns, and the generator learns nothing from it. Values and the measured result:
conf/gan/pix2pix.yaml.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gssl.errors import UsageError
from gssl.gan.adversarial import GAN
from gssl.gan.losses import absolute
from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.discriminator import SLOPE, Discriminator, Heads, Seen
from gssl.nets.generator import Shape
from gssl.nets.unet import UNet
from gssl.schemas import gan as schema

# keys of a recipe that are about single images, or about z, and the value without them
NONE = {"penalty": ("gp",), "condition": ("generator", "projection"), "attention": ("g", "d", "both")}
NONE |= {"augment": ("diffaugment",)}
WEIGHTS = ("consistency", "class_d", "class_g", "rotation_d", "rotation_g")


class PairDiscriminator(Discriminator):
    """Outputs (B, 3, S, S) and inputs (B, K, S, S) → logits of all places of the trunk's last map, (B · h · w,).

    A logit is a sum: one that is linear in the output's pooled features, so of the image alone, and one of its place in
    both maps. `features` are the output's, pooled. As the trunk reads three channels, K others are mixed to these by
    weights that are learned, so that each class of a mask has a colour.
    """

    def __init__(self, backbone: Backbone, heads: Heads, size: int, hidden: int, inputs: int = 3) -> None:
        super().__init__(backbone, heads, size)
        self.colours = nn.Identity() if inputs == 3 else nn.Conv2d(inputs, 3, 1, bias=False)
        self.of_pairs = nn.Sequential(
            nn.Conv2d(2 * backbone.dim, hidden, 1), nn.LeakyReLU(SLOPE, inplace=True), nn.Conv2d(hidden, 1, 1)
        )

    def forward(self, images: Tensor, label: Tensor | None = None, z: Tensor | None = None) -> Seen:
        """`z`: the inputs, (B, K, S, S); `label` is not read."""
        assert z is not None
        made, given = (self.backbone.dense(x)[-1] for x in (images, self.colours(z)))
        features = made.mean((2, 3)) * self.scale
        places = self.of_pairs(torch.cat([made, given], dim=1)).flatten(1)
        return Seen((places + self.logit(features)).flatten().float(), features)


class Pix2Pix(GAN):
    """The losses of `GAN`, of pairs; inputs stand in the place of z."""

    needs: Any = ("crop0", "paired")

    def __init__(self, cfg: schema.Pix2Pix, backbone: Backbone, context: Context) -> None:
        _check(cfg)
        self.hidden, self.inputs = cfg.patch_head, context.given
        self.l1, self.adversarial = cfg.l1, cfg.adversarial
        super().__init__(cfg, backbone, context)

    @staticmethod
    def reads(cfg: schema.GAN) -> tuple[str, ...]:
        return ("crop0", "paired")

    def _made_generator(self, shape: Shape) -> Any:
        return UNet(shape)

    def _made_discriminator(self, trunk: Backbone, heads: Heads, size: int) -> Discriminator:
        return PairDiscriminator(trunk, heads, size, self.hidden, self.inputs)

    def _beside(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        return batch["z"], batch["z"]

    def _drawn(self, who: str, step: int, batch: Batch) -> Batch:
        return super()._drawn(who, step, batch) | {"z": batch["paired"]}

    def g_loss(self, batch: Batch) -> dict[str, Tensor]:
        fake = self.generator(batch["z"])
        far = absolute(fake, batch["real"])
        with parametrize.cached(), torch.set_grad_enabled(self.adversarial > 0):
            on_fake = self.discriminator(fake, None, batch["z"]).logit
            on_real = on_fake.detach()
            if self.loss.paired:
                on_real = self.discriminator(batch["real"], None, batch["z"]).logit
            adversarial = self.loss.g(on_fake, on_real)
        total = self.l1 * far + (self.adversarial * adversarial if self.adversarial else 0)
        return {"loss": total, "l1": far.detach(), "g_loss": adversarial.detach()}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return super().update({"real": batch["crop0"], "paired": batch["paired"]}, step)

    @torch.no_grad()
    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] that the averaged generator makes from inputs `z` of that shape."""
        return super().sample(z)

    @torch.no_grad()
    def discriminate(self, images: Tensor, label: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """Mean logits (B,) of pairs; `z`: the inputs."""
        training = self.training
        self.eval()
        logit: Tensor = self.discriminator(images, None, z).logit
        self.train(training)
        return logit.unflatten(0, (len(images), -1)).mean(1)


def _check(cfg: schema.Pix2Pix) -> None:
    """Raises UsageError for parts of recipes that are about single images, and for a generator without a loss."""
    if cfg.generator != "unet":
        raise UsageError(f"gan.generator={cfg.generator}: makes images of z; gan=pix2pix has gan.generator=unet")
    for key, values in NONE.items():
        if getattr(cfg, key) in values:
            raise UsageError(f"gan.{key}={getattr(cfg, key)}: is not for pairs of images; set gan.{key}=none")
    for key in WEIGHTS:
        if getattr(cfg, key):
            raise UsageError(f"gan.{key}={getattr(cfg, key)}: is not for pairs of images; set gan.{key}=0")
    if not cfg.l1 and not cfg.adversarial:
        raise UsageError("gan.l1=0 gan.adversarial=0: the generator has nothing to learn; set one of them above 0")
