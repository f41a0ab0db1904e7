"""CUT: images of one domain become images of another, and each place of the output must find its own of the input.

Park, Efros, Zhang, Zhu: Contrastive Learning for Unpaired Image-to-Image Translation, ECCV 2020, arXiv:2007.15651.
Self-supervised learning inside of a GAN: InfoNCE on patches through the generator's own encoder, at five layers,
negatives within the same image; the same of images that are of the wanted domain already. Kept: no way back, no pool.
Different: the trunk of the discriminator is the shared backbone, as in every recipe, and it is what is exported; the
generator's encoder has layers (reflection padding, instance norm) that no backbone here has, and half of its depth, so
it stays in the generator. Values and the measured result: conf/gan/cut.yaml.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gssl.gan.adversarial import GAN
from gssl.gan.losses import patch_nce
from gssl.gan.unpaired import PatchDiscriminator, check, mean_logits
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.discriminator import Discriminator, Heads
from gssl.nets.generator import Shape
from gssl.nets.translator import Translator
from gssl.schemas import gan as schema

HALVINGS = (0, 1, 2, 2, 2)  # of the sides, of each of the generator's maps


class Contrasted(nn.Module):
    """The generator `images`, and a head on each of its maps, which its loss alone reads. Called it is `images`."""

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        self.images = Translator(shape)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, width), nn.ReLU(inplace=True), nn.Linear(width, width))
            for dim in self.images.dims
        )
        self.shape, self.latent, self.classes = shape, 0, 0

    def begin(self, colour: tuple[float, ...]) -> None:
        self.images.begin(colour)

    def features(self, images: Tensor, places: list[Tensor]) -> list[Tensor]:
        """(B, P, width) of each map, at `places` (B, P) of it."""
        found = []
        for x, own, head in zip(self.images.maps(images), places, self.heads, strict=True):
            rows = x.flatten(2).transpose(1, 2)
            found.append(head(rows.gather(1, own[:, :, None].expand(-1, -1, rows.shape[2]))))
        return found

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        made: Tensor = self.images(images)
        return made


class CUT(GAN):
    """Domain 0 becomes domain 1; the images of domain 0 stand in the place of z."""

    needs: Any = ("domain0", "domain1")

    def __init__(self, cfg: schema.CUT, backbone: Backbone, context: Context) -> None:
        check(cfg)
        self.recipe, self.size = cfg, context.size
        super().__init__(cfg, backbone, context)

    @staticmethod
    def reads(cfg: schema.GAN) -> tuple[str, ...]:
        return ("domain0", "domain1")

    def _made_generator(self, shape: Shape) -> Any:
        return Contrasted(replace(shape, blocks=self.recipe.blocks), self.recipe.nce_head)

    def _made_discriminator(self, trunk: Backbone, heads: Heads, size: int) -> Discriminator:
        return PatchDiscriminator(trunk, heads, size, self.recipe.patch_head)

    def _drawn(self, who: str, step: int, batch: Batch) -> Batch:
        """With the places of each map that the generator's loss compares, drawn without replacement."""
        given = batch | {"z": batch["domain0"], "real": batch["domain1"]}
        if who == "d":
            return given
        count, device = len(given["z"]), given["z"].device
        for i, halvings in enumerate(HALVINGS):
            order = self.draws.uniform(f"nce/{i}", step, (count, (self.size >> halvings) ** 2)).argsort(1)
            given[f"places{i}"] = to_device(order[:, : self.recipe.patches].contiguous(), device)
        return given

    def contrast(self, given: Tensor, made: Tensor, places: list[Tensor]) -> Tensor:
        """PatchNCE of outputs and their inputs, the mean over maps."""
        with torch.no_grad():
            keys = self.generator.features(given, places)
        queries = self.generator.features(made, places)
        terms = [patch_nce(q, k, self.recipe.temperature) for q, k in zip(queries, keys, strict=True)]
        return torch.stack(terms).mean()

    def g_loss(self, batch: Batch) -> dict[str, Tensor]:
        cfg, places = self.recipe, [batch[f"places{i}"] for i in range(len(HALVINGS))]
        with parametrize.cached():
            made = self.generator(batch["z"])
            score = self.discriminator(made).logit
            adversarial = self.loss.g(score, score.detach())
            total, out = cfg.adversarial * adversarial, {"g_loss": adversarial.detach()}
            if cfg.nce:
                out["nce"] = self.contrast(batch["z"], made, places)
                total = total + cfg.nce * out["nce"]
            if cfg.nce_identity:
                out["nce_identity"] = self.contrast(batch["real"], self.generator(batch["real"]), places)
                total = total + cfg.nce_identity * out["nce_identity"]
        return {"loss": total} | {key: value.detach() for key, value in out.items()}

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
        """Mean logits (B,); `z` is not read."""
        return mean_logits(super().discriminate(images), len(images))
