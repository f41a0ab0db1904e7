"""What CycleGAN and CUT have in common: a discriminator of patches, a pool of earlier images, what they refuse."""

import torch
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.nets.backbone import Backbone
from gssl.nets.discriminator import SLOPE, Discriminator, Heads, Seen
from gssl.schemas import gan as schema

LAST = 2  # maps of the trunk whose places have a logit each
# keys of a recipe that are about images of z, and the value without them
NONE = {"penalty": "none", "condition": "none", "attention": "none", "augment": "none"}
WEIGHTS = ("consistency", "lecam", "class_d", "class_g", "rotation_d", "rotation_g")


class PatchDiscriminator(Discriminator):
    """Images (B, 3, S, S) → logits of all places of the trunk's last two maps, image by image, (B · places,).

    A place of the convnet's sees 18 and 38 pixels; of 64 that is as much as 70 of the paper's 256, and twice as much.
    `features` are pooled. `other`: the discriminator of the way back, where there is one.
    """

    def __init__(
        self, backbone: Backbone, heads: Heads, size: int, hidden: int, other: "PatchDiscriminator | None" = None
    ) -> None:
        super().__init__(backbone, heads, size)
        del self.logit  # of whole images
        self.places = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.LeakyReLU(SLOPE, inplace=True), nn.Conv2d(hidden, 1, 1))
            for dim in backbone.dims[-LAST:]
        )
        self.other = other

    def forward(self, images: Tensor, label: Tensor | None = None, z: Tensor | None = None) -> Seen:
        """`label` and `z` are not read."""
        maps = self.backbone.dense(images)[-LAST:]
        logits = [head(x).flatten(1) for head, x in zip(self.places, maps, strict=True)]
        return Seen(torch.cat(logits, dim=1).flatten().float(), maps[-1].mean((2, 3)) * self.scale)


class Pool(nn.Module):
    """The images that a discriminator is shown, half of them made some steps ago (Shrivastava et al. 2017,
    arXiv:1612.07828, section 2.3).

    Until it holds `size` images, new ones are kept and shown. Then each new one is shown itself, or takes the place of
    a kept one, which is shown. Images and their number are buffers, so a resumed run goes on with them.
    """

    images: Tensor
    held: Tensor

    def __init__(self, size: int, side: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, 3, side, side))
        self.register_buffer("held", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, new: Tensor, which: Tensor, coin: Tensor) -> Tensor:
        """What is shown for `new` (B, 3, S, S), one after another. `which` (B,): a place of the pool for each, int64;
        `coin` (B,) in [0, 1]: from ½ on it is taken from there. No number of the device is read by the host."""
        shown = []
        for image, place, chance in zip(new.split(1), which.split(1), coin.split(1), strict=True):
            filling = self.held < len(self.images)
            place = torch.where(filling, self.held, place)
            kept = self.images.index_select(0, place)
            swapped = ~filling & (chance >= 0.5)
            shown.append(torch.where(swapped, kept, image))
            self.images.index_copy_(0, place, torch.where(filling | swapped, image.to(kept.dtype), kept))
            self.held.add_(filling)
        return torch.cat(shown)


def mean_logits(logit: Tensor, count: int) -> Tensor:
    """(count,): the mean over the places of each image."""
    return logit.unflatten(0, (count, -1)).mean(1)


def check(cfg: schema.Unpaired) -> None:
    """Raises UsageError for parts of recipes that are about images of z, or of pairs."""
    if cfg.generator != "residual":
        raise UsageError(f"gan.generator={cfg.generator}: gan={cfg.name} has gan.generator=residual")
    for key, value in NONE.items():
        if getattr(cfg, key) != value:
            raise UsageError(f"gan.{key}={getattr(cfg, key)}: is not for gan={cfg.name}; set gan.{key}={value}")
    for key in WEIGHTS:
        if getattr(cfg, key):
            raise UsageError(f"gan.{key}={getattr(cfg, key)}: is not for gan={cfg.name}; set gan.{key}=0")
    if cfg.loss == "relativistic":
        raise UsageError(f"gan.loss=relativistic: compares pairs, and gan={cfg.name} has none; use least_squares")
