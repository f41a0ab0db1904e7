"""Vision transformers whose patches can be encoded one without the other: ours, and timm's plain ones.

Masked-image methods ask for five things, which our `ViT` has by itself: `patch` (side in pixels), `dim`, `grid(x)`,
`embed(x)` (patches without positions), `embedding(rows, columns)` (their positions) and `encode(tokens)`.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gssl.nets.foreign import TimmBackbone
from gssl.nets.vit import ViT

# of timm's class VisionTransformer; EVA's and others' positions are not added before the first block
NEEDED = ("patch_embed", "pos_embed", "blocks", "norm", "fc_norm", "norm_pre", "num_prefix_tokens", "no_embed_class")


class PatchEncoder(Protocol):
    """See the head of this file."""

    patch: int
    dim: int

    def grid(self, x: Tensor) -> tuple[int, int]: ...

    def embed(self, x: Tensor) -> Tensor: ...

    def embedding(self, rows: int, columns: int) -> Tensor: ...

    def encode(self, tokens: Tensor) -> Tensor: ...


class TimmPatches:
    """A vision transformer of timm through the same methods; no module, so that no weight is held twice.

    Its class token and registers, where it has them, stand beside the patches in `encode` and are left out of what
    comes back. Images have the size that its positions were learned for.
    """

    def __init__(self, backbone: TimmBackbone) -> None:
        self.backbone = backbone
        self.net: Any = backbone.net
        assert backbone.patch is not None
        self.patch, self.dim = backbone.patch, backbone.dim

    def grid(self, x: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of images (B, 3, H, W)."""
        return x.shape[-2] // self.patch, x.shape[-1] // self.patch

    def embed(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → patches (B, T, dim) row by row, without positions."""
        tokens: Tensor = self.net.patch_embed(self.backbone.inputs(x))
        return tokens.flatten(1, -2)

    def embedding(self, rows: int, columns: int) -> Tensor:
        """Positions (1, T, dim) of a grid of `rows` × `columns` patches."""
        found: Tensor = self.net.pos_embed[:, self._positions_before() :]
        if rows * columns != found.shape[1]:
            raise ValueError(f"positions of {found.shape[1]} patches, not of {rows}×{columns}")
        return found

    def _positions_before(self) -> int:
        return 0 if self.net.no_embed_class else int(self.net.num_prefix_tokens)

    def _prefix(self) -> list[Tensor]:
        tokens = [t for t in (self.net.cls_token, getattr(self.net, "reg_token", None)) if t is not None]
        if not tokens:
            return []
        found = torch.cat(tokens, dim=1)
        return [found if self.net.no_embed_class else found + self.net.pos_embed[:, : found.shape[1]]]

    def encode(self, tokens: Tensor) -> Tensor:
        """All blocks and the final norm on (B, t, dim): any subset of the patches, positions added."""
        before = [prefix.expand(len(tokens), -1, -1) for prefix in self._prefix()]
        x = self.net.norm_pre(torch.cat([*before, tokens], dim=1))
        for block in self.net.blocks:
            x = self.backbone.recomputed(block, x)
        x = self.net.norm(x)[:, self.net.num_prefix_tokens :]
        # where the features are an average, the norm comes after it
        out: Tensor = self.net.fc_norm(x) if isinstance(self.net.norm, nn.Identity) else x
        return out


def patch_encoder(backbone: nn.Module) -> PatchEncoder | None:
    """`backbone` as what masked-image methods need; None where its patches cannot be encoded one by one."""
    if isinstance(backbone, ViT):
        return backbone
    net: Any = getattr(backbone, "net", None)
    if not isinstance(backbone, TimmBackbone) or backbone.patch is None:
        return None
    if not all(hasattr(net, name) for name in NEEDED) or net.pos_embed is None or hasattr(net, "rope"):
        return None
    return TimmPatches(backbone)
