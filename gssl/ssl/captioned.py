"""What methods of images with captions have in common: which captions are true of which images, and their towers.

SLIP: Mu, Kirillov, Wagner, Xie 2022, arXiv:2112.12750: a loss of images alone in the same run.
"""

import torch
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp
from gssl.nets.towers import Towers
from gssl.schemas import ssl as schema
from gssl.ssl.losses import nt_xent, spread
from gssl.vocabulary import PAD


def names_of(tokens: Tensor) -> Tensor:
    """int64 (…,): a hash of ids of tokens (…, T), 0 of what has none; the same whatever is padded."""
    place = torch.arange(tokens.shape[-1], device=tokens.device, dtype=torch.int64)
    factor = (2 * place + 1) * 0x9E3779B97F4A7C1 + (place << 40)
    mixed = tokens * factor
    return ((mixed ^ (mixed >> 29)) * (tokens != 0)).sum(-1)


def true_pairs(captions: Tensor, drawn: Tensor, groups: Tensor | None = None) -> Tensor:
    """bool (B, B): whether caption j is true of image i.

    captions: int64 (B, K), names of all captions of each image, 0 where it has fewer. drawn: int64 (B,), names of the
    captions in the batch. groups: int64 (B,), where images of one group are true of each other's captions, too.
    """
    found = (captions[:, :, None] == drawn[None, None, :]).any(1)
    return found if groups is None else found | (groups[:, None] == groups[None, :])


def dropped(tokens: Tensor, chance: Tensor, fraction: float) -> Tensor:
    """`tokens` (B, T) without those whose `chance` in [0, 1) is below `fraction`, the others moved together; a text
    that would lose all of them keeps them."""
    there = tokens != PAD
    keep = there & (chance >= fraction)
    keep = keep | (there & ~keep.any(1, keepdim=True))
    order = keep.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    return (tokens * keep).gather(1, order)


class Captioned(nn.Module):
    """Backbone, towers and, for SLIP, a projection head; the backbone is exported, the towers beside it.

    A subclass gives `contrast`.
    """

    needs: tuple[str, ...] = ("crop0", "caption", "captions")

    def __init__(self, cfg: schema.Captioned, backbone: Backbone, context: Context) -> None:
        super().__init__()
        if not context.vocab:
            raise UsageError(f"ssl={cfg.name}: learns from images with captions; use data=imagetext")
        self.cfg, self.gather, self.draws = cfg, context.gather, context.draws
        self.backbone = backbone
        tower = (cfg.text, cfg.text_width, cfg.dim)
        self.towers = Towers(*tower, backbone.dim, context.vocab, cfg.scale, getattr(cfg, "bias", None))
        self.head = mlp([backbone.dim, *cfg.simclr.head]) if cfg.simclr.weight else None
        self.to(context.device)
        self.optimizer = context.optimizer(self.parameters(), cfg.optim)

    @staticmethod
    def reads(cfg: schema.Captioned) -> tuple[str, ...]:
        """Names of what is needed of a batch."""
        grouped = ("group",) if cfg.positives == "groups" else ()
        return (*Captioned.needs, *grouped, *(("view0", "view1") if cfg.simclr.weight else ()))

    def contrast(self, image: Tensor, text: Tensor, true: Tensor) -> Tensor:
        """The loss of images and captions (B, dim) each, of length 1; true (B, B) as `true_pairs` gives it."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        image = self.gather(self.towers.of_images(self.backbone(batch["crop0"])))
        text = self.gather(self.towers.of_texts(batch.get("read", batch["caption"])))
        names = self.gather(names_of(batch["captions"])), self.gather(names_of(batch["caption"]))
        true = true_pairs(*names, self.gather(batch["group"]) if "group" in batch else None)
        loss = self.contrast(image, text, true)
        found = {"loss_pairs": loss.detach(), "scale": self.towers.log_scale.detach().exp()}
        if self.head is not None:
            z0, z1 = (self.gather(self.head(self.backbone(batch[name]))) for name in ("view0", "view1"))
            alone = nt_xent(z0, z1, self.cfg.simclr.temperature)
            loss, found["loss_images"] = loss + self.cfg.simclr.weight * alone, alone.detach()
        return {"loss": loss, **found, **spread(image)}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        captions = batch["captions"]  # as long as any can be: a number's place is the same whatever is longest
        chance = self.draws.uniform("pairs/drop", step, (len(captions), captions.shape[2]))
        chance = to_device(chance, captions.device)[:, : batch["caption"].shape[1]]
        found = self.optimizer.minimize(self.loss, batch | {"read": dropped(batch["caption"], chance, self.cfg.drop)})
        self.towers.limit()
        return found
