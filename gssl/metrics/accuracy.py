"""Accuracy and its interval. No torch here: the report reads plain files and needs none."""

from statistics import NormalDist

import numpy as np


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Share of equal entries of two (n,) integer arrays."""
    return float((np.asarray(labels) == np.asarray(predicted)).mean())


def confusion(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """(n_classes, n_classes) int64 counts; rows are true classes, columns predicted ones."""
    cell = np.asarray(labels, dtype=np.int64) * n_classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(cell, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def balanced_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall over the classes that occur in `labels`: chance is 1/classes however unequal they are."""
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    return float(np.mean([(predicted[labels == c] == c).mean() for c in np.unique(labels)]))


def wilson(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for a share of `correct` in `n`; (0, 1) for n = 0.

    It says how sure the share is for this one trained network on other test images, nothing about seeds.
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    # At the ends the formula gives 0 and 1 exactly, the arithmetic nearly.
    return (0.0 if correct == 0 else middle - half), (1.0 if correct == n else middle + half)
