import numpy as np
import pytest
import torch

from gssl.errors import UsageError
from gssl.metrics.calibration import Bin, ece, reliability


def answers(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, classes) of an overconfident model, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((n, classes))
    labels = (logits + rng.gumbel(size=(n, classes))).argmax(axis=1)
    p = np.exp(2.5 * logits)
    return p / p.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize("bins", [1, 5, 15, 100])
def test_agrees_with_torchmetrics(bins):
    from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

    p, labels = answers(3000, 7)
    theirs = multiclass_calibration_error(torch.from_numpy(p), torch.from_numpy(labels), 7, n_bins=bins, norm="l1")
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == labels
    assert ece(confidence, correct, bins) == pytest.approx(float(theirs), rel=1e-5)  # theirs is in single precision
    binary = binary_calibration_error(
        torch.from_numpy(confidence), torch.from_numpy(correct).long(), n_bins=bins, norm="l1"
    )
    assert ece(confidence, correct, bins) == pytest.approx(float(binary), rel=1e-5)


@pytest.mark.parametrize("bins", [3, 15])
def test_equals_the_definition(bins):
    p, labels = answers(400, 4)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == labels
    total = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            total += inside.sum() / 400 * abs(correct[inside].mean() - confidence[inside].mean())
    assert ece(confidence, correct, bins) == pytest.approx(total, rel=1e-12)


def test_bins_are_closed_on_the_right():
    found = reliability(np.array([0, 0.125, 0.1875, 0.2, 0.6, 1.0]), np.array([0, 0, 1, 0, 1, 1], dtype=bool), bins=5)
    assert [b.count for b in found] == [4, 0, 1, 0, 1]
    assert found[0] == Bin(0, 0.2, 4, 0.128125, 0.25)
    assert found[1] == Bin(0.2, 0.4, 0, None, None)
    for bins in range(1, 60):  # however the edges round
        edges = np.arange(bins + 1) / bins
        counts = [b.count for b in reliability(edges, np.ones(bins + 1), bins)]
        assert counts == [2, *[1] * (bins - 1)]


def test_bins_hold_everything():
    p, labels = answers(500, 3)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == labels
    found = reliability(confidence, correct)
    assert len(found) == 15 and (found[0].low, found[-1].high) == (0, 1)
    assert all(a.high == b.low for a, b in zip(found, found[1:], strict=False))
    filled = [b for b in found if b.count]
    assert sum(b.count for b in filled) == 500
    assert sum(b.count * b.confidence for b in filled) == pytest.approx(confidence.sum())
    assert sum(b.count * b.accuracy for b in filled) == pytest.approx(correct.sum())
    assert all(b.low <= b.confidence <= b.high for b in filled)


def test_a_calibrated_model_has_no_error_and_a_sure_liar_all_of_it():
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    assert ece(confidence, rng.random(200_000) < confidence) < 0.01
    assert ece(confidence, rng.random(200_000) < confidence**2) == pytest.approx(1 / 6, abs=0.01)  # ∫ p - p² dp
    assert ece(np.ones(10), np.zeros(10)) == 1
    assert ece(np.full(10, 0.7), np.arange(10) < 7) == pytest.approx(0)
    assert np.isnan(ece(np.zeros(0), np.zeros(0)))


def test_only_probabilities():
    assert reliability(np.float32([1.0000001]), np.ones(1))[-1].count == 1  # single precision's softmax
    for wrong in ([0.5, 1.1], [-0.1, 0.5], [np.nan, 0.5], [3.0, 7.0]):
        with pytest.raises(UsageError, match=r"^confidences: expected .* \[0, 1\]"):
            ece(np.array(wrong), np.ones(2))
