"""Poolings over time against their definitions, written out frame by frame."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from gssl.probe.clips import NAMES, pooled, shuffled
from gssl.probe.folds import clip_folds
from gssl.probe.linear import Linear
from gssl.schemas import probes as schema


def test_poolings_are_what_their_names_say() -> None:
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    contents = np.arange(3, dtype=np.uint64)
    found = {name: pooled(x, name, contents) for name in NAMES}
    for i, clip in enumerate(x):
        np.testing.assert_allclose(found["frame"][i], clip[2])
        mean = sum(clip[t] for t in range(5)) / 5
        np.testing.assert_allclose(found["mean"][i], mean, rtol=1e-5, atol=1e-6)
        std = np.sqrt(sum((clip[t] - mean) ** 2 for t in range(5)) / 5)
        change = sum(abs(clip[t + 1] - clip[t]) for t in range(4)) / 4
        np.testing.assert_allclose(found["motion"][i], np.concatenate([mean, std, change]), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["order"][i], np.concatenate(list(clip)))
    assert all(own.dtype == np.float32 for own in found.values())


def test_motion_is_blind_to_the_direction_of_time_and_order_is_not() -> None:
    x = np.random.default_rng(1).normal(size=(2, 6, 3)).astype(np.float32)
    contents = np.zeros(2, np.uint64)
    backwards = np.ascontiguousarray(x[:, ::-1])
    np.testing.assert_allclose(pooled(x, "motion", contents), pooled(backwards, "motion", contents), atol=1e-6)
    assert not np.allclose(pooled(x, "order", contents), pooled(backwards, "order", contents))


def test_frames_are_shuffled_as_the_content_of_the_clip_decides() -> None:
    x = np.tile(np.arange(8, dtype=np.float32)[None, :, None], (50, 1, 1))
    contents = np.random.default_rng(2).integers(0, 2**63, 50).astype(np.uint64)
    found = shuffled(x, contents)
    assert np.array_equal(np.sort(found, axis=1), x) and not (found == x).all(axis=(1, 2)).any()
    assert len({tuple(row.ravel()) for row in found}) > 40
    np.testing.assert_array_equal(shuffled(x[10:20], contents[10:20]), found[10:20])
    few = np.abs(np.diff(x, axis=1)).mean()
    assert np.abs(np.diff(found, axis=1)).mean() > 2 * few


# ── folds ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("units", [2, 5, 60])
def test_folds_of_clips_tear_no_group_and_hold_every_class(units) -> None:
    labels, groups = np.tile(np.arange(4), units * 2), np.repeat([f"g{i}" for i in range(units)], 8)
    folds = clip_folds(labels, groups, 0)
    assert len(folds) == (1 if units == 60 else min(3, units))
    for fit, val in folds:
        assert not set(groups[fit]) & set(groups[val]) and len(fit) + len(val) == len(labels)
        assert set(labels[fit]) == set(range(4))


def test_where_a_group_has_a_class_alone_nothing_is_chosen() -> None:
    labels, groups = np.array([0, 0, 1, 1]), np.array(["a", "a", "b", "b"])
    assert clip_folds(labels, groups, 0) == []
    assert clip_folds(labels, np.full(4, "a"), 0) == [] and clip_folds(labels, None, 0)


def test_the_probe_is_the_linear_one_on_these_folds() -> None:
    rng = np.random.default_rng(0)
    y, groups = np.tile(np.arange(3), 20), np.repeat([f"g{i}" for i in range(10)], 6)
    x = (np.eye(3)[y] + rng.normal(0, 0.8, (60, 3))).astype(np.float32)
    cfg = schema.Linear(l2_low=1e-4, l2_high=10.0, l2_count=4, l2_one_shot=0.01, max_iter=500)
    found = Linear(cfg).fit(x, y, 3, 0, groups=groups)
    sizes = sorted(len(row) for row in found.unselected)
    assert sum(sizes) == 60 and all(size % 6 == 0 for size in sizes)
    theirs = LogisticRegression(C=1 / (60 * found.chosen["l2"]), tol=1e-8, max_iter=2000)
    z = (x - x.mean(0)) / x.std(0)
    np.testing.assert_allclose(found.probabilities(x), theirs.fit(z, y).predict_proba(z), atol=1e-4)
    alone = Linear(cfg).fit(x[:6], y[:6], 3, 0, groups=groups[:6])
    assert alone.chosen["l2"] == 0.01 and alone.val_accuracy is None
