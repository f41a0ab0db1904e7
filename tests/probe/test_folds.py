import numpy as np
import pytest

from gssl.probe.folds import Trial, best_point, choice_folds, image_folds, unselected


def labels_of(counts: list[int]) -> np.ndarray:
    return np.random.default_rng(7).permutation(np.repeat(np.arange(len(counts)), counts))


@pytest.mark.parametrize(
    ("counts", "folds"),
    [([50, 60], 1), ([400, 600, 2500], 1), ([900, 600], 1), ([10, 100], 3), ([49, 49], 3), ([3, 8], 3), ([2, 2], 2)],
)
def test_rarest_class_decides(counts, folds):
    labels = labels_of(counts)
    pairs = choice_folds(labels, seed=0)
    assert len(pairs) == folds
    for fit, val in pairs:
        assert np.array_equal(np.sort(np.concatenate([fit, val])), np.arange(len(labels)))
        assert fit.dtype == val.dtype == np.int64
        assert set(labels[fit]) == set(labels)
        share = min(max(300 / sum(counts), 0.1), 0.3) if folds == 1 else 1 / folds
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


def trial(right: list[list[int]], entropy: float = 1.0) -> Trial:
    rows = np.array(right, dtype=bool)
    return Trial(rows, np.full(rows.shape, entropy))


def test_the_best_point_is_right_most_often_then_surest_then_first():
    assert best_point([trial([[1, 0], [1, 1], [1, 1]]), trial([[1, 1], [0, 0], [1, 0]])]) == 0
    assert best_point([trial([[1, 0], [0, 1]])]) == 0
    assert best_point([Trial(np.ones((2, 3), dtype=bool), np.array([[2.0] * 3, [1.0] * 3]))]) == 1
    assert best_point([]) == 0


def test_no_fold_counts_for_a_point_that_was_chosen_on_it():
    """Each fold has a point of its own that is right there and nowhere else: chosen there, it would be always right."""
    folds = [trial(np.eye(3, dtype=int)[:, [f] * 4].tolist()) for f in range(3)]
    found = unselected(folds, [np.arange(4)] * 3)
    assert [f.shape for f in found] == [(4,)] * 3 and not np.concatenate(found).any()
    best = best_point(folds)
    assert np.concatenate([f.right[best] for f in folds]).mean() == pytest.approx(1 / 3)


def test_one_fold_chooses_by_halves_of_its_classes():
    """Points that are noise: the best of 200 looks good where it was chosen, and is right half the time elsewhere."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 40)
    noise = Trial(rng.random((200, 200)) < 0.5, np.ones((200, 200)))
    (found,) = unselected([noise], [labels])
    assert noise.right[best_point([noise])].mean() > 0.56
    assert found.mean() == pytest.approx(0.5, abs=0.08)
    # a point that is right on every second image of a class only would be chosen by the half where it is
    halves = np.zeros((2, 200), dtype=bool)
    halves[0, 0::2], halves[1, 1::2] = True, True
    assert not unselected([Trial(halves, np.ones((2, 200)))], [labels])[0].any()


def test_a_grid_of_one_counts_as_it_is():
    folds = [trial([[1, 0, 1]]), trial([[0, 0, 1]])]
    assert [f.tolist() for f in unselected(folds, [])] == [[True, False, True], [False, False, True]]
    assert [f.tolist() for f in unselected(folds[:1], [np.zeros(3)])] == [[True, False, True]]
    assert unselected([], []) == []


# ── folds of images ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("n", "folds"), [(1, 0), (2, 2), (3, 3), (20, 3), (49, 3), (50, 1), (2000, 1)])
def test_folds_of_images_are_disjoint_and_whole(n, folds):
    found = image_folds(n, None, 0)
    assert len(found) == folds
    for fit, val in found:
        assert set(fit) | set(val) == set(range(n)) and not set(fit) & set(val) and len(val)
    if folds > 1:
        assert sorted(np.concatenate([val for _, val in found])) == list(range(n))
    if n == 2000:
        assert len(found[0][1]) == 300
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(found, image_folds(n, None, 0), strict=True))


def test_folds_of_images_never_tear_a_group():
    groups = np.repeat(list("abcdefg"), [1, 2, 3, 4, 5, 6, 7])
    for fit, val in image_folds(28, groups, 0):
        assert not set(groups[fit]) & set(groups[val])
    assert image_folds(4, np.array(["a"] * 4), 0) == []
