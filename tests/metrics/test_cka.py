import numpy as np
import pytest

from gssl.metrics import cka as module
from gssl.metrics.cka import cka, cka_matrix


def gaussian(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def unbiased_hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """From the definition as a U-statistic: means over pairs, triples and quadruples of different images."""
    n = len(k)
    pairs, triples, quadruples = [], [], []
    for i in range(n):
        for j in range(n):
            if j == i:
                continue
            pairs.append(k[i, j] * l[i, j])
            for q in range(n):
                if q in (i, j):
                    continue
                triples.append(k[i, j] * l[i, q])
                quadruples += [k[i, j] * l[q, r] for r in range(n) if r not in (i, j, q)]
    return float(np.mean(pairs) + np.mean(quadruples) - 2 * np.mean(triples))


def definition(x: np.ndarray, y: np.ndarray) -> float:
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return unbiased_hsic(k, l) / np.sqrt(unbiased_hsic(k, k) * unbiased_hsic(l, l))


def biased(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return float((k * l).sum() / (np.linalg.norm(k) * np.linalg.norm(l)))


def test_random_features_have_nothing_in_common():
    x, y = gaussian(512, 2048), gaussian(512, 2048, 1)
    assert abs(cka(x, y)) < 0.01
    assert biased(x, y) == pytest.approx(0.80, abs=0.005)


@pytest.mark.parametrize(("n", "d1", "d2"), [(4, 3, 2), (11, 3, 2), (11, 40, 30), (11, 2, 30), (11, 1, 1)])
def test_equals_the_definition(n, d1, d2):
    x = gaussian(n, d1) + 1
    y = gaussian(n, d2, 1) + 0.7 * x[:, :1] - 2
    assert cka(x, y) == pytest.approx(definition(x, y), rel=1e-9)
    assert cka(y, x) == pytest.approx(cka(x, y), rel=1e-12)


@pytest.mark.parametrize("d", [20, 300])
def test_invariances(d):
    x = gaussian(100, d)
    y = x[:, : d // 2] + gaussian(100, d // 2, 1)
    value = cka(x, y)
    assert 0.2 < value < 0.9
    assert cka(x, x) == pytest.approx(1, rel=1e-12)
    rotation, _ = np.linalg.qr(gaussian(d, d, 2))
    for other in (x @ rotation, 1e-3 * x, x + 5, x[:, ::-1]):
        assert cka(other, y) == pytest.approx(value, rel=1e-9)
        assert cka(other, x) == pytest.approx(1, rel=1e-9)
    assert abs(cka(x * np.geomspace(1, 100, d), y) - value) > 0.05  # scaling of single features is no invariance
    shuffled = np.random.default_rng(3).permutation(100)
    assert abs(cka(x[shuffled], y)) < 0.1


def test_a_shift_costs_no_digits():
    x, y = gaussian(50, 8), gaussian(50, 8, 1)
    y += x
    assert cka(x + 1e4, y - 1e4) == pytest.approx(cka(x, y), rel=1e-7)


def test_matrix_is_its_entries_and_computes_each_side_once(monkeypatch):
    xs = [gaussian(40, d, d).astype(np.float32) for d in (3, 10, 100)]
    ys = [xs[0] @ gaussian(3, 6).astype(np.float32), xs[2][:, :50]]
    found = cka_matrix(xs, ys)
    assert found.shape == (3, 2)
    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            assert found[i, j] == pytest.approx(cka(x, y), rel=1e-10)
    calls = []
    side, hsic = module._side, module._hsic
    monkeypatch.setattr(module, "_side", lambda *args: calls.append("side") or side(*args))
    monkeypatch.setattr(module, "_hsic", lambda *args: calls.append("hsic") or hsic(*args))
    own = cka_matrix(xs, xs)
    assert (calls.count("side"), calls.count("hsic")) == (3, 6)
    assert np.allclose(own, own.T, rtol=1e-12) and np.allclose(np.diag(own), 1, rtol=1e-12)


@pytest.mark.parametrize("d", [3, 60])
def test_undefined_is_nan(d):
    x = gaussian(30, d).astype(np.float32)
    constant = np.full((30, d), 0.1, dtype=np.float32)
    noise = (1000 * (1 + 1e-8 * gaussian(30, d))).astype(np.float32)
    for nothing in (constant, np.zeros_like(x), noise, np.eye(30)):
        assert np.isnan(cka(x, nothing)) and np.isnan(cka(nothing, x))
    assert np.isnan(cka_matrix([x, constant], [x])).tolist() == [[False], [True]]


def test_images_equally_far_apart_have_nothing_to_compare():
    for n in range(4, 40):  # rounding leaves some of these above 0, others below
        turned = 0.1 * np.linalg.qr(gaussian(n, n))[0]
        assert np.isnan(cka(turned, turned)), n


def test_inputs_are_left_alone_and_checked():
    x = gaussian(10, 4)
    kept = x.copy()
    cka(x, x)
    assert np.array_equal(x, kept)
    for y in (gaussian(9, 4), gaussian(11, 4)):
        with pytest.raises(ValueError, match="same 4 or more images"):
            cka(x, y)
    with pytest.raises(ValueError, match="same 4 or more images"):
        cka(x[:3], x[:3])
