"""What a further look at the scores costs: the level, by its arithmetic and by simulation."""

from itertools import combinations

import numpy as np
import pytest

from gssl.comparison.changes import level_of_look
from gssl.statistics.paired import attainable, sign_flip


def test_the_first_look_has_all_of_the_level_and_a_second_half_of_what_is_left():
    assert level_of_look([]) == level_of_look([6]) == level_of_look([3]) == 0.05
    assert level_of_look([6, 10]) == pytest.approx((0.05 - 2 / 64) / 2)
    assert attainable(10, level_of_look([6, 10])) == 8 / 1024
    assert attainable(16, level_of_look([10, 16])) < 0.001
    # fewer than six can reject nothing: what is left of the level is all of it, and nobody is ahead a second time
    assert level_of_look([3, 6]) == 0.05 and level_of_look([2, 3]) < 1e-5


def test_all_looks_together_never_use_more_than_the_level():
    schedules = [seeds for k in range(1, 5) for seeds in combinations(range(4, 17), k)] + [tuple(range(6, 17))]
    for seeds in schedules:
        used = [attainable(n, level_of_look(seeds[: look + 1])) for look, n in enumerate(seeds) if n >= 6]
        assert sum(used) <= 0.05 + 1e-12, seeds


@pytest.fixture(scope="module")
def p_values() -> dict[int, np.ndarray]:
    """p of the sign-flip test at 6 to 16 seeds of 1,500 comparisons of equal arms: {n: (1500,)}."""
    noise = np.random.Generator(np.random.Philox(7)).standard_normal((1500, 16)).astype(np.float32)
    found = {}
    for n in range(6, 17):
        bits = np.arange(1 << (n - 1))[:, None] >> np.arange(n)[None, :]
        signs = (1 - 2 * (bits & 1)).astype(np.float32)
        sums = [np.abs(signs @ part.T) for part in np.split(noise[:, :n], 15)]
        found[n] = np.concatenate([(s >= s[0] - 1e-5).mean(axis=0) for s in sums])
    assert found[7][3] == pytest.approx(sign_flip(noise[3, :7].astype(float)), abs=2 / 64)
    return found


@pytest.mark.parametrize("step", [1, 2, 5])
def test_who_adds_seeds_until_it_is_significant_is_wrong_in_no_more_than_one_of_twenty(p_values, step):
    looks = list(range(6, 17, step))
    naive = np.mean(np.any([p_values[n] <= 0.05 for n in looks], axis=0))
    spent = np.any([p_values[n] <= level_of_look(looks[: i + 1]) + 1e-9 for i, n in enumerate(looks)], axis=0)
    error = (0.05 * 0.95 / len(spent)) ** 0.5
    assert np.mean(spent) <= 0.05 + 2 * error < naive


def test_who_chooses_by_the_first_scores_how_many_seeds_to_add_is_not_wrong_more_often(p_values):
    """The nearer the first six come, the fewer seeds are added."""
    first = p_values[6]
    chosen = np.select([first <= 0.1, first <= 0.3], [8, 11], 16)
    later = np.array([p_values[n][i] <= level_of_look([6, int(n)]) + 1e-9 for i, n in enumerate(chosen)])
    error = (0.05 * 0.95 / len(later)) ** 0.5
    assert np.mean((first <= 0.05) | later) <= 0.05 + 2 * error
