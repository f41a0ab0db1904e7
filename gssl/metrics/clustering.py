"""Do clusters that were found without labels agree with the classes? No torch here."""

import numpy as np
from scipy.optimize import linear_sum_assignment


def assignment(labels: np.ndarray, clusters: np.ndarray, n_classes: int) -> np.ndarray:
    """(clusters.max() + 1,) int64: the class of each cluster, -1 for those left over where clusters are more.

    The one-to-one assignment under which most images are right (Hungarian method), as Xie et al. 2016, arXiv:1511.06335
    measure clusters. `labels`: (n,) in 0..n_classes-1; `clusters`: (n,) from 0 on; n at least 1.
    """
    counts = _counts(labels, clusters, n_classes)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    classes = np.full(len(counts), -1, dtype=np.int64)
    classes[rows] = columns
    return classes


def matched(labels: np.ndarray, clusters: np.ndarray, n_classes: int) -> int:
    """How many of n images are right under that assignment.

    The assignment knows the labels of the same images, so a meaningless clustering gets more than n / n_classes.
    """
    counts = _counts(labels, clusters, n_classes)
    return int(counts[linear_sum_assignment(counts, maximize=True)].sum())


def nmi(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Normalised mutual information in [0, 1]: 2·I / (H(labels) + H(clusters)); integers (n,) each, n at least 1.

    1: the same partition, whatever its parts are called (one part on both sides included). 0: independent.
    """
    labels, clusters = (np.unique(side, return_inverse=True)[1] for side in (labels, clusters))
    joint = _counts(labels, clusters, int(labels.max()) + 1) / len(labels)
    entropies = _entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))
    if entropies == 0:
        return 1.0
    # Rounding leaves independent partitions beside 0, on either side of it.
    return float(np.clip(2 * (entropies - _entropy(joint)) / entropies, 0, 1))


def _counts(labels: np.ndarray, clusters: np.ndarray, n_classes: int) -> np.ndarray:
    """(k, n_classes) int64: images of each class in each cluster."""
    labels, clusters = np.asarray(labels, dtype=np.int64), np.asarray(clusters, dtype=np.int64)
    assert labels.shape == clusters.shape and min(labels.min(), clusters.min()) >= 0 and labels.max() < n_classes
    k = int(clusters.max()) + 1
    return np.bincount(clusters * n_classes + labels, minlength=k * n_classes).reshape(k, n_classes)


def _entropy(p: np.ndarray) -> float:
    """In nats."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
