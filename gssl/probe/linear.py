"""Linear probe: ℓ2-regularised multinomial logistic regression on standardised features.

The objective is mean cross-entropy + λ/2·‖W‖², the bias unpenalised. scikit-learn's `C` is 1/(n·λ).

Why it is quick: ℓ2 does not care about rotations, so the features are rotated to their principal axes once
per fit part (to at most n dimensions where n < d: exact, the optimum lies in the row space). There the
Hessian is nearly diagonal, and L-BFGS with that diagonal as its preconditioner needs some tens of iterations
even at λ = 1e-6. Weights grow about linearly in log λ, so each fit starts where the last two point to: that halves
the evaluations (mnist5k, 10 and 100 labels per class: 2,182 and 596 of all folds and λ from the last λ's optimum,
1,127 and 368 so, 766 and 246 with the ends of CHOICE below).

Why it is small: what is as large as the features is held once more at the most, in float32.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gssl.probe import stacked
from gssl.probe.folds import Labelled, Trial, best_point, clip_folds, unselected
from gssl.probe.stacked import Stack
from gssl.schemas import probes as schema

BLOCK = 1 << 19  # numbers per temporary array
SMALL = 1 << 19  # n·d up to which λ is chosen in float64 too
HELD = 1 << 22  # n·d up to which the final fit is float64 throughout; beyond, see `refine`
STACKED = 1 << 20  # multiplications for all images' scores up to which the folds are solved together
NEAR = 3.0  # times the folds' objective: the most from which the final fit starts
LARGE = 1 << 19  # multiplications from which a product is left to torch
LARGE_FACTOR = 1 << 24  # the same for factorisations
WIDE = 128  # features from which principal axes come from products of rows: half the time, and 1e-8 of their length
HEAD_ITER = 200  # iterations of a fit that need not be exact
MEMORY = 20  # pairs that L-BFGS keeps
# A fit ends at this largest preconditioned gradient or this decrease of the objective in one iteration.
# Accuracy hardly depends on which of the two rows is taken (mnist5k, 16 draws: no chosen λ was right less often on the
# folds than the one that exact optima choose); the final fit must equal scikit-learn's optimum.
CHOICE = {"gtol": 1e-3, "ftol": 1e-6}
FINAL = {"gtol": 1e-7, "ftol": 1e-13}
REFINED = {"gtol": 1e-6, "maxiter": 50}  # length of the gradient, Newton steps

Folds = Sequence[tuple[np.ndarray, np.ndarray]]  # fit and validation indices
# Of a point of the grid: weights and bias on raw features, and the objective that they had where they come from.
Start = Callable[[int], tuple[np.ndarray, np.ndarray, float]]
Target = tuple[np.ndarray, np.ndarray]  # where in scores (C, n) the right classes are


class Rows:
    """Features (n, d) float32 that are read block by block and never copied as a whole: x[index], then `extra`."""

    def __init__(self, x: np.ndarray, index: np.ndarray | None = None, extra: Labelled | None = None) -> None:
        self.parts = [(x, index)] if extra is None else [(x, index), (extra.x, None)]
        self.shape = (sum(len(x if index is None else index) for x, index in self.parts), x.shape[1])
        self.size = self.shape[0] * self.shape[1]

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Consecutive rows, and where they belong."""
        at = 0
        for x, index in self.parts:
            for part in _blocks(len(x if index is None else index), self.shape[1]):
                rows = x[part] if index is None else x[index[part]]
                yield slice(at, at + len(rows)), rows
                at += len(rows)


@dataclass
class Axes:
    """Standardised features of a fit part, rotated: `z` = basisᵀ · (x - mean) / scale."""

    mean: np.ndarray  # (d,)
    scale: np.ndarray  # (d,)
    basis: np.ndarray | None  # (d, r), orthonormal columns; None: the features' own axes
    z: np.ndarray  # (r, n): class scores W·z then run along contiguous memory

    @classmethod
    def of(cls, x: Rows, dtype: type, standardise: bool = True) -> "Axes":
        n, d = x.shape
        mean, square = np.zeros(d), np.zeros(d)
        for _, rows in x.blocks():
            mean += rows.sum(axis=0, dtype=np.float64)
        mean /= n
        for _, rows in x.blocks():
            off = rows - mean
            square += np.square(off, out=off).sum(axis=0)
        scale = np.sqrt(square / n)
        # A constant feature has a rounding error for a deviation; dividing by it would make noise of it.
        scale[scale <= 10 * np.finfo(np.float32).eps * np.abs(mean)] = 1.0
        scale[scale == 0] = 1.0
        if not standardise:  # features on one scale, which are many and mostly 0
            scale[:] = 1.0

        axes = cls(mean, scale, None, np.empty((0, 0)))
        if not standardise and n >= d:
            axes.z = axes.rotate(x, dtype)
            return axes
        if n < d:
            rows = np.concatenate([axes.standardised(rows) for _, rows in x.blocks()])
            if d >= WIDE and (found := principal(rows)) is not None:
                axes.basis, z = found
                axes.z = z.astype(dtype)
                return axes
            axes.basis = orthonormal(rows.T)
        basis = np.eye(d) if axes.basis is None else axes.basis
        gram = np.zeros(basis.shape[1:] * 2)
        for _, rows in x.blocks():
            rows = axes.standardised(rows)
            rows = product(rows, basis) if n < d else rows
            gram += product(rows.T, rows)
        axes.basis = product(basis, eigenvectors(gram))
        axes.z = axes.rotate(x, dtype)
        return axes

    def standardised(self, x: np.ndarray) -> np.ndarray:
        """A copy of x (n, d) in float64, less the mean, over the scale."""
        x = x - self.mean
        x /= self.scale
        return x

    def rotate(self, x: Rows, dtype: type = np.float64) -> np.ndarray:
        """(n, d) features in the rotated axes: (r, n)."""
        r = x.shape[1] if self.basis is None else self.basis.shape[1]
        z: np.ndarray = np.empty((r, x.shape[0]), dtype=dtype)
        for at, rows in x.blocks():
            z[:, at] = self._turned(self.standardised(rows)).T
        return z

    def outward(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (C, d) and bias (C,) on raw features for `w` (C, r + 1) on rotated ones."""
        weight = (w[:, :-1] if self.basis is None else w[:, :-1] @ self.basis.T) / self.scale
        return weight, w[:, -1] - weight @ self.mean

    def inward(self, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """The inverse of `outward` (where n < d: the part that lies in the row space)."""
        return np.column_stack([self._turned(weight * self.scale), bias + weight @ self.mean])

    def _turned(self, x: np.ndarray) -> np.ndarray:
        return x if self.basis is None else product(x, self.basis)


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
    return eigen(a)[1]


def eigen(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, ascending, and eigenvectors, as columns, of a symmetric matrix."""
    if a.size * a.shape[1] < LARGE_FACTOR:
        values, vectors = np.linalg.eigh(a)
        return values, vectors
    values, vectors = (found.numpy() for found in torch.linalg.eigh(torch.from_numpy(a)))
    return values, vectors


def principal(a: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Principal axes (d, r) of a (n, d), n < d, and a on them, (r, n), by the products of its rows with each other.

    None where an axis is so weak that squaring has spent its digits: neither nothing nor exact to 1e-8.
    """
    values, vectors = eigen(product(a, a.T))
    relative = values / max(values[-1], np.finfo(float).tiny)
    if values[-1] <= 0 or np.any((relative > 1e-13) & (relative < 1e-8)):
        return None
    kept = relative >= 1e-8
    length = np.sqrt(values[kept])
    z = length[:, None] * vectors[:, kept].T
    return product(np.ascontiguousarray(a.T), vectors[:, kept] / length), z


def _blocks(n: int, d: int) -> list[slice]:
    step = max(1, BLOCK // d)
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def softmax(scores: np.ndarray, target: Target | None = None) -> float:
    """Makes probabilities of scores (C, n), in place; the sum of the cross-entropies where `target` is given."""
    scores -= scores.max(axis=0)
    right = 0.0 if target is None else scores[target].sum(dtype=np.float64)
    np.exp(scores, out=scores)
    total = scores.sum(axis=0)
    scores /= total
    return 0.0 if target is None else float(np.log(total).sum(dtype=np.float64) - right)


def cross_entropies(scores: np.ndarray, target: Target) -> np.ndarray:
    """(n,) of scores (C, n)."""
    most = scores.max(axis=0)
    found: np.ndarray = np.log(np.exp(scores - most).sum(axis=0)) + most - scores[target]
    return found


def probabilities(w: np.ndarray, z: np.ndarray, target: Target) -> tuple[np.ndarray, float]:
    """(C, n) in z's precision at w (C, r + 1), and the sum of the cross-entropies."""
    scores = product(w[:, :-1].astype(z.dtype), z)
    scores += w[:, -1:].astype(z.dtype)
    return scores, softmax(scores, target)


def sums(a: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(C, r + 1) float64: a (C, n) times the features and times 1."""
    out = np.empty((len(a), len(z) + 1))
    out[:, :-1] = product(a, z.T)
    out[:, -1] = a.sum(axis=1, dtype=np.float64)
    return out


def stretches(p: np.ndarray, z: np.ndarray, l2: float) -> np.ndarray:
    """(C, r + 1): what makes the Hessian's diagonal 1 where the probabilities are p (C, n)."""
    r, n = z.shape
    curvature = np.zeros((len(p), r + 1))
    spread = p * (1 - p)
    for part in _blocks(n, r):
        curvature += sums(spread[:, part], np.square(z[:, part]))
    curvature /= n
    curvature[:, :r] += l2
    return 1 / np.sqrt(np.maximum(curvature, 1e-10))


def solve(
    z: np.ndarray, y: np.ndarray, l2: float, start: np.ndarray, max_iter: int, ends: dict[str, float]
) -> tuple[np.ndarray, float, bool]:
    """Minimise mean cross-entropy + l2/2·‖W‖² from `start`.

    z is (r, n), y (n,) holds classes 0..C-1 that all occur, `start` is (C, r + 1) float64: weights, then
    bias; `ends` are L-BFGS-B's `gtol` and `ftol`. Returns the minimiser in the same form, the objective there
    and whether it converged within `max_iter` iterations.
    """
    from scipy.optimize import minimize  # takes .4 s to import

    r, n = z.shape
    target = (y, np.arange(n))
    p, entropy = probabilities(start, z, target)
    # Ends are relative to the objective; single precision does not resolve fractions of a tiny one.
    unit = 1.0
    if z.dtype == np.float64:
        unit = max(entropy / n + penalty(start, l2), 1e-12)
    stretch = stretches(p, z, l2)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(start.shape) * stretch
        p, entropy = probabilities(w, z, target)
        p[target] -= 1
        gradient = sums(p, z)
        gradient /= n
        gradient[:, :r] += l2 * w[:, :r]
        return (entropy / n + penalty(w, l2)) / unit, (gradient * stretch / unit).ravel()

    options = {"maxiter": max_iter, "maxcor": MEMORY, **ends}
    found = minimize(objective, (start / stretch).ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(start.shape) * stretch, float(found.fun) * unit, found.status != 1


def refine(z: np.ndarray, y: np.ndarray, l2: float, start: np.ndarray) -> tuple[np.ndarray, float, bool]:
    """As `solve` for a float32 z, to float64's precision, from a `start` that float32 has found.

    Newton's method in a trust region. Objective and gradient are computed in float64, for which z is converted block
    by block; some five times, so that this need not be quick. What a step is made of, products with the Hessian by
    the tens, float32 does well enough.
    """
    from scipy.optimize import minimize

    r, n = z.shape
    target = (y, np.arange(n))
    p, entropy = probabilities(start, z, target)
    unit = max(entropy / n + penalty(start, l2), 1e-12)
    stretch = stretches(p, z, l2)
    at = (start / stretch).ravel()

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(start.shape) * stretch
        value, gradient = 0.0, np.zeros(start.shape)
        for part in _blocks(n, r):
            block = z[:, part].astype(np.float64)
            own = (y[part], np.arange(block.shape[1]))
            p, entropy = probabilities(w, block, own)
            p[own] -= 1
            value += entropy / n
            gradient += sums(p, block) / n
        gradient[:, :r] += l2 * w[:, :r]
        return (value + penalty(w, l2)) / unit, (gradient * stretch / unit).ravel()

    def times_hessian(flat: np.ndarray, direction: np.ndarray) -> np.ndarray:
        nonlocal p, at
        if not np.array_equal(flat, at):
            at = flat.copy()
            p, _ = probabilities(flat.reshape(start.shape) * stretch, z, target)
        v = direction.reshape(start.shape) * stretch
        change = product(v[:, :r].astype(z.dtype), z)
        change += v[:, r:].astype(z.dtype)
        change -= (p * change).sum(axis=0)
        change *= p
        out = sums(change, z) / n
        out[:, :r] += l2 * v[:, :r]
        return (out * stretch / unit).ravel()

    found = minimize(objective, at, jac=True, hessp=times_hessian, method="trust-ncg", options=REFINED)
    return found.x.reshape(start.shape) * stretch, float(found.fun) * unit, bool(found.success)


def penalty(w: np.ndarray, l2: float) -> float:
    """l2/2·‖W‖² of w (C, r + 1), without the bias."""
    return 0.5 * l2 * float(np.square(w[:, :-1]).sum())


@dataclass
class FittedLinear:
    """Scores are x·weightᵀ + bias on raw features; only classes that occurred are predicted."""

    weight: np.ndarray  # (C, d) float64
    bias: np.ndarray  # (C,) float64
    classes: np.ndarray  # (C,) int64
    n_classes: int
    chosen: dict[str, float]
    val_accuracy: float | None  # at the chosen λ, over all folds; None where there was nothing to choose on
    objective: float  # at the end of the final fit
    converged: bool
    unselected: list[np.ndarray]  # per fold, see `folds.unselected`

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """(n, d) features to (n, n_classes) float64; 0 for classes that did not occur."""
        out = np.zeros((len(x), self.n_classes))
        for at, p in self._occurring(x):
            out[at, self.classes] = p.T
        return out

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, d) features to (n,) int64 classes: the first of those that `probabilities` has at its largest."""
        return self.classes[np.concatenate([p.argmax(axis=0) for _, p in self._occurring(x)])]

    def _occurring(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of images and their probabilities (C, ·)."""
        for at, rows in Rows(x).blocks():
            p = np.add(product(rows.astype(np.float64), self.weight.T).T, self.bias[:, None], order="C")
            softmax(p)
            yield at, p


class Linear:
    """The probe by its configuration; see the top of this file. standardise: whether features are."""

    standardise = True

    def __init__(self, cfg: schema.Linear) -> None:
        self.max_iter = cfg.max_iter
        self.one_shot = cfg.l2_one_shot
        grid = np.geomspace(cfg.l2_high, cfg.l2_low, cfg.l2_count)
        self.grid = [float(f"{l2:.6g}") for l2 in grid]  # large to small: each fit starts from the last

    def fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        n_classes: int,
        seed: int,
        extra: Labelled | None = None,
        groups: np.ndarray | None = None,
    ) -> FittedLinear:
        """Fit on features x (n, d) float32 and labels y (n,) in 0..n_classes-1.

        λ is chosen on `clip_folds(y, groups, seed)` by accuracy (ties: the lower cross-entropy), then everything is
        refitted with it. Classes without a label are never predicted: their unpenalised bias would run to -∞. `extra`
        is learnt from in every fit, those of the folds too, and nothing is chosen on it; its classes are among those of
        `y`.
        """
        classes, y = np.unique(np.asarray(y), return_inverse=True)
        assert classes[0] >= 0 and classes[-1] < n_classes
        folds = clip_folds(y, groups, seed)
        if extra is not None:
            assert np.isin(extra.y, classes).all()
            extra = Labelled(extra.x, np.searchsorted(classes, extra.y))
        own, rows, all_y = y, Rows(x, extra=extra), _behind(y, extra)
        few = rows.size <= SMALL and rows.shape[0] * min(rows.shape) * len(classes) <= STACKED
        chooses = self._together if few and folds else self._in_turn
        trials, start_of = chooses(x, y, folds, extra, len(classes))

        best = best_point(trials)
        l2 = self.grid[best] if folds else self.one_shot
        axes = Axes.of(rows, np.float64 if rows.size <= HELD else np.float32, self.standardise)
        w, expected = _start(all_y, len(classes), len(axes.z)), 0.0
        if folds:
            weight, bias, expected = start_of(best)
            w = axes.inward(weight, bias)
        converged = False
        if few:
            w, objective, converged = self._refit(Stack([axes.z], [all_y], len(classes)), l2, w, expected)
        if axes.z.dtype == np.float64:
            if not converged:
                w, objective, converged = solve(axes.z, all_y, l2, w, self.max_iter, FINAL)
        else:
            w, _, _ = solve(axes.z, all_y, l2, w, self.max_iter, CHOICE)
            w, objective, converged = refine(axes.z, all_y, l2, w)
        accuracy = float(np.concatenate([trial.right[best] for trial in trials]).mean()) if folds else None
        checked = unselected(trials, [own[val] for _, val in folds])
        return FittedLinear(*axes.outward(w), classes, n_classes, {"l2": l2}, accuracy, objective, converged, checked)

    def _refit(self, stack: Stack, l2: float, w: np.ndarray, expected: float) -> tuple[np.ndarray, float, bool]:
        """The one fit of `stack`, from w where the objective is about as `expected`, else by way of larger λ.

        Newton's method is quick near the optimum only. Where λ is small, what other images have taught is too certain
        of these: on mnist5k an objective of .3 instead of 2e-4.
        """
        start = w[None]
        if stack.objective(start, l2)[0] > NEAR * expected:
            *_, start = w[None], *stack.path([larger for larger in self.grid if larger > l2], self.max_iter)
        found, values, converged = stack.solve(l2, start, self.max_iter, stacked.FINAL)
        return found[0], float(values[0]), converged

    def _in_turn(
        self, x: np.ndarray, y: np.ndarray, folds: Folds, extra: Labelled | None, classes: int
    ) -> tuple[list[Trial], Start]:
        """What each λ said of each fold's validation images, and the first fold's weights at a λ; fold by fold."""
        trials: list[Trial] = []
        starts: list[tuple[np.ndarray, np.ndarray, float]] = []
        for fold, (fit, val) in enumerate(folds):
            rows, y_fit = Rows(x, fit, extra), _behind(y[fit], extra)
            axes = Axes.of(rows, np.float64 if rows.size <= SMALL else np.float32, self.standardise)
            z_val = axes.rotate(Rows(x, val))
            right, entropy = np.zeros((len(self.grid), len(val)), dtype=bool), np.zeros((len(self.grid), len(val)))
            for i, w in enumerate(path(axes.z, y_fit, classes, self.grid, self.max_iter)):
                logits = product(w[:, :-1], z_val) + w[:, -1:]
                right[i] = logits.argmax(axis=0) == y[val]
                entropy[i] = cross_entropies(logits, (y[val], np.arange(len(val))))
                if fold == 0:
                    starts.append((*axes.outward(w), 0.0))
            trials.append(Trial(right, entropy))
            del axes, z_val  # before the next
        return trials, starts.__getitem__

    def _together(
        self, x: np.ndarray, y: np.ndarray, folds: Folds, extra: Labelled | None, classes: int
    ) -> tuple[list[Trial], Start]:
        """As `_in_turn`, all folds at once; the weights are the folds' mean."""
        axes = [Axes.of(Rows(x, fit, extra), np.float64, self.standardise) for fit, _ in folds]
        stack = Stack([one.z for one in axes], [_behind(y[fit], extra) for fit, _ in folds], classes)
        found = np.stack(list(stack.path(self.grid, self.max_iter)))  # (λ, folds, classes, r + 1)
        trials = []
        for fold, (_, val) in enumerate(folds):
            w = stack.own(found[:, fold], fold)
            logits = w[..., :-1] @ axes[fold].rotate(Rows(x, val)) + w[..., -1:]
            right = logits.argmax(axis=1) == y[val]
            entropy = cross_entropies(
                logits.swapaxes(0, 1).reshape(classes, -1), (np.tile(y[val], len(w)), np.arange(right.size))
            )
            trials.append(Trial(right, entropy.reshape(right.shape)))

        def start(point: int) -> tuple[np.ndarray, np.ndarray, float]:
            each = [one.outward(stack.own(found[point, fold], fold)) for fold, one in enumerate(axes)]
            weight, bias = (np.mean(part, axis=0) for part in zip(*each, strict=True))
            return weight, bias, float(stack.objective(found[point], self.grid[point]).mean())

        return trials, start


def path(z: np.ndarray, y: np.ndarray, classes: int, grid: Sequence[float], max_iter: int) -> Iterator[np.ndarray]:
    """(classes, r + 1) for each λ of `grid`, large to small, as exact as a choice of λ needs; z (r, n), y (n,)."""
    w = before = _start(y, classes, len(z))
    for l2 in grid:
        start, before = 2 * w - before, w
        w, _, _ = solve(z, y, l2, start, max_iter, CHOICE)
        yield w


def fixed(x: np.ndarray, y: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (C, d), bias (C,) on raw features and the classes (C,) int64 that occur, for a given λ.

    As exact as the fits by which λ is chosen; x (n, d) float32, y (n,).
    """
    classes, y = np.unique(np.asarray(y, dtype=np.int64), return_inverse=True)
    axes = Axes.of(Rows(x), np.float64 if x.size <= SMALL else np.float32)
    w, _, _ = solve(axes.z, y, l2, _start(y, len(classes), len(axes.z)), HEAD_ITER, CHOICE)
    return *axes.outward(w), classes


def _behind(y: np.ndarray, extra: Labelled | None) -> np.ndarray:
    return y if extra is None else np.concatenate([y, extra.y])


def _start(y: np.ndarray, classes: int, r: int) -> np.ndarray:
    """No weights, and the bias that fits the class frequencies: the optimum at λ = ∞."""
    w = np.zeros((classes, r + 1))
    w[:, -1] = np.log(np.bincount(y, minlength=classes) / len(y))
    return w
