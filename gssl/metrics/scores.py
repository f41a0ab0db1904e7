"""Inception-style score: are single samples clear, and all of them varied? (Salimans et al. 2016, arXiv:1606.03498)"""

from typing import NamedTuple

import numpy as np
import torch

from gssl.errors import UsageError


class Score(NamedTuple):
    value: float  # 1 (one class, or no idea of any) to the number of classes
    low: float  # 95% interval over images
    high: float


def inception_score(probabilities: np.ndarray) -> Score:
    """exp of the mean KL(p(c|x) ‖ p(c)) over class probabilities (n, C) of the samples, all n at once.

    The customary ± over ten splits is no error of this figure and depends on their size; here the interval is by the
    delta method: to first order an image adds its own KL. No real image is looked at, so copies of one good
    image per class score highest; print the classifier beside it. Raises UsageError where rows do not add up to 1.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or len(p) < 2 or not (p.min() >= 0 and np.allclose(p.sum(axis=1), 1, atol=1e-4)):
        raise UsageError(f"class probabilities: expected rows (n, classes) that add up to 1, got the shape {p.shape}")
    p = p / p.sum(axis=1, keepdims=True)
    marginal = p.mean(axis=0)
    plogp = -torch.special.entr(torch.from_numpy(p)).sum(dim=1).numpy()  # 0 log 0 = 0
    each = plogp - p @ np.log(np.where(marginal > 0, marginal, 1))
    half = 1.959964 * each.std(ddof=1) / len(p) ** 0.5
    return Score(*(float(np.exp(v)) for v in (each.mean(), each.mean() - half, each.mean() + half)))
