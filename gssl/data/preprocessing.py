"""How an image becomes the square that a network reads: its size, what is cut off, how it is resized."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gssl.data.views import centre

FITS = ("centre", "short", "squash")
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")


@dataclass(frozen=True)
class Preprocessing:
    """(B, C, H, W) uint8 → (B, 3, size, size) float32 in [0, 1]; colours are normalised in the network (`inputs`).

    fit: centre, the largest central square resized to `size` (`gssl.data.centre`, ours) | short, the shorter side
    resized to size / crop, then the central square (timm's and torchvision's) | squash, both sides resized to that.
    crop: the fraction of the side that the central square keeps. interpolation: bilinear, bicubic (antialiased, rounded
    to the 256 levels as Pillow does), nearest. The last two are for short and squash alone.
    """

    size: int
    fit: str = "centre"
    crop: float = 1.0
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        assert self.fit in FITS and self.interpolation in INTERPOLATIONS and 0 < self.crop <= 1, self

    @property
    def need(self) -> int:
        """The shorter side in pixels to which images are resized: stored ones with fewer pixels lack detail."""
        return self.size if self.fit == "centre" else math.floor(self.size / self.crop)

    def record(self) -> dict[str, Any]:
        """For result.json and descriptions of weights; `Preprocessing(**record)` is the same again."""
        return asdict(self)

    def __str__(self) -> str:
        return str(self.size)

    def read(self, batch: Mapping[str, Tensor]) -> Tensor:
        """What a network reads of a batch of `Images.fetch`: its images so, or its texts or sounds, which stay as they
        are."""
        other = next((batch[name] for name in ("text", "audio") if name in batch), None)
        return self(batch["image"], batch.get("extent")) if other is None else other

    @torch.no_grad()
    def __call__(self, image: Tensor, extent: Tensor | None = None) -> Tensor:
        """`image`: uint8, C in {1, 3}; `extent`: int64 (B, 2), true heights and widths in a padded canvas."""
        if self.fit == "centre":
            return centre(image, self.size, extent)
        if extent is None:
            made = self._squares(image)
        else:
            one = [self._squares(x[None, :, :h, :w]) for x, (h, w) in zip(image, extent.cpu().tolist(), strict=True)]
            made = torch.cat(one)
        made = made.expand(-1, 3, -1, -1) if made.shape[1] == 1 else made
        return (made.float() / 255).contiguous(memory_format=torch.channels_last)

    def _squares(self, image: Tensor) -> Tensor:
        """(B, C, size, size) of images of one size, in whole levels."""
        height, width = image.shape[-2:]
        goal = self.goal(height, width)
        x = image
        if goal != (height, width):
            if self.interpolation == "nearest":
                x = F.interpolate(x, size=goal, mode="nearest-exact")
            else:
                whole = x.device.type == "cpu"  # its arithmetic is Pillow's, and 12 times faster than on floats
                x = F.interpolate(x if whole else x.float(), size=goal, mode=self.interpolation, antialias=True)
                x = x if whole else x.round_().clamp_(0, 255)
        top, left = (round((side - self.size) / 2) for side in goal)
        return x[..., top : top + self.size, left : left + self.size]

    @classmethod
    def of(cls, size: "int | Preprocessing") -> "Preprocessing":
        """Of a number our evaluation crop of that side."""
        return cls(size) if isinstance(size, int) else size

    def goal(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing."""
        if self.fit == "squash":
            return self.need, self.need
        short, whole = min(height, width), max(height, width)
        long = self.need * whole // short
        return (self.need, long) if height <= width else (long, self.need)
