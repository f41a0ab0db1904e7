"""k nearest neighbours by cosine, each with a vote of exp(s / T) (Wu et al. 2018, arXiv:1805.01978)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gssl.config import schema
from gssl.probe.folds import choice_folds

BLOCK = 1 << 24  # similarities held at once
DIGITS = 11  # similarities are compared to so many decimals: what is below depends on how sums are blocked


def vote(
    queries: Tensor, bank: Tensor, labels: np.ndarray, n_classes: int, k: int, temperature: float
) -> np.ndarray:
    """(m,) int64 classes for `queries` (m, d) by the k <= n nearest of `bank` (n, d); float64 unit rows.

    Neighbours with equal similarity are taken by ascending index;
    of classes with equal votes the lowest wins.
    """
    n = len(bank)
    classes = []
    for part in torch.split(queries, max(1, BLOCK // n)):
        similarity = part @ bank.T
        # One more than needed shows where the k-th place is tied; there an arbitrary order will not do.
        value, index = similarity.topk(min(k + 1, n), dim=1)
        if n > k:
            tied = torch.nonzero(value[:, k - 1] - value[:, k] < 10.0**-DIGITS)[:, 0]
            if len(tied):
                order = np.argsort(-np.round(similarity[tied].numpy(), DIGITS), axis=1, kind="stable")
                index[tied] = torch.from_numpy(order[:, : k + 1])
                value[tied] = similarity[tied].gather(1, index[tied])
        weight = np.exp(np.round(value[:, :k].numpy(), DIGITS) / temperature)
        votes = np.zeros((len(part), n_classes))
        np.add.at(votes, (np.arange(len(part))[:, None], labels[index[:, :k].numpy()]), weight)
        # Sums of the same votes in another order differ in the last digits, which must not decide.
        near = votes >= votes.max(axis=1, keepdims=True) * (1 - 1e-12)
        classes.append(near.argmax(axis=1))
    return np.concatenate(classes)


def unit_rows(x: np.ndarray) -> Tensor:
    """(n, d) scaled to unit length in float64; rows of zeros stay zero."""
    rows = torch.from_numpy(np.ascontiguousarray(x)).double()
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300)


@dataclass
class FittedKnn:
    """The labelled features that vote."""

    bank: Tensor  # (n, d) float64, unit rows
    labels: np.ndarray  # (n,) int64
    n_classes: int
    temperature: float
    chosen: dict[str, int]
    val_accuracy: float | None  # over the folds; None where there was nothing to choose on

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(m, d) features to (m,) int64 classes."""
        return vote(unit_rows(x), self.bank, self.labels, self.n_classes, self.chosen["k"], self.temperature)


class Knn:
    """The probe by its configuration."""

    def __init__(self, cfg: schema.Knn) -> None:
        self.k, self.temperature = cfg.k, cfg.temperature

    def fit(self, x: np.ndarray, y: np.ndarray, n_classes: int, seed: int) -> FittedKnn:
        """Remember features x (n, d) float32 with labels y (n,) in 0..n_classes-1.

        Nothing is chosen, but `val_accuracy` is measured on `choice_folds(y, seed)`, as for the other probes.
        Where there are fewer than k labels all of them vote.
        """
        y = np.asarray(y, dtype=np.int64)
        rows = unit_rows(x)
        right, count = 0, 0
        for fit, val in choice_folds(y, seed):
            k = min(self.k, len(fit))
            predicted = vote(rows[val], rows[fit], y[fit], n_classes, k, self.temperature)
            right, count = right + int((predicted == y[val]).sum()), count + len(val)
        chosen = {"k": min(self.k, len(y))}
        return FittedKnn(rows, y, n_classes, self.temperature, chosen, right / count if count else None)
