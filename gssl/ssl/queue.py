"""A queue of embeddings: the latest of past batches, kept as negatives or as neighbours."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Queue(nn.Module):
    """The last K vectors that were pushed, of unit length: `keys` (K, d), in no useful order.

    `start`: (K, d) random vectors, which stand there until K others were pushed. The next one's place, `pushed` modulo
    K, is a tensor, so that pushing never waits for the device; like the keys it is part of a checkpoint.
    """

    keys: Tensor
    pushed: Tensor

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(start.float(), dim=1))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, new: Tensor) -> None:
        """Put `new` (B, d), of any length, in the place of the oldest; of more than K the last K stay."""
        new = F.normalize(new.detach().float(), dim=1)[-len(self.keys) :]
        rows = (self.pushed + torch.arange(len(new), device=self.keys.device)) % len(self.keys)
        self.keys.index_copy_(0, rows, new)
        self.pushed.add_(len(new))

    def forward(self, x: Tensor) -> Tensor:
        """Products of every key with every row of `x` (M, d): (K, M)."""
        return self.keys @ x.T
