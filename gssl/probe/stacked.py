"""Small ℓ2-regularised logistic regressions of the same classes, solved together: the folds of a linear probe.

The objective is that of `gssl.probe.linear`: mean cross-entropy + λ/2·‖W‖², the bias unpenalised. Where the objective
of 67 images takes 30 µs, a general optimiser's own work takes three times as long. Here all fits are one array.
Newton's method finds each step by conjugate gradients, preconditioned with the Hessian's diagonal (as good a
preconditioner as in `gssl.probe.linear`: features come on their principal axes); an iteration is two products.
"""

from collections.abc import Iterator, Sequence

import numpy as np

SHRINK = 0.3  # of a step that does not decrease the objective
SUFFICIENT = 1e-4  # of the decrease that the slope promises
ROUNDING = 1e-14  # of the objective: so much more is no increase
# A fit ends where the square of its preconditioned gradient is less than this, relative to the objective.
# CHOICE: within some 2e-5 of the optimum. FINAL: what is left is rounding.
CHOICE = 3e-5
FINAL = 1e-15
FORCING = 0.04  # how much of that square a Newton step leaves, at most
LONGEST = 250  # iterations for one step
SINGLE = 1e-5  # objective from which single precision resolves what a step is made of; the rest is double
# Of the Hessian's diagonal, added to it: the biases of all classes may rise together, and along this direction rounding
# alone would be left to divide by.
DAMPING = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-14}
VECDOT = hasattr(np, "vecdot")  # NumPy 2; half the time
TINY = np.float32(1e-30)
SPARED = 0.3  # of the end: a step that leaves less than this is more exact than the end needs


class Stack:
    """Features z (r, n) and labels y (n,) of several fits, as one array; the shorter ones end in zeros."""

    def __init__(self, zs: Sequence[np.ndarray], ys: Sequence[np.ndarray], classes: int) -> None:
        r, n = np.max([z.shape for z in zs], axis=0)
        self.ranks = [len(z) for z in zs]
        self.z = np.zeros((len(zs), r + 1, n))
        self.weights = np.zeros((len(zs), n))  # of an image in its fit's mean
        labels = np.zeros((len(zs), n), dtype=np.int64)
        for i, (z, y) in enumerate(zip(zs, ys, strict=True)):
            self.z[i, : len(z), : len(y)] = z
            self.z[i, r, : len(y)] = 1
            self.weights[i, : len(y)] = 1 / len(y)
            labels[i, : len(y)] = y
        self.rows = np.ascontiguousarray(self.z.transpose(0, 2, 1))
        single = self.z.astype(np.float32), self.rows.astype(np.float32)
        self.features = {np.dtype(np.float64): (self.z, self.rows), np.dtype(np.float32): single}
        self.squares = np.square(self.rows)
        fits, images = np.ogrid[: len(zs), :n]
        self.right = (fits * classes + labels) * n + images  # in scores (fits, classes, n), flat
        # No weights, and the bias that fits the class frequencies: the optimum at λ = ∞.
        self.start = np.zeros((len(zs), classes, r + 1))
        for i, y in enumerate(ys):
            self.start[i, :, r] = np.log(np.bincount(y, minlength=classes) / len(y))

    def own(self, w: np.ndarray, fit: int) -> np.ndarray:
        """(…, classes, r + 1) of one fit's weights w (…, classes, most r + 1)."""
        rank = self.ranks[fit]
        return w if rank + 1 == w.shape[-1] else np.concatenate([w[..., :rank], w[..., -1:]], axis=-1)

    def probabilities(self, w: np.ndarray, decay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(fits, classes, n) at w, and the objective (fits,); `decay` is λ of each column of w."""
        p = w @ self.z
        p -= np.maximum.reduce(p, axis=1, keepdims=True)
        right = p.take(self.right)
        np.exp(p, out=p)
        total = np.add.reduce(p, axis=1, keepdims=True)
        p /= total
        value = _dot(np.log(total[:, 0]) - right, self.weights)
        value += 0.5 * _dot3(w * decay, w)
        return p, value

    def objective(self, w: np.ndarray, l2: float) -> np.ndarray:
        """(fits,) at w (fits, classes, r + 1)."""
        return self.probabilities(w, _decay(w, l2))[1]

    def solve(self, l2: float, start: np.ndarray, max_iter: int, end: float) -> tuple[np.ndarray, np.ndarray, bool]:
        """Minimisers (fits, classes, r + 1), the objectives (fits,) there, and whether all were found.

        `max_iter`: conjugate gradients' iterations, all together.
        """
        decay = _decay(start, l2)
        w = start
        p, value = self.probabilities(w, decay)
        active = np.ones(len(w), dtype=bool)
        inverse = np.full_like(w, 1e10)  # at first no fit is done
        single = True
        while True:
            unit = np.maximum(
                value, 1e-12
            )  # ends are relative to it; at the start it may be any number of times as large
            spread = p * self.weights[:, None]
            over = spread.copy()
            over.ravel()[self.right] -= self.weights
            gradient = over @ self.rows
            gradient += w * decay
            # By the last step's preconditioner: a new one would cost as much as the gradient.
            active &= _dot3(gradient, inverse * gradient) > end * unit
            if not active.any() or max_iter <= 0:
                return w, value, not active.any()
            curvature = (spread * (1 - p)) @ self.squares
            curvature += decay
            inverse = 1 / np.maximum(curvature, 1e-10)
            square = _dot3(gradient, inverse * gradient)
            if not active.all():
                gradient[~active] = 0
            enough = np.maximum(square * np.minimum(FORCING, square / unit), SPARED * end * unit)
            dtype = np.dtype(np.float32 if single and value.min() >= SINGLE else np.float64)
            damped = decay + DAMPING[dtype] * curvature
            p, spread, gradient, inverse, damped, enough = (
                part.astype(dtype) for part in (p, spread, gradient, inverse, damped, enough)
            )
            step, used, single = self._step(p, spread, gradient, inverse, damped, enough, min(max_iter, LONGEST))
            max_iter -= used
            w, p, value, moved = self._moved(w, step, value, _dot3(step, gradient), unit, decay)
            active &= moved

    def _step(
        self,
        p: np.ndarray,
        spread: np.ndarray,
        gradient: np.ndarray,
        inverse: np.ndarray,
        decay: np.ndarray,
        enough: np.ndarray,
        max_iter: int,
    ) -> tuple[np.ndarray, int, bool]:
        """Newton's steps, about, how many iterations they took, and whether rounding never stopped them.

        A fit's step is done where the square of what it leaves of the gradient, preconditioned, is `enough`. There is
        none where the gradient is 0.
        """
        dtype = p.dtype
        (z, rows), least = self.features[dtype], DAMPING[dtype] / 2
        bent_of = np.empty(gradient.shape, dtype)
        decayed, change, part = np.empty_like(bent_of), np.empty_like(p), np.empty_like(p)
        residual, inverse = -gradient, inverse.reshape(len(gradient), -1)
        direction_of = inverse.reshape(gradient.shape) * residual
        residual, direction, bent = (a.reshape(inverse.shape) for a in (residual, direction_of, bent_of))
        step, scaled = np.zeros_like(residual), np.empty_like(residual)
        square = _dot(residual, direction)
        length_of = square.copy()  # of the direction: its square by the Hessian's diagonal
        lost = np.zeros(len(square), dtype=bool)
        going = square > enough
        used = 0
        while used < max_iter:
            used += 1
            np.matmul(direction_of, z, out=change)
            np.multiply(p, change, out=part)
            change -= np.add.reduce(part, axis=1, keepdims=True)
            change *= spread
            np.matmul(change, rows, out=bent_of)
            np.multiply(direction_of, decay, out=decayed)
            bent_of += decayed
            bend = _dot(direction, bent)
            # Damping bounds it from below; under that is rounding, and the step so far is kept.
            rounded = going & (bend < least * length_of)
            lost |= rounded
            going &= ~rounded
            length = (square * going / np.maximum(bend, TINY))[:, None]
            np.multiply(length, direction, out=scaled)
            step += scaled
            bent *= length
            residual -= bent
            np.multiply(inverse, residual, out=scaled)
            before, square = square, _dot(residual, scaled)
            going &= square > enough
            if not going.any():
                break
            ratio = square / np.maximum(before, TINY)
            length_of = square + ratio * ratio * length_of
            direction *= ratio[:, None]
            direction += scaled
        return step.reshape(gradient.shape), used, not lost.any()

    def _moved(
        self,
        w: np.ndarray,
        step: np.ndarray,
        value: np.ndarray,
        slope: np.ndarray,
        unit: np.ndarray,
        decay: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """w, probabilities and objective after the steps, shortened where they rise, and which fits moved."""
        for _ in range(40):
            new = w + step
            p, found = self.probabilities(new, decay)
            rises = ~(found <= value + SUFFICIENT * slope + ROUNDING * unit)
            if not rises.any():
                break
            shorter = np.where(rises, SHRINK, 1.0)
            slope = slope * shorter
            step *= shorter[:, None, None]
        return new, p, found, ~rises

    def path(self, grid: Sequence[float], max_iter: int) -> Iterator[np.ndarray]:
        """(fits, classes, r + 1) for each λ of `grid`, large to small, as exact as a choice of λ needs."""
        last = [self.start] * 3
        for i, l2 in enumerate(grid):
            # Where the last three point to: between the line through two and the parabola through three.
            now, before, first = last
            start = 2 * now - before if i < 4 else 2.5 * now - 2 * before + 0.5 * first
            w, _, _ = self.solve(l2, start, max_iter, CHOICE)
            last = [w, now, before]
            yield w


def _decay(w: np.ndarray, l2: float) -> np.ndarray:
    """λ of each column of w (fits, classes, r + 1): none of the biases'."""
    decay = np.full(w.shape[2], l2)
    decay[-1] = 0
    return decay


def _dot3(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(fits,) of a, b (fits, classes, r + 1)."""
    return _dot(a.reshape(len(a), -1), b.reshape(len(a), -1))


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(fits,) of a, b (fits, N)."""
    found: np.ndarray = np.vecdot(a, b) if VECDOT else np.einsum("fn,fn->f", a, b)
    return found
