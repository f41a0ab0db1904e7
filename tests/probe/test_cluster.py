import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.cluster import KMeans

from gssl.errors import JobError
from gssl.metrics.clustering import matched
from gssl.probe import cluster
from gssl.probe.cluster import Cluster

CFG = SimpleNamespace(n_init=5, max_iter=100)


def clouds(n: int, classes: int, d: int = 12, spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Directions around one axis per class, of any length."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = np.eye(d)[y] + spread * rng.standard_normal((n, d))
    return (x * rng.uniform(0.1, 30, (n, 1))).astype(np.float32), y


def test_finds_what_is_apart_whatever_its_length():
    x, y = clouds(300, 6)
    fitted = Cluster(CFG).fit(x, 6, seed=0)
    query, labels = clouds(120, 6, seed=1)
    found = fitted.predict(query)
    assert found.dtype == np.int64 and found.shape == (120,)
    assert matched(labels, found, 6) == 120
    assert np.array_equal(fitted.predict(5 * query), found)
    assert fitted.val_accuracy is None
    raw = KMeans(6, n_init=5, random_state=0).fit_predict(x)
    assert matched(y, raw, 6) < 240, "lengths would have mattered"


def test_inertia_is_that_of_the_training_features_and_no_worse_than_scikit_learns():
    x, _ = clouds(200, 5, spread=0.5)
    fitted = Cluster(CFG).fit(x, 5, seed=3)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    square = np.square(unit[:, None] - fitted.centres).sum(axis=2)
    assert np.array_equal(fitted.predict(x), square.argmin(axis=1))
    assert fitted.chosen == {"n_init": 5, "inertia": pytest.approx(square.min(axis=1).mean(), rel=1e-5)}
    theirs = min(KMeans(5, n_init=1, random_state=s).fit(unit).inertia_ for s in range(10)) / 200
    assert fitted.chosen["inertia"] < 1.05 * theirs
    found = fitted.predict(x)
    means = np.stack([unit[found == c].mean(axis=0) for c in range(5)])
    assert np.allclose(means, fitted.centres, atol=1e-5), "each centre is the mean of its own"


def test_same_seed_same_clusters(monkeypatch):
    x, _ = clouds(200, 4, spread=1.0)
    kept = x.copy()
    first, again, other = (Cluster(CFG).fit(x, 8, seed) for seed in (0, 0, 1))
    assert np.array_equal(x, kept)
    assert np.array_equal(first.centres, again.centres) and not np.array_equal(first.centres, other.centres)
    found = first.predict(x)
    monkeypatch.setattr(cluster, "BLOCK", 1)
    assert np.array_equal(first.predict(x), found)


def test_the_best_of_several_starts():
    x, _ = clouds(200, 4, spread=1.0)
    one, five = (
        [Cluster(SimpleNamespace(n_init=n, max_iter=100)).fit(x, 8, seed).chosen["inertia"] for seed in range(4)]
        for n in (1, 5)
    )
    assert np.mean(five) < np.mean(one) - 1e-3


@pytest.mark.parametrize("n", [3, 40])
def test_too_few_different_features(n):
    for x in (np.ones((n, 3)), np.zeros((n, 3)), np.outer(np.arange(1, n + 1), [1, 2, 2])):
        with (
            warnings.catch_warnings(),
            pytest.raises(JobError, match="^probe.cluster: 3 classes need as many different") as caught,
        ):
            warnings.simplefilter("ignore")  # as a user may have them
            Cluster(CFG).fit(x.astype(np.float32), 3, seed=0)
        assert "\n" not in str(caught.value)


def test_a_feature_of_zeros_is_no_error():
    x, _ = clouds(30, 3)
    x[0] = 0
    assert np.isfinite(Cluster(CFG).fit(x, 3, seed=0).centres).all()


@pytest.mark.long
def test_a_comparison_starts_without_scikit_learn():
    """It takes over a second to import, in every worker too; only who clusters pays."""
    code = "import sys, gssl.commands.compare; print({'sklearn', 'pandas', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
