import numpy as np
import pytest
import torch

from gssl.errors import UsageError
from gssl.metrics import frechet
from gssl.metrics.frechet import frechet_distance, frechet_from_moments, moments


def definition(x, y):
    """Without covariances: Tr (Σ₁Σ₂)^½ is the sum of the singular values of the centred XYᵀ, over √((n-1)(m-1))."""
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    n, m = len(x) - 1, len(y) - 1
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum() / np.sqrt(n * m)
    shift = x.mean(axis=0) - y.mean(axis=0)
    return shift @ shift + np.square(a).sum() / n + np.square(b).sum() / m - 2 * root


def sides(d=24):
    rng = np.random.default_rng(0)
    return rng.standard_normal((90, d)), 1.2 * rng.standard_normal((70, d)) + 0.1


def copies(z):
    return np.tile(z[:, : z.shape[1] // 2], 2)


def constant(z, first, last):
    return np.where((np.arange(z.shape[1]) >= first) & (np.arange(z.shape[1]) < last), 3.0, z)


def low_rank(z, rank, seed):
    return z[:, :rank] @ np.random.default_rng(seed).standard_normal((rank, z.shape[1]))


def decaying(z):
    """Ill-conditioned, though of full rank: here the customary formulas lose digits."""
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((z.shape[1],) * 2))[0]
    return z * np.arange(1, z.shape[1] + 1.0) ** -3 @ turn


X, Y = sides()
CASES = {
    "full rank": (X, Y),
    "duplicated columns": (copies(X), copies(Y)),
    "duplicated on one side": (copies(X), Y),
    "constant features on one side": (X, constant(Y, 0, 6)),
    "constant features, not the same": (constant(X, 3, 12), constant(Y, 0, 6)),
    "rank-deficient on one side": (X, low_rank(Y, 5, 0)),
    "rank-deficient on both": (low_rank(X, 8, 1), low_rank(Y, 5, 2)),
    "ill-conditioned": (decaying(X), decaying(Y)),
    "fewer images than features": (X[:10], Y[:7]),
    "one point": (np.ones_like(X), Y),
    "tiny values": (1e-8 * X, 1e-8 * Y),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_definition_also_where_covariances_are_singular(monkeypatch, name):
    monkeypatch.setattr(frechet, "PANEL", 5)
    x, y = CASES[name]
    expected = definition(x, y)
    assert frechet_from_moments(*moments(x), *moments(y)) == pytest.approx(expected, rel=1e-8, abs=0)
    assert frechet_from_moments(*moments(y), *moments(x)) == pytest.approx(expected, rel=1e-8, abs=0)


@pytest.mark.parametrize("name", [name for name in CASES if name != "ill-conditioned"])
def test_agrees_with_torch_fidelity_and_torchmetrics(name):
    from torch_fidelity import metric_fid
    from torchmetrics.image.fid import _compute_fid

    one, two = (moments(side) for side in CASES[name])
    found = frechet_from_moments(*one, *two)
    stats = [{"mu": mu, "sigma": sigma} for mu, sigma in (one, two)]
    theirs = metric_fid.fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    assert found == pytest.approx(theirs, rel=1e-6, abs=0)
    metrics = _compute_fid(*(torch.from_numpy(v) for v in (*one, *two)))
    assert found == pytest.approx(float(metrics), rel=1e-6, abs=0)


def test_the_quick_way_is_taken_where_it_is_precise_only(monkeypatch):
    taken = []
    exact = frechet._exact_trace
    monkeypatch.setattr(frechet, "_exact_trace", lambda a, b: taken.append(1) or exact(a, b))
    frechet_distance(X, Y)
    assert not taken
    frechet_distance(copies(X), Y)
    frechet_distance(X, constant(Y, 0, 6))  # a Cholesky factor exists, and half of the eigenvalues are noise
    assert len(taken) == 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments(monkeypatch, dtype):
    monkeypatch.setattr(frechet, "PANEL", 5)
    x = (X + 100).astype(dtype)
    mean, covariance = moments(x)
    assert mean == pytest.approx(x.astype(np.float64).mean(axis=0), rel=1e-12)
    assert covariance == pytest.approx(np.cov(x.astype(np.float64), rowvar=False), rel=1e-9, abs=1e-12)


def test_same_images_have_distance_zero_and_a_shift_its_square():
    assert 0 <= frechet_distance(X, X) < 1e-9
    assert frechet_distance(X, X + 2) == pytest.approx(4 * X.shape[1])


def test_too_few_images_are_refused():
    assert frechet_distance(X[:25], Y) > 0
    with pytest.raises(UsageError, match="n = 24 images for d = 24"):
        frechet_distance(X, Y[:24])
