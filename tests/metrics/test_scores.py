import numpy as np
import pytest
import torch

from gssl.errors import UsageError
from gssl.metrics.scores import inception_score


def softmax(logits):
    e = np.exp(logits)
    return e / e.sum(axis=1, keepdims=True)


def test_agrees_with_torch_fidelity_in_one_split():
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = 3 * np.random.default_rng(0).standard_normal((200, 10))
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=1)["inception_score_mean"]
    assert inception_score(softmax(logits)).value == pytest.approx(theirs, rel=1e-9)


def test_bounds():
    assert inception_score(np.eye(5)[np.arange(50) % 5]).value == pytest.approx(5)  # clear and varied
    assert inception_score(np.eye(5)[np.zeros(50, dtype=int)]) == (1, 1, 1)  # one class
    assert inception_score(np.full((50, 5), 0.2)).value == pytest.approx(1)  # no idea


def test_interval_holds_the_truth():
    rng = np.random.default_rng(0)
    truth = inception_score(softmax(2 * rng.standard_normal((200_000, 6)))).value
    found = [inception_score(softmax(2 * rng.standard_normal((400, 6)))) for _ in range(100)]
    hits = sum(score.low <= truth <= score.high for score in found)
    assert 86 <= hits <= 99  # a width of 0 or of everything fails


@pytest.mark.parametrize("wrong", [np.ones((4, 3)), np.ones(4), np.array([[1.5, -0.5]] * 3), np.full((3, 2), np.nan)])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(UsageError, match="add up to 1"):
        inception_score(wrong)
