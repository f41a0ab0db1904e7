"""From a backbone's last feature map back to an image: the decoder of the pretext tasks that predict pixels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gssl.nets.backbone import Backbone
from gssl.nets.norms import norm2d


@torch.no_grad()
def last_side(backbone: Backbone, size: int) -> int:
    """Places per side of the last stage's map for images of `size` pixels, found out by one grey image.

    Nothing of the backbone changes. Call it before the backbone is moved to a device.
    """
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()  # batch norms keep their statistics
    side = backbone.dense(torch.full((1, 3, size, size), 0.5))[-1].shape[-1]
    for module, mode in modes.items():
        module.training = mode
    return side


class Decoder(nn.Module):
    """A 3×3 convolution, norm and ReLU, then doubling the side by nearest neighbours, until the image's is reached.

    (B, dim, side, side) → (B, channels, size, size), without a last activation: a 3×3 convolution without norm makes
    the output. The blocks have `width` · 2^(k − 1), …, 2 · `width`, `width` channels; `norm` is batch, group or none.
    Where `size` is no power of two times `side` (28 px: 4 → 8 → 16 → 32), the last map is resized bilinearly.
    The convolution stands before the doubling because that is quicker: from 4×4×128 to 32×32×3, width 8, batch 256,
    forward + backward on one thread of an AMD EPYC that others kept busy, 70 ms; after it, 125 to 195.
    """

    def __init__(self, dim: int, side: int, size: int, channels: int, width: int, norm: str = "batch") -> None:
        super().__init__()
        self.size = size
        ups = 0
        while side * 2**ups < size:
            ups += 1
        blocks: list[nn.Module] = []
        before = dim
        for i in range(ups):
            after = width * 2 ** (ups - 1 - i)
            conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
            blocks += [conv, norm2d(norm, after), nn.ReLU(inplace=True), nn.Upsample(scale_factor=2, mode="nearest")]
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Conv2d(before, channels, 3, padding=1)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x.contiguous(memory_format=torch.channels_last))
        if x.shape[-1] != self.size:
            x = F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)
        out: Tensor = self.last(x)
        return out
