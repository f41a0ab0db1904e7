"""Adversarial losses: pure functions of the discriminator's logits, one entry per name.

Logits are (B,); every function returns a scalar. `LOSSES[name]` holds the discriminator's loss of (real, fake) and the
generator's of (fake, real); only a relativistic one looks at the second argument of the latter.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Loss(NamedTuple):
    """A pair of losses. `boundary`: the logit between real and fake, None where logits have no zero of their own."""

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor, Tensor], Tensor]
    boundary: float | None
    paired: bool = False  # the generator's loss reads the logits of real images


def cross_entropy_d(real: Tensor, fake: Tensor) -> Tensor:
    """Binary cross-entropy, real → 1 and fake → 0 (Goodfellow et al. 2014, arXiv:1406.2661)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def non_saturating_g(fake: Tensor, real: Tensor) -> Tensor:
    """−log D(G(z)): strong gradients while the discriminator still wins (same paper, section 3)."""
    return F.softplus(-fake).mean()


def minimax_g(fake: Tensor, real: Tensor) -> Tensor:
    """log(1 − D(G(z))), the loss as it is defined (same paper, eq. 1); it saturates where the generator loses."""
    return -F.softplus(fake).mean()


def least_squares_d(real: Tensor, fake: Tensor) -> Tensor:
    """½(D(x) − 1)² + ½ D(G(z))² (LSGAN: Mao et al. 2017, arXiv:1611.04076, eq. 9)."""
    return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()


def least_squares_g(fake: Tensor, real: Tensor) -> Tensor:
    """½(D(G(z)) − 1)² (same paper, eq. 9)."""
    return 0.5 * (fake - 1).square().mean()


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 − D(x)) + max(0, 1 + D(G(z))) (Lim & Ye 2017, arXiv:1705.02894)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def wasserstein_d(real: Tensor, fake: Tensor) -> Tensor:
    """D(G(z)) − D(x): the critic's estimate of the distance, negated (WGAN: Arjovsky et al. 2017, arXiv:1701.07875)."""
    return fake.mean() - real.mean()


def raise_g(fake: Tensor, real: Tensor) -> Tensor:
    """−D(G(z)), the generator's loss beside the hinge and the Wasserstein loss."""
    return -fake.mean()


def relativistic_d(real: Tensor, fake: Tensor) -> Tensor:
    """Real above the fake it is paired with (Jolicoeur-Martineau 2018, arXiv:1807.00734; R3GAN, arXiv:2501.05441)."""
    return F.softplus(fake - real).mean()


def relativistic_g(fake: Tensor, real: Tensor) -> Tensor:
    """Fake above the real one it is paired with (same papers)."""
    return F.softplus(real - fake).mean()


def absolute(made: Tensor, true: Tensor) -> Tensor:
    """Mean |made − true| of images (B, C, H, W) in [0, 1], on the scale [−1, 1] for which pix2pix's weight of 100 is
    meant (Isola et al. 2017, arXiv:1611.07004, eq. 3)."""
    return 2 * (made - true).abs().mean()


def patch_nce(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """InfoNCE of patches (Park et al. 2020, arXiv:2007.15651, eq. 3): each must find its own among those of its image.

    `query`, `key`: (B, P, d), features of an output and of its input at the same P places, of any length (normalised
    here). Negatives are the other places of the same image alone. No gradient flows into the keys. Scalar.
    """
    query, key = F.normalize(query.float(), dim=2), F.normalize(key.detach().float(), dim=2)
    logits = query @ key.transpose(1, 2) / temperature
    own = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
    return F.cross_entropy(logits.flatten(0, 1), own.flatten())


LOSSES: dict[str, Loss] = {
    "non_saturating": Loss(cross_entropy_d, non_saturating_g, 0.0),
    "minimax": Loss(cross_entropy_d, minimax_g, 0.0),
    "least_squares": Loss(least_squares_d, least_squares_g, 0.5),
    "hinge": Loss(hinge_d, raise_g, 0.0),
    "wasserstein": Loss(wasserstein_d, raise_g, None),
    "relativistic": Loss(relativistic_d, relativistic_g, None, paired=True),
}
