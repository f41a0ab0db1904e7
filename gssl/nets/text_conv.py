"""Residual convolutions over the letters of short texts: a discriminator's trunk, and a generator.

The networks of Gulrajani et al.: Improved Training of Wasserstein GANs, NeurIPS 2017, arXiv:1704.00028 (its language
model of characters): five residual blocks of two convolutions of kernel 5, what a block adds scaled by .3. Behind
the end of a text stands a letter of its own, up to the length that the network is made for.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.nets.backbone import Backbone, Takes
from gssl.nets.inputs import SIGNED, Inputs
from gssl.vocabulary import PAD

BLOCKS, KERNEL = 5, 5
STD = 0.1  # of first embeddings
ADDED = 0.3  # factor of what a block adds


class Residual(nn.Module):
    """Maps (B, width, T): x + .3 · conv(relu(conv(relu(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.conv2(F.relu(self.conv1(F.relu(x))))
        return x + ADDED * added


class TextConv(Backbone):
    """Ids of tokens (B, T), 0 behind the shorter texts → features; or probabilities of letters.

    `width` is the number of channels everywhere; `norm` must be none. Raises UsageError.
    """

    takes = Takes("text", 1)

    def __init__(self, name: str, norm: str, width: int, vocab: int | None, size: int) -> None:
        """size: tokens that texts are filled up to with 0, so that features do not depend on the longest of a batch."""
        super().__init__()
        if norm != "none":
            raise UsageError(f"backbone.norm={norm}: {name} has no norm layers; set backbone.norm=none")
        if vocab is None:
            raise UsageError(f"backbone={name}: reads texts; use data=text, or another backbone")
        self.vocab, self.size, self.dim, self.dims = vocab, size, width, [width] * BLOCKS
        self.inputs = Inputs(*SIGNED)  # of images; texts have no such thing
        self.embedding = nn.Embedding(vocab, width)
        nn.init.normal_(self.embedding.weight, std=STD)  # torch's own of 1 would begin with slopes far above 1
        self.blocks = nn.ModuleList(Residual(width) for _ in range(BLOCKS))

    def _stages(self, x: Tensor) -> list[Tensor]:
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        # else a critic, whose loss is a difference, would not know of the last layer's offset
        found[-1] = F.relu(x)
        return found

    def read(self, rows: Tensor, letters: Tensor) -> Tensor:
        """rows (B, L, T): probabilities of `letters`, ids (L,), at each place → the last map (B, width, T)."""
        return self._stages(self.embedding(letters).t() @ rows)[-1]

    def dense(self, x: Tensor) -> list[Tensor]:
        """(B, T) ids → maps (B, width, 1, T), one per block; 0 where there is no token."""
        length, there = x.shape[1], (x != PAD)[:, None, None]
        filled = F.pad(x, (0, max(0, self.size - length)), value=PAD)
        maps = self._stages(self.embedding(filled).transpose(1, 2))
        return [own[:, :, None, :length] * there for own in maps]

    def pooled(self, x: Tensor) -> Tensor:
        """(B, T) ids → (B, width), the mean over the tokens."""
        count = (x != PAD).sum(1, keepdim=True).clamp(min=1)
        return self.dense(x)[-1].sum((2, 3)) / count

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Weights of each block, from input to output; the embedding's with the first."""
        groups = [list(block.parameters()) for block in self.blocks]
        groups[0] = [*self.embedding.parameters(), *groups[0]]
        return groups


@dataclass(frozen=True)
class TextShape:
    """What a generator of texts is made from; stored beside its weights."""

    latent: int  # dimension of z
    width: int  # channels
    size: int  # letters of the longest text
    letters: tuple[int, ...]  # ids that it writes; `PAD` behind the shorter texts
    kind: str = "text"

    def record(self) -> dict[str, Any]:
        return asdict(self)


class TextGenerator(nn.Module):
    """z (B, latent) → probabilities (B, L, size) of each of L letters at each place: 0 or more, 1 together."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.shape, self.latent, self.classes = shape, shape.latent, 0
        self.project = nn.Linear(shape.latent, shape.width * shape.size)
        self.blocks = nn.ModuleList(Residual(shape.width) for _ in range(BLOCKS))
        self.to_letters = nn.Conv1d(shape.width, len(shape.letters), 1)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """`z` (B, latent), standard normal; it takes no `label`."""
        x = self.project(z).unflatten(1, (self.shape.width, self.shape.size))
        for block in self.blocks:
            x = block(x)
        return torch.softmax(self.to_letters(x), dim=1)


def written(rows: Tensor, letters: Tensor) -> Tensor:
    """Ids (B, T) of the likeliest of `letters` (L,) at each place of `rows` (B, L, T), 0 from where a text ends on."""
    ids = letters[rows.argmax(1)]
    ended = (ids == PAD).long().cumsum(1) > 0
    return ids.masked_fill(ended, PAD)
