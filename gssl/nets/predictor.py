"""From encoded visible patches to what stands at the hidden ones: a narrow transformer behind a ViT."""

import torch
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.nets.vit import HEADS, Block, initialise, position_embedding


class Predictor(nn.Module):
    """The decoder of masked autoencoders (He et al., 2111.06377), the predictor of I-JEPA (Assran et al., 2301.08243).

    One learnt token, distinguished by fixed positions, stands at every hidden one; visible and hidden tokens attend to
    one another. `dim` comes in, `out` goes out, `width` · `depth` blocks are in between; `side` rows of `columns`
    patches are a whole image, `side` of them where none are given.
    """

    positions: Tensor

    def __init__(self, dim: int, width: int, depth: int, out: int, side: int, columns: int | None = None) -> None:
        super().__init__()
        if width % (4 * HEADS):
            raise UsageError(f"ssl.width={width}: must be a multiple of {4 * HEADS}, e.g. 48")
        self.enter = nn.Linear(dim, width)
        self.token = nn.Parameter(torch.zeros(width))
        self.register_buffer("positions", position_embedding(width, side, columns)[0], persistent=False)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.leave = nn.Linear(width, out)
        nn.init.trunc_normal_(self.token, std=0.02)
        initialise(self)

    def forward(self, visible: Tensor, at: Tensor, hidden: Tensor) -> Tensor:
        """`visible` (B, v, dim), which stand at `at` (B, v) → (B, h, out), what stands at `hidden` (B, h).

        Positions count row by row from 0.
        """
        x = torch.cat([self.enter(visible) + self.positions[at], self.token + self.positions[hidden]], dim=1)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.leave(self.norm(x[:, at.shape[1] :]))
        return out
