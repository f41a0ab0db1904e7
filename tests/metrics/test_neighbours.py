import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from gssl.metrics import neighbours


@pytest.fixture
def blobs():
    """(features, labels): four classes of 50, far apart; labels of every tenth image are wrong."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 16)) * 4
    true = np.repeat(np.arange(4), 50)
    features = centres[true] + rng.standard_normal((200, 16))
    labels = true.copy()
    labels[::10] = (true[::10] + 1) % 4
    return features, labels, true


def test_neighbours_are_scikit_learns(blobs):
    features = blobs[0]
    x = features - features.mean(axis=0)
    theirs = NearestNeighbors(n_neighbors=8, metric="cosine").fit(x).kneighbors(x)
    old, neighbours.BLOCK = neighbours.BLOCK, 200 * 33
    try:
        ours = neighbours.nearest(features, np.arange(200), 7)
    finally:
        neighbours.BLOCK = old
    np.testing.assert_array_equal(ours.index, theirs[1][:, 1:])
    np.testing.assert_allclose(1 - ours.cosine, theirs[0][:, 1:], atol=1e-5)


def test_wrong_labels_are_the_suspects(blobs):
    features, labels, true = blobs
    found = neighbours.suspects(neighbours.nearest(features, np.arange(200)), labels, 4)
    wrong = set(np.flatnonzero(labels != true).tolist())
    assert set(found.index.tolist()) <= wrong and len(found.index) >= 0.7 * len(wrong)
    np.testing.assert_array_equal(found.likely, true[found.index])
    assert found.agreement == pytest.approx(1 - len(wrong) / 200)
    assert (found.vote > found.given).all() and (np.diff(found.vote - found.given) <= 1e-12).all()


def test_copies_do_not_vote(blobs):
    """A wrong label that is copied many times stays suspicious: its copies are no neighbours."""
    features, labels, true = blobs
    again = np.concatenate([features, np.repeat(features[:1], 12, axis=0)])
    named = np.concatenate([labels, np.repeat(labels[:1], 12)])
    groups = np.concatenate([np.arange(200), np.zeros(12, int)])
    found = neighbours.suspects(neighbours.nearest(again, groups), named, 4)
    assert {0, *range(200, 212)} <= set(found.index.tolist())
    alone = neighbours.suspects(neighbours.nearest(again, np.arange(212)), named, 4)
    assert 0 not in alone.index


def test_unlabelled_images_neither_vote_nor_are_asked(blobs):
    features, labels, _ = blobs
    half = np.where(np.arange(200) % 2, labels, -1)
    found = neighbours.suspects(neighbours.nearest(features, np.arange(200), 20), half, 4)
    assert (found.index % 2 == 1).all()
    none = neighbours.suspects(neighbours.nearest(features, np.arange(200)), np.full(200, -1), 4)
    assert len(none.index) == 0 and np.isnan(none.agreement)


def test_an_outlier_lies_beyond_the_fence(blobs):
    features = blobs[0].copy()
    features[7] = -features.sum(axis=0)
    far = neighbours.distances(neighbours.nearest(features, np.arange(200)))
    assert far.argmax() == 7 and far[7] > neighbours.fence(far)
    assert (far > neighbours.fence(far)).sum() <= 2


def test_clusters_are_the_blobs_and_always_the_same(blobs):
    features, _, true = blobs
    which, far = neighbours.clusters(features, 4)
    assert len({(int(a), int(b)) for a, b in zip(which, true, strict=True)}) == 4
    again = neighbours.clusters(features, 4)
    np.testing.assert_array_equal(which, again[0])
    assert (np.diff(np.bincount(which)) <= 0).all() and (far >= 0).all()
    assert len(set(neighbours.clusters(np.ones((30, 4)), 4)[0].tolist())) == 1


def test_names_that_begin_alike_are_told_from_chance(blobs):
    features, _, true = blobs
    near = neighbours.nearest(features, np.arange(200))
    zeros = np.zeros(200, int)
    assert neighbours.prefix_excess(near, true, zeros) > 3  # groups are the blobs
    shuffled = np.random.default_rng(1).permutation(true)
    assert 0.5 < neighbours.prefix_excess(near, shuffled, zeros) < 1.7
    assert neighbours.prefix_excess(near, true, true) == pytest.approx(1, abs=0.1)  # the label says it all
