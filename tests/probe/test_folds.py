import numpy as np
import pytest

from gssl.probe.folds import choice_folds


def labels_of(counts: list[int]) -> np.ndarray:
    return np.random.default_rng(7).permutation(np.repeat(np.arange(len(counts)), counts))


@pytest.mark.parametrize(
    ("counts", "folds"),
    [([50, 60], 1), ([100, 100, 57], 1), ([10, 100], 5), ([9, 40], 5), ([5, 5, 5], 5), ([3, 8], 3), ([2, 2], 2)],
)
def test_rarest_class_decides(counts, folds):
    labels = labels_of(counts)
    pairs = choice_folds(labels, seed=0)
    assert len(pairs) == folds
    for fit, val in pairs:
        assert np.array_equal(np.sort(np.concatenate([fit, val])), np.arange(len(labels)))
        assert fit.dtype == val.dtype == np.int64
        assert set(labels[fit]) == set(labels)
        share = 0.1 if folds == 1 else 1 / folds
        for c, count in enumerate(counts):
            assert abs((labels[val] == c).sum() - share * count) < 1


def test_folds_cover_everything_once_and_evenly():
    labels = labels_of([3, 4, 7, 3])
    validated = [val for _, val in choice_folds(labels, seed=1)]
    assert np.array_equal(np.sort(np.concatenate(validated)), np.arange(len(labels)))
    sizes = [len(val) for val in validated]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("counts", [[1, 1, 1], [1, 50], [1]])
def test_one_label_leaves_nothing_to_choose_on(counts):
    assert choice_folds(labels_of(counts), seed=0) == []


def test_function_of_labels_and_seed():
    labels = labels_of([20, 20])

    def val(seed):
        return choice_folds(labels, seed)[0][1].tolist()

    assert val(3) == val(3)
    assert val(3) != val(4)


def test_classes_that_do_not_occur_do_not_count():
    assert len(choice_folds(np.repeat([0, 5], 60), seed=0)) == 1
