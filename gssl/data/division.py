"""How images are divided among the processes of one run, for what must not know of processes.

In one process nothing is divided. `gssl.engine.dist` puts in `current` what divides among several. Torch and NumPy are
imported where they are needed: the launcher of processes asks before it needs either.
"""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from gssl.data.draws import Draws


class Division(Protocol):
    def place(self) -> tuple[int, int]:
        """This process's rank, and the number of processes."""

    def first(self, make: Callable[[], Any]) -> Any:
        """What `make` returns in process 0, where alone it is called; raises in all what it raises there."""

    def rows(self, mine: "np.ndarray | None") -> "np.ndarray":
        """The rows of all processes in the order of their ranks; None: this process has none."""

    def mean(self, x: "Tensor") -> "Tensor":
        """The mean over processes, with gradients."""


class One:
    """One process: all is its own."""

    def place(self) -> tuple[int, int]:
        return 0, 1

    def first(self, make: Callable[[], Any]) -> Any:
        return make()

    def rows(self, mine: "np.ndarray | None") -> "np.ndarray":
        assert mine is not None
        return mine

    def mean(self, x: "Tensor") -> "Tensor":
        return x


current: Division = One()


def use(division: Division) -> None:
    global current
    current = division


def part(count: int, batch_size: int) -> "np.ndarray | None":
    """Indices of this process's images of `count` in order: whole batches, so that each image is computed beside the
    same others as in one process; None where all are its own."""
    import numpy as np

    rank, ranks = current.place()
    if ranks == 1:
        return None
    batches = -(-count // batch_size)
    start, end = (batches * i // ranks * batch_size for i in (rank, rank + 1))
    return np.arange(start, min(end, count))


def cut(draws: "Draws", sizes: Sequence[int]) -> "Draws":
    """Draws of this process's part of batches of `sizes` images, or `draws` where one of them cannot be divided."""
    from gssl.data.draws import Draws

    rank, ranks = current.place()
    return draws if any(size % ranks for size in sizes) else Draws(draws.seed, rank, ranks)


def cut_views(views: Any, draws: "Draws") -> Any:
    """Random views of the part of a batch that `draws` are of."""
    if draws.ranks == 1:
        return views
    from gssl.data.draws import Draws

    own = copy.copy(views)
    own.draws = Draws(views.draws.seed, draws.rank, draws.ranks)
    return own
