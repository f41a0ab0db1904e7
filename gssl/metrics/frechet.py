"""Fréchet distance between two sets of features, each taken for a Gaussian (Heusel et al. 2017, arXiv:1706.08500).

FD = ‖μ₁ - μ₂‖² + Tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½) in squared units of the features, 0 and up. It depends on n (it falls as n
grows) and needs n > d on both sides: fewer images leave directions without any variance. The word FID belongs
to the verified Inception weights alone; print evaluator, d and n beside any other.
"""

import numpy as np
import torch
from torch import Tensor

from gssl.errors import UsageError
from gssl.metrics.pairs import Features, blocks

PANEL = 256  # columns of a covariance that are computed at once
PRECISE = 1e-7  # relative error that the quick way may have; otherwise the exact one is taken


def frechet_distance(x: np.ndarray | Features, y: np.ndarray | Features) -> float:
    """Distance between features x (n, d) and y (m, d). Raises UsageError where n or m is d or less."""
    x, y = (side if isinstance(side, Features) else Features(side) for side in (x, y))
    reason = refusal(len(x), len(y), x.dim)
    if reason:
        raise UsageError(reason)
    return frechet_from_moments(*moments(x), *moments(y))


def refusal(n: int, m: int, d: int) -> str | None:
    """Why n and m images are too few for a Fréchet distance in d dimensions; None where they are enough."""
    if min(n, m) > d:
        return None
    return f"Fréchet distance: n = {min(n, m)} images for d = {d} features; more than d are needed on both sides"


def moments(x: np.ndarray | Features) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and sample covariance (d, d), divided by n - 1, of features (n, d), in float64."""
    x = x if isinstance(x, Features) else Features(x)
    n, d = len(x), x.dim
    parts = blocks(n, 2048)
    mean = torch.stack([x.rows(part).sum(dim=0) for part in parts]).sum(dim=0) / n
    covariance = torch.zeros(d, d, dtype=torch.float64)
    for part in parts:
        rows = x.rows(part) - mean
        for panel in blocks(d, PANEL):  # the lower half; the upper one is the same
            covariance[panel, : panel.stop] += rows[:, panel].T @ rows[:, : panel.stop]
    lower = covariance.tril_()
    return mean.numpy(), ((lower + lower.tril(-1).T) / (n - 1)).numpy()


def frechet_from_moments(mu1: np.ndarray, s1: np.ndarray, mu2: np.ndarray, s2: np.ndarray) -> float:
    """Distance from means (d,) and symmetric, possibly singular covariances (d, d); always computed."""
    shift = np.asarray(mu1, dtype=np.float64) - np.asarray(mu2, dtype=np.float64)
    a, b = (torch.from_numpy(np.ascontiguousarray(s, dtype=np.float64)) for s in (s1, s2))
    rest = float(shift @ shift) + float(a.trace() + b.trace())
    root, error = _quick_trace(a, b)
    value = rest - 2 * root
    if not 2 * error <= max(PRECISE * value, 1e-11 * rest):
        value = rest - 2 * _exact_trace(a, b)
    return max(value, 0.0)


def _quick_trace(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Tr (AB)^½ from the eigenvalues of LᵀBL with A = LLᵀ, and the error to expect (inf: no such L).

    Eigenvalues come with an absolute error, which the square root makes large where they are small.
    """
    lower, failed = torch.linalg.cholesky_ex(a)
    if bool(failed):
        return 0.0, np.inf
    half, product = torch.empty_like(b), torch.zeros_like(b)
    panels = blocks(len(b), PANEL)  # without the zeros above L, and without the half that eigvalsh does not read
    for panel in panels:
        half[:, panel] = b[:, panel.start :] @ lower[panel.start :, panel]
    for panel in panels:
        product[panel, : panel.stop] = lower[panel.start :, panel].T @ half[panel.start :, : panel.stop]
    values = torch.linalg.eigvalsh(product)
    noise = 16 * torch.finfo(torch.float64).eps * float(a.norm() * b.norm())
    large = values[values > 4 * noise]
    # of large ones the errors are small and of either sign, of the others as large as their roots
    error = float((noise / 2 / large.sqrt()).norm()) + (len(values) - len(large)) * 2 * noise**0.5
    return float(values.clamp(min=0).sqrt().sum()), error


def _exact_trace(a: Tensor, b: Tensor) -> float:
    """Tr (AB)^½ as the sum of singular values of SᵀR with A = RRᵀ, B = SSᵀ: no square root of what is nearly 0."""
    return float(torch.linalg.svdvals(_root(b).T @ _root(a)).sum()) if a.any() and b.any() else 0.0


def _root(a: Tensor) -> Tensor:
    """R (d, rank) with A = RRᵀ; directions whose variance is rounding are left out."""
    values, vectors = torch.linalg.eigh(a)
    kept = values > len(a) * torch.finfo(torch.float64).eps * values[-1]
    return vectors[:, kept] * values[kept].sqrt()
