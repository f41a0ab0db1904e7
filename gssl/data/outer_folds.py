"""Outer folds: where labelled images are few, every one of them is a test image once.

A test part of some eleven images says next to nothing. With folds each labelled image is predicted by a network whose
training and choices never had it, and all of them together are the test images. Folds are stratified by class, decided
by seeded hashes, and never tear a group or copies of one file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gssl import schemas
from gssl.data import targets
from gssl.data.images import Images
from gssl.data.sources import DataSource
from gssl.errors import UsageError

FOLDS, SPLIT = "folds", "split"  # values of data.test that are no folder
FEW = 200  # labelled images below which folds are the default
FEW_PER_CLASS = 20  # in the smallest class, where that is among at most `MANY` labelled images
MANY = 2000  # a fifth of so many is a test part that will do, whatever the smallest class has
LEAST = 3  # labels of the smallest class from which there are no more folds than it has


@dataclass(frozen=True)
class Folds:
    """How labelled images are divided. of: int64 (N,), the fold of each; fold: which one is tested on, None: none is
    held back. least_per_class: of any fold's training part the fewest labels of a class. auto: nobody asked for it."""

    count: int
    fold: int | None
    of: np.ndarray
    least_per_class: int
    auto: bool

    def record(self) -> dict[str, int | bool | None]:
        """For the splits' summary."""
        return {"count": self.count, "fold": self.fold, "auto": self.auto, "least_per_class": self.least_per_class}


def wanted(cfg: schemas.Data, source: DataSource) -> bool:
    """Whether these images are divided into folds. Configurations of older versions have no `folds` and never are."""
    if cfg.folds is None or cfg.test == SPLIT:
        return False
    if cfg.test == FOLDS:
        return True
    return source.test is None and few(source.train.labels, targets.of_columns(source.train.columns).unit == "label")


def few(labels: np.ndarray, per_class: bool = True) -> bool:
    """Whether so few images want folds by default. labels (N,), -1 where unknown; per_class False: all are counted."""
    known = labels[labels >= 0] if per_class else labels
    if len(known) == 0 or not per_class:
        return 0 < len(known) < FEW
    smallest = np.unique(known, return_counts=True)[1].min()
    return len(known) < FEW or (len(known) <= MANY and bool(smallest < FEW_PER_CLASS))


def divide(cfg: schemas.Data, labels: np.ndarray, units: Sequence[str] | np.ndarray, chances: np.ndarray) -> Folds:
    """The folds of labelled images (N,); units: what each belongs to; chances (N,): of its unit.

    Where the smallest class has three labels or more there are no more folds than it has: else a class would lack
    one of its few labels in just those folds that test it, and would be named less often than it should.
    Raises UsageError where images, groups or the asked fold do not allow it.
    """
    assert cfg.folds is not None
    names, codes = np.unique(np.asarray(units), return_inverse=True)
    of_class = np.unique(labels, return_inverse=True)[1]
    smallest = int(np.bincount(of_class).min())
    count = min(cfg.folds, smallest) if smallest >= LEAST and of_class.max() > 0 else cfg.folds
    if len(names) < count:
        what = "groups, which stay together," if len(names) < len(labels) else "labelled images"
        raise UsageError(
            f"data.folds={cfg.folds}: there are {len(names)} {what} for {count} folds; use data.folds={len(names)}"
            if len(names) > 1
            else f"data.test: the {len(labels)} labelled images are one group, which stays together; give test images"
        )
    if cfg.fold is not None and cfg.fold >= count:
        fewer = f" (the smallest class has {smallest} labels)" if count < cfg.folds else ""
        raise UsageError(f"data.fold={cfg.fold}: there are {count} folds{fewer}; use 0 to {count - 1}")
    of = assign(of_class, codes, chances, count)
    least = min(int(np.bincount(of_class[of != k], minlength=of_class.max() + 1).min()) for k in range(count))
    return Folds(count, cfg.fold, of, least, cfg.test != FOLDS)


def assign(classes: np.ndarray, units: np.ndarray, chances: np.ndarray, count: int) -> np.ndarray:
    """int64 (N,): the fold of each image. classes, units: codes 0, 1, … (N,); chances (N,), equal within a unit.

    Large units first, equal ones in order of chance; each goes where its classes, then images altogether, are fewest.
    Single images so get folds that differ by one image of each class, and by one in size, at most.
    """
    number, kinds = int(units.max()) + 1, int(classes.max()) + 1
    sizes = np.zeros((number, kinds))
    np.add.at(sizes, (units, classes), 1)
    chance = np.zeros(number)
    chance[units] = chances
    wanted, held, of = sizes.sum(axis=0) / count, np.zeros((count, kinds)), np.empty(number, dtype=np.int64)
    for unit in np.lexsort((chance, -sizes.sum(axis=1))):
        own = sizes[unit]
        excess = ((2 * held + own) * own / wanted).sum(axis=1)  # by how much the squares of its classes' counts grow
        best = np.flatnonzero(excess <= excess.min() + 1e-9)
        of[unit] = best[held[best].sum(axis=1).argmin()]
        held[of[unit]] += own
    return of[units]


def in_order(images: Images) -> Images:
    """The images in the order of their contents, then labels: that in which folds are put together again."""
    order: np.ndarray = np.lexsort((images.labels, images.image_hashes().view("S16")))
    return images.subset(order)
