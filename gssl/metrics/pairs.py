"""One pass over all pairs of two sets of features, tile by tile: each product is computed once and serves everybody.

Kernel sums (KID), mean distances, nearest neighbours, balls. Products are float64: two neighbours differ by little of
their lengths, and KID is a small difference of large means. What is held at once is a few tiles and two blocks of
rows, never n²; where both sides are one set, only half of the tiles is computed. Products and sums run in torch, in
the run's number of threads.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gssl.errors import JobError, UsageError

SIDE = 1024  # rows and columns of a tile
# |x|² + |y|² - 2 x·y is exact to about 1e-15 of the lengths. What is closer than this counts as equal, so that copies
# of an image are at distance 0 and on the rim of the same balls, whatever the size of the tiles.
EQUAL = 1e-12  # of the squared length: distances below a millionth of the length are 0
TIE = 1e-9  # relative, of squared distances


class Features:
    """A set of feature vectors: float64 rows when asked for, and their squared lengths `square` (n,)."""

    def __init__(self, values: np.ndarray, name: str = "features") -> None:
        """`values`: (n, d), n at least 2. Raises UsageError for another shape, JobError for NaN and infinities."""
        values = np.asarray(values)
        if values.ndim != 2 or len(values) < 2:
            raise UsageError(f"{name}: expected at least two feature vectors (n, d), got the shape {values.shape}")
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        self.values = torch.tensor(values) if not values.flags.writeable else torch.from_numpy(values)
        self.square = torch.cat([self.rows(part).square().sum(dim=1) for part in blocks(len(values))])
        if not bool(torch.isfinite(self.square).all()):
            raise JobError(f"{name}: NaN or infinite values; the network that made these images has diverged")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        return self.values.shape[1]

    def rows(self, part: slice) -> Tensor:
        """(len(part), d) float64."""
        return self.values[part].double()

    def subset(self, index: np.ndarray) -> "Features":
        return Features(self.values[torch.from_numpy(np.asarray(index))].numpy())


class Within(NamedTuple):
    """A set against itself; an image is never its own neighbour, its copies are."""

    kernel: np.ndarray  # (n,) sums of (x·y/d + 1)³ over the others
    distance: float  # mean over pairs of different images
    near: np.ndarray  # (n, k) squared distances to the k nearest others, ascending


class Between(NamedTuple):
    """Two sets, x (n, d) and y (m, d), with balls around both."""

    kernel_x: np.ndarray  # (n,) sums of the kernel over y
    kernel_y: np.ndarray  # (m,) and over x
    near_x: np.ndarray  # (n,) squared distance to the nearest y
    near_y: np.ndarray  # (m,) and to the nearest x
    y_inside: np.ndarray  # (m,) bool: in or on the rim of at least one wide ball of x
    x_inside: np.ndarray  # (n,) bool: the same with the balls of y
    balls: np.ndarray  # (m,) number of narrow balls of x that hold y
    held: np.ndarray  # (n,) number of y in x's narrow ball
    left: np.ndarray  # (draws, m) bool: y in a wide ball of the x that are `present`


def blocks(n: int, side: int | None = None) -> list[slice]:
    side = side or SIDE
    return [slice(i, min(i + side, n)) for i in range(0, n, side)]


def tiles(x: Features, y: Features) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Rows, columns, products and squared distances of each tile; the upper half only where y is x."""
    for i, rows in enumerate(blocks(len(x))):
        left = x.rows(rows)
        for j, columns in enumerate(blocks(len(y))):
            if y is x and j < i:
                continue
            dots = left @ (left if y is x and i == j else y.rows(columns)).T
            square = (x.square[rows, None] + y.square[columns]).sub_(dots, alpha=2)
            square.masked_fill_(square <= EQUAL * x.square[rows, None], 0)
            yield rows, columns, dots, square


def within(x: Features, k: int) -> Within:
    """Everything about x against itself; k from 1 to n - 1."""
    n = len(x)
    sums, near = torch.zeros(n, dtype=torch.float64), torch.full((n, k), torch.inf, dtype=torch.float64)
    total = 0.0
    for rows, columns, dots, square in tiles(x, x):
        own = rows == columns
        if own:
            square.fill_diagonal_(0)
        total += float(square.sqrt().sum()) * (1 if own else 2)
        kernel = kernel_(dots, x.dim)
        if own:
            kernel.fill_diagonal_(0)
            square.fill_diagonal_(torch.inf)
        sums[rows] += kernel.sum(dim=1)
        near[rows] = _nearest(near[rows], square)
        if not own:
            sums[columns] += kernel.sum(dim=0)
            near[columns] = _nearest(near[columns], square.T.contiguous())
    return Within(sums.numpy(), total / (n * (n - 1)), near.numpy())


def between(
    x: Features,
    y: Features,
    wide_x: np.ndarray,
    narrow_x: np.ndarray,
    wide_y: np.ndarray,
    present: np.ndarray | None = None,
) -> Between:
    """Everything about x against y; balls by squared radii: `wide_x` and `narrow_x` (n,), `wide_y` (m,).

    `present` bool (draws, n): which x are there in each of some draws.

    Wide balls include their rim (<=), narrow ones do not (<).
    """
    n, m = len(x), len(y)
    kernel_x, kernel_y, balls, held = (torch.zeros(size, dtype=torch.float64) for size in (n, m, m, n))
    there = torch.zeros(0, n) if present is None else torch.from_numpy(present).float()
    left = torch.zeros(len(there), m)
    # distance to the nearest and signed distance to the nearest rim, at most 0 inside
    near_x, near_y, inside_x, inside_y = (torch.full((size,), torch.inf, dtype=torch.float64) for size in (n, m, n, m))
    around_x, around_y = rim(wide_x, x.square, 1), rim(wide_y, y.square, 1)
    within_x = rim(narrow_x, x.square, -1)
    for rows, columns, dots, square in tiles(x, y):
        kernel = kernel_(dots, x.dim)
        kernel_x[rows] += kernel.sum(dim=1)
        kernel_y[columns] += kernel.sum(dim=0)
        near_x[rows] = torch.minimum(near_x[rows], square.amin(dim=1))
        near_y[columns] = torch.minimum(near_y[columns], square.amin(dim=0))
        inner = (square < within_x[rows, None]).to(torch.float64)
        balls[columns] += inner.sum(dim=0)
        held[rows] += inner.sum(dim=1)
        signed = torch.sub(square, around_x[rows, None], out=kernel)
        inside_y[columns] = torch.minimum(inside_y[columns], signed.amin(dim=0))
        if len(there):
            left[:, columns] += there[:, rows] @ (signed <= 0).float()
        signed = torch.sub(square, around_y[columns], out=kernel)
        inside_x[rows] = torch.minimum(inside_x[rows], signed.amin(dim=1))
    inside = (inside_y <= 0, inside_x <= 0)
    return Between(*(value.numpy() for value in (kernel_x, kernel_y, near_x, near_y, *inside, balls, held, left > 0)))


def nearest(x: Features, y: Features) -> np.ndarray:
    """(n,) squared distance from each x to its nearest y."""
    near = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for rows, _, _, square in tiles(x, y):
        near[rows] = torch.minimum(near[rows], square.amin(dim=1))
    return near.numpy()


def rim(radius: np.ndarray, length: Tensor, sign: int) -> Tensor:
    """Squared radii moved out (sign 1) or in (-1) by the rounding, so that ties are what they are on paper."""
    return torch.from_numpy(np.asarray(radius, dtype=np.float64)) * (1 + sign * TIE) + sign * EQUAL * length


def kernel_(dots: Tensor, d: int) -> Tensor:
    """(x·y/d + 1)³ from products x·y, overwriting them."""
    dots.div_(d).add_(1)
    return dots.mul_(dots.square())


def _nearest(known: Tensor, square: Tensor) -> Tensor:
    """(n, k) smallest of `known` (n, k) and `square` (n, m), ascending."""
    k = known.shape[1]
    found = square.topk(min(k, square.shape[1]), dim=1, largest=False, sorted=False).values
    return torch.cat([known, found], dim=1).topk(k, dim=1, largest=False, sorted=True).values
