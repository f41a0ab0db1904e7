"""Losses over tokens: means over all tokens of a batch, however it is cut into micro-batches and among processes."""

import torch.nn.functional as F
from torch import Tensor

from gssl.vocabulary import PAD


def nats(logits: Tensor, tokens: Tensor) -> Tensor:
    """Cross-entropy (…,) of `tokens` (…,) by `logits` (…, vocab), in float32; 0 where the token is `PAD`."""
    flat = F.cross_entropy(logits.flatten(0, -2).float(), tokens.flatten(), ignore_index=PAD, reduction="none")
    return flat.view(tokens.shape)


def per_token(rows: Tensor, per_row: Tensor) -> dict[str, Tensor]:
    """The loss of a batch from the nats (B, T) of its tokens. per_row: (B,) tokens per row of the whole batch, in which
    equal parts of it agree, so that the mean of their losses is the mean over all tokens."""
    return {"loss": (rows.sum(1) / per_row).mean()}
