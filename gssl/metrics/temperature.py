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


def fit(p: np.ndarray, labels: np.ndarray) -> float:
    """The T with the smallest mean cross-entropy of the labels (n,)."""
    index = np.arange(len(labels))

    def entropy(log_t: float) -> float:
        return float(-np.log(np.maximum(scaled(p, float(np.exp(log_t)))[index, labels], FLOOR)).mean())

    found = minimize_scalar(entropy, bounds=tuple(np.log(RANGE)), method="bounded", options={"xatol": 1e-4})
    return float(f"{np.exp(found.x):.4g}")


def calibrate(p: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """T and the expected calibration error before and after, for predict.json.

    p: (n, classes), of images that the network which gave them had not learnt from. The error after is that of each
    half under the T of the other, so that no image is counted under a T that was fitted on it.
    """
    n = len(labels)
    if n < LEAST:
        return {"temperature": 1.0, "n": n, "how": f"not fitted: {n} images, fewer than {LEAST}"}
    temperature, after = fit(p, labels), p.copy()
    half = np.zeros(n, dtype=bool)
    half[np.argsort(labels, kind="stable")[1::2]] = True
    for one, other in ((half, ~half), (~half, half)):
        after[one] = scaled(p[one], fit(p[other], labels[other]))
    how = "one temperature, by cross-entropy on out-of-fold predictions; the error after is cross-fitted on halves"
    found = {"temperature": temperature, "n": n, "how": how, "bins": BINS}
    return found | {"ece_before": _error(p, labels), "ece_after": _error(after, labels)}


def _error(p: np.ndarray, labels: np.ndarray) -> float:
    guess = p.argmax(axis=1)
    return ece(p[np.arange(len(p)), guess], guess == labels, BINS)
