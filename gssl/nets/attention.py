"""Self-attention between the positions of a feature map (SAGAN: Zhang et al. 2019, arXiv:1805.08318, section 3)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NARROW = 8  # queries and keys have so many times fewer channels than the map, values twice as many as they


class SelfAttention(nn.Module):
    """(B, C, h, w) → the same, x + γ · attention(x) with γ learned from 0. Keys and values are pooled 2×2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, half = max(1, channels // NARROW), max(1, channels // 2)
        self.query = nn.Conv2d(channels, narrow, 1, bias=False)
        self.key = nn.Conv2d(channels, narrow, 1, bias=False)
        self.value = nn.Conv2d(channels, half, 1, bias=False)
        self.out = nn.Conv2d(half, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def weights(self, x: Tensor) -> Tensor:
        """(B, h·w, ⌊h/2⌋·⌊w/2⌋): from each position to each pooled one; rows add up to one."""
        query = self.query(x).flatten(2).transpose(1, 2)
        key = F.max_pool2d(self.key(x), 2).flatten(2)
        return torch.softmax(query @ key, dim=2)

    def forward(self, x: Tensor) -> Tensor:
        value = F.max_pool2d(self.value(x), 2).flatten(2)  # (B, C/2, positions)
        read = value @ self.weights(x).transpose(1, 2)
        return x + self.gamma * self.out(read.unflatten(2, x.shape[2:]))
