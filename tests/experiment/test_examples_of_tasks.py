"""Which test images pictures show: what was told wrong stands there as wrong alone, however few images there are."""

import numpy as np
import pytest

from gssl.experiment import anomaly_examples, fake_examples
from gssl.statistics.anomaly import anomaly_rows, edges_of
from gssl.statistics.fake import HELD_OUT, KNOWN, REAL, fake_rows


def test_a_real_image_is_wrong_where_it_was_taken_for_a_generated_one():
    conditions = np.array([REAL, REAL, REAL, HELD_OUT, HELD_OUT, KNOWN])
    score = np.array([0.1, 0.7, 0.9, 0.2, 0.8, 0.9])
    found = fake_examples.chosen_images(fake_rows(conditions, np.stack([score, score >= 0.5], axis=1)))
    assert {name.split("\n")[0]: own.tolist() for name, own in found.items()} == {
        "wrong: generated,": [3],
        "wrong: real,": [2, 1],
        "right: generated": [4],
        "right: real": [0],
    }
    right = fake_rows(conditions, np.stack([score, conditions >= KNOWN], axis=1))
    assert not [name for name in fake_examples.chosen_images(right) if "wrong" in name]


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_no_image_is_at_both_ends_of_the_scores(n):
    random = np.random.default_rng(0)
    kinds = np.array([0] * n + [1, 2] * n)
    maps, masks = random.random((len(kinds), 4, 4)), np.zeros((len(kinds), 4, 4), np.uint8)
    masks[kinds > 0, 1, 1] = 1
    stats = anomaly_rows(kinds, 3, random.random(len(kinds)), maps, masks, edges_of(maps, masks))
    found = anomaly_examples.chosen_images(stats)
    shown = np.concatenate(list(found.values()))
    assert len(shown) == len(set(shown.tolist())) and all(len(own) for own in found.values())
    score = stats[:, 3]
    for name, own in found.items():
        assert ((kinds[own] > 0) == ("defects" in name.split(" that")[0])).all()
        expected = sorted(score[own], reverse=name.startswith(("wrong: good", "right: defects")))
        assert score[own].tolist() == expected
