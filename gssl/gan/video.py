"""A GAN of clips: a generator of images whose code changes in time, a discriminator of frames and of differences.

Tulyakov, Liu, Yang, Kautz: MoCoGAN: Decomposing Motion and Content for Video Generation, CVPR 2018, arXiv:1707.04993:
content is drawn once per clip, motion comes from a recurrent network on noise of its own per frame. The discriminator
has no network of videos: the shared backbone reads each frame, one head says of each whether it is real, another reads
neighbouring frames' features and their differences. So its trunk is the backbone, as in every recipe. Values and the
measured result: conf/gan/videogan.yaml.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.gan.adversarial import GAN
from gssl.method import Batch, Context, to_device
from gssl.nets.backbone import Backbone
from gssl.nets.discriminator import Discriminator, Heads, Seen
from gssl.nets.generator import Generator, Shape
from gssl.nets.heads import mlp
from gssl.schemas import gan as schema

# keys of a recipe that are about single images, and their value without them
SINGLE = {"penalty": ("gp",), "condition": ("generator", "projection")}
WEIGHTS = ("consistency", "class_d", "class_g", "rotation_d", "rotation_g")


class Motion(nn.Module):
    """Noise of each frame (B, T, m), standard normal → codes (B, T, m) that depend on what came before, of that size.

    Codes have mean 0 and variance 1 over their dimensions, as a standard normal one has about: so the generator of
    frames makes images of any standard normal z.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.memory = nn.GRU(size, 2 * size, batch_first=True)
        self.leave = nn.Linear(2 * size, size)

    def forward(self, noise: Tensor) -> Tensor:
        return F.layer_norm(self.leave(self.memory(noise)[0]), noise.shape[-1:])


class ClipGenerator(nn.Module):
    """z (B, content + T · m) → clips (B, T, 3, S, S) in [0, 1]; `images` makes one frame of (B, content + m)."""

    def __init__(self, shape: Shape, frames: int, motion: int) -> None:
        super().__init__()
        self.shape, self.classes, self.frames = shape, 0, frames
        self.content, self.size = shape.latent - motion, motion
        self.images, self.motion = Generator(shape), Motion(motion)

    def begin(self, colour: tuple[float, ...]) -> None:
        self.images.begin(colour)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        content, noise = z[:, : self.content], z[:, self.content :].unflatten(1, (self.frames, self.size))
        codes = torch.cat([content[:, None].expand(-1, self.frames, -1), self.motion(noise)], dim=2)
        clips: Tensor = self.images(codes.flatten(0, 1)).unflatten(0, (-1, self.frames))
        return clips


class ClipDiscriminator(Discriminator):
    """Clips (B, T, 3, S, S) → a logit per frame and, as often, one of the clip's motion: (2 · B · T,). Images as ever.

    The head on motion reads features of two neighbouring frames, the earlier one's and the difference, and its answers
    are averaged: it can tell forwards from backwards.
    """

    def __init__(self, backbone: Backbone, heads: Heads, size: int, hidden: int) -> None:
        super().__init__(backbone, heads, size)
        self.on_motion = mlp([2 * self.logit.in_features, hidden, 1], norm="none")

    def forward(self, images: Tensor, label: Tensor | None = None, z: Tensor | None = None) -> Seen:
        if images.ndim == 4:
            return super().forward(images)
        count, frames = images.shape[:2]
        seen = super().forward(images.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        own = seen.features.unflatten(0, (count, frames))
        pairs = torch.cat([own[:, :-1], own.diff(dim=1)], dim=2)
        moving = self.on_motion(pairs).squeeze(2).mean(1).float()
        return Seen(torch.cat([seen.logit, moving.repeat_interleave(frames)]), seen.features)


class VideoGAN(GAN):
    """The losses of `GAN`, of clips."""

    needs: Any = ("frame0", "frame1")  # and as many more as `reads` says

    def __init__(self, cfg: schema.VideoGAN, backbone: Backbone, context: Context) -> None:
        _check(cfg)
        self.frames, self.size_of_motion, self.hidden = cfg.frames, cfg.motion, cfg.motion_head
        super().__init__(cfg, backbone, context)
        self.needs = self.reads(cfg)
        self.clip_latent = cfg.latent - cfg.motion + cfg.frames * cfg.motion

    @staticmethod
    def reads(cfg: schema.GAN) -> tuple[str, ...]:
        assert isinstance(cfg, schema.VideoGAN)
        return tuple(f"frame{i}" for i in range(cfg.frames))

    def _made_generator(self, shape: Shape) -> Any:
        return ClipGenerator(shape, self.frames, self.size_of_motion)

    def _made_discriminator(self, trunk: Backbone, heads: Heads, size: int) -> Discriminator:
        return ClipDiscriminator(trunk, heads, size, self.hidden)

    def augmented(self, images: Tensor, draws: Tensor | None) -> Tensor:
        """All frames of a clip alike."""
        if draws is None:
            return images
        flat = super().augmented(images.flatten(0, 1), draws.repeat_interleave(images.shape[1], dim=0))
        return flat.unflatten(0, images.shape[:2])

    def _drawn(self, who: str, step: int, batch: Batch) -> Batch:
        found, real = super()._drawn(who, step, batch), batch["real"]
        z = self.draws.normal(f"latent/{who}", step, (len(real), self.clip_latent))
        return found | {"z": to_device(z, real.device)}

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        clips = torch.stack([batch[f"frame{i}"] for i in range(self.frames)], dim=1)
        return super().update({"real": clips}, step)

    @torch.no_grad()
    def sample(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Single frames (B, 3, S, S) in [0, 1] of the averaged generator; `z` (B, latent)."""
        self.ema.eval()
        images: Tensor = self.ema.module.images(z)  # type: ignore[operator]
        return images

    @torch.no_grad()
    def clips(self, z: Tensor) -> Tensor:
        """Clips (B, T, 3, S, S) in [0, 1] of the averaged generator; `z` (B, clip_latent)."""
        self.ema.eval()
        clips: Tensor = self.ema.module(z)
        return clips


def _check(cfg: schema.VideoGAN) -> None:
    """Raises UsageError for parts of recipes that are about single images."""
    for key, values in SINGLE.items():
        if getattr(cfg, key) in values:
            raise UsageError(f"gan.{key}={getattr(cfg, key)}: is not for clips; set gan.{key}=none")
    for key in WEIGHTS:
        if getattr(cfg, key):
            raise UsageError(f"gan.{key}={getattr(cfg, key)}: is not for clips; set gan.{key}=0")
    if cfg.motion >= cfg.latent:
        raise UsageError(f"gan.motion={cfg.motion}: is a part of z; set it below gan.latent={cfg.latent}")
