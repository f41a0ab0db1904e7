"""A probe on a network that can read images at several sizes: the size is chosen like any other setting.

Every size is fitted on the same labels and the same folds. Sizes are compared on validation images of which none was
used to choose a size's own setting, such as λ (`folds.unselected`); of equally good ones the first is taken. The
accuracy of the better of two is too high as an estimate, so `unselected` is nested: an image counts for the size that
the other folds have chosen. What remains: a setting that fold 1 is counted for was chosen on folds 2 and 3, of which
the size for fold 2 is chosen as well; this favours no size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gssl.data.preprocessing import Preprocessing
from gssl.probe.folds import Trial, best_point, unselected


@dataclass
class Sized:
    """The fit at the size that was chosen; whatever else is asked of it is the fit's own."""

    model: Any
    view: Preprocessing
    validated: dict[str, float]  # size → accuracy on the images where sizes were compared; empty: chosen by rule
    n_val: int  # how many images these were
    unselected: list[np.ndarray]

    @property
    def chosen(self) -> dict[str, Any]:
        """What the fit chose, and the size."""
        return {**self.model.chosen, "size": self.view.size}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "model":
            raise AttributeError(name)
        return getattr(self.model, name)


def choose(fits: Mapping[Preprocessing, Any], labels: Sequence[np.ndarray]) -> Sized:
    """The best of fits with `unselected` folds, by size; `labels` (m,) of each fold's validation images.

    Without folds, or of one size, the first.
    """
    views = list(fits)
    if len(views) == 1 or not labels:
        return alone(fits[views[0]], views[0])
    folds = [np.stack([fits[view].unselected[fold] for view in views]) for fold in range(len(labels))]
    trials = [Trial(right, np.zeros(right.shape)) for right in folds]  # no ties but by order
    best = views[best_point(trials)]
    accuracy = np.concatenate(folds, axis=1).mean(axis=1)
    validated = {str(view): float(value) for view, value in zip(views, accuracy, strict=True)}
    count = sum(len(names) for names in labels)
    return Sized(fits[best], best, validated, count, unselected(trials, labels))


def alone(model: Any, view: Preprocessing) -> Sized:
    """A fit at a size that is given."""
    return Sized(model, view, {}, 0, getattr(model, "unselected", []))
