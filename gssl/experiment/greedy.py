"""What a causal language model writes where it always takes the likeliest token."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gssl.nets.norms import evaluating
from gssl.nets.text import TextTransformer
from gssl.vocabulary import EOS, FIRST

BATCH = 64


@torch.no_grad()
def written(
    network: TextTransformer,
    begun: Sequence[np.ndarray],
    size: int,
    device: torch.device,
    prefix: Tensor | None = None,
) -> list[np.ndarray]:
    """Ids behind each of `begun`, up to the mark of the end (which is left out), or to `size` ids together.

    prefix: (n, k, width), vectors before each of them.
    """
    found = []
    barred = [i for i in range(FIRST) if i != EOS]
    with evaluating(network):
        for start in range(0, len(begun), BATCH):
            own = begun[start : start + BATCH]
            before = None if prefix is None else prefix[start : start + BATCH].to(device)
            first = torch.tensor([len(ids) for ids in own], device=device)
            ids = torch.zeros(len(own), size, dtype=torch.int64, device=device)
            for row, given in zip(ids, own, strict=True):
                row[: len(given)] = torch.from_numpy(given)
            at, each = first.clone(), torch.arange(len(own), device=device)
            open_ = at < size
            while bool(open_.any()):
                x = network.encode(ids[:, : int(at.max())], prefix=before)  # a mark of the beginning goes before
                scores = network.logits(x[each, at.clamp(max=x.shape[1] - 1)])
                scores[:, barred] = -torch.inf
                new = scores.argmax(1)
                ids[each[open_], at[open_]] = new[open_]
                at = at + open_
                open_ = open_ & (new != EOS) & (at < size)
            rows = [ids[i, first[i] : at[i]].cpu().numpy() for i in range(len(own))]
            found += [row[row >= FIRST] for row in rows]
    return found
