"""The encoder that every family trains: of an SSL method, and the trunk of a discriminator.

    takes       the column it reads and its channels: `image`, 3; of sounds `audio`, 1: samples (B, n), or their
                log-mel spectrograms (B, 1, bands, frames), which `inputs` makes of samples
    dense(x)    (B, 3, H, W) float in [0, 1] → feature maps (B, dims[i], h, w), finest first, of any height and width
    pooled(x)   (B, 3, H, W) float in [0, 1] → (B, dim); the module called is the same
    layer_groups()  every learned weight once, in a list per stage, from input to output

A map's grid (h, w) covers the image: position (i, j) stands for rows i·H/h to (i+1)·H/h, columns likewise.
A backbone normalises colour inside, by its `inputs`, so whoever calls it need not know how; these may be exchanged for
those that its weights expect. Its state dict holds learned weights and batch statistics only.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gssl import schemas
from gssl.errors import UsageError
from gssl.names import load
from gssl.nets.inputs import Inputs
from gssl.nets.log_mel import SoundInputs

TIMM = "timm:"
PUBLISHED_TEXT = "text:"  # of `gssl.nets.published_text`
# name → module:Class; conf/backbone has a file for each
BACKBONES: dict[str, str] = {
    "convnet": "gssl.nets.convnet:ConvNet",
    "convnet_plain": "gssl.nets.convnet:ConvNet",
    "resnet18": "gssl.nets.resnet:ResNet",
    "resnet50": "gssl.nets.resnet:ResNet",
    "timm": "gssl.nets.foreign:TimmBackbone",
    "text_base": "gssl.nets.text:TextTransformer",
    "text_conv": "gssl.nets.text_conv:TextConv",
    "text_small": "gssl.nets.text:TextTransformer",
    "vit_base": "gssl.nets.vit:ViT",
    "vit_micro": "gssl.nets.vit:ViT",
    "vit_small": "gssl.nets.vit:ViT",
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
    inputs: Inputs | SoundInputs
    recomputes = False  # whether its blocks can be computed again in the backward pass
    recomputing = False

    def recompute(self) -> bool:
        """Keep no activations inside of blocks for the backward pass, but compute them again there; False: cannot."""
        self.recomputing = self.recomputes
        return self.recomputes

    def recomputed(self, block: nn.Module, x: Tensor) -> Tensor:
        """`block(x)`, of which the backward pass keeps `x` alone where `recompute` was asked for.

        Blocks draw no random numbers and have no batch statistics: computed twice, they give the same.
        """
        if not self.recomputing or not torch.is_grad_enabled():
            out: Tensor = block(x)
            return out
        again: Tensor = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
        return again

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


def check_name(cfg: schemas.Backbone) -> None:
    """Raises UsageError where `backbone=timm:NAME` names nothing, before data are read."""
    if cfg.name.startswith(TIMM):
        from gssl.nets import foreign  # timm is an optional extra

        foreign.check(cfg.name.removeprefix(TIMM), "backbone")


def recompute(network: Backbone, name: str) -> None:
    """`engine.checkpointing`. Raises UsageError for a network that cannot."""
    if not network.recompute():
        raise UsageError(
            f"engine.checkpointing=true: {name} has no blocks that can be computed twice; expected vit_micro, vit_tiny,"
            " vit_small, vit_base or a network of timm without batch norms"
        )


def build_backbone(cfg: schemas.Backbone, size: int) -> Backbone:
    """The backbone `cfg.name` (timm:NAME: of timm; text:NAME: a published one of texts) with random weights.

    Raises UsageError.

    size: side in pixels of the square images that it is made for; `dense` and `pooled` take others too. Of sounds
    (`cfg.hop_ms`) the mel bands.
    """
    network: Backbone
    if cfg.name.startswith(TIMM):
        from gssl.nets.foreign import TimmBackbone  # an optional extra

        return TimmBackbone(cfg.name.removeprefix(TIMM), size)
    if cfg.name.startswith(PUBLISHED_TEXT):
        from gssl.nets.published_text import PublishedText

        return PublishedText(cfg.name.removeprefix(PUBLISHED_TEXT), size)
    if cfg.name not in BACKBONES:
        raise UsageError(f"backbone.name={cfg.name}: expected one of {', '.join(BACKBONES)}")
    made: Any = load(BACKBONES[cfg.name])
    if made.takes.column == "text":
        sized = {"size": size} if cfg.name == "text_conv" else {}
        text: Backbone = made(name=cfg.name, norm=cfg.norm, width=cfg.width, vocab=cfg.vocab, **sized)
        return text
    channels = 3 if cfg.hop_ms is None else 1
    network = made(name=cfg.name, norm=cfg.norm, width=cfg.width, patch=cfg.patch, size=size, channels=channels)
    if cfg.hop_ms is not None:  # the same network on spectrograms: `size` mel bands, as many frames as there are
        network.takes = Takes("audio", channels)
        network.inputs = SoundInputs(size, cfg.hop_ms)
    return network
