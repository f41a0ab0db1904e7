"""Which labelled images a choice is made on. The test set plays no part here."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gssl.data import Draws, Images
from gssl.data.targets import of_columns

# Labels in the rarest class from which one split is steady enough. With 10 its validation part would be one image
# per class, and λ a matter of luck: on mnist5k that cost SimCLR's features 7 points at 10 labels per class (measured on
# its test images).
LEAST_FOR_SPLIT = 50
# What is compared on few images is compared by luck: the folds cover all labels, and the split holds out 300 images
# where that is at most 30%. On mnist5k (16 draws, 10 and 100 labels per class) a linear probe's accuracy on labelled
# images that were not drawn does not tell three folds from five (.794, .794; SimCLR .836, .836), nor 30% from 10%
# (.921, .920; .936, .936); what is measured on the split then errs by .017 instead of .031 (SimCLR .019, .020).
MOST_FOLDS = 3
HELD_OUT = (0.1, 0.3)  # least and largest proportion of each class in the one split
HELD_IMAGES = 300  # that it has where its proportion lies between them


class Labelled(NamedTuple):
    """Features x (n, d) float32 and labels y (n,) int64 that a probe learns from and chooses nothing on."""

    x: np.ndarray
    y: np.ndarray


def joined(x: np.ndarray, y: np.ndarray, extra: Labelled | None) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) and (n,) with `extra` behind them."""
    if extra is None:
        return x, y
    return np.concatenate([x, extra.x]), np.concatenate([y, extra.y])


def choice_folds(labels: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs (fit, validation) of sorted, disjoint int64 index arrays into `labels`, stratified by class.

    The number r of labels in the rarest class that occurs decides: r >= 50 gives one split, with 10 to 30% of each
    class for validation (as many as make 300 images), 2 to 49 give min(3, r) folds that cover everything once, 1 gives
    an empty list: there is nothing to choose on.
    Each fit part holds every class. The same (labels, seed) give the same folds.
    """

    labels = np.asarray(labels)
    present, counts = np.unique(labels, return_counts=True)
    rarest = int(counts.min())
    if rarest < 2:
        return []
    order = Draws(seed).generator("choice-folds")
    shuffled = [order.permutation(np.flatnonzero(labels == c)) for c in present]

    if rarest >= LEAST_FOR_SPLIT:
        fold_of = np.ones(len(labels), dtype=np.int64)
        held = float(np.clip(HELD_IMAGES / len(labels), *HELD_OUT))
        for members in shuffled:
            fold_of[members[: round(held * len(members))]] = 0
        folds = 1
    else:
        folds = min(MOST_FOLDS, rarest)
        fold_of = np.empty(len(labels), dtype=np.int64)
        # Dealing on from where the last class stopped keeps the folds' sizes within one of each other.
        fold_of[np.concatenate(shuffled)] = np.arange(len(labels)) % folds
    return [(np.flatnonzero(fold_of != f), np.flatnonzero(fold_of == f)) for f in range(folds)]


def image_folds(n: int, groups: np.ndarray | None, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs (fit, validation) of sorted, disjoint int64 index arrays into n images that are labelled as a whole.

    Images of one group (n,), such as frames of one film, stay on one side: they are the units here, single images
    where there are no groups. From 50 units on there is one split, with 10 to 30% of the units for validation; 2 to 49
    give min(3, units) folds that cover everything once, one gives an empty list. The same arguments, the same folds.
    """
    names = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    units = int(names.max()) + 1
    if units < 2:
        return []
    order = np.empty(units, dtype=np.int64)
    order[Draws(seed).generator("choice-folds/images").permutation(units)] = np.arange(units)
    if units >= LEAST_FOR_SPLIT:
        held = round(float(np.clip(HELD_IMAGES / units, *HELD_OUT)) * units)
        fold_of, folds = np.where(order < held, 0, 1), 1
    else:
        folds = min(MOST_FOLDS, units)
        fold_of = order % folds
    of_image = fold_of[names]
    return [(np.flatnonzero(of_image != f), np.flatnonzero(of_image == f)) for f in range(folds)]


def clip_folds(labels: np.ndarray, groups: np.ndarray | None, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """As `choice_folds` of labels (n,) whose items belong to groups (n,), which are never torn: clips of one person.

    Without groups they are `choice_folds`; with them `image_folds`, as far as each fit part holds every class: where
    one does not, nothing can be chosen and the list is empty.
    """
    if groups is None:
        return choice_folds(labels, seed)
    folds = image_folds(len(labels), groups, seed)
    classes = len(np.unique(labels))
    return folds if all(len(np.unique(labels[fit])) == classes for fit, _ in folds) else []


def label_folds(images: Images, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The folds of labelled images, or of what else has a class: of sounds they tear no group (speaker)."""
    groups = images.groups if of_columns(images.columns).whole else None
    return clip_folds(images.labels, groups, seed)


class Trial(NamedTuple):
    """What the points of a grid, a row each, said of a fold's validation images."""

    right: np.ndarray  # (points, m) bool
    entropy: np.ndarray  # (points, m) float64: cross-entropy of each image


def best_point(trials: Sequence[Trial]) -> int:
    """The point that is right most often over all folds; ties by cross-entropy, then by order. The first of none."""
    if not trials:
        return 0
    right = sum(trial.right.sum(axis=1) for trial in trials)
    entropy = sum(trial.entropy.sum(axis=1) for trial in trials)
    return int(np.lexsort((entropy, -np.asarray(right)))[0])


def unselected(trials: Sequence[Trial], labels: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Bool (m,) per fold: was each validation image named right by a point that was chosen without it?

    The accuracy of the best of many points on the images where it was chosen is too high, the more so the more points
    there are (Cawley and Talbot 2010, JMLR 11). Here the point for a fold is the best of the other folds; where there
    is one fold only, its two halves, stratified by `labels` (m,) of each fold, choose for each other. What remains:
    the other folds' networks have learnt from this fold's images, which favours no point.
    """
    if len(trials) != 1:
        own = [best_point([*trials[:f], *trials[f + 1 :]]) for f in range(len(trials))]
        return [trial.right[point] for trial, point in zip(trials, own, strict=True)]
    (trial,), (names,) = trials, labels
    half = np.zeros(len(names), dtype=bool)
    half[np.argsort(names, kind="stable")[1::2]] = True
    found = np.zeros(len(names), dtype=bool)
    for one, other in ((half, ~half), (~half, half)):
        point = best_point([Trial(trial.right[:, other], trial.entropy[:, other])])
        found[one] = trial.right[point, one]
    return [found]
