import numpy as np
import pytest

from gssl.metrics.memorisation import copied, memorisation, train_share


def draw(seed, n, d=6):
    return np.random.default_rng(seed).standard_normal((n, d))


def nearest(x, y):
    return np.sqrt(np.square(x[:, None] - y[None]).sum(axis=-1)).min(axis=1)


def test_equals_the_definition():
    train, held, fake = draw(0, 80), draw(1, 80), 0.7 * draw(2, 60)
    found, share = memorisation(train, held, fake)
    limit = np.sort(nearest(held, train))[3]  # 4 of 80: one in twenty
    assert found.proportion == (nearest(fake, train) <= limit).mean()
    assert found.chance == 0.05 and found.low < found.proportion < found.high
    assert share == (nearest(fake, train) < nearest(fake, held)).mean()


@pytest.mark.parametrize("sizes", [(400, 400, 300), (1500, 300, 300), (300, 900, 200)])
def test_chance_is_what_it_says_at_any_sizes(sizes):
    """Means over repetitions: neighbours are shared, so one figure of `train_share` scatters more than its n says."""
    found = [memorisation(*(draw(10 * i + j, n, 3) for j, n in enumerate(sizes)), seed=i) for i in range(12)]
    assert np.mean([c.proportion for c, _ in found]) == pytest.approx(0.05, abs=0.015)
    assert np.mean([share for _, share in found]) == pytest.approx(0.5, abs=0.03)


def test_copies_with_a_little_noise_are_seen_and_bad_images_are_not_taken_for_copies():
    train, held = draw(0, 300), draw(1, 300)
    found, share = memorisation(train, held, train[:150] + 1e-3)
    assert (found.proportion, share) == (1, 1) and found.low > 0.97
    found, share = memorisation(train, held[:100], train[:150] + 1e-3)
    assert found.proportion == 1 and share < 0.8  # two thirds of the originals are not among the 100 drawn
    found, _ = memorisation(train, held, 5 * draw(2, 150))
    assert found.proportion < 0.05


def test_ties_count_half_and_duplicates_in_the_data_move_chance():
    assert train_share(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 3.0, 2.0])) == 0.5
    train = draw(0, 200)
    held = np.concatenate([train[:40], draw(1, 160)])  # a fifth of the test images are training images too
    found, _ = memorisation(train, held, np.concatenate([train[40:60], draw(2, 80)]))
    assert (found.proportion, found.chance) == (0.2, 0.2)


def test_few_held_out_images():
    assert copied(np.array([1.0, 4.0]), np.array([2.0, 3.0])).proportion == 0.5
