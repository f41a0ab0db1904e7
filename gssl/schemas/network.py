"""Keys of `conf/backbone/`, and what a network made elsewhere expects of its images."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from gssl.schemas.section import Interval, Positive, Section


class Backbone(Section):
    """The network that is shared by both families: SSL encoder and discriminator trunk."""

    name: (
        Literal[
            "convnet",
            "resnet18",
            "resnet50",
            "vit_micro",
            "vit_tiny",
            "vit_small",
            "vit_base",
            "text_small",
            "text_base",
            "text_conv",
        ]
        | Annotated[str, Field(pattern=r"^timm:\S+$")]
    ) = Field(examples=["timm:vit_small_patch16_224", "timm:convnext_tiny"], description="timm:NAME: a network of timm")
    norm: Literal["batch", "group", "none"]
    width: int = Field(ge=1, description="channels of the first stage (ViT, texts: embedding dimension)")
    patch: int = Field(ge=1, description="ViT: side of a patch in pixels; unused elsewhere")
    # It has a default: no file gives it, for it follows from `data` (`gssl.vocabulary.resolve`).
    vocab: int | None = Field(default=None, ge=1, description="texts: rows of the embedding, by data.tokenizer")

    # As `vocab`: of data=audio alone (`gssl.config.validate`).
    hop_ms: float | None = Field(default=None, ge=1, description="sounds: of the spectrogram, by data.hop_ms")

    @model_serializer(mode="wrap")
    def _as_ever(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Networks of images are described as they always were."""
        found: dict[str, Any] = handler(self)
        return {key: value for key, value in found.items() if value is not None or key not in ("vocab", "hop_ms")}


class Input(Section):
    """How a network wants its images, where neither it nor its file says so; each null: as they say."""

    mean: list[float] | None = Field(min_length=3, max_length=3, description="of the channels, in the units of `range`")
    std: list[Positive] | None = Field(min_length=3, max_length=3)
    range: Interval[float] | None = Field(description="of its pixels: [0, 1], [0, 255], [-1, 1]")
