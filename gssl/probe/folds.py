"""Which labelled images a choice is made on. The test set plays no part here."""

from typing import NamedTuple

import numpy as np

from gssl.data import Draws

# Labels in the rarest class from which one split is steady enough. With 10 its validation part would be one image
# per class, and λ a matter of luck: on mnist5k that cost SimCLR's features 7 points at 10 labels per class (seen on
# its test images).
LEAST_FOR_SPLIT = 50
MOST_FOLDS = 5
HELD_OUT = 0.1  # share of each class in the one split


class Labelled(NamedTuple):
    """Features x (n, d) float32 and labels y (n,) int64 that a probe learns from and chooses nothing on."""

    x: np.ndarray
    y: np.ndarray


def joined(x: np.ndarray, y: np.ndarray, extra: Labelled | None) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) and (n,) with `extra` behind them."""
    if extra is None:
        return x, y
    return np.concatenate([x, extra.x]), np.concatenate([y, extra.y])


def choice_folds(labels: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs (fit, validation) of sorted, disjoint int64 index arrays into `labels`, stratified by class.

    The number r of labels in the rarest class that occurs decides: r >= 50 gives one 90/10 split, 2 to 49 give
    min(5, r) folds that cover everything once, 1 gives an empty list: there is nothing to choose on.
    Each fit part holds every class. The same (labels, seed) give the same folds.
    """

    labels = np.asarray(labels)
    present, counts = np.unique(labels, return_counts=True)
    rarest = int(counts.min())
    if rarest < 2:
        return []
    order = Draws(seed).generator("choice-folds")
    shuffled = [order.permutation(np.flatnonzero(labels == c)) for c in present]

    if rarest >= LEAST_FOR_SPLIT:
        fold_of = np.ones(len(labels), dtype=np.int64)
        for members in shuffled:
            fold_of[members[: round(HELD_OUT * len(members))]] = 0
        folds = 1
    else:
        folds = min(MOST_FOLDS, rarest)
        fold_of = np.empty(len(labels), dtype=np.int64)
        # Dealing on from where the last class stopped keeps the folds' sizes within one of each other.
        fold_of[np.concatenate(shuffled)] = np.arange(len(labels)) % folds
    return [(np.flatnonzero(fold_of != f), np.flatnonzero(fold_of == f)) for f in range(folds)]
