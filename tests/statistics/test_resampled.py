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
