"""k nearest neighbours by cosine, each with a vote of exp(s / T) (Wu et al. 2018, arXiv:1805.01978)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gssl.config import schema
from gssl.probe.folds import Labelled, choice_folds, joined

BLOCK = 1 << 24  # similarities held at once
DIGITS = 11  # similarities are compared to so many decimals: what is below depends on how sums are blocked
MANY = 4096  # labelled images from which candidates are found in single precision
SPARE = 20  # candidates beyond k


def vote(queries: Tensor, bank: Tensor, labels: np.ndarray, n_classes: int, k: int, temperature: float) -> np.ndarray:
    """(m,) int64 classes for `queries` (m, d) by the k <= n nearest of `bank` (n, d); float64 unit rows.

    Neighbours with equal similarity are taken by ascending index, equal votes by ascending class.
    """
    many = len(bank) >= max(MANY, k + SPARE + 1)
    single = bank.float() if many else None
    classes = []
    for part in torch.split(queries, max(1, BLOCK // len(bank))):
        value, index = nearest(part, bank, k) if single is None else nearest_of_many(part, bank, single, k)
        weight = np.exp(value / temperature)
        votes = np.zeros((len(part), n_classes))
        np.add.at(votes, (np.arange(len(part))[:, None], labels[index]), weight)
        # Sums of the same votes in another order differ in the last digits, which must not decide.
        near = votes >= votes.max(axis=1, keepdims=True) * (1 - 1e-12)
        classes.append(near.argmax(axis=1))
    return np.concatenate(classes)


def nearest(queries: Tensor, bank: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Similarities, rounded, and indices (m, k) of the k nearest, best first."""
    similarity = queries @ bank.T
    # One more than needed shows where the k-th place is tied; there an arbitrary order will not do.
    value, index = similarity.topk(min(k + 1, len(bank)), dim=1)
    if len(bank) > k:
        tied = torch.nonzero(value[:, k - 1] - value[:, k] < 10.0**-DIGITS)[:, 0]
        if len(tied):
            order = np.argsort(-np.round(similarity[tied].numpy(), DIGITS), axis=1, kind="stable")
            index[tied] = torch.from_numpy(order[:, : k + 1])
            value[tied] = similarity[tied].gather(1, index[tied])
    return np.round(value[:, :k].numpy(), DIGITS), index[:, :k].numpy()


def nearest_of_many(queries: Tensor, bank: Tensor, single: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, in half the time: candidates by float32 (`single`), their order by float64.

    Where the bound on float32's error leaves open whether these hold the k nearest, `nearest` decides.
    """
    rough, candidates = (queries.float() @ single.T).topk(k + SPARE, dim=1)
    candidates = candidates.sort(dim=1).values  # so that a stable sort leaves ties by index
    exact = torch.einsum("mcd,md->mc", bank[candidates], queries).numpy()
    order = np.argsort(-np.round(exact, DIGITS), axis=1, kind="stable")[:, :k]
    value = np.round(np.take_along_axis(exact, order, axis=1), DIGITS)
    index = np.take_along_axis(candidates.numpy(), order, axis=1)

    error = (bank.shape[1] + 4) * 2.0**-24 + 10.0**-DIGITS
    unsure = np.flatnonzero(value[:, -1] <= rough[:, -1].numpy().astype(np.float64) + error)
    if len(unsure):
        value[unsure], index[unsure] = nearest(queries[unsure], bank, k)
    return value, index


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

    def fit(self, x: np.ndarray, y: np.ndarray, n_classes: int, seed: int, extra: Labelled | None = None) -> FittedKnn:
        """Remember features x (n, d) float32 with labels y (n,) in 0..n_classes-1.

        Nothing is chosen, but `val_accuracy` is measured on `choice_folds(y, seed)`, as for the other probes.
        Where there are fewer than k labels all of them vote. `extra` images vote as well, in the folds too; they are
        never among those that are judged there.
        """
        y, n = np.asarray(y, dtype=np.int64), len(y)
        x, y = joined(x, y, extra)
        rows, more = unit_rows(x), np.arange(n, len(y))
        right, count = 0, 0
        for fit, val in choice_folds(y[:n], seed):
            fit = np.concatenate([fit, more])
            k = min(self.k, len(fit))
            predicted = vote(rows[val], rows[fit], y[fit], n_classes, k, self.temperature)
            right, count = right + int((predicted == y[val]).sum()), count + len(val)
        chosen = {"k": min(self.k, len(y))}
        return FittedKnn(rows, y, n_classes, self.temperature, chosen, right / count if count else None)
