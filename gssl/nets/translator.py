"""A generator that makes an image from an image of another domain: two halvings, residual blocks, two doublings.

Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer, ECCV 2016, arXiv:1603.08155; as a generator Zhu
et al. 2017, arXiv:1703.10593 (appendix 7.2). Kept: reflection padding, instance norm, 7×7 convolutions at both ends.
Different: nearest up-sampling and 3×3 convolutions stand in the place of transposed ones, whose patterns show; the
output passes a sigmoid, for images are in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.nets.generator import Shape, begin
from gssl.nets.norms import norm2d

SMALLEST = 16  # side in pixels of the smallest images: 7×7 windows are reflected at their borders


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels) if kind == "instance" else norm2d(kind, channels)


def _conv(shape: Shape, before: int, after: int, side: int = 3, stride: int = 1) -> list[nn.Module]:
    pad = nn.ReflectionPad2d(side // 2)
    return [pad, nn.Conv2d(before, after, side, stride, bias=False), _norm(shape.norm, after)]


class Block(nn.Module):
    """x + two convolutions of it."""

    def __init__(self, shape: Shape, channels: int) -> None:
        super().__init__()
        first, second = (_conv(shape, channels, channels) for _ in range(2))
        self.inner = nn.Sequential(*first, nn.ReLU(inplace=True), *second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Doubling(nn.Module):
    """Twice the side by repeating pixels, then a convolution."""

    def __init__(self, shape: Shape, before: int, after: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(*_conv(shape, before, after), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.inner(F.interpolate(x, scale_factor=2, mode="nearest"))
        return made


class Translator(nn.Module):
    """Images (B, 3, h, w) in [0, 1] → images of that size in [0, 1]; grey ones are replicated to three channels.

    Made for squares of `shape.size`; any sides that are multiples of 4, `SMALLEST` or more, will do. Raises UsageError
    where `shape.size` is none.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        if shape.size % 4 or shape.size < SMALLEST:
            raise UsageError(
                f"data.size={shape.size}: the generator needs a multiple of 4, {SMALLEST} or more, such as 64"
            )
        assert shape.blocks is not None
        self.shape, self.latent, self.classes = shape, 0, 0
        width = shape.width
        self.first = nn.Sequential(*_conv(shape, 3, width, 7), nn.ReLU(inplace=True))
        self.down = nn.ModuleList(
            nn.Sequential(*_conv(shape, a, 2 * a, 3, 2), nn.ReLU(inplace=True)) for a in (width, 2 * width)
        )
        self.blocks = nn.ModuleList(Block(shape, 4 * width) for _ in range(shape.blocks))
        self.up = nn.ModuleList(Doubling(shape, 2 * a, a) for a in (2 * width, width))
        self.pad = nn.ReflectionPad2d(3)
        self.to_image = nn.Conv2d(width, shape.channels, 7)
        self.to(memory_format=torch.channels_last)

    def begin(self, colour: tuple[float, ...]) -> None:
        """Let the first images have about this `colour` (red, green, blue in [0, 1]) rather than grey."""
        begin(self.to_image, colour)

    @property
    def dims(self) -> list[int]:
        """Channels of `maps`."""
        width = self.shape.width
        return [3, 2 * width, 4 * width, 4 * width, 4 * width]

    def maps(self, images: Tensor) -> list[Tensor]:
        """The image itself, and maps after both halvings, after the first block and after the one past the middle."""
        signed = 2 * images - 1
        found = [signed]
        x = self.first(signed)
        for block in self.down:
            x = block(x)
            found.append(x)
        after = []
        for block in self.blocks[: len(self.blocks) // 2 + 1]:
            x = block(x)
            after.append(x)
        return [*found, after[0], after[-1]]

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """`label` is not read."""
        x = self.first(2 * images - 1)
        for block in (*self.down, *self.blocks, *self.up):
            x = block(x)
        return torch.sigmoid(self.to_image(self.pad(x))).expand(-1, 3, -1, -1)
