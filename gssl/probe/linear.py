"""Linear probe: ℓ2-regularised multinomial logistic regression on standardised features.

The objective is mean cross-entropy + λ/2·‖W‖², the bias unpenalised. scikit-learn's `C` is 1/(n·λ).

Why it is quick: ℓ2 does not care about rotations, so the features are rotated to their principal axes once
per fit part (to at most n dimensions where n < d: exact, the optimum lies in the row space). There the
Hessian is nearly diagonal, and L-BFGS with that diagonal as its preconditioner needs some tens of iterations
even at λ = 1e-6, fewer when started from the next larger λ.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from gssl.config import schema
from gssl.probe.folds import Labelled, choice_folds, joined

BLOCK = 1 << 22  # numbers per temporary array
SMALL = 1 << 19  # n·d up to which λ is chosen in float64 too; the final fit always is
LARGE = 1 << 19  # multiplications from which a product is left to torch
LARGE_FACTOR = 1 << 24  # the same for factorisations
MEMORY = 20  # pairs that L-BFGS keeps
# A fit ends at this largest preconditioned gradient or this decrease of the objective in one iteration.
# Accuracy does not see the difference between the two rows; the final fit must equal scikit-learn's optimum.
CHOICE = {"gtol": 1e-4, "ftol": 1e-7}
FINAL = {"gtol": 1e-7, "ftol": 1e-13}


@dataclass
class Axes:
    """Standardised features of a fit part, rotated: `z` = basisᵀ · (x - mean) / scale."""

    mean: np.ndarray  # (d,)
    scale: np.ndarray  # (d,)
    basis: np.ndarray  # (d, r), orthonormal columns
    z: np.ndarray  # (r, n): class scores W·z then run along contiguous memory

    @classmethod
    def of(cls, x: np.ndarray, dtype: type) -> "Axes":
        n, d = x.shape
        mean = x.mean(axis=0, dtype=np.float64)
        square = np.zeros(d)
        for part in _blocks(n, d):
            square += ((x[part] - mean) ** 2).sum(axis=0)
        scale = np.sqrt(square / n)
        # A constant feature has a rounding error for a deviation; dividing by it would make noise of it.
        scale[scale <= 10 * np.finfo(np.float32).eps * np.abs(mean)] = 1.0
        scale[scale == 0] = 1.0

        basis = np.eye(d)
        if n < d:
            basis = orthonormal(((x - mean) / scale).T)
        gram = np.zeros((basis.shape[1], basis.shape[1]))
        for part in _blocks(n, d):
            rows = (x[part] - mean) / scale
            rows = product(rows, basis) if n < d else rows
            gram += product(rows.T, rows)
        basis = product(basis, eigenvectors(gram))
        z: np.ndarray = np.empty((basis.shape[1], n), dtype=dtype)
        for part in _blocks(n, d):
            z[:, part] = product((x[part] - mean) / scale, basis).T
        return cls(mean, scale, basis, z)

    def rotate(self, x: np.ndarray) -> np.ndarray:
        """(n, d) features in the rotated axes: (r, n) float64."""
        return product((x - self.mean) / self.scale, self.basis).T

    def outward(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (C, d) and bias (C,) on raw features for `w` (C, r + 1) on rotated ones."""
        weight = (w[:, :-1] @ self.basis.T) / self.scale
        return weight, w[:, -1] - weight @ self.mean

    def inward(self, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """The inverse of `outward` (where n < d: the part that lies in the row space)."""
        return np.column_stack([(weight * self.scale) @ self.basis, bias + weight @ self.mean])


# Large matrices are left to torch: its number of threads is the run's, NumPy's is the machine's, and two runs
# side by side would wait for each other at every product. Small ones lose more by being split among threads.


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b."""
    if a.size * b.shape[1] < LARGE:
        return a @ b
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


def orthonormal(a: np.ndarray) -> np.ndarray:
    """(d, n) orthonormal columns that span those of a (d, n), n <= d."""
    if a.size * a.shape[1] < LARGE_FACTOR:
        return np.linalg.qr(a)[0]
    return torch.linalg.qr(torch.from_numpy(a))[0].numpy()


def eigenvectors(a: np.ndarray) -> np.ndarray:
    """Columns: eigenvectors of a symmetric matrix."""
    if a.size * a.shape[1] < LARGE_FACTOR:
        return np.linalg.eigh(a)[1]
    return torch.linalg.eigh(torch.from_numpy(a))[1].numpy()


def _blocks(n: int, d: int) -> list[slice]:
    step = max(1, BLOCK // d)
    return [slice(i, i + step) for i in range(0, n, step)]


def solve(
    z: np.ndarray, y: np.ndarray, l2: float, start: np.ndarray, max_iter: int, ends: dict[str, float]
) -> tuple[np.ndarray, float, bool]:
    """Minimise mean cross-entropy + l2/2·‖W‖² from `start`.

    z is (r, n), y (n,) holds classes 0..C-1 that all occur, `start` is (C, r + 1) float64: weights, then
    bias; `ends` are L-BFGS-B's `gtol` and `ftol`. Returns the minimiser in the same form, the objective there
    and whether it converged within `max_iter` iterations.
    """
    r, n = z.shape
    classes = start.shape[0]
    target = (y, np.arange(n))

    def probabilities(w: np.ndarray) -> tuple[np.ndarray, float]:
        scores = product(w[:, :r].astype(z.dtype), z)
        scores += w[:, r:].astype(z.dtype)
        scores -= scores.max(axis=0)
        right = scores[target].sum(dtype=np.float64)
        np.exp(scores, out=scores)
        total = scores.sum(axis=0)
        scores /= total
        return scores, (np.log(total).sum(dtype=np.float64) - right) / n

    p, first = probabilities(start)
    # Ends are shares of the objective; single precision does not resolve shares of a tiny one.
    unit = 1.0
    if z.dtype == np.float64:
        unit = max(first + 0.5 * l2 * float(np.square(start[:, :r]).sum()), 1e-12)
    spread = p * (1 - p)
    curvature = np.zeros((classes, r + 1))
    for part in _blocks(n, r):
        curvature[:, :r] += product(spread[:, part], np.square(z[:, part]).T)
    curvature[:, r] = spread.sum(axis=1, dtype=np.float64)
    curvature /= n
    curvature[:, :r] += l2
    stretch = 1 / np.sqrt(np.maximum(curvature, 1e-10))

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(classes, r + 1) * stretch
        p, value = probabilities(w)
        p[target] -= 1
        gradient = np.empty_like(w)
        gradient[:, :r] = product(p, z.T)
        gradient[:, r] = p.sum(axis=1, dtype=np.float64)
        gradient /= n
        gradient[:, :r] += l2 * w[:, :r]
        value += 0.5 * l2 * float(np.square(w[:, :r]).sum())
        return value / unit, (gradient * stretch / unit).ravel()

    options = {"maxiter": max_iter, "maxcor": MEMORY, **ends}
    found = minimize(objective, (start / stretch).ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(classes, r + 1) * stretch, float(found.fun) * unit, found.status != 1


@dataclass
class FittedLinear:
    """Scores are x·weightᵀ + bias on raw features; only classes that occurred are predicted."""

    weight: np.ndarray  # (C, d) float64
    bias: np.ndarray  # (C,) float64
    classes: np.ndarray  # (C,) int64
    chosen: dict[str, float]
    val_accuracy: float | None  # at the chosen λ, over all folds; None where there was nothing to choose on
    objective: float  # at the end of the final fit
    converged: bool

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, d) features to (n,) int64 classes."""
        parts = [
            (product(x[part].astype(np.float64), self.weight.T) + self.bias).argmax(axis=1)
            for part in _blocks(*x.shape)
        ]
        return self.classes[np.concatenate(parts)]


class Linear:
    """The probe by its configuration; see the top of this file."""

    def __init__(self, cfg: schema.Linear) -> None:
        self.max_iter = cfg.max_iter
        self.one_shot = cfg.l2_one_shot
        grid = np.geomspace(cfg.l2_high, cfg.l2_low, cfg.l2_count)
        self.grid = [float(f"{l2:.6g}") for l2 in grid]  # large to small: each fit starts from the last

    def fit(
        self, x: np.ndarray, y: np.ndarray, n_classes: int, seed: int, extra: Labelled | None = None
    ) -> FittedLinear:
        """Fit on features x (n, d) float32 and labels y (n,) in 0..n_classes-1.

        λ is chosen on `choice_folds(y, seed)` by accuracy (ties: the lower cross-entropy), then everything is
        refitted with it. Classes without a label are never predicted: their unpenalised bias would run to -∞.
        `extra` is learnt from in every fit, those of the folds too, and nothing is chosen on it; its classes are
        among those of `y`.
        """
        classes, y = np.unique(np.asarray(y), return_inverse=True)
        assert classes[0] >= 0 and classes[-1] < n_classes
        folds = choice_folds(y, seed)
        if extra is not None:
            assert np.isin(extra.y, classes).all()
            extra = Labelled(extra.x, np.searchsorted(classes, extra.y))
        correct = np.zeros(len(self.grid), dtype=np.int64)
        entropy = np.zeros(len(self.grid))
        starts: list[tuple[np.ndarray, np.ndarray]] = []
        for fold, (fit, val) in enumerate(folds):
            x_fit, y_fit = joined(x[fit], y[fit], extra)
            axes = Axes.of(x_fit, np.float64 if x_fit.size <= SMALL else np.float32)
            z_val = axes.rotate(x[val])
            w = _start(y_fit, len(classes), len(axes.z))
            for i, l2 in enumerate(self.grid):
                w, _, _ = solve(axes.z, y_fit, l2, w, self.max_iter, CHOICE)
                logits = product(w[:, :-1], z_val) + w[:, -1:]
                correct[i] += (logits.argmax(axis=0) == y[val]).sum()
                entropy[i] += (logsumexp(logits, axis=0) - logits[y[val], np.arange(len(val))]).sum()
                if fold == 0:
                    starts.append(axes.outward(w))

        best = int(np.lexsort((entropy, -correct))[0])
        l2 = self.grid[best] if folds else self.one_shot
        x, y = joined(x, y, extra)
        axes = Axes.of(x, np.float64)
        w = axes.inward(*starts[best]) if folds else _start(y, len(classes), len(axes.z))
        w, objective, converged = solve(axes.z, y, l2, w, self.max_iter, FINAL)
        accuracy = float(correct[best] / sum(len(val) for _, val in folds)) if folds else None
        return FittedLinear(*axes.outward(w), classes, {"l2": l2}, accuracy, objective, converged)


def _start(y: np.ndarray, classes: int, r: int) -> np.ndarray:
    """No weights, and the bias that fits the class frequencies: the optimum at λ = ∞."""
    w = np.zeros((classes, r + 1))
    w[:, -1] = np.log(np.bincount(y, minlength=classes) / len(y))
    return w
