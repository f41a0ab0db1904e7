"""Temperature scaling finds the T by which logits were multiplied."""

import numpy as np
import pytest

from gssl.metrics.temperature import calibrate, entropy, fit, scaled


def drawn(n, temperature, seed=0):
    """Probabilities of a network that is too sure by `temperature`, and labels drawn from the right ones."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 4)) * 2
    right = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    labels = np.array([rng.choice(4, p=row) for row in right])
    return scaled(right, 1 / temperature), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(temperature):
    p, labels = drawn(4000, temperature)
    assert fit(p, labels) == pytest.approx(temperature, rel=0.1)
    found = calibrate(p, labels)
    assert found["ece_after"] < 0.03 and found["n"] == 4000
    if temperature != 1.0:
        assert found["ece_after"] < found["ece_before"]


def test_it_changes_no_answer_and_one_changes_nothing():
    p, _ = drawn(50, 1.0)
    assert np.array_equal(scaled(p, 3.0).argmax(1), p.argmax(1))
    np.testing.assert_allclose(scaled(p, 1.0), p)
    sharp = scaled(np.array([[1.0, 0.0]]), 2.0)  # a class without a label
    assert np.isfinite(sharp).all() and sharp[0, 0] > 0.999


def test_few_images_fit_nothing():
    p, labels = drawn(10, 3.0)
    found = calibrate(p, labels)
    assert found["temperature"] == 1.0 and "10 images" in found["how"] and "ece_before" not in found


def test_a_temperature_that_helps_no_other_images_is_not_used():
    """Of calibrated probabilities T differs from 1 by chance alone: it is kept only where it helps the other half."""
    kept = 0
    for seed in range(20):
        p, labels = drawn(30, 1.0, seed)
        found = calibrate(p, labels)
        if found["temperature"] == 1.0:
            assert "did not lower" in found["how"] and "ece_after" not in found
        else:
            kept += 1
            assert found["entropy_after"] < found["entropy_before"] == pytest.approx(entropy(p, labels))
    assert kept < 15
    assert all(calibrate(*drawn(200, 3.0, seed))["temperature"] > 1.5 for seed in range(5))
