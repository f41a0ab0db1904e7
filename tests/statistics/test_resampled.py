"""Variances over seeds and items from bootstrap replicates."""

import numpy as np
import pytest

from gssl.statistics.resampled import spread


def test_two_seeds_of_equal_value_are_chance_where_their_resamples_differ():
    rng = np.random.Generator(np.random.Philox(1))
    common = rng.normal(0, 0.02, 500)
    replicates = 0.7 + common + rng.normal(0, 0.02, (2, 500))
    found = spread([0.7, 0.7], replicates, 100)
    assert not found.fixed and found.from_seeds == pytest.approx(0.02**2 / 2, rel=0.3)
    alike = spread([0.7, 0.7], np.stack([0.7 + common] * 2), 100)
    assert alike.fixed and alike.from_seeds == 0.0


def test_where_no_resample_differs_nothing_is_certain():
    """Two arms that put all items into the right order: as one other item among items + 2 would make it."""
    alike = np.zeros((3, 500))
    assert spread([0.0] * 3, alike, 20).variance == 0.0  # of what has no bound nobody knows how far an item moves it
    found = spread([0.0] * 3, alike, 20, width=1.0)
    assert found.variance == pytest.approx(1 / 22**2) and found.fixed
    assert spread([0.0], alike[:1], 20, width=1.0).variance == pytest.approx(1 / 22**2)
    one = alike.copy()
    one[:, 0] = 1e-3  # they differ, however little
    assert spread([0.0] * 3, one, 20, width=1.0).variance == spread([0.0] * 3, one, 20).variance < 1e-6
