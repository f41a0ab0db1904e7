"""Regularisers of the discriminator: pure functions beside the spectral norm, which is `gssl.nets.spectral`.

Gradients are with respect to images in [−1, 1], the papers' range, though ours are in [0, 1]: half of ours. What has
another range says so by `unit`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

RANGE = 0.5  # d[0, 1] / d[−1, 1]


def slope(logits: Tensor, images: Tensor, unit: float = RANGE) -> Tensor:
    """Squared length of each image's gradient, (B,): `logits` (B,) came from `images` (B, C, …) with a graph."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return (unit * gradient.float()).flatten(1).square().sum(1)


def zero_centred(logits: Tensor, images: Tensor, unit: float = RANGE) -> Tensor:
    """½‖∇D‖², averaged: R1 on real images and R2 on fake ones (Mescheder et al. 2018, arXiv:1801.04406, eq. 9)."""
    return 0.5 * slope(logits, images, unit).mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mixing: Tensor, unit: float = RANGE
) -> Tensor:
    """(‖∇D‖ − 1)² between real and fake (WGAN-GP: Gulrajani et al. 2017, arXiv:1704.00028, eq. 3).

    `mixing` (B,) in [0, 1]: how much of each point is real. `critic` maps images (B, C, …) to logits (B,).
    """
    mixing = mixing.view(-1, *[1] * (real.ndim - 1))
    between = (mixing * real + (1 - mixing) * fake).detach().requires_grad_()
    length = (slope(critic(between), between, unit) + 1e-12).sqrt()  # the root has no gradient at 0
    return (length - 1).square().mean()


def consistency(logits: Tensor, moved: Tensor) -> Tensor:
    """(D(x) − D(T(x)))²: an image and its augmentation look alike (Zhang et al. 2020, arXiv:1910.12027). (B,) each."""
    return (logits - moved).square().mean()


def lecam(real: Tensor, fake: Tensor, usual_real: Tensor, usual_fake: Tensor) -> Tensor:
    """Distance to the running averages of the other side's logits (LeCam: Tseng et al. 2021, arXiv:2104.03310, eq. 5).

    `real`, `fake` (B,); `usual_real`, `usual_fake`: scalars.
    """
    return F.relu(real - usual_fake).square().mean() + F.relu(usual_real - fake).square().mean()
