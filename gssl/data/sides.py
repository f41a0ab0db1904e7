"""Which side of a split an item is on, decided by seeded hashes."""

from collections.abc import Container, Iterator, Sequence
from hashlib import blake2b

import numpy as np

from gssl import schemas
from gssl.data.draws import digest
from gssl.errors import UsageError

BLOCK = 4096  # units that are objects at a time


def threshold_split(labels: np.ndarray, chances: np.ndarray, fraction: float, tie_classes: bool = True) -> np.ndarray:
    """bool (N,): the images whose own chance in [0, 1) is below `fraction`, independent of all others.

    tie_classes: a class with distinct chances that would lie on one side gives its extreme to the other.
    """
    chosen = chances < fraction
    scopes = [labels == label for label in np.unique(labels)] if tie_classes else [np.ones(len(labels), bool)]
    for members in scopes:
        own = chances[members]
        if own.min() == own.max():  # one image, or copies of one: it cannot be on both sides
            chosen &= ~members
            continue
        if not chosen[members].any():
            chosen |= members & (chances == own.min())
        elif chosen[members].all():
            chosen &= ~(members & (chances == own.max()))
    return chosen


def exact_split(
    labels: np.ndarray, chances: np.ndarray, fraction: float, groups: np.ndarray | None = None
) -> np.ndarray:
    """bool (N,): the nearest whole number to `fraction` of each class, in order of chance.

    At least one and not all of every class that has two or more images. Groups (N,) are never torn: they are
    taken in order of chance where they bring the counts per class nearer to their targets.
    """
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    targets = np.where(counts > 1, np.clip(np.round(fraction * counts), 1, np.maximum(counts - 1, 1)), 0)
    if groups is None:
        return rank_in_class(codes, chances) < targets[codes]
    names, first, group_codes = np.unique(groups, return_index=True, return_inverse=True)
    sizes = np.zeros((len(names), len(counts)))
    np.add.at(sizes, (group_codes, codes), 1)
    left, taken = targets.astype(float), np.zeros(len(names), dtype=bool)
    for group in np.argsort(chances[first], kind="stable"):
        if np.abs(left - sizes[group]).sum() < np.abs(left).sum():
            taken[group] = True
            left -= sizes[group]
    if not taken.any() and len(names) > 1:  # every group is far larger than the target
        taken[sizes.sum(axis=1).argmin()] = True
    return taken[group_codes]


def divided(
    labels: np.ndarray, units: np.ndarray, grouped: bool, given: Container[str], cfg: schemas.Data
) -> np.ndarray:
    """ "train", "val" or "test" (N,), for what cannot wait for `gssl.data.splits`; `given` parts take none of these.

    units: what decides an item's side; grouped: whether items of one unit belong together. Raises UsageError.
    """
    sides = np.full(len(units), "train", dtype="<U5")
    if "test" not in given:
        chosen = threshold_split(labels, chances_of(units, cfg.split_seed, "test"), cfg.test_fraction, not grouped)
        check_sides(chosen, "data.test_fraction", "test", units if grouped else None)
        sides[chosen] = "test"
    if "val" not in given:
        left = np.flatnonzero(sides == "train")
        chances = chances_of(units[left], cfg.split_seed, "val")
        chosen = exact_split(labels[left], chances, cfg.val_fraction, units[left] if grouped else None)
        check_sides(chosen, "data.val_fraction", "validation", units[left] if grouped else None)
        sides[left[chosen]] = "val"
    return sides


def rank_in_class(codes: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """int64 (N,): each image's rank among its class when ordered by chance."""
    order = np.lexsort((np.arange(len(codes)), chances, codes))
    starts = np.searchsorted(codes[order], codes[order])
    ranks = np.empty(len(codes), dtype=np.int64)
    ranks[order] = np.arange(len(codes)) - starts
    return ranks


def chances_of(units: np.ndarray | Sequence[str | bytes], seed: int, purpose: str) -> np.ndarray:
    """float64 (N,) in [0, 1): a seeded hash of each unit."""
    start = blake2b(digest(purpose, seed), digest_size=8)  # copied per unit: a third of the time of a new one
    raw = bytearray()
    for unit in _one_by_one(units):
        state = start.copy()
        state.update(unit if isinstance(unit, bytes) else unit.encode(errors="surrogateescape"))
        raw += state.digest()
    return np.frombuffer(raw, dtype="<u8").astype(np.float64) / 2.0**64


def _one_by_one(units: np.ndarray | Sequence[str | bytes]) -> Iterator[str | bytes]:
    """Texts or bytes; of an array, which may have millions, few are objects at a time."""
    if not isinstance(units, np.ndarray):
        yield from units
        return
    for place in range(0, len(units), BLOCK):
        yield from units[place : place + BLOCK].tolist()


def check_sides(chosen: np.ndarray, key: str, what: str, groups: np.ndarray | None) -> None:
    if chosen.any() and not chosen.all():
        return
    why = "images of one group stay together" if groups is not None else "no class has two different images"
    raise UsageError(
        f"{key}: {len(chosen)} images cannot be divided into training and {what} images ({why}); add images"
        " or give the parts yourself (data.train and data.test, or a split column in data.labels)"
    )
