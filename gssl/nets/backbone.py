"""The encoder that every family trains: of an SSL method, and the trunk of a discriminator.

    takes       the column it reads and its channels: `image`, 3
    dense(x)    (B, 3, H, W) float in [0, 1] → feature maps (B, dims[i], h, w), finest first, of any height and width
    pooled(x)   (B, 3, H, W) float in [0, 1] → (B, dim); the module called is the same
    layer_groups()  every learned weight once, in a list per stage, from input to output

A map's grid (h, w) covers the image: position (i, j) stands for rows i·H/h to (i+1)·H/h, columns likewise.
A backbone normalises colour inside, by its `inputs`, so whoever calls it need not know how; these may be exchanged for
those that its weights expect. Its state dict holds learned weights and batch statistics only.
"""

from typing import Any, NamedTuple

from torch import Tensor, nn

from gssl import schemas
from gssl.errors import UsageError
from gssl.names import load
from gssl.nets.inputs import Inputs

# name → module:Class; conf/backbone has a file for each
BACKBONES: dict[str, str] = {
    "convnet": "gssl.nets.convnet:ConvNet",
    "convnet_plain": "gssl.nets.convnet:ConvNet",
    "resnet18": "gssl.nets.resnet:ResNet",
    "resnet50": "gssl.nets.resnet:ResNet",
    "vit_micro": "gssl.nets.vit:ViT",
    "vit_tiny": "gssl.nets.vit:ViT",
}


class Takes(NamedTuple):
    """What an encoder reads: a column of the data set, and how many channels of it."""

    column: str
    channels: int


class Backbone(nn.Module):
    """The interface, and the features of a network that averages its last map. Subclasses give `dense`."""

    takes = Takes("image", 3)
    dim: int  # of the pooled features
    dims: list[int]  # channels of each map
    inputs: Inputs

    def dense(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] → maps (B, dims[i], h, w), finest first."""
        raise NotImplementedError

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Every learned weight once, in a list per stage, from input to output."""
        raise NotImplementedError

    def pooled(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B, dim), the last map averaged over its positions."""
        return self.dense(x)[-1].mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """What `pooled` gives."""
        return self.pooled(x)


def build_backbone(cfg: schemas.Backbone, size: int) -> Backbone:
    """The backbone `cfg.name` (timm:NAME: of timm) with random weights. Raises UsageError.

    size: side in pixels of the square images that it is made for; `dense` and `pooled` take others too.
    """
    network: Backbone
    if cfg.name.startswith("timm:"):
        from gssl.nets.foreign import TimmBackbone  # an optional extra

        return TimmBackbone(cfg.name.removeprefix("timm:"), size)
    if cfg.name not in BACKBONES:
        raise UsageError(f"backbone.name={cfg.name}: expected one of {', '.join(BACKBONES)}")
    made: Any = load(BACKBONES[cfg.name])
    network = made(name=cfg.name, norm=cfg.norm, width=cfg.width, patch=cfg.patch, size=size)
    return network
