"""The network that both worlds share: encoder of an SSL method, trunk of a discriminator.

A backbone is a plain `nn.Module` with `dim`, `dims`, `stages(x)` and `forward(x)`:

    stages(x)   (B, 3, S, S) float in [0, 1] → feature maps (B, dims[i], h, w), finest first
    forward(x)  (B, 3, S, S) float in [0, 1] → (B, dim), the last stage averaged over its places

It normalises colour inside, so whoever calls it need not know how. Its state dict holds learned weights and
batch statistics only.
"""

from torch import Tensor, nn

from gssl.config import schema
from gssl.config.registry import BACKBONE, load
from gssl.errors import UsageError


class Backbone(nn.Module):
    """The interface in types; backbones offer it without inheriting it."""

    dim: int
    dims: list[int]

    def stages(self, x: Tensor) -> list[Tensor]: ...  # type: ignore[empty-body]


def build_backbone(cfg: schema.Backbone, size: int) -> Backbone:
    """The backbone `cfg.name` with random weights, for images of `size` pixels. Raises UsageError."""
    if cfg.name not in BACKBONE:
        raise UsageError(f"backbone.name={cfg.name}: expected one of {', '.join(BACKBONE)}")
    network: Backbone = load(BACKBONE[cfg.name])(
        name=cfg.name, norm=cfg.norm, width=cfg.width, patch=cfg.patch, size=size
    )
    return network
