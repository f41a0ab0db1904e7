"""The probe on all stages: pooled maps, main axes without labels, one dimension for every source."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from gssl.config.composing import compose
from gssl.nets.convnet import ConvNet
from gssl.probe.folds import Labelled
from gssl.probe.linear import Linear
from gssl.probe.multilayer import Axes, LinearMultilayer, PooledStages


def features(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.geomspace(0.01, 100, d) + 3
    return x.astype(np.float32)


@pytest.fixture
def cfg():
    return compose("transfer", ["weights=random", "probe.linear.l2_count=3", "probe.linear_multilayer.dim=5"]).probe


def test_stages_are_averaged_and_stand_side_by_side():
    torch.manual_seed(0)
    network = ConvNet("convnet", "batch", 4, 1, 16).eval()
    x = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        found = PooledStages(network)(x)
        expected = [F.adaptive_avg_pool2d(stage, 1).flatten(1) for stage in network.dense(x)]
        assert found.shape == (3, sum(network.dims))
        torch.testing.assert_close(found, torch.cat(expected, dim=1))
        torch.testing.assert_close(found[:, -network.dim :], network(x))


@pytest.mark.parametrize(("n", "d", "dim"), [(200, 12, 5), (200, 12, 40), (6, 12, 40)])
def test_axes_are_those_of_scikit_learn(n, d, dim, monkeypatch):
    monkeypatch.setattr("gssl.probe.multilayer.BLOCK", 64)
    x = features(n, d)
    axes = Axes.of(x, dim)
    mine = axes(x)
    kept = min(dim, d, n - 1)
    theirs = PCA(kept, svd_solver="full").fit_transform(StandardScaler().fit_transform(x.astype(np.float64)))
    assert mine.shape == (n, kept) and mine.dtype == np.float32
    np.testing.assert_allclose(np.abs(mine), np.abs(theirs), atol=2e-4)
    np.testing.assert_allclose(axes.basis.T @ axes.basis, np.eye(kept), atol=1e-10)


def test_constant_features_do_no_harm():
    x = features(50, 6)
    x[:, 2] = 0.1
    assert np.isfinite(Axes.of(x, 6)(x)).all()


def test_it_is_the_linear_probe_in_these_axes(cfg):
    x, y = features(90, 12), np.arange(90) % 3
    x[np.arange(90), y] += 200 * np.geomspace(0.01, 100, 12)[y].astype(np.float32)
    probe = LinearMultilayer(cfg.linear_multilayer, cfg.linear)
    probe.see(x)
    index, queries = np.arange(0, 90, 2), features(40, 12, 1)
    fitted = probe.fit(x[index], y[index], 3, 0)
    axes = Axes.of(x, 5)
    alone = Linear(cfg.linear).fit(axes(x[index]), y[index], 3, 0)
    assert np.array_equal(fitted.predict(queries), alone.predict(axes(queries)))
    assert fitted.chosen == alone.chosen | {"dim": 5} and fitted.val_accuracy == alone.val_accuracy
    sure = fitted.probabilities(queries)
    assert np.array_equal(sure.argmax(1), fitted.predict(queries))
    np.testing.assert_allclose(sure.sum(1), 1)


def test_extra_images_are_turned_too(cfg):
    x, y = features(60, 12), np.arange(60) % 3
    probe = LinearMultilayer(cfg.linear_multilayer, cfg.linear)
    probe.see(x)
    extra = Labelled(features(30, 12, 2), np.arange(30) % 3)
    axes = Axes.of(x, 5)
    mine = probe.fit(x, y, 3, 0, extra)
    alone = Linear(cfg.linear).fit(axes(x), y, 3, 0, Labelled(axes(extra.x), extra.y))
    np.testing.assert_allclose(mine.linear.weight, alone.weight)
