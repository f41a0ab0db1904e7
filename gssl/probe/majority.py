"""The control that looks at no image: it answers the most frequent class, and every probe of it is this one."""

from dataclasses import dataclass

import numpy as np

from gssl.probe.folds import Labelled, choice_folds

NAME = "majority"  # as `weights` and as an arm


@dataclass
class FittedMajority:
    """One answer for all images; its confidence is that class's proportion of the labels."""

    answer: int
    frequencies: np.ndarray  # (n_classes,) float64, of the labels
    val_accuracy: float | None  # over the folds; None where there was nothing to choose on
    unselected: list[np.ndarray]  # per fold whether each image was answered rightly; nothing is chosen on it

    @property
    def chosen(self) -> dict[str, int]:
        """The class."""
        return {"class": self.answer}

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n, ·) to (n,) int64: always the same class."""
        return np.full(len(x), self.answer)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """(n, ·) to (n, n_classes) float64: the proportions of the labels, whatever the image."""
        return np.tile(self.frequencies, (len(x), 1))


class Majority:
    """`known`: labels of all training images. So many labels per class leave the classes equally frequent: of those
    the one that is most frequent among all is answered, and of equal ones the first, as everywhere."""

    def __init__(self, known: np.ndarray) -> None:
        self.known = known

    def fit(
        self, x: np.ndarray, y: np.ndarray, n_classes: int, seed: int, extra: Labelled | None = None
    ) -> FittedMajority:
        """On labels y (n,) in 0..n_classes-1. The features and what is generated (`extra`) say nothing."""
        folds = choice_folds(y, seed)
        right = [self._answer(y[fit], n_classes) == y[val] for fit, val in folds]
        accuracy = float(np.concatenate(right).mean()) if folds else None
        frequencies = np.bincount(y, minlength=n_classes) / len(y)
        return FittedMajority(self._answer(y, n_classes), frequencies, accuracy, right)

    def _answer(self, y: np.ndarray, n_classes: int) -> int:
        own, all_ = (np.bincount(a[a >= 0], minlength=n_classes) for a in (np.asarray(y), self.known))
        return int(np.lexsort((np.arange(n_classes), -all_, -own))[0])
