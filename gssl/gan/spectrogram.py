"""A GAN of sounds: a generator of pictures of log-mel spectrograms, and a discriminator that reads the spectrograms.

SpecGAN (Donahue, McAuley & Puckette: Adversarial Audio Synthesis, ICLR 2019, arXiv:1802.04208): each band is
standardised by training sounds and clipped at three deviations. The trunk of the discriminator is the shared backbone
on spectrograms as it reads them elsewhere, so that it can be evaluated and exported like that of an SSL method. Values
and the measured result: conf/gan/specgan.yaml.
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from gssl.errors import UsageError
from gssl.gan.adversarial import GAN
from gssl.method import Batch, Context
from gssl.nets.backbone import Backbone
from gssl.nets.discriminator import Discriminator, Heads, Seen
from gssl.nets.generator import Generator, Shape
from gssl.nets.log_mel import BandScale
from gssl.schemas import gan as schema

# keys of a recipe that are about photographs, and the value that leaves them out
PHOTOGRAPHS = {"augment": "none", "consistency": 0, "rotation_d": 0, "rotation_g": 0, "start": "grey"}


class SpectrogramDiscriminator(Discriminator):
    """Pictures (B, 3 or 1, bands, frames) in [0, 1] → `Seen`; the trunk reads the spectrograms that they are of."""

    def __init__(self, backbone: Backbone, heads: Heads, scale: BandScale) -> None:
        super().__init__(backbone, heads, scale.shape)
        self.of = scale

    def forward(self, images: Tensor, label: Tensor | None = None, z: Tensor | None = None) -> Seen:
        return super().forward(self.of.spectrogram(images), label, z)


class SpecGAN(GAN):
    """The losses of `GAN`, of spectrograms; samples are pictures (B, 3, bands, frames) in [0, 1]."""

    def __init__(self, cfg: schema.GAN, backbone: Backbone, context: Context) -> None:
        """Raises UsageError for parts of recipes that are about photographs, and labels that are not there."""
        for key, value in PHOTOGRAPHS.items():
            if getattr(cfg, key) != value:
                raise UsageError(f"gan.{key}={getattr(cfg, key)}: is of photographs; set gan.{key}={value}")
        if schema.reads_labels(cfg) and context.classes < 2:
            raise UsageError(f"gan={cfg.name}: it reads the class of each sound; data= has no labels, use gan=specgan")
        assert isinstance(context.scale, BandScale)
        object.__setattr__(self, "_scale", context.scale)  # before nn.Module can keep it
        super().__init__(cfg, backbone, context)

    @property
    def scale(self) -> BandScale:
        """Between spectrograms and pictures."""
        found: BandScale = self.__dict__["_scale"]
        return found

    def _made_generator(self, shape: Shape) -> Any:
        return Generator(replace(shape, channels=1, wide=self.scale.shape[1]))

    def _made_discriminator(self, trunk: Backbone, heads: Heads, size: int) -> Discriminator:
        return SpectrogramDiscriminator(trunk, heads, self.scale)

    def check(self, batch: Batch) -> None:
        """Raises UsageError where the network at the start reads other spectrograms than these."""
        found, mel = tuple(batch["real"].shape[2:]), self.scale.log_mel
        if found != self.scale.shape:
            raise UsageError(
                f"weights: learned from spectrograms of {mel.bands} bands every {mel.hop_ms:g} ms, which these are not;"
                f" set data.size={mel.bands} data.hop_ms={mel.hop_ms:g}"
            )

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return super().update(batch | {"real": self.scale.picture(batch["real"])}, step)
