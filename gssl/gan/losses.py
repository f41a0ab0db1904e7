"""Adversarial losses: pure functions of the discriminator's logits, one pair per name.

Each returns a scalar; `LOSSES[name]` is (discriminator's loss of (real, fake), generator's loss of fake).
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def non_saturating_d(real: Tensor, fake: Tensor) -> Tensor:
    """Binary cross-entropy, real → 1 and fake → 0 (Goodfellow et al. 2014, arXiv:1406.2661). Logits (B,)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def non_saturating_g(fake: Tensor) -> Tensor:
    """−log D(G(z)): strong gradients while the discriminator still wins (same paper, section 3). Logits (B,)."""
    return F.softplus(-fake).mean()


LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "non_saturating": (non_saturating_d, non_saturating_g),
}
