"""What every evaluator of generated images is, and the hash by which its figures are known."""

import hashlib
from typing import Any

from torch import Tensor, nn


class Evaluator(nn.Module):
    """What every evaluator is: frozen, in evaluation mode, (B, 3, S, S) in [0, 1] → features (B, dim).

    An image's features do not depend on its batch, up to float32: sums run in another order, which moves them by
    some 1e-6 of their size.
    """

    name: str
    hash: str  # `weights_hash` of all its tensors
    dim: int
    size: int | tuple[int, int]  # S, side in pixels of what goes in (of sounds bands, frames); some resize it inside
    classes = 0  # of the probabilities that `outputs` gives; 0: no head
    fid = False  # True for the verified Inception weights: only then may a distance be called FID
    accuracy: tuple[int, int] | None = None  # correct and n on held-out real images, where it was measured
    note = ""  # one line that the user should read, if any

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, 3, S, S) in [0, 1] to features (B, dim) and class probabilities (B, classes) or None, in one pass."""
        return self(x), None

    def record(self) -> dict[str, Any]:
        """JSON-able: what a figure is printed with."""
        known = {"name": self.name, "hash": self.hash, "dim": self.dim, "fid": self.fid}
        if self.accuracy is not None:
            known["accuracy"] = {"correct": self.accuracy[0], "n": self.accuracy[1]}
        return known


def weights_hash(module: nn.Module) -> str:
    """sha256 (hex) of names, shapes and float32 little-endian values of a module's state."""
    state = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        state.update(f"{name}{tuple(value.shape)}".encode())
        state.update(value.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return state.hexdigest()
