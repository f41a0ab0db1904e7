"""Does a proportion p of the answers given with confidence p turn out right? No torch here.

Reliability diagram and expected calibration error: Guo et al. 2017, arXiv:1706.04599, after Naeini et al. 2015 (AAAI).
"""

from dataclasses import dataclass

import numpy as np

from gssl.errors import UsageError

ROUNDING = 1e-5  # by which a softmax in single precision may pass 1


@dataclass(frozen=True)
class Bin:
    """Answers with a confidence in (low, high]; the first bin holds 0 as well."""

    low: float
    high: float
    count: int
    confidence: float | None  # mean in the bin; None where it is empty
    accuracy: float | None  # proportion of right answers


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> list[Bin]:
    """`bins` bins of equal width over [0, 1], in ascending order: the reliability diagram.

    `confidence`: (n,) probability that was given to the predicted class; `correct`: (n,) bool.
    Raises UsageError where a confidence is not in [0, 1].
    """
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    assert confidence.shape == correct.shape and confidence.ndim == 1 and bins > 0
    if not ((confidence >= -ROUNDING) & (confidence <= 1 + ROUNDING)).all():
        raise UsageError(
            f"confidences: expected probabilities in [0, 1], got {confidence.min():g} to {confidence.max():g};"
            " give those of the predicted classes, after the softmax"
        )
    confidence = confidence.clip(0, 1)
    edges = np.arange(bins + 1) / bins
    at = np.maximum(np.searchsorted(edges, confidence, side="left") - 1, 0)
    count = np.bincount(at, minlength=bins)
    given = np.bincount(at, weights=confidence, minlength=bins)
    right = np.bincount(at[correct], minlength=bins)
    return [
        Bin(float(low), float(high), int(n), float(p / n) if n else None, float(r / n) if n else None)
        for low, high, n, p, r in zip(edges[:-1], edges[1:], count, given, right, strict=True)
    ]


def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error in [0, 1]: mean over answers of |accuracy - confidence| of the bin they are in.

    Arguments as for `reliability`; nan for n = 0. It depends on the bins and, for small n, is above 0 for the best of
    models: print both beside it.
    """
    found = [b for b in reliability(confidence, correct, bins) if b.count]
    gaps = [
        b.count * abs(b.accuracy - b.confidence) for b in found if b.accuracy is not None and b.confidence is not None
    ]
    return sum(gaps) / len(confidence) if found else float("nan")
