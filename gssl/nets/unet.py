"""A generator that makes an image from an image: an encoder, a decoder, and maps that skip from one to the other.

Ronneberger et al.: U-Net, MICCAI 2015, arXiv:1505.04597; as a generator Isola et al. 2017, arXiv:1611.07004. Nearest
up-sampling and 3×3 convolutions stand in the place of transposed ones, whose patterns show. No dropout: the image is a
function of the input, which is what users of the original's noise find, too.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.nets.generator import Shape, begin
from gssl.nets.norms import norm2d

MOST, SMALLEST, WIDEST = 4, 4, 4  # halvings; pixels of the smallest map; times `width` of the widest
SLOPE = 0.2
NEAR = 1 / 256  # of black and white: an input's logits are finite, and an output comes no nearer at the start


class UNet(nn.Module):
    """Inputs (B, K, size, size) in [0, 1] → images (B, 3, size, size); grey ones are replicated to three channels.

    The sides are halved at most `MOST` times, as long as they are even and no smaller than `SMALLEST` after it (64 → 4,
    48 → 6, 32 → 4, 28 → 7). With `shape.changes` it learns what to add to the input's logits (Kim et al.: VDSR, CVPR
    2016, arXiv:1511.04587, on colours), at the start nothing. Raises UsageError where `size` is not a multiple of 4.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        side, halvings = shape.size, 0
        while halvings < MOST and side % 2 == 0 and side // 2 >= SMALLEST:
            side, halvings = side // 2, halvings + 1
        if shape.size % 4 or halvings < 2:
            raise UsageError(f"data.size={shape.size}: the generator needs a multiple of 4, 16 or more, such as 64")
        self.shape, self.latent, self.classes = shape, 0, 0
        widths = [shape.width * min(2**i, WIDEST) for i in range(halvings)]
        self.down = nn.ModuleList()
        for i, (before, after) in enumerate(zip([shape.inputs, *widths], widths, strict=False)):
            norm = norm2d(shape.norm, after) if i else nn.Identity()  # the first must see how bright the input is
            conv = nn.Conv2d(before, after, 4, 2, 1, bias=not i)
            self.down.append(nn.Sequential(conv, norm, nn.LeakyReLU(SLOPE, inplace=True)))
        self.up = nn.ModuleList()
        below = widths[-1]
        for after in [*widths[-2::-1], shape.width]:
            conv = nn.Conv2d(below, after, 3, padding=1, bias=False)
            self.up.append(nn.Sequential(conv, norm2d(shape.norm, after), nn.ReLU(inplace=True)))
            below = 2 * after
        self.to_image = nn.Conv2d(shape.width + shape.inputs, shape.channels, 3, padding=1)
        if shape.changes:
            assert shape.inputs == 3 and self.to_image.bias is not None
            nn.init.zeros_(self.to_image.weight)
            nn.init.zeros_(self.to_image.bias)
        self.to(memory_format=torch.channels_last)

    def begin(self, colour: tuple[float, ...]) -> None:
        """Let the first images have about this `colour` (red, green, blue in [0, 1]), unless they are the inputs."""
        if not self.shape.changes:
            begin(self.to_image, colour)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """`label` is not read."""
        signed = 2 * images - 1
        maps = [signed]
        for block in self.down:
            maps.append(block(maps[-1]))
        x = maps.pop()
        for block in self.up:
            x = torch.cat([block(F.interpolate(x, scale_factor=2, mode="nearest")), maps.pop()], dim=1)
        x = self.to_image(x)
        if self.shape.changes:
            x = x + torch.logit(images[:, : self.shape.channels], eps=NEAR)
        return torch.sigmoid(x).expand(-1, 3, -1, -1)
