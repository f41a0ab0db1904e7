"""A small convolutional network that learns within minutes on a CPU; after DCGAN's trunk (1511.06434).

Four blocks of 3×3 convolution, norm, leaky ReLU; blocks 2 to 4 first halve the sides by averaging 2×2 positions.

Measured (two cores, torch 2.14, 32 px, width 16, batch norm). Both SimCLR views of 256, forward + backward +
SGD, alternating, median of 5 × 3: averaging before the convolution 85 ms, stride 2 98, stride 2 with 4×4
kernels 122, averaging after the convolution 203. Both views in one concatenated pass 113; bf16 on a CPU that
has it 72. Learning on 10,000 CIFAR-10 images, one seed, averaging before / stride 2: supervised, 500 steps of
128 .59 / .54; linear probe of a random network .45 / .37, after 250 steps of SimCLR .45 / .45 (these with
PyTorch's default initialisation). Slope .1 / .2, two seeds: supervised, 400 steps .56, .56 / .54, .53;
SimCLR, 120 steps, linear .46, .49 / .45, .46.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gssl.errors import UsageError
from gssl.nets.backbone import Backbone
from gssl.nets.inputs import SIGNED, Inputs
from gssl.nets.norms import norm2d

SLOPE = 0.1  # of the leaky ReLU: a generator needs gradients everywhere; see the figures above


class ConvNet(Backbone):
    """Channels `width` · (1, 2, 4, 8) at 1, 1/2, 1/4, 1/8 of the sides (halves rounded up); `dim` is 8 · `width`.

    No max-pooling: its gradients are sparse, which a generator would learn from badly. `norm` is batch, group
    or none (then the convolutions have an offset per channel). Images of at least 8 pixels; the same weights
    serve all sizes. `name` and `patch` are unused.
    """

    def __init__(self, name: str, norm: str, width: int, patch: int, size: int, channels: int = 3) -> None:
        super().__init__()
        if size < 8:
            raise UsageError(f"data.size={size}: {name} halves images three times; set data.size=8 or more")
        self.inputs = Inputs(*SIGNED)
        self.dims = [width * 2**i for i in range(4)]
        self.dim = self.dims[-1]
        self.blocks = nn.ModuleList()
        for before, after in zip([channels, *self.dims[:-1]], self.dims, strict=True):
            # oneDNN likes the channels-last layout and multiples of 16 channels
            conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, a=SLOPE)
            self.blocks.append(nn.Sequential(conv, norm2d(norm, after), nn.LeakyReLU(SLOPE, inplace=True)))
        self.to(memory_format=torch.channels_last)

    def dense(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] → four maps (B, dims[i], ⌈H/2ⁱ⌉, ⌈W/2ⁱ⌉)."""
        x = self.inputs(x)
        maps: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            if i:
                x = F.avg_pool2d(x, 2, ceil_mode=True)
            x = block(x)
            maps.append(x)
        return maps

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Weights of each stage, from input to output."""
        return [list(block.parameters()) for block in self.blocks]
