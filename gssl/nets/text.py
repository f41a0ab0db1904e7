"""A small transformer of texts: pre-norm with RMSNorm, rotary positions, normed queries and keys, no biases, tied
embeddings.

Rotary positions: Su et al. 2021, arXiv:2104.09864. Norms of queries and keys: Henry et al. 2020, arXiv:2010.04245. It
is bidirectional, or causal where a causal language model trained it; which of them is saved with its weights. Of pairs
(`gssl.data.text_pairs`) tokens behind the mark between the texts have that mark's embedding added to their own, as BERT
adds one for the kind of segment (Devlin et al. 2019, arXiv:1810.04805): single texts need no other weights than pairs.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gssl.errors import UsageError
from gssl.nets.backbone import Backbone, Takes
from gssl.nets.inputs import SIGNED, Inputs
from gssl.vocabulary import BOS, PAD, SEP

STD = 0.02  # of first weights
BASE = 10_000.0  # of the rotary wavelengths
MLP_RATIO = 4


class Shape(NamedTuple):
    """What a name stands for, beside its width."""

    depth: int
    heads: int


SHAPES = {"text_small": Shape(2, 2), "text_base": Shape(4, 4)}


def rotary(length: int, dim: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines (length, dim / 2) of the angles by which positions turn pairs of features."""
    rates = BASE ** -(torch.arange(0, dim, 2, device=device, dtype=torch.float64) / dim)
    angles = torch.arange(length, device=device, dtype=torch.float64)[:, None] * rates
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (…, T, dim): features i and i + dim / 2 of position t as a vector in the plane, turned by angle (t, i)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def second(tokens: Tensor) -> Tensor:
    """bool (B, T): which of `tokens` stand behind the mark between two texts."""
    mark = tokens == SEP
    return (mark.cumsum(1) - mark.long()) > 0


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); no biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.fc1 = nn.Linear(width, MLP_RATIO * width, bias=False)
        self.fc2 = nn.Linear(MLP_RATIO * width, width, bias=False)

    def attend(self, x: Tensor, turn: tuple[Tensor, Tensor], seen: Tensor) -> Tensor:
        """x (B, T, width); seen (B or 1, 1, T, T): which positions (last) each one reads."""
        b, t, width = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        # under autocast the norms are of another type than the values
        q, k = (rotated(F.rms_norm(part, part.shape[-1:]), *turn).to(v.dtype) for part in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(b, t, width))
        return out

    def change(self, x: Tensor) -> Tensor:
        """What the MLP adds."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class TextTransformer(Backbone):
    """Ids of tokens (B, T), 0 behind the shorter texts, → features; a mark of the beginning goes before them.

    `width` is the embedding dimension, a multiple of twice the heads; `norm` must be none. Raises UsageError.
    """

    takes = Takes("text", 1)
    causal: Tensor

    def __init__(self, name: str, norm: str, width: int, vocab: int | None) -> None:
        super().__init__()
        depth, heads = SHAPES[name]
        if norm != "none":
            raise UsageError(f"backbone.norm={norm}: {name} has its own norm; set backbone.norm=none")
        if width % (2 * heads):
            raise UsageError(f"backbone.width={width}: {name} needs a multiple of {2 * heads}, e.g. {32 * heads}")
        if vocab is None:
            raise UsageError(f"backbone={name}: reads texts; use data=text, or another backbone")
        self.vocab, self.head_dim, self.depth = vocab, width // heads, depth
        self.dim, self.dims = width, [width] * depth
        self.inputs = Inputs(*SIGNED)  # of images; texts have no such thing
        self.embedding = nn.Embedding(vocab, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.register_buffer("causal", torch.zeros((), dtype=torch.bool))
        for weight in self.parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=STD)
        for block in self.blocks:
            for last in (block.proj, block.fc2):
                nn.init.normal_(last.weight, std=STD / math.sqrt(2 * depth))  # type: ignore[union-attr, arg-type]

    @property
    def points(self) -> int:
        """How many masks `encode` takes as its noise."""
        return 1 + 2 * self.depth

    def stages(self, tokens: Tensor, noise: Tensor | None = None, prefix: Tensor | None = None) -> list[Tensor]:
        """Outputs (B, T + 1, width) of the blocks, the last one normed, the mark of the beginning first.

        noise: (B, points, T + 1, width) factors of the embedding and of what each half of a block adds: dropout.
        prefix: (B, k, width) vectors that stand before that mark, without an output here; zeros say nothing.
        """
        marked = F.pad(tokens, (1, 0), value=BOS)
        x = self.embedding(marked) + second(marked)[..., None] * self.embedding.weight[SEP]
        more = 0 if prefix is None else prefix.shape[1]
        if prefix is not None:
            x = torch.cat([prefix.to(x.dtype), x], dim=1)
        x = F.rms_norm(x, x.shape[-1:])
        length = x.shape[1]
        turn = rotary(length, self.head_dim, x.device, x.dtype)
        place = torch.arange(length, device=x.device)
        before = (place[:, None] >= place) | ~self.causal
        seen = F.pad(marked != PAD, (more, 0), value=True)[:, None, None, :] & before
        if noise is not None:
            x = x * noise[:, 0]
        found = []
        for number, block in enumerate(self.blocks):
            own: Block = block  # type: ignore[assignment]
            added = own.attend(own.norm1(x), turn, seen)
            x = x + (added if noise is None else added * noise[:, 1 + 2 * number])
            added = own.change(own.norm2(x))
            x = x + (added if noise is None else added * noise[:, 2 + 2 * number])
            found.append(x)
        found[-1] = self.norm(x)
        return [own[:, more:] for own in found] if more else found

    def encode(self, tokens: Tensor, noise: Tensor | None = None, prefix: Tensor | None = None) -> Tensor:
        """(B, T + 1, width): the last of `stages`."""
        return self.stages(tokens, noise, prefix)[-1]

    def logits(self, x: Tensor) -> Tensor:
        """Features (…, width) of `encode` → scores (…, vocab) of tokens, by the embedding."""
        return F.linear(x, self.embedding.weight)

    def dense(self, x: Tensor) -> list[Tensor]:
        """(B, T) ids → maps (B, width, 1, T), one per block; 0 where there is no token."""
        there = (x != PAD)[:, None, None]
        return [own[:, 1:].transpose(1, 2)[:, :, None] * there for own in self.stages(x)]

    def pooled(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """(B, T) ids → (B, width), the mean over the tokens."""
        there = (x != PAD)[..., None]
        out = self.encode(x, noise)[:, 1:] * there
        return out.sum(1) / there.sum(1).clamp(min=1)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Weights of each block, from input to output: the embedding's with the first, the final norm's with the
        last."""
        groups = [list(block.parameters()) for block in self.blocks]
        groups[0] = [*self.embedding.parameters(), *groups[0]]
        groups[-1] = [*groups[-1], *self.norm.parameters()]
        return groups
