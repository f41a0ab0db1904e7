"""The watch fires on what it is for, once, and is silent otherwise."""

import pytest

from gssl.metrics.collapse import LINE_STEPS, PATIENCE, CollapseMonitor


def features(std=0.5, cosine=0.7, rankme=40.0, knn=0.4, d=128):
    found = {"feature_std": std, "feature_cosine": cosine, "feature_rankme": rankme, "feature_n": 1000, "feature_d": d}
    return found | ({} if knn is None else {"val_knn": knn})


def test_narrow_projections_fire_once_and_only_after_patience():
    watch = CollapseMonitor(0.1, 1000)
    for i in range(PATIENCE):
        found = watch({"step": i, "z_std": 0.02, "z_cosine": 0.5})
        assert bool(found) == (i == PATIENCE - 1)
    assert "z_std=0.02" in found[0]
    assert watch({"step": 9, "z_std": 0.01, "z_cosine": 0.5}) == []


def test_a_moment_is_forgiven():
    watch = CollapseMonitor(0.1, 1000)
    for i in range(10):
        assert watch({"step": i, "z_std": 0.02 if i % PATIENCE else 0.9, "z_cosine": 0.99 if i % 2 else 0.1}) == []


def test_a_line_fires_when_it_lasts():
    watch = CollapseMonitor(0.1, 1000)
    found = [watch({"step": step, "z_rank": 1.5}) for step in range(10, 10 + LINE_STEPS + 1, 10)]
    assert not any(found[:-1]) and "since step 10" in found[-1][0]
    watch = CollapseMonitor(0.1, 1000)
    assert not any(watch({"step": step, "z_rank": 3.0 if step == 50 else 1.5}) for step in range(10, 150, 10))


def test_entries_without_projections_neither_count_nor_reset():
    watch = CollapseMonitor(0.1, 1000)
    for i in range(PATIENCE - 1):
        watch({"step": i, "z_cosine": 0.99})
        assert watch({"step": i, "loss": 1.0}) == []
    assert watch({"step": 9, "z_cosine": 0.99})


@pytest.mark.parametrize(
    ("later", "word"),
    [
        (features(std=0.05), "feature_std"),
        (features(cosine=0.99), "feature_cosine"),
        (features(rankme=3.0), "feature_rankme"),
        (features(knn=0.11), "val_knn"),
    ],
)
def test_features_that_lost_what_they_had(later, word):
    watch = CollapseMonitor(0.1, 1000)
    assert watch({"step": 0} | features()) == []
    assert watch({"step": 5} | features(std=0.3, cosine=0.8, rankme=20.0, knn=0.3)) == []
    found = watch({"step": 9} | later)
    assert len(found) == 1 and word in found[0]


def test_features_that_were_narrow_from_the_start_are_no_collapse():
    """A random ViT's on digits are: std .074, mean cosine .993, rank 3.3 of 96; training need not make that worse."""
    narrow = features(std=0.074, cosine=0.993, rankme=3.3, knn=None, d=96)
    watch = CollapseMonitor(1.0, 0)
    assert watch({"step": 0} | narrow) == watch({"step": 5} | narrow) == []


def test_without_labels_there_is_no_chance_level():
    watch = CollapseMonitor(1.0, 0)
    assert watch({"step": 0} | features(knn=None)) == watch({"step": 1} | features(knn=None)) == []
