"""Low-rank adapters beside frozen weights: W + B·A (Hu et al. 2021, arXiv:2106.09685)."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gssl.data import Draws


class LowRank(nn.Module):
    """W ↦ W + B·A, W as a matrix (out, rest), A (rank, rest), B (out, rank).

    B starts at 0, so that at first nothing changes. There is no factor before B·A (the paper's α is the rank): the
    learning rate plays its part.
    """

    def __init__(self, weight: Tensor, rank: int, noise: np.random.Generator) -> None:
        """`rank` is cut down to the smaller side of the matrix: more would say nothing new."""
        super().__init__()
        out, rest = weight.flatten(1).shape
        rank = min(rank, out, rest)
        down = noise.standard_normal((rank, rest)) * rest**-0.5
        self.a = nn.Parameter(torch.from_numpy(down.astype(np.float32)).to(weight.device))
        self.b = nn.Parameter(torch.zeros(out, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, …) → the same shape."""
        return weight + (self.b @ self.a).view(weight.shape)


def add_adapters(network: nn.Module, rank: int, draws: Draws) -> None:
    """Freeze `network`, its batch statistics too, and give every convolution and linear layer an adapter, in place.

    The adapters alone can be trained then. `gssl.nets.weights.save_weights` folds them.
    """
    network.requires_grad_(False).eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            adapter = LowRank(module.weight, rank, draws.generator(f"adapter/{name}"))
            parametrize.register_parametrization(module, "weight", adapter, unsafe=True)
