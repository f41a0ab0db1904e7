"""The better of two probes: by validation on the same images, none of which was used to choose a member's setting."""

from types import SimpleNamespace

import numpy as np
import pytest

from gssl.probe.adapted import Adapted

CFG = SimpleNamespace(menu=["linear", "finetune"], one_shot="linear")


class Fit:
    """A fit that was right on so many of ten validation images of each fold."""

    def __init__(self, right: list[int], accuracy: float | None, chosen: dict | None = None, answer: int = 0) -> None:
        self.unselected = [np.arange(10) < count for count in right]
        self.val_accuracy, self.chosen, self.answer = accuracy, chosen or {}, answer

    def predict(self, seen):
        return np.full(len(seen), self.answer)

    def probabilities(self, seen):
        return np.eye(3)[self.predict(seen)]


def test_the_better_one_on_the_folds_that_both_have():
    """The member's own val_accuracy, which is of other folds and of images where it was chosen, does not decide."""
    linear = Fit([5, 5, 10], 0.9, {"l2": 0.1}, 1)
    finetune = Fit([6, 6], 0.6, {"lr": 0.3}, 2)
    fitted = Adapted(CFG).fit({"linear": linear, "finetune": finetune})
    assert (fitted.member, fitted.model) == ("finetune", finetune)
    assert fitted.validated == {"linear": 0.5, "finetune": 0.6} and fitted.n_val == 20
    assert fitted.chosen == {"probe": "finetune", "lr": 0.3} and fitted.val_accuracy == 0.6
    assert fitted.predict([0, 0]).tolist() == [2, 2]
    assert fitted.probabilities([0]).tolist() == [[0, 0, 1]]


def test_of_equal_ones_the_first_of_the_menu():
    one, other = Fit([6], 0.1), Fit([6], 0.9)
    assert Adapted(CFG).fit({"linear": one, "finetune": other}).model is one
    assert Adapted(CFG).fit({"finetune": other, "linear": one}).model is other


def test_what_has_nothing_to_compare_is_the_first_by_rule():
    alone, none = Fit([7], 0.7), Fit([], None)
    for fits in ({"linear": alone}, {"linear": none}, {"linear": none, "finetune": Fit([], None)}):
        fitted = Adapted(CFG).fit(fits)
        assert fitted.member == "linear" and fitted.validated == {} and fitted.n_val == 0
    # one that knows of no folds, as who always says the same class
    assert Adapted(CFG).fit({"linear": SimpleNamespace(chosen={}, val_accuracy=None)}).member == "linear"


@pytest.mark.parametrize(
    ("one_shot", "fits", "needed"),
    [
        ("linear", ["linear", "finetune"], ["linear"]),
        ("finetune", ["linear", "finetune"], ["finetune"]),
        ("finetune", ["linear"], ["linear"]),
    ],
)
def test_one_shot_is_a_rule(one_shot, fits, needed):
    probe = Adapted(SimpleNamespace(menu=CFG.menu, one_shot=one_shot))
    assert probe.needed(fits, comparable=False) == needed
    assert probe.needed(fits, comparable=True) == fits


def test_members_that_were_asked_of_other_images_are_not_compared():
    with pytest.raises(AssertionError, match="other images"):
        Adapted(CFG).fit({"linear": Fit([6], 0.6), "finetune": SimpleNamespace(unselected=[np.ones(9, dtype=bool)])})
