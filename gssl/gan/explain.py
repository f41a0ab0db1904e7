"""What can be read out of a trained generator and discriminator: arithmetic, no drawing, no random numbers.

Ways through the latent space: interpolation on the sphere, between classes, along the directions of the closed-form
factorisation (Shen & Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs", arXiv:2007.06600). Where the
discriminator looks: gradients (Simonyan et al. 2014, arXiv:1312.6034) averaged over noisy copies (SmoothGrad: Smilkov
et al. 2017, arXiv:1706.03825), and attention (SAGAN, arXiv:1805.08318).
"""

import copy
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.nets.attention import SelfAttention
from gssl.nets.discriminator import ATTENDED, Discriminator
from gssl.nets.generator import ClassNorm, Generator

PARALLEL = 1e-4  # sine of the angle below which two vectors span no arc


def slerp(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """(steps, d) from `a` (d,) to `b` (d,) at equal angles; the length goes evenly from |a| to |b|.

    A straight line would pass through vectors that are shorter than a normal draw ever is in many dimensions, which the
    generator has never seen. Vectors that are zero, (almost) parallel or opposite are joined by a line.
    """
    t = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
    x, y = a.double(), b.double()
    long = x.norm(), y.norm()
    cosine = torch.dot(x, y) / (long[0] * long[1]).clamp_min(1e-30)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if torch.sin(angle) < PARALLEL or not all(long):
        return ((1 - t) * x + t * y).float()
    unit = (torch.sin((1 - t) * angle) * x / long[0] + torch.sin(t * angle) * y / long[1]) / torch.sin(angle)
    return (unit * ((1 - t) * long[0] + t * long[1])).float()


class Directions(NamedTuple):
    """The main directions of a latent space, the strongest first."""

    vectors: Tensor  # (count, latent), orthonormal; the largest number of each is positive
    fractions: list[float]  # of the sum of squares of the weight


def directions(weight: Tensor, count: int) -> Directions:
    """The top eigenvectors of WᵀW for `weight` W (out, latent): where a step in z moves the first layer most."""
    matrix = weight.detach().cpu().double()
    values, vectors = torch.linalg.eigh(matrix.T @ matrix)
    vectors = vectors.T.flip(0)[:count]
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    fractions = values.flip(0).clamp_min(0) / values.sum().clamp_min(1e-30)
    return Directions((vectors * largest.sign()).float(), fractions[:count].tolist())


@torch.no_grad()
def first_layer(generator: Generator) -> Tensor:
    """The weight (out, latent) by which z enters, with the norm behind it (of its mean over classes) folded in.

    A batch norm undoes the scale that the weight gives a channel; without it the directions would be about that scale.
    """
    weight = generator.project.weight
    norm, scale = generator.norm, weight.new_ones(generator.start[0])
    batch = norm.norm if isinstance(norm, ClassNorm) else norm
    if isinstance(batch, nn.BatchNorm2d) and batch.running_var is not None:
        scale = (batch.running_var + batch.eps).rsqrt() * (batch.weight if batch.affine else 1)
    if isinstance(norm, ClassNorm):
        scale = scale * norm.scale.weight.mean(0)
    return (weight.unflatten(0, (len(scale), -1)) * scale[:, None, None]).flatten(0, 1)


def along(z: Tensor, direction: Tensor, at: Tensor) -> Tensor:
    """(steps, d): `z` (d,) with its part along the unit `direction` (d,) set to each of `at` (steps,).

    A standard normal z has deviation 1 along any direction, so `at` is in deviations.
    """
    rest = z - torch.dot(z, direction) * direction
    return rest + at[:, None] * direction


def between_classes(generator: Generator, first: int, last: int, steps: int) -> Generator:
    """A copy whose label i of `steps` has scales and offsets on the line from class `first` (0) to `last`."""
    t = torch.linspace(0, 1, steps)[:, None]
    mixed = copy.deepcopy(generator)
    for module in mixed.modules():
        if isinstance(module, ClassNorm):
            for name in ("scale", "offset"):
                table = getattr(module, name).weight.detach()
                at = t.to(table)
                setattr(module, name, nn.Embedding.from_pretrained((1 - at) * table[first] + at * table[last]))
    return mixed


def saliency(network: Discriminator, images: Tensor, label: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Heat (n, S, S) ≥ 0 and logits (n,) of `images` (n, 3, S, S) in [0, 1]; `label` (n,) where the logit needs it.

    |∂ logit / ∂ pixel| summed over the colours, of the gradient's mean over copies with `noise` (k, n, 3, S, S) added
    (SmoothGrad); one copy of zeros is the gradient itself.
    """
    total = torch.zeros_like(images)
    with torch.enable_grad():
        for part in noise:
            x = (images + part).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(network(x, label).logit.sum(), x)
            total += gradient
    with torch.no_grad():
        logit = network(images, label).logit
    return (total / len(noise)).abs().sum(1), logit


def positions(side: tuple[int, int], at: list[tuple[float, float]]) -> list[tuple[int, int]]:
    """Rows and columns of a map of `side` (h, w) at heights and widths in [0, 1)."""
    return [(int(y * side[0]), int(x * side[1])) for y, x in at]


class Attended(NamedTuple):
    """Where a self-attention block looks from a few positions."""

    heat: Tensor  # (n, positions, h, w): attention, which adds up to one over h · w
    positions: list[tuple[int, int]]  # row and column of each on the map
    gamma: float  # what the block adds is multiplied by it; 0 at the start of training


@torch.no_grad()
def _attended(block: SelfAttention, maps: Tensor, at: list[tuple[float, float]]) -> Attended:
    n, _, height, width = maps.shape
    chosen = positions((height, width), at)
    weights = block.weights(maps)[:, [row * width + column for row, column in chosen]]
    pooled = weights.unflatten(2, (height // 2, width // 2))
    heat = pooled.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4  # keys are pooled 2×2
    heat = F.pad(heat, (0, width - heat.shape[3], 0, height - heat.shape[2]))  # pooling drops an odd last row
    return Attended(heat, chosen, float(block.gamma))


@torch.no_grad()
def generator_attention(
    generator: Generator, z: Tensor, label: Tensor | None, at: list[tuple[float, float]]
) -> Attended | None:
    """Attention of the generator for z (n, latent) from positions `at`, heights and widths in [0, 1); None without."""
    if generator.attention is None:
        return None
    return _attended(generator.attention, generator.maps(z, label)[0], at)


@torch.no_grad()
def discriminator_attention(network: Discriminator, images: Tensor, at: list[tuple[float, float]]) -> Attended | None:
    """The same of the discriminator for `images` (n, 3, S, S)."""
    if network.attention is None:
        return None
    return _attended(network.attention, network.backbone.dense(images)[ATTENDED], at)


def neighbours(queries: np.ndarray, bank: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (m, count) of the nearest of `bank` (n, d) to `queries` (m, d), and their Euclidean distances."""
    x, y = queries.astype(np.float64), bank.astype(np.float64)
    order = np.argsort((y**2).sum(1) - 2 * x @ y.T, axis=1, kind="stable")[:, :count]
    return order, np.sqrt(((x[:, None] - y[order]) ** 2).sum(2))
