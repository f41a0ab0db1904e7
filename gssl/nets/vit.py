"""Vision transformers (Dosovitskiy et al., 2010.11929).

ViT-Tiny, of the size of DeiT-Ti (2012.12877), and ViT-Micro, a third as deep, are simplified as in 2205.01580.
ViT-Small and ViT-Base are as published: a class token, and positions that are learned. So they take the weights of
torchvision, timm, DeiT and DINO (gssl/nets/vit_files.py), and their features are those of the originals.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gssl.errors import UsageError
from gssl.nets.backbone import Backbone
from gssl.nets.inputs import IMAGENET, SIGNED, Inputs


class Shape(NamedTuple):
    """What a name stands for, beside its width and its patches."""

    depth: int  # blocks
    heads: int
    published: bool = False  # class token and learned positions


SHAPES = {
    "vit_micro": Shape(4, 3),
    "vit_tiny": Shape(12, 3),
    "vit_small": Shape(12, 6, published=True),
    "vit_base": Shape(12, 12, published=True),
}
HEADS = 3
MLP_RATIO = 4
TOKEN_STD = 0.02  # of a class token's first values


def position_embedding(width: int, rows: int, columns: int | None = None) -> Tensor:
    """Fixed 2-D sine-cosine embedding (1, rows · columns, width): half is the row, half the column (2104.02057).

    Positions count patches from the upper left corner row by row; `columns` None: as many as rows.
    """
    columns = rows if columns is None else columns
    omega = 10000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angle = torch.arange(max(rows, columns), dtype=torch.float64)[:, None] * omega
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # (positions, width / 2)
    down, across = wave[:rows, None].expand(-1, columns, -1), wave[None, :columns].expand(rows, -1, -1)
    return torch.cat([down, across], dim=2).reshape(1, rows * columns, width).float()


class Attention(nn.Module):
    """Multi-head self-attention on tokens (B, T, width)."""

    def __init__(self, width: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, width = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, width))
        return y


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int = HEADS) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


def initialise(network: nn.Module) -> None:
    """Xavier's uniform weights, a patch counting as one linear layer, and no offsets (as the MAE paper, 2111.06377).

    Not a normal of .02, which is made for a width of 768: at 96, patches would be a tenth of their positions. Measured
    on CIFAR-10 with MAE, 600 steps of 64 at 0.002, one seed: kNN .31 with these and .19 with those (random: .23, .21).
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))  # a view
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class ViT(Backbone):
    """Pre-norm blocks; `width` is the embedding dimension, `patch` in pixels.

    Positions of ViT-Micro and ViT-Tiny are fixed sines and cosines of the row and the column, not weights. So the same
    weights serve images of any height and width: another grid of patches gets the sines and cosines of its own rows and
    columns, and nothing is interpolated. There is no class token: features are the mean over the positions of the last
    stage, after the final norm. ViT-Small and ViT-Base learn positions, from those sines and cosines on, and another
    grid gets them interpolated (bicubic, antialiased, as timm does); their features are the class token. Where `patch`
    does not divide a side, the image's lower or right border is repeated up to the next multiple. `norm` must be none:
    a ViT brings its layer norm, and batch or group norm do not belong in it. Raises UsageError for that, for a `size`
    that `patch` does not divide and for a `width` that is no multiple of four times the heads. (Torch's fused attention
    on a CPU has no second derivative: a gradient penalty on this backbone needs
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.)
    """

    positions: Tensor
    recomputes = True

    def __init__(self, name: str, norm: str, width: int, patch: int, size: int, channels: int = 3) -> None:
        super().__init__()
        depth, heads, published = SHAPES[name]
        if norm != "none":
            raise UsageError(f"backbone.norm={norm}: {name} has its own layer norm; set backbone.norm=none")
        if size % patch:
            raise UsageError(f"backbone.patch={patch}: must divide data.size={size}; change one of them")
        if width % (4 * heads):  # heads of one size; four quarters of the position embedding
            raise UsageError(f"backbone.width={width}: {name} needs a multiple of {4 * heads}, e.g. {64 * heads}")
        self.side, self.patch = size // patch, patch
        self.dim, self.dims = width, [width] * 4
        self.inputs = Inputs(*(IMAGENET if published else SIGNED))
        self.patch_embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.token: nn.Parameter | None = None
        if published:
            self.token = nn.Parameter(torch.zeros(1, 1, width).normal_(0, TOKEN_STD))
            self.positions = nn.Parameter(position_embedding(width, self.side))
        else:
            self.register_buffer("positions", position_embedding(width, self.side), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of images (B, 3, H, W): the sides by `patch`, rounded up."""
        return -(-x.shape[-2] // self.patch), -(-x.shape[-1] // self.patch)

    def embed(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → patches (B, T, width) row by row, without positions."""
        rows, columns = self.grid(x)
        below, right = rows * self.patch - x.shape[-2], columns * self.patch - x.shape[-1]
        if below or right:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        tokens: Tensor = self.patch_embed(self.inputs(x)).flatten(2).transpose(1, 2)
        return tokens

    def embedding(self, rows: int, columns: int) -> Tensor:
        """Positions (1, T, width) of a grid of `rows` × `columns` patches."""
        if rows == columns == self.side:
            return self.positions
        if self.token is None:
            return position_embedding(self.dim, rows, columns).to(self.positions)
        own = self.positions.transpose(1, 2).unflatten(2, (self.side, self.side))
        own = F.interpolate(own, (rows, columns), mode="bicubic", align_corners=False, antialias=True)
        return own.flatten(2).transpose(1, 2)

    def _begin(self, tokens: Tensor) -> Tensor:
        """What the first block reads: the class token, where there is one, before the patches."""
        if self.token is None:
            return tokens
        return torch.cat([self.token.to(tokens.dtype).expand(len(tokens), -1, -1), tokens], dim=1)

    def _all(self, tokens: Tensor) -> Tensor:
        """All blocks and the final norm, the class token included."""
        tokens = self._begin(tokens)
        for block in self.blocks:
            tokens = self.recomputed(block, tokens)
        out: Tensor = self.norm(tokens)
        return out

    def encode(self, tokens: Tensor) -> Tensor:
        """All blocks and the final norm on (B, t, width): any subset of the patches, positions added."""
        out = self._all(tokens)
        return out if self.token is None else out[:, 1:]

    def dense(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] → maps (B, width, H/patch, W/patch), one per quarter of the blocks (last: normed)."""
        x = self.inputs.pictured(x)
        grid = self.grid(x)
        x = self._begin(self.embed(x) + self.embedding(*grid))
        maps = []
        for i, block in enumerate(self.blocks, start=1):
            x = self.recomputed(block, x)
            if i == len(self.blocks):
                x = self.norm(x)
            if i % (len(self.blocks) // 4) == 0:
                patches = x if self.token is None else x[:, 1:]
                maps.append(patches.transpose(1, 2).unflatten(2, grid))
        return maps

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Weights of each quarter of the blocks, from input to output: the patches' (with class token and positions,
        where these are learned) with the first, the final norm's with the last."""
        quarter = len(self.blocks) // 4
        stages = [list(self.blocks[i : i + quarter].parameters()) for i in range(0, len(self.blocks), quarter)]
        own = list(self.parameters(recurse=False))
        first = [*own, *self.patch_embed.parameters(), *stages[0]]
        return [first, *stages[1:-1], [*stages[-1], *self.norm.parameters()]]

    def pooled(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B, width): the class token, else the mean over the positions."""
        x = self.inputs.pictured(x)
        out = self._all(self.embed(x) + self.embedding(*self.grid(x)))
        return out.mean(1) if self.token is None else out[:, 0]
