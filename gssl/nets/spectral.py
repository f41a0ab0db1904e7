"""Spectral norm: every weight divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

START = 10  # power iterations before the first update


class SpectralNorm(nn.Module):
    """W ↦ W / σ(W), W as a matrix (out, rest); σ from one power iteration per update (algorithm 1).

    A pass without gradients of the weight (evaluation, the other player's step) takes σ as it stands.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            self.register_buffer("u", F.normalize(nn.init.normal_(weight.new_empty(len(weight))), dim=0))
            self.register_buffer("v", F.normalize(weight.flatten(1).T @ self.u, dim=0))
            for _ in range(START):
                self._iterate(weight.flatten(1))

    def _iterate(self, matrix: Tensor) -> None:
        self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, …) → the same shape, with spectral norm about 1."""
        # in float32 under reduced precision too: σ must not carry the rounding of a product
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            if self.training and weight.requires_grad and torch.is_grad_enabled():
                with torch.no_grad():
                    self._iterate(matrix)
            # clones: the next update writes into the buffers, and the graph may still need these
            sigma = torch.dot(self.u.clone(), matrix @ self.v.clone())
            return weight / sigma


def spectral_norm(network: nn.Module) -> None:
    """Wrap every convolution and linear layer of `network`, in place.

    `gssl.nets.weights.save_weights` folds it. Inside `parametrize.cached()` it is computed once.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear) and not parametrize.is_parametrized(module):
            parametrize.register_parametrization(module, "weight", SpectralNorm(module.weight), unsafe=True)
