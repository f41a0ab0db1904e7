"""The discriminator: a backbone as its trunk, and small heads for each of its tasks."""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.nets.attention import SelfAttention
from gssl.nets.backbone import Backbone
from gssl.nets.heads import mlp

TURNS = 4
SLOPE = 0.1
ATTENDED = 1  # stage of the trunk whose map attention looks at: half the image's side


@dataclass(frozen=True)
class Heads:
    """What a discriminator has beside its trunk; stored beside its weights."""

    attention: bool = False
    projection: int = 0  # classes that the logit depends on
    classes: int = 0  # that a second head tells apart
    turns: bool = False  # a head that classifies rotations by quarters
    latent: int = 0  # dimension of z, where pairs (image, z) are classified
    summed: bool = False  # positions of the trunk's last map are added up instead of averaged

    def record(self) -> dict[str, Any]:
        return asdict(self)


def positions(backbone: Backbone, size: int | tuple[int, int]) -> int:
    """Positions of the trunk's last map for images of `size` pixels, or of that height and width."""
    sides = (size, size) if isinstance(size, int) else size
    with torch.no_grad():
        probe = torch.zeros(1, backbone.takes.channels, *sides, device=next(backbone.parameters()).device)
        training = backbone.training
        last = backbone.eval().dense(probe)[-1]
        backbone.train(training)
    return last.shape[2] * last.shape[3]


class Seen(NamedTuple):
    """What a discriminator makes of images."""

    logit: Tensor  # (B,)
    features: Tensor  # (B, d): what its other heads read


class Discriminator(nn.Module):
    """Images (B, 3, S, S) in [0, 1] → `Seen`; the logit is linear in the trunk's features.

    With `attention`, a self-attention block on the map of the trunk's second stage stands beside the rest of the trunk
    and its pooled output joins the features: so the trunk is the same network in every recipe, and is exported alone.
    With `projection`, the logit has a term of class and features (Miyato & Koyama 2018, arXiv:1802.05637, eq. 4).
    With `summed`, features are sums over positions, as in the published networks under spectral norm: layers that
    cannot stretch anything leave averages too small to tell real from fake (measured: docs/results/gan_tables.md). The
    attended features are scaled alike.
    With `latent`, z is embedded and joins the features through a hidden layer (BiGAN, arXiv:1605.09782).
    """

    def __init__(self, backbone: Backbone, heads: Heads, size: int | tuple[int, int]) -> None:
        """`size`: side of the images in pixels, or height and width."""
        super().__init__()
        self.backbone, self.heads = backbone, heads
        self.scale = float(positions(backbone, size)) if heads.summed else 1.0
        dim = backbone.dim
        self.attention = None
        if heads.attention:
            self.attention = SelfAttention(backbone.dims[ATTENDED])
            dim += backbone.dims[ATTENDED]
        self.joint = None
        if heads.latent:
            self.embed_z = mlp([heads.latent, backbone.dim, backbone.dim], norm="none")
            self.joint = nn.Linear(dim + backbone.dim, backbone.dim)
            dim = backbone.dim
        self.logit = nn.Linear(dim, 1)
        # a table as a linear layer without offset: spectral norm knows those
        self.project = nn.Linear(dim, heads.projection, bias=False) if heads.projection else None
        self.classify = nn.Linear(dim, heads.classes) if heads.classes else None
        self.turn = nn.Linear(dim, TURNS) if heads.turns else None

    def forward(self, images: Tensor, label: Tensor | None = None, z: Tensor | None = None) -> Seen:
        """`label` (B,) int64 for `projection`; `z` (B, latent) for `latent`."""
        if self.attention is None:
            features = self.backbone(images)
        else:
            maps = self.backbone.dense(images)
            attended = F.leaky_relu(self.attention(maps[ATTENDED]), SLOPE).mean((2, 3))
            features = torch.cat([maps[-1].mean((2, 3)), attended], 1)
        features = features * self.scale
        if self.joint is not None:
            assert z is not None
            features = F.leaky_relu(self.joint(torch.cat([features, self.embed_z(z)], 1)), SLOPE)
        logit = self.logit(features).squeeze(1)
        if self.project is not None:
            assert label is not None
            logit = logit + self.project(features).gather(1, label[:, None]).squeeze(1)
        return Seen(logit.float(), features)
