"""Losses of self-supervised methods: pure functions of tensors."""

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
