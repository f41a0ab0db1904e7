"""Keys of `conf/backbone/`, and what a network made elsewhere expects of its images."""

from typing import Literal

from pydantic import Field

from gssl.schemas.section import Interval, Positive, Section


class Backbone(Section):
    """The network that is shared by both families: SSL encoder and discriminator trunk."""

    name: Literal["convnet", "resnet18", "resnet50", "vit_micro", "vit_tiny"]
    norm: Literal["batch", "group", "none"]
    width: int = Field(ge=1, description="channels of the first stage (ViT: embedding dimension)")
    patch: int = Field(ge=1, description="ViT: side of a patch in pixels; unused elsewhere")


class Input(Section):
    """How a network wants its images, where neither it nor its file says so; each null: as they say."""

    mean: list[float] | None = Field(min_length=3, max_length=3, description="of the channels, in the units of `range`")
    std: list[Positive] | None = Field(min_length=3, max_length=3)
    range: Interval[float] | None = Field(description="of its pixels: [0, 1], [0, 255], [-1, 1]")
