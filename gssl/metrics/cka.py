"""Linear CKA: how alike two networks, or two stages of one, arrange the same images.

Kornblith et al. 2019, arXiv:1905.00414, with the unbiased HSIC of Song et al. 2012 (JMLR 13, section 3.1), as in
Nguyen et al. 2021, arXiv:2010.15327: with fewer images than dimensions the biased estimate calls any two sets of
features alike (.80 for two random Gaussians, n = 512 and d = 2,048, where this one is within .01 of 0).

Values are at most 1; around 0, and slightly negative too, where the two have nothing in common. Rotations, one factor
for all features and a shift of them change nothing. Print n beside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

FLAT = 10 * float(np.finfo(np.float32).eps)  # a spread below this proportion of the mean is rounding of float32
NOTHING = 1e-12  # a HSIC below this proportion of its first term is rounding of float64


class _Side(NamedTuple):
    table: Tensor  # centred features (n, d), or their Gram matrix (n, n); float64
    norms: Tensor  # (n,) squared lengths of the centred features


def cka(x: np.ndarray, y: np.ndarray) -> float:
    """Similarity of features x (n, d1) and y (n, d2) of the same n >= 4 images in the same order, in float64.

    nan where one side has no similarities to compare: constant features, or all images equally far from each other.
    Raises ValueError where the two do not have the same n, or it is below 4.
    """
    return float(cka_matrix([x], [y])[0, 0])


def cka_matrix(xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]) -> np.ndarray:
    """`cka` of every x with every y: (len(xs), len(ys)) float64; what belongs to one side is computed once.

    Through Gram matrices where n is at most the mean number of dimensions (so that they take no more memory than the
    features in float64), and through products of features where images are many.
    """
    counts = {len(features) for features in (*xs, *ys)}
    if len(counts) != 1 or min(counts) < 4:
        raise ValueError(f"CKA needs features of the same 4 or more images on both sides, got n = {sorted(counts)}")
    gram = min(counts) <= np.mean([features.shape[1] for features in (*xs, *ys)])
    # By identity: a matrix of a list with itself holds every array and every pair of them twice.
    sides = {key: _side(features, gram) for key, features in {id(f): f for f in (*xs, *ys)}.items()}
    known: dict[frozenset[int], float] = {}

    def hsic(a: int, b: int) -> float:
        pair = frozenset((a, b))
        if pair not in known:
            known[pair] = _hsic(sides[a], sides[b], gram)
        return known[pair]

    found = np.full((len(xs), len(ys)), np.nan)
    for i, a in enumerate(map(id, xs)):
        for j, b in enumerate(map(id, ys)):
            if hsic(a, a) > 0 and hsic(b, b) > 0:
                found[i, j] = hsic(a, b) / np.sqrt(hsic(a, a) * hsic(b, b))
    return found


def _side(features: np.ndarray, gram: bool) -> _Side:
    """Centred first: the estimate does not care, and its terms then cancel less."""
    x = torch.from_numpy(np.array(features, dtype=np.float64))
    mean = x.mean(dim=0)
    x -= mean
    if x.norm() <= FLAT * len(x) ** 0.5 * mean.norm():
        x.zero_()
    return _Side(x @ x.T if gram else x, x.square().sum(dim=1))


def _hsic(a: _Side, b: _Side, gram: bool) -> float:
    """n·(n - 3) times the unbiased HSIC of K = XXᵀ and L = YYᵀ.

    The estimate takes both without their diagonals k and l. X is centred, so a row of K then sums to -k, and all that
    is left to compute of pairs of images is Σ K·L = ‖XᵀY‖².
    """
    n = len(a.norms)
    whole = float(a.table.flatten() @ b.table.flatten() if gram else (a.table.T @ b.table).square().sum())
    diagonals = float(a.norms @ b.norms)
    both = float(a.norms.sum() * b.norms.sum())
    value = whole - n / (n - 2) * diagonals + both / ((n - 1) * (n - 2))
    return 0.0 if abs(value) <= NOTHING * whole else value
