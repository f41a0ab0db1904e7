"""CycleGAN: images of one domain become images of another, and the way back must lead to where they came from.

Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, ICCV 2017,
arXiv:1703.10593. Kept: two generators of residual blocks, two discriminators of patches, the cycle and the identity
loss, a pool of earlier images for each discriminator. Different: the trunk of the discriminator of what is made is the
shared backbone, as in every recipe, and it is what is exported; the other has a convnet of its own. Discriminators
learn before the generators, from images that are made afresh. Values and the measured result: conf/gan/cyclegan.yaml.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gssl.gan.adversarial import GAN
from gssl.gan.losses import absolute
from gssl.gan.unpaired import PatchDiscriminator, Pool, check, mean_logits
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.convnet import ConvNet
from gssl.nets.discriminator import Discriminator, Heads
from gssl.nets.generator import Shape
from gssl.nets.translator import Translator
from gssl.schemas import gan as schema

WAYS = ("0", "1")  # back, and there: which domain an image is made for


class BothWays(nn.Module):
    """`images` is the generator of what is asked for, `back` the one that undoes it. Called it is `images`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.images, self.back = Translator(shape), Translator(shape)
        self.shape, self.latent, self.classes = shape, 0, 0

    def begin(self, colour: tuple[float, ...]) -> None:
        self.images.begin(colour)
        self.back.begin(colour)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        made: Tensor = self.images(images)
        return made


class CycleGAN(GAN):
    """Domain 0 becomes domain 1; the images of domain 0 stand in the place of z."""

    needs: Any = ("domain0", "domain1")
    discriminator: PatchDiscriminator

    def __init__(self, cfg: schema.CycleGAN, backbone: Backbone, context: Context) -> None:
        check(cfg)
        self.recipe, self.gather = cfg, context.gather
        super().__init__(cfg, backbone, context)
        pools = {way: Pool(cfg.pool, context.size) for way in WAYS} if cfg.pool else {}
        self.pools = nn.ModuleDict(pools).to(context.device)

    @staticmethod
    def reads(cfg: schema.GAN) -> tuple[str, ...]:
        return ("domain0", "domain1")

    def _made_generator(self, shape: Shape) -> Any:
        return BothWays(replace(shape, blocks=self.recipe.blocks))

    def _made_discriminator(self, trunk: Backbone, heads: Heads, size: int) -> Discriminator:
        own: Any = ConvNet("gan.width_d", "none", self.recipe.width_d, 1, size)
        other = PatchDiscriminator(own, heads, size, self.recipe.patch_head)
        return PatchDiscriminator(trunk, heads, size, self.recipe.patch_head, other)

    def _drawn(self, who: str, step: int, batch: Batch) -> Batch:
        """With what is made of both domains, from the pools, where the discriminators ask."""
        given = batch | {"z": batch["domain0"], "real": batch["domain1"]}
        if who == "g":
            return given
        with torch.no_grad():
            made = {"0": self.generator.back(given["real"]), "1": self.generator.images(given["z"])}
        return given | {f"made{way}": self._pooled(way, step, images) for way, images in made.items()}

    def _pooled(self, way: str, step: int, made: Tensor) -> Tensor:
        """What the discriminator is shown in the place of `made`: this process's part of what all of them have."""
        if not self.recipe.pool:
            return made
        whole, draws, start = self.gather(made), self.draws.shared, self.draws.rank * len(made)
        which = draws.integers(f"pool/{way}/which", step, (len(whole),), self.recipe.pool)
        coin = draws.uniform(f"pool/{way}/coin", step, (len(whole),))
        shown: Tensor = self.pools[way](whole, *(to_device(x, whole.device) for x in (which, coin)))
        return shown[start : start + len(made)]

    def d_loss(self, batch: Batch) -> dict[str, Tensor]:
        assert self.discriminator.other is not None
        with parametrize.cached():
            on_real, on_fake = (self.discriminator(batch[key]).logit for key in ("real", "made1"))
            there = self.loss.d(on_real, on_fake)
            back = self.loss.d(*(self.discriminator.other(batch[key]).logit for key in ("z", "made0")))
        return {"loss": there + back, "d_loss": there, "d_loss_back": back} | self._watched(on_real, on_fake)

    def g_loss(self, batch: Batch) -> dict[str, Tensor]:
        assert self.discriminator.other is not None
        cfg, there, back = self.recipe, self.generator.images, self.generator.back
        first, second = batch["z"], batch["real"]
        with parametrize.cached():
            made1, made0 = there(first), back(second)
            scores = self.discriminator(made1).logit, self.discriminator.other(made0).logit
            adversarial = [self.loss.g(score, score.detach()) for score in scores]
            cycle = absolute(back(made1), first) + absolute(there(made0), second)
            total = cfg.adversarial * (adversarial[0] + adversarial[1]) + cfg.cycle * cycle
            out = {"g_loss": adversarial[0].detach(), "cycle": cycle.detach()}
            if cfg.identity:
                same = absolute(there(second), second) + absolute(back(first), first)
                total, out["identity"] = total + cfg.identity * same, same.detach()
        return {"loss": total} | out

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return super().update(
            {"real": batch["domain1"], "domain0": batch["domain0"], "domain1": batch["domain1"]}, step
        )

    @torch.no_grad()
    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (B, 3, S, S) in [0, 1] that the averaged generator makes from images `z` of that shape."""
        return super().sample(z)

    @torch.no_grad()
    def discriminate(self, images: Tensor, label: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """Mean logits (B,) of the discriminator of what is made; `z` is not read."""
        return mean_logits(super().discriminate(images), len(images))
