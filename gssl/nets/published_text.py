"""Published transformers of texts: BERT and RoBERTa (norms after each half of a block), GPT-2 (norms before, causal).

Devlin et al. 2019, arXiv:1810.04805; Liu et al. 2019, arXiv:1907.11692; Radford et al. 2019. They are built without
transformers, which tests/nets/test_text_files.py compares them with. A network's name says all that it is made of:
text:FAMILY?width=768&depth=12&…, as `gssl.nets.text_files` reads it from a folder. What their training dropped at
random (dropout) is not dropped here.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gssl.errors import UsageError
from gssl.nets.backbone import PUBLISHED_TEXT, Backbone, Takes
from gssl.nets.foreign_names import split
from gssl.nets.inputs import SIGNED, Inputs
from gssl.vocabulary import FIRST, PAD

PREFIX = PUBLISHED_TEXT
CAUSAL = ("gpt2",)  # families that read from left to right, and whose norms stand before each half of a block
STAGES = 4
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


class Block(nn.Module):
    """Attention and an MLP, each added to what it reads; `before`: whether the norms stand before them or after."""

    def __init__(self, width: int, heads: int, mlp: int, act: str, eps: float, before: bool) -> None:
        super().__init__()
        self.heads, self.before, self.act = heads, before, ACTIVATIONS[act]
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, mlp), nn.Linear(mlp, width)

    def attend(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """seen (B, 1, 1, T): which positions are read; None: those up to each one's own."""
        b, t, width = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=seen is None)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(b, t, width))
        return out

    def change(self, x: Tensor) -> Tensor:
        """What the MLP adds."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        if self.before:
            x = x + self.attend(self.norm1(x), seen)
            return x + self.change(self.norm2(x))
        x = self.norm1(x + self.attend(x, seen))
        out: Tensor = self.norm2(x + self.change(x))
        return out


class PublishedText(Backbone):
    """Ids of tokens (B, T), 0 behind the shorter texts, → features.

    The special tokens that the published network expects around a text (`first`, `last`) are put there inside. Pooled
    features are the mean over all tokens, these too; the maps of `dense` are of the text's own tokens, at the ends of
    the quarters of the blocks. Raises UsageError where texts of `size` tokens are longer than it has positions for.
    """

    takes = Takes("text", 1)

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        self.family, own = split(name)
        self.first, self.last = list(own["first"]), list(own["last"])
        room = own["positions"] - len(self.first) - len(self.last)
        if size > room:
            raise UsageError(
                f"data.size={size}: this network ({self.family}) reads at most {room} tokens of a text beside its"
                f" special ones; use data.size={room} or less"
            )
        width, depth, eps = own["width"], own["depth"], own["eps"]
        self.causal = self.family in CAUSAL
        self.ends = [depth * (i + 1) // min(STAGES, depth) for i in range(min(STAGES, depth))]
        self.dim, self.dims = width, [width] * len(self.ends)
        self.inputs = Inputs(*SIGNED)  # of images; texts have no such thing
        self.embedding = nn.Embedding(own["vocab"], width)
        self.positions = nn.Parameter(torch.zeros(own["positions"], width))
        self.norm = nn.LayerNorm(width, eps=eps)  # of the embedding, or where norms stand before of the last block
        self.blocks = nn.ModuleList(
            Block(width, own["heads"], own["mlp"], own["act"], eps, self.causal) for _ in range(depth)
        )

    def marked(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Ids of the published tokenizer with the special tokens around each text, and where there are any, bool."""
        there = tokens != PAD
        ids = (tokens - FIRST).clamp(min=0)
        ids = F.pad(ids, (0, len(self.last)))
        end = there.sum(1, keepdim=True)
        for i, token in enumerate(self.last):
            ids = ids.scatter(1, end + i, token)
        ids = torch.cat([ids.new_tensor(self.first).expand(len(ids), -1), ids], dim=1)
        whole = end + len(self.first) + len(self.last)
        return ids, torch.arange(ids.shape[1], device=ids.device) < whole

    def hidden(self, tokens: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, S, width) of the embedding and of every block, the last one as the network gives it, special tokens
        around each text; and bool (B, S), where there is a token."""
        ids, there = self.marked(tokens)
        x = self.embedding(ids) + self.positions[: ids.shape[1]]
        seen = None if self.causal else there[:, None, None, :]  # what is behind a text, no causal network reads
        found = [x if self.causal else self.norm(x)]
        for block in self.blocks:
            found.append(block(found[-1], seen))
        if self.causal:
            found[-1] = self.norm(found[-1])
        return found, there

    def dense(self, x: Tensor) -> list[Tensor]:
        """(B, T) ids → maps (B, width, 1, T), at most four; 0 where there is no token."""
        there, start = (x != PAD)[:, None, None], len(self.first)
        found, _ = self.hidden(x)
        own = [found[end][:, start : start + x.shape[1]] for end in self.ends]
        return [part.transpose(1, 2)[:, :, None] * there for part in own]

    def pooled(self, x: Tensor) -> Tensor:
        """(B, T) ids → (B, width), the mean over the tokens."""
        found, there = self.hidden(x)
        out = found[-1] * there[..., None]
        return out.sum(1) / there.sum(1, keepdim=True).clamp(min=1)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Weights of the quarters of the blocks, from input to output: the embedding's with the first."""
        groups: list[list[nn.Parameter]] = []
        for start, end in zip([0, *self.ends[:-1]], self.ends, strict=True):
            groups.append([weight for block in list(self.blocks)[start:end] for weight in block.parameters()])
        groups[0] = [*self.embedding.parameters(), self.positions, *groups[0]]
        groups[-1 if self.causal else 0] += list(self.norm.parameters())
        return groups
