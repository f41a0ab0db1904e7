"""Losses that several self-supervised methods have in common, and what they log: pure functions of tensors."""

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(z0: Tensor, z1: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy (Chen et al. 2020, arXiv:2002.05709, eq. 1).

    `z0`, `z1`: (B, d), two views of the same B images, of any length (normalised here). Each of the 2B vectors
    must find its partner among the other 2B − 1. Returns the mean over the 2B, a scalar.
    """
    n = len(z0)
    z = F.normalize(torch.cat([z0, z1]).float(), dim=1)
    logits = z @ z.T / temperature
    logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), float("-inf"))
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(logits, partner)


def info_nce(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """InfoNCE (van den Oord et al. 2018, arXiv:1807.03748): each query must find its key among the negatives.

    `query`, `key`: (B, d); `negatives`: (K, d), the same for all queries; any length (normalised here). Scalar.
    """
    query, key, negatives = (F.normalize(x.float(), dim=1) for x in (query, key, negatives))
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, query @ negatives.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def in_batch(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """InfoNCE whose negatives are the other keys of the batch: query i must find key i. (B, d) each, of any length."""
    query, key = F.normalize(query.float(), dim=1), F.normalize(key.float(), dim=1)
    return F.cross_entropy(query @ key.T / temperature, torch.arange(len(query), device=query.device))


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """−cos, averaged over the batch (BYOL up to a constant, SimSiam); (B, d) each. Gradients flow into both."""
    return -F.cosine_similarity(prediction.float(), target.float(), dim=1).mean()


@torch.no_grad()
def spread(z: Tensor) -> dict[str, Tensor]:
    """What a run logs of its embeddings `z` (B, d), so that a collapse is seen while it happens.

    z_std: standard deviation of the unit-length embeddings per dimension, averaged, times √d: 1 where they fill
        the sphere, 0 where they are one point (Chen & He 2021, arXiv:2011.10566).
    z_cosine: mean over pairs of different images.
    z_rank: directions that the unit-length embeddings use about their mean, (Σλ)² / Σλ² of their covariance's
        eigenvalues λ (the participation ratio): from 1 to d. A smoother, cheaper relative of RankMe.
    """
    z = F.normalize(z.detach().float(), dim=1)
    n, d = z.shape
    total = z.sum(0)
    centred = z - total / n
    return {
        "z_std": z.std(0, correction=0).mean() * d**0.5,
        "z_cosine": (total @ total - n) / (n * (n - 1)),
        # the covariance's trace and its square's, without eigenvalues
        "z_rank": centred.square().sum() ** 2 / (centred.T @ centred).square().sum().clamp_min(1e-20),
    }
