"""k nearest neighbours by cosine, each with a vote of exp(s / T) (Wu et al. 2018, arXiv:1805.01978)."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gssl.probe.folds import Labelled, clip_folds, joined
from gssl.schemas import probes as schema

BLOCK = 1 << 25  # bytes of similarities held at once
DIGITS = 11  # similarities are compared to so many decimals: what is below depends on how sums are blocked
MANY = 4096  # labelled images from which candidates are found in single precision
SPARE = 20  # candidates beyond k


class Units:
    """Rows `index` (all without) of x (n, d), which is not copied; read as float64 rows of unit length.

    All of them together would take twice what the features do. They are made a few at a time and never held.
    """

    def __init__(self, x: np.ndarray, index: np.ndarray | None = None) -> None:
        self.x, self.index = x, index

    def __len__(self) -> int:
        return len(self.x if self.index is None else self.index)

    def __getitem__(self, which: slice | np.ndarray) -> Tensor:
        """(..., d) by position among these rows."""
        return unit_rows(self.x[which if self.index is None else self.index[which]])

    def blocks(self) -> list[slice]:
        """Positions in order, some rows each."""
        return _steps(len(self), BLOCK // (64 * self.x.shape[1]))

    def similarity(self, queries: Tensor, which: np.ndarray) -> np.ndarray:
        """(m, c) float64 of unit rows (m, d), each with c positions of its own."""
        steps = _steps(len(which), BLOCK // (64 * self.x.shape[1] * which.shape[1]))
        return np.concatenate([torch.einsum("mcd,md->mc", self[which[i]], queries[i]).numpy() for i in steps])

    def single(self) -> Tensor:
        """All unit rows (n, d) in float32."""
        rows = torch.empty(len(self), self.x.shape[1])
        for part in self.blocks():
            rows[part] = self[part]
        return rows


def vote(queries: Units, bank: Units, labels: np.ndarray, n_classes: int, k: int, temperature: float) -> np.ndarray:
    """Shares (m, n_classes) float64 of the votes of the k <= n nearest in `bank` for the m `queries`.

    `labels` (n,) are the bank's. Neighbours with equal similarity are taken by ascending index. Shares that only
    rounding tells apart from the largest are equal to it, so that `argmax` gives the first of them.
    """
    single = bank.single() if len(bank) >= max(MANY, k + SPARE + 1) else None
    steps = _steps(len(queries), BLOCK // ((8 if single is None else 4) * max(len(bank), queries.x.shape[1])))
    found = np.zeros((len(queries), n_classes))
    for some in steps:
        part = queries[some]
        value, index = nearest(part, bank, k) if single is None else nearest_of_many(part, bank, single, k)
        # Relative to the nearest one's: exp(1 / T) itself is too large for a small T.
        weight = np.exp((value - value[:, :1]) / temperature)
        votes = found[some]
        np.add.at(votes, (np.arange(len(part))[:, None], labels[index]), weight)
        # Sums of the same votes in another order differ in the last digits, which must not decide.
        top = votes.max(axis=1, keepdims=True)
        np.copyto(votes, top, where=votes >= top * (1 - 1e-12))
        votes /= votes.sum(axis=1, keepdims=True)
    return found


def nearest(queries: Tensor, bank: Units, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Similarities, rounded, and positions (m, k) of the k nearest to float64 unit rows (m, d), best first."""
    if len(bank) < MANY:
        similarity = queries @ bank[:].T
    else:
        similarity = torch.empty(len(queries), len(bank), dtype=torch.float64)
        for part in bank.blocks():
            similarity[:, part] = queries @ bank[part].T
    # One more than needed shows where the k-th neighbour is tied; there an arbitrary order will not do.
    found = similarity.topk(min(k + 1, len(bank)), dim=1)
    value, index = found.values.numpy(), found.indices.numpy()
    if len(bank) > k:
        for row in np.flatnonzero(value[:, k - 1] - value[:, k] < 10.0**-DIGITS):
            rounded = np.round(similarity[row].numpy(), DIGITS)
            good = np.flatnonzero(rounded >= np.round(value[row, k - 1], DIGITS))
            index[row, :k] = good[np.argsort(-rounded[good], kind="stable")[:k]]
            value[row, :k] = rounded[index[row, :k]]
    return np.round(value[:, :k], DIGITS), index[:, :k]


def nearest_of_many(queries: Tensor, bank: Units, single: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, in half the time: candidates by float32 (`single`), their order by float64.

    Where the bound on float32's error leaves open whether these hold the k nearest, `nearest` decides.
    """
    rough, found = (queries.float() @ single.T).topk(k + SPARE, dim=1)
    candidates = found.sort(dim=1).values.numpy()  # so that a stable sort leaves ties by index
    exact = bank.similarity(queries, candidates)
    order = np.argsort(-np.round(exact, DIGITS), axis=1, kind="stable")[:, :k]
    value = np.round(np.take_along_axis(exact, order, axis=1), DIGITS)
    index = np.take_along_axis(candidates, order, axis=1)

    error = (single.shape[1] + 4) * 2.0**-24 + 10.0**-DIGITS
    unsure = np.flatnonzero(value[:, -1] <= rough[:, -1].numpy().astype(np.float64) + error)
    for part in _steps(len(unsure), BLOCK // (8 * len(bank))):
        some = unsure[part]
        value[some], index[some] = nearest(queries[some], bank, k)
    return value, index


def _steps(n: int, step: int) -> list[slice]:
    return [slice(i, min(i + max(1, step), n)) for i in range(0, n, max(1, step))]


def unit_rows(x: np.ndarray) -> Tensor:
    """(..., d) scaled to unit length in float64; rows of zeros stay zero."""
    rows = torch.from_numpy(x.astype(np.float64))
    return rows.div_(rows.norm(dim=-1, keepdim=True).clamp_min(1e-300))


@dataclass
class FittedKnn:
    """The labelled features that vote. They are the caller's own, not a copy."""

    bank: Units
    labels: np.ndarray  # (n,) int64
    n_classes: int
    temperature: float
    chosen: dict[str, int]
    val_accuracy: float | None  # over the folds; None where there was nothing to choose on
    unselected: list[np.ndarray] = field(default_factory=list)  # per fold, bool (m,): which were right

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """(m, d) features to (m, n_classes) float64: each class's proportion of the votes."""
        return vote(Units(x), self.bank, self.labels, self.n_classes, self.chosen["k"], self.temperature)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(m, d) features to (m,) int64 classes; of equal ones the first."""
        return self.probabilities(x).argmax(axis=1)


class Knn:
    """The probe by its configuration."""

    def __init__(self, cfg: schema.Knn) -> None:
        self.k, self.temperature = cfg.k, cfg.temperature

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        n_classes: int,
        seed: int,
        extra: Labelled | None = None,
        groups: np.ndarray | None = None,
    ) -> FittedKnn:
        """Remember features x (n, d) float32 with labels y (n,) in 0..n_classes-1.

        Nothing is chosen, but `val_accuracy` is measured on `clip_folds(y, groups, seed)`, as for the other probes.
        Where there are fewer than k labels all of them vote. `extra` images vote as well, in the folds too; they are
        never among those that are validated there.
        """
        y, n = np.asarray(y, dtype=np.int64), len(y)
        x, y = joined(x, y, extra)
        more = np.arange(n, len(y))
        right: list[np.ndarray] = []
        for fit, val in clip_folds(y[:n], groups, seed):
            fit = np.concatenate([fit, more])
            k = min(self.k, len(fit))
            found = vote(Units(x, val), Units(x, fit), y[fit], n_classes, k, self.temperature)
            right.append(found.argmax(axis=1) == y[val])
        chosen = {"k": min(self.k, len(y))}
        accuracy = float(np.concatenate(right).mean()) if right else None
        return FittedKnn(Units(x), y, n_classes, self.temperature, chosen, accuracy, right)
