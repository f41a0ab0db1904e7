"""The better of several probes, such as a linear probe and fine-tuning: what a source is worth once it is adapted.

Members of the menu are compared on the same folds of the same labels, and on images of which none was used to choose a
member's own setting (`folds.unselected`): nine λ would otherwise win against one learning rate by their number. Members
are compared on the folds that all of them were validated on, which are the first ones.

What remains: a fold's fit has fewer labels than the final one, which fine-tuning may mind more than a linear probe; the
better of two on few images is often the luckier one, so the winner's accuracy there is too high as an estimate (the
test images know nothing of it); and 100 images, all of ten classes with 10 labels each, tell members apart whose
difference is more than about 5 points (one standard error where they disagree about 30% of the images).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gssl.schemas import probes as schema


@dataclass
class FittedAdapted:
    """The member that was chosen."""

    member: str  # its name
    model: Any  # its fit
    validated: dict[str, float]  # metric of every member on the images where they were compared; empty: by rule
    n_val: int  # how many images these were

    @property
    def chosen(self) -> dict[str, Any]:
        """Which probe, and what it chose."""
        return {"probe": self.member, **self.model.chosen}

    @property
    def val_accuracy(self) -> float | None:
        """The member's own."""
        own: float | None = self.model.val_accuracy
        return own

    @property
    def unselected(self) -> list[np.ndarray]:
        """The member's own."""
        own: list[np.ndarray] = self.model.unselected
        return own

    def predict(self, read: Any) -> np.ndarray:
        """(n,) int64 classes, of what the member reads."""
        return np.asarray(self.model.predict(read))

    def probabilities(self, read: Any) -> np.ndarray:
        """(n, n_classes) float64, of what the member reads."""
        return np.asarray(self.model.probabilities(read))


def proportion(right: np.ndarray) -> float:
    """Of bool (n,)."""
    return float(right.mean())


class Adapted:
    """The probe by its configuration."""

    def __init__(self, cfg: schema.Adapted) -> None:
        self.menu, self.one_shot = cfg.menu, cfg.one_shot

    def needed(self, fits: list[str], comparable: bool) -> list[str]:
        """Which of the probes that can be fitted must be; `comparable`: labels leave something to choose on.

        fits: in the menu's order, at least one.
        """
        if comparable:
            return fits
        return [self.one_shot if self.one_shot in fits else fits[0]]

    def fit(self, fitted: Mapping[str, Any], metric: Callable[[np.ndarray], float] = proportion) -> FittedAdapted:
        """The better of `fitted` by name, in the menu's order: fits on the same labels, with `unselected` folds.

        metric: of rows of `unselected`, one per image. Of equally good ones the first. Where there is one, or no folds,
        it is the first. A function of the fits alone.
        """
        names = list(fitted)
        folds = min(len(fitted[name].unselected) for name in names) if len(names) > 1 else 0
        if folds == 0:
            return FittedAdapted(names[0], fitted[names[0]], {}, 0)
        rows = {name: np.concatenate(fitted[name].unselected[:folds]) for name in names}
        assert len({len(row) for row in rows.values()}) == 1, "members were validated on other images"
        validated = {name: metric(row) for name, row in rows.items()}
        best = max(names, key=lambda name: validated[name])
        return FittedAdapted(best, fitted[best], validated, len(rows[best]))
