"""Distances of clips see what moves: still and shuffled clips are far from clips that move on."""

import numpy as np

from gssl.experiment.clip_evaluation import distances


def walks(n: int, seed: int) -> np.ndarray:
    """(n, 6, 5): each clip goes on from a place of its own by about the same step."""
    rng = np.random.default_rng(seed)
    start, step = rng.normal(0, 3, (n, 1, 5)), rng.normal(1, 0.1, (n, 1, 5))
    return (start + step * np.arange(6)[None, :, None]).astype(np.float32)


def test_still_and_shuffled_clips_are_farther_than_real_ones() -> None:
    known, held = walks(120, 0), walks(80, 1)
    found = distances(walks(80, 2), known, held, np.arange(120, dtype=np.uint64))
    kid = {name: own["kid"] for name, own in found["kid"].items()}
    assert found["sees"] and found["n"] == 80 and found["d"] == 15
    assert (
        kid["real"] < 0.1 * kid["shuffled"] and kid["real"] < 0.1 * kid["still"] and kid["generated"] < kid["shuffled"]
    )


def test_features_without_motion_see_nothing_and_say_so() -> None:
    rng = np.random.default_rng(0)
    still = [np.repeat(rng.normal(size=(60, 1, 4)), 6, axis=1).astype(np.float32) for _ in range(3)]
    assert not distances(*still, np.arange(60, dtype=np.uint64))["sees"]
