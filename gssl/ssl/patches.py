"""Images as patches, and which of them are hidden: what the masked-image methods have in common."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.nets.patch_encoder import PatchEncoder, patch_encoder

GREY = 0.5  # of a hidden patch in a picture


def need_vit(backbone: nn.Module, method: str, size: int) -> PatchEncoder:
    """`backbone` patch by patch; a UsageError where its patches cannot be encoded one without the other.

    size: side of the images in pixels, which must be a foreign network's own: its positions are learned.
    """
    found = patch_encoder(backbone)
    if found is None:
        name = type(getattr(backbone, "net", backbone)).__name__  # of a foreign network its own
        raise UsageError(
            f"ssl={method}: leaves patches out, which {name} cannot; set backbone=vit_micro or vit_tiny, or weights="
            "timm:NAME of a plain vision transformer (vit_…, deit_…)"
        )
    side = getattr(backbone, "side", None) if found is not backbone else None
    if side is not None and side != size:
        raise UsageError(f"ssl={method}: this network has positions for images of {side} pixels; set data.size={side}")
    return found


def patchify(images: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) → (B, T, patch² · C), patches row by row; in a patch, rows, columns, then colours.

    Where `patch` does not divide a side, the lower or right border is repeated, as a ViT does.
    """
    b, c, h, w = images.shape
    if h % patch or w % patch:
        images = F.pad(images, (0, -w % patch, 0, -h % patch), mode="replicate")
    rows, columns = -(-h // patch), -(-w // patch)
    patches = images.reshape(b, c, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
    return patches.reshape(b, rows * columns, patch * patch * c)


def unpatchify(patches: Tensor, patch: int) -> Tensor:
    """The inverse of `patchify`."""
    b, t, length = patches.shape
    n, c = int(t**0.5), length // patch**2
    return patches.reshape(b, n, n, patch, patch, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, n * patch, n * patch)


def hidden_count(total: int, ratio: float) -> int:
    """How many of `total` patches are hidden: the nearest to the fraction, but never none and never all.

    Raises UsageError where there is one patch only.
    """
    if total < 2:
        raise UsageError(
            "the image is one patch, which cannot be hidden in part: set smaller patches or a larger data.size"
        )
    return min(max(round(total * ratio), 1), total - 1)


def split_order(noise: Tensor, hidden: int) -> tuple[Tensor, Tensor]:
    """Places (B, T − hidden) that stay visible and (B, hidden) that do not, for independent `noise` (B, T)."""
    order = noise.argsort(dim=1)
    return order[:, : noise.shape[1] - hidden], order[:, noise.shape[1] - hidden :]


def take(tokens: Tensor, positions: Tensor) -> Tensor:
    """(B, T, d), (B, n) → (B, n, d): the tokens at `positions`, in their order."""
    return tokens.gather(1, positions.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def put(tokens: Tensor, positions: Tensor, new: Tensor) -> Tensor:
    """(B, T, d) with `new` (B, n, d) at `positions` (B, n)."""
    return tokens.scatter(1, positions.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]), new.to(tokens.dtype))


def as_grid(hidden: Tensor, side: int) -> Tensor:
    """Places (B, n) → (B, 1, side, side): 1 where hidden, else 0."""
    flat = torch.zeros(len(hidden), side * side, device=hidden.device)
    return flat.scatter(1, hidden, 1.0).view(-1, 1, side, side)


def standardised(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every patch (…, d) with mean 0 and variance 1 over its own values; and that mean and deviation (…, 1)."""
    patches = patches.float()
    mean, std = patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    return (patches - mean) / std, mean, std


def hidden_mse(prediction: Tensor, patches: Tensor, hidden: Tensor, normalise: bool) -> Tensor:
    """Mean squared error on the hidden patches only (arXiv:2111.06377, section 3, "Reconstruction target").

    `prediction` (B, m, d) for the positions `hidden` (B, m) of `patches` (B, T, d); `normalise`: towards patches that
    are standardised each by itself. Scalar.
    """
    target = take(patches.float(), hidden)
    return F.mse_loss(prediction.float(), standardised(target)[0] if normalise else target)
