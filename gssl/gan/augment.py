"""Augmentation of all that the discriminator reads, so that few images last longer.

Zhao et al.: Differentiable Augmentation for Data-Efficient GAN Training, NeurIPS 2020, arXiv:2006.10738 (colour,
translation, cut-out). With probability p instead of always: Karras et al.: Training Generative Adversarial Networks
with Limited Data, NeurIPS 2020, arXiv:2006.06676.
"""

import torch
from torch import Tensor

DRAWS = 10  # numbers per image: seven for the transformations, three for which of them happen
SHIFT = 0.125  # of the side, at most, in each direction
HOLE = 0.5  # of the side: cut-out
GREY = 0.5  # what comes in from outside: zero in the papers' range of [−1, 1]


def diffaugment(images: Tensor, draws: Tensor, probability: Tensor | float = 1.0) -> Tensor:
    """Colour, then translation, then cut-out, each with `probability`, differentiable in the images.

    `images` (B, 3, S, S), about [0, 1] (colour may leave that range); `draws` (B, `DRAWS`) uniform in [0, 1). The same
    draws make the same transformation.
    """
    brightness, saturation, contrast, down, right, top, left, *happens = draws.unbind(1)
    colour, shift, hole = ((u < probability).to(images.dtype) for u in happens)
    x = images

    def strength(u: Tensor, low: float, high: float, without: float) -> Tensor:
        return (without + colour * (low + (high - low) * u - without)).view(-1, 1, 1, 1)

    x = x + strength(brightness, -0.25, 0.25, 0.0)  # half of the paper's ±.5, for half of its range
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * strength(saturation, 0.0, 2.0, 1.0)
    middle = x.mean((1, 2, 3), keepdim=True)
    x = middle + (x - middle) * strength(contrast, 0.5, 1.5, 1.0)

    size = x.shape[-1]
    most = int(size * SHIFT + 0.5)
    rows, down_seen = _moved(((2 * most + 1) * down).long() - most, shift, size)
    columns, right_seen = _moved(((2 * most + 1) * right).long() - most, shift, size)
    picked = torch.gather(x, 2, rows[:, None, :, None].expand_as(x))
    picked = torch.gather(picked, 3, columns[:, None, None, :].expand_as(x))
    seen = (down_seen[:, :, None] & right_seen[:, None, :])[:, None]

    side = int(size * HOLE + 0.5)
    line = torch.arange(size, device=x.device)
    # the hole's middle is anywhere: near the border, a part of it falls outside
    inside = [_between(line, ((size + 1 - side % 2) * u).long() - side // 2, side) for u in (top, left)]
    cut = (inside[0][:, :, None] & inside[1][:, None, :])[:, None] & (hole > 0).view(-1, 1, 1, 1)
    return torch.where(seen & ~cut, picked, torch.full_like(picked, GREY))


def _moved(by: Tensor, happens: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where each row comes from, (B, size), kept inside the image, and whether it was inside."""
    source = torch.arange(size, device=by.device) - (by * happens.long())[:, None]
    return source.clamp(0, size - 1), (source >= 0) & (source < size)


def _between(line: Tensor, start: Tensor, length: int) -> Tensor:
    return (line >= start[:, None]) & (line < start[:, None] + length)


def adapted(probability: Tensor, overfit: Tensor, target: float, images: int, ramp: int) -> Tensor:
    """The next probability: up where the discriminator is surer of training images than `target`, down where less.

    `overfit`: mean sign of its logits on real images (Karras et al., eq. 1); `images` seen since the last call; after
    `ramp` of them the probability has gone from 0 to 1.
    """
    return (probability + torch.sign(overfit - target) * (images / ramp)).clamp(0, 1)
