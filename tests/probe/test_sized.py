"""The size of a network's images is a setting like any other: chosen on folds, never on what it is counted for."""

from types import SimpleNamespace

import numpy as np
import pytest

from gssl.data.preprocessing import Preprocessing
from gssl.probe.folds import choice_folds
from gssl.probe.knn import Knn
from gssl.probe.sized import Sized, alone, choose
from gssl.schemas import probes as schema

SMALL, LARGE = Preprocessing(32), Preprocessing(64, "short", 0.875, "bicubic")
RNG = np.random.default_rng(0)


def fit(*rows: list[int], chosen: dict | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        unselected=[np.array(row, dtype=bool) for row in rows], chosen=chosen or {}, val_accuracy=0.5
    )


LABELS = [np.array([0, 0, 1, 1])] * 3


def test_the_better_one_and_of_equals_the_first() -> None:
    poor, good = fit([0, 0, 1, 1], [0, 1, 0, 1], [1, 0, 0, 0]), fit([1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 0])
    found = choose({SMALL: poor, LARGE: good}, LABELS)
    assert found.view == LARGE and found.model is good and found.chosen == {"size": 64}
    assert found.validated == {"32": 5 / 12, "64": 10 / 12} and found.n_val == 12
    assert choose({SMALL: good, LARGE: good}, LABELS).view == SMALL
    assert choose({LARGE: good, SMALL: good}, LABELS).view == LARGE


def test_an_image_counts_for_a_size_that_was_chosen_without_it() -> None:
    # on folds 1 and 2 the first is better, on fold 0 the second, which then wins on all
    first, second = fit([0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]), fit([1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0])
    found = choose({SMALL: first, LARGE: second}, LABELS)
    assert found.view == LARGE
    # for fold 0 the others chose the first, for fold 1 and 2 the second
    assert [row.tolist() for row in found.unselected] == [
        [False] * 4,
        [True, True, False, False],
        [True, True, False, False],
    ]


def test_noise_gains_nothing_by_being_tried_at_many_sizes() -> None:
    """At 12 sizes that are all luck the best is above one half, and `unselected` is not."""
    best, fair = [], []
    for _ in range(200):
        fits = {Preprocessing(8 + i): fit(*RNG.integers(0, 2, (3, 8)).tolist()) for i in range(12)}
        found = choose(fits, [np.array([0, 1] * 4)] * 3)
        best.append(max(found.validated.values()))
        fair.append(np.concatenate(found.unselected).mean())
    assert np.mean(best) > 0.6 and abs(np.mean(fair) - 0.5) < 0.03


def test_without_folds_or_choice_it_is_the_given_one() -> None:
    one = fit(chosen={"l2": 1.0})
    for found in (choose({LARGE: one, SMALL: one}, []), choose({LARGE: one}, LABELS), alone(one, LARGE)):
        assert (found.view, found.validated, found.n_val) == (LARGE, {}, 0)
        assert found.chosen == {"l2": 1.0, "size": 64} and found.val_accuracy == 0.5
    with pytest.raises(AttributeError):
        _ = found.nothing


def test_knn_says_which_of_its_validation_images_were_right() -> None:
    x = np.concatenate([RNG.normal(i, 1, (20, 4)) for i in range(2)]).astype(np.float32)
    y = np.repeat([0, 1], 20)
    fitted = Knn(schema.Knn(k=3, temperature=0.07)).fit(x, y, 2, 0)
    folds = choice_folds(y, 0)
    assert [len(row) for row in fitted.unselected] == [len(val) for _, val in folds]
    assert fitted.val_accuracy == np.concatenate(fitted.unselected).mean()
    found = choose(
        {SMALL: fitted, LARGE: Knn(schema.Knn(k=3, temperature=0.07)).fit(-x * 0, y, 2, 0)}, [y[v] for _, v in folds]
    )
    assert isinstance(found, Sized) and found.view == SMALL and np.array_equal(found.predict(x), fitted.predict(x))
