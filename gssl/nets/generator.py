"""Generators that train quickly on a CPU: in the manner of DCGAN, and of residual blocks.

DCGAN: Radford et al., arXiv:1511.06434. Nearest up-sampling and a 3×3 convolution instead of a transposed one: no
checkerboard, and measured on 5,000 MNIST digits (two cores, batch 64, width 8) 1,378 steps and recognisable digits in
90 s, where transposed convolutions of width 16 at 32 px made 370 steps and smudges in 60 s.
ResNet: the blocks of WGAN-GP (Gulrajani et al., arXiv:1704.00028, appendix C) and SNGAN (arXiv:1802.05957).
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.nets.attention import SelfAttention
from gssl.nets.norms import norm2d

# of scales and offsets between classes at the start: equal ones would have to part at the pace of the learning rate
SPREAD = 0.3
DARKEST = 0.02  # of the colour to begin with: a sigmoid that is nearer to its end has no gradients


@dataclass(frozen=True)
class Shape:
    """What a generator is made from; stored beside its weights."""

    kind: str  # dcgan | resnet | unet (`gssl.nets.unet`) | residual (`gssl.nets.translator`)
    latent: int  # dimension of z
    width: int  # channels of the last block; dcgan doubles them towards the first, resnet keeps them
    size: int  # side of the images in pixels
    channels: int = 3  # 1: grey, replicated to three on output
    norm: str = "batch"  # batch | none; residual: instance, too
    attention: bool = False  # after the first block
    classes: int = 0  # 0: not conditional
    wide: int | None = None  # width in pixels of what is no square: frames of a spectrogram
    inputs: int = 3  # unet: channels of what an image is made from
    changes: bool = False  # unet: an image is its input with changes, none at the start
    blocks: int | None = None  # residual: how many

    def record(self) -> dict[str, Any]:
        usual = {"wide": None, "inputs": 3, "changes": False, "blocks": None}
        return {key: value for key, value in asdict(self).items() if key not in usual or value != usual[key]}


class ClassNorm(nn.Module):
    """A norm layer whose scale and offset depend on the class (conditional batch norm, arXiv:1610.07629)."""

    def __init__(self, kind: str, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False) if kind == "batch" else nn.Identity()
        self.scale, self.offset = nn.Embedding(classes, channels), nn.Embedding(classes, channels)
        nn.init.normal_(self.scale.weight, 1.0, SPREAD)
        nn.init.normal_(self.offset.weight, 0.0, SPREAD)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        scale, offset = self.scale(label)[:, :, None, None], self.offset(label)[:, :, None, None]
        return torch.addcmul(offset, self.norm(x), scale)


def _norm(shape: Shape, channels: int) -> nn.Module:
    return ClassNorm(shape.norm, channels, shape.classes) if shape.classes else norm2d(shape.norm, channels)


def _apply(norm: nn.Module, x: Tensor, label: Tensor | None) -> Tensor:
    y: Tensor = norm(x, label) if isinstance(norm, ClassNorm) else norm(x)
    return y


def _conv(before: int, after: int, side: int, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(before, after, side, padding=side // 2, bias=bias)


class Upsampling(nn.Module):
    """Twice the side: nearest up-sampling, 3×3 convolution, norm, ReLU."""

    def __init__(self, shape: Shape, before: int, after: int) -> None:
        super().__init__()
        self.conv, self.norm = _conv(before, after, 3), _norm(shape, after)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        x = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return F.relu(_apply(self.norm, x, label), inplace=True)


class Residual(nn.Module):
    """Twice the side: norm, ReLU, up-sampling, convolution, norm, ReLU, convolution, beside a 1×1 convolution."""

    def __init__(self, shape: Shape, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(shape, before), _conv(before, after, 3)
        self.norm2, self.conv2 = _norm(shape, after), _conv(after, after, 3, bias=True)
        self.skip = _conv(before, after, 1)

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        y = F.relu(_apply(self.norm1, x, label))
        y = self.conv1(F.interpolate(y, scale_factor=2, mode="nearest"))
        y = self.conv2(F.relu(_apply(self.norm2, y, label), inplace=True))
        # a 1×1 convolution before up-sampling gives the same numbers in a quarter of the time
        return y + F.interpolate(self.skip(x), scale_factor=2, mode="nearest")


@torch.no_grad()
def begin(to_image: nn.Conv2d, colour: tuple[float, ...]) -> None:
    """Let a last layer before a sigmoid begin with about this `colour`."""
    assert to_image.bias is not None
    start = torch.tensor(colour).clamp(DARKEST, 1 - DARKEST).logit().to(to_image.bias)
    to_image.bias.add_(start if len(start) == len(to_image.bias) else start.mean())


class Generator(nn.Module):
    """z (B, latent), and labels (B,) where there are classes → images (B, 3, size, size or `wide`) in [0, 1].

    Starts from a map of size/4 pixels, halved further while it is even and above 8 (28 → 7, 32 → 8, 48 → 6, 64 → 8);
    each block doubles the side. Of a width that is no multiple, what is too much is cut off on the right. Grey images
    are an expanded view: clone before writing into them. Raises UsageError where `size` is not a multiple of 4.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size = shape.size
        if size % 4 or size < 4:
            raise UsageError(f"data.size={size}: the generator needs a multiple of 4; set e.g. data.size=32")
        if shape.channels not in (1, 3):
            raise ValueError(f"channels={shape.channels}: expected 1 or 3")
        ups, side = 2, size // 4
        while side > 8 and side % 2 == 0:
            ups, side = ups + 1, side // 2
        self.shape, self.latent, self.classes = shape, shape.latent, shape.classes
        sequential = shape.kind == "dcgan"
        widths = [shape.width * 2 ** (ups - i) if sequential else shape.width for i in range(ups + 1)]
        across = side if shape.wide is None else -(-shape.wide // 2**ups)
        self.start = (widths[0], side, across)
        # where a norm follows, an offset would be taken away again
        self.project = nn.Linear(shape.latent, widths[0] * side * across, bias=not sequential)
        self.norm = _norm(shape, widths[0]) if sequential else nn.Identity()
        block = Upsampling if sequential else Residual
        self.blocks = nn.ModuleList(block(shape, a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.attention = SelfAttention(widths[1]) if shape.attention else None
        self.last = nn.Identity() if sequential else _norm(shape, widths[-1])
        self.to_image = _conv(widths[-1], shape.channels, 3, bias=True)
        if shape.norm == "none":
            self._scale()
        self.to(memory_format=torch.channels_last)

    def _scale(self) -> None:
        """First weights that keep the size of what passes through, where no norm layer does."""
        inner = [m for m in self.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m is not self.to_image]
        if self.attention is not None:
            inner = [m for m in inner if m not in set(self.attention.modules())]
        for module in inner:
            # a ReLU before a layer takes half of the power, and none is before these
            first = module is self.project or any(module is getattr(block, "skip", None) for block in self.blocks)
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if first else "relu")
        with torch.no_grad():
            for block in self.blocks:
                if isinstance(block, Residual):  # both branches add up: 2010.12859
                    block.conv2.weight.mul_(len(self.blocks) ** -0.5)

    @torch.no_grad()
    def begin(self, colour: tuple[float, ...]) -> None:
        """Let the first images have about this `colour` (red, green, blue in [0, 1]) rather than grey."""
        begin(self.to_image, colour)

    def maps(self, z: Tensor, label: Tensor | None = None) -> list[Tensor]:
        """The maps after each block, before attention: (B, C, h, w), coarsest first."""
        return self._run(z, label)[0]

    def _run(self, z: Tensor, label: Tensor | None) -> tuple[list[Tensor], Tensor]:
        x = self.project(z).view(-1, *self.start).contiguous(memory_format=torch.channels_last)
        if self.shape.kind == "dcgan":
            x = F.relu(_apply(self.norm, x, label))
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x, label)
            maps.append(x)
            if i == 0 and self.attention is not None:
                x = self.attention(x)
        if self.shape.kind == "resnet":
            x = F.relu(_apply(self.last, x, label))
        return maps, x

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """`z` (B, latent), standard normal; `label` (B,) int64 where `classes` > 0."""
        x = self._run(z, label)[1]
        return torch.sigmoid(self.to_image(x))[..., : self.shape.wide].expand(-1, 3, -1, -1)
