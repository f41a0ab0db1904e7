"""Temperature scaling (Guo et al. 2017, arXiv:1706.04599): softmax(z / T), T fitted on images not learnt from.

No torch here.
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from gssl.metrics.calibration import ece

LEAST = 20  # images: fewer say nothing about T
RANGE = (0.05, 20.0)
FLOOR = 1e-30  # of a probability: that of a class without a label is 0
BINS = 15


def scaled(p: np.ndarray, temperature: float) -> np.ndarray:
    """(n, classes) float64 of probabilities p: softmax(log p / T)."""
    z = np.log(np.maximum(p, FLOOR)) / temperature
    z = np.exp(z - z.max(axis=1, keepdims=True))
    found: np.ndarray = z / z.sum(axis=1, keepdims=True)
    return found


def entropy(p: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy of the labels (n,) under p (n, classes), in nats."""
    return float(-np.log(np.maximum(p[np.arange(len(labels)), labels], FLOOR)).mean())


def fit(p: np.ndarray, labels: np.ndarray) -> float:
    """The T with the smallest mean cross-entropy of the labels (n,)."""

    def of(log_t: float) -> float:
        return entropy(scaled(p, float(np.exp(log_t))), labels)

    found = minimize_scalar(of, bounds=tuple(np.log(RANGE)), method="bounded", options={"xatol": 1e-4})
    return float(f"{np.exp(found.x):.4g}")


def calibrate(p: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """T, and cross-entropy and expected calibration error before and after, for predict.json.

    p: (n, classes), of images that the network which gave them had not learnt from. What is after is that of each half
    under the T of the other, so that no image is counted under a T that was fitted on it. Where the cross-entropy after
    is not smaller, T is 1: of few images one can be fitted that helps no others.
    """
    n = len(labels)
    if n < LEAST:
        return {"temperature": 1.0, "n": n, "how": f"not fitted: {n} images, fewer than {LEAST}"}
    temperature, after = fit(p, labels), p.copy()
    half = np.zeros(n, dtype=bool)
    half[np.argsort(labels, kind="stable")[1::2]] = True
    for one, other in ((half, ~half), (~half, half)):
        after[one] = scaled(p[one], fit(p[other], labels[other]))
    facts = {"n": n, "bins": BINS, "ece_before": _error(p, labels), "entropy_before": entropy(p, labels)}
    if entropy(after, labels) >= facts["entropy_before"]:
        how = (
            f"not fitted: a temperature of {temperature:g} did not lower the cross-entropy of images kept apart from it"
        )
        return {"temperature": 1.0, "how": how} | facts
    how = "one temperature, by cross-entropy on out-of-fold predictions; what is after is cross-fitted on halves"
    facts |= {"ece_after": _error(after, labels), "entropy_after": entropy(after, labels)}
    return {"temperature": temperature, "how": how} | facts


def _error(p: np.ndarray, labels: np.ndarray) -> float:
    guess = p.argmax(axis=1)
    return ece(p[np.arange(len(p)), guess], guess == labels, BINS)
