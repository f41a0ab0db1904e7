import numpy as np
import pytest

from gssl.metrics.geometry import geometry, rankme


def test_spread_features_are_healthy():
    result = geometry(np.random.default_rng(0).standard_normal((2000, 32)))
    assert result["std"] == pytest.approx(1, abs=0.02)
    assert abs(result["cosine"]) < 0.01
    assert 31 < result["rankme"] <= 32.01
    assert (result["n"], result["d"], result["epsilon"]) == (2000, 32, 1e-7)


def test_collapse_shows_in_each_number():
    rng = np.random.default_rng(0)
    point = np.ones((100, 32)) + 1e-4 * rng.standard_normal((100, 32))
    result = geometry(point)
    assert result["std"] < 0.1
    assert result["cosine"] > 0.95
    line = rng.standard_normal((100, 1)) * np.ones((1, 32))
    assert rankme(line) == pytest.approx(1, abs=1e-3)
    assert geometry(np.zeros((4, 3)))["std"] == 0


def test_mean_cosine_is_over_pairs():
    x = np.random.default_rng(0).standard_normal((12, 5)) + 1
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    pairs = [unit[i] @ unit[j] for i in range(12) for j in range(i)]
    assert geometry(x)["cosine"] == pytest.approx(np.mean(pairs))


def test_rankme_is_the_formula():
    x = np.diag([4.0, 3.0, 1.0])
    p = np.array([0.5, 0.375, 0.125]) + 1e-7
    assert rankme(x) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-12)
    assert rankme(7 * x) == pytest.approx(rankme(x))
