"""The network that both worlds share: encoder of an SSL method, trunk of a discriminator.

A backbone is a plain `nn.Module` with `dim`, `dims`, `stages(x)`, `depths()` and `forward(x)`:

    stages(x)   (B, 3, S, S) float in [0, 1] → feature maps (B, dims[i], h, w), finest first
    depths()    every learned weight once, in a list per stage, from input to output
    forward(x)  (B, 3, S, S) float in [0, 1] → (B, dim), the last stage averaged over its places

It normalises colour inside, by its `inputs`, so whoever calls it need not know how; these may be exchanged for
those that its weights expect. Its state dict holds learned weights and batch statistics only.
"""

from typing import Any

from torch import Tensor, nn

from gssl import schemas
from gssl.config.registry import BACKBONE, load
from gssl.errors import UsageError
from gssl.nets.inputs import Inputs


class Backbone(nn.Module):
    """The interface in types; backbones offer it without inheriting it."""

    dim: int
    dims: list[int]
    inputs: Inputs

    def stages(self, x: Tensor) -> list[Tensor]: ...  # type: ignore[empty-body]

    def layer_groups(self) -> list[list[nn.Parameter]]: ...  # type: ignore[empty-body]


def build_backbone(cfg: schemas.Backbone, size: int) -> Backbone:
    """The backbone `cfg.name` (timm:NAME: of timm), random weights, for images of `size` pixels. Raises UsageError."""
    if cfg.name.startswith("timm:"):
        from gssl.nets.foreign import TimmBackbone  # an optional extra

        foreign: Any = TimmBackbone(cfg.name.removeprefix("timm:"), size)
        made: Backbone = foreign
        return made
    if cfg.name not in BACKBONE:
        raise UsageError(f"backbone.name={cfg.name}: expected one of {', '.join(BACKBONE)}")
    network: Backbone = load(BACKBONE[cfg.name])(
        name=cfg.name, norm=cfg.norm, width=cfg.width, patch=cfg.patch, size=size
    )
    return network
