from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from gssl.metrics.clustering import assignment, matched, nmi


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("classes", "clusters"), [(4, 4), (5, 3), (3, 5)])
def test_equals_trying_everything(seed, classes, clusters):
    rng = np.random.default_rng(seed)
    labels, found = rng.integers(0, classes, 40), rng.integers(0, clusters, 40)
    found[0] = clusters - 1
    names = [*range(classes), *[-1] * max(0, clusters - classes)]
    best = max(sum(np.array(p)[found] == labels) for p in permutations(names, clusters))
    assert matched(labels, found, classes) == best
    classes_of = assignment(labels, found, classes)
    assert classes_of.shape == (clusters,) and classes_of.dtype == np.int64
    assert (classes_of[found] == labels).sum() == best
    given = classes_of[classes_of >= 0]
    assert len(set(given.tolist())) == len(given) == min(classes, clusters)


def test_names_do_not_matter():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 300)
    name = rng.permutation(10)
    assert matched(labels, name[labels], 10) == 300
    assert np.array_equal(assignment(labels, name[labels], 10), np.argsort(name))
    noisy = np.where(rng.random(300) < 0.3, rng.integers(0, 10, 300), labels)
    assert matched(labels, name[noisy], 10) == matched(labels, noisy, 10)
    assert nmi(labels, name[noisy]) == pytest.approx(nmi(labels, noisy), rel=1e-12)


def test_one_cluster_is_one_class_right():
    labels = np.repeat([0, 1, 2], [5, 9, 4])
    assert matched(labels, np.zeros(18, dtype=int), 3) == 9
    assert assignment(labels, np.zeros(18, dtype=int), 3).tolist() == [1]


@pytest.mark.parametrize("seed", range(6))
def test_nmi_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3 + seed, 200)
    clusters = np.where(rng.random(200) < 0.2 * seed, labels, rng.integers(0, 6, 200))
    assert nmi(labels, clusters) == pytest.approx(normalized_mutual_info_score(labels, clusters), rel=1e-9)
    assert nmi(clusters, labels) == pytest.approx(nmi(labels, clusters), rel=1e-12)


def test_nmi_at_the_ends():
    a = np.array([0, 0, 1, 1])
    assert nmi(a, 7 - a) == pytest.approx(1)
    for rows in range(2, 12):
        for columns in range(2, 12):  # rounding leaves some of these below 0
            one, other = np.divmod(np.arange(rows * columns), columns)
            assert 0 <= nmi(one, other) < 1e-12 and nmi(one, one) <= 1
    assert nmi(a, np.zeros(4, dtype=int)) == 0
    assert nmi(np.ones(4, dtype=int), np.zeros(4, dtype=int)) == 1
