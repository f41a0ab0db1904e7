"""Images that are learnt from beside the labelled ones, and on which nothing is chosen."""

import numpy as np
import pytest
import torch

from gssl.config.composing import compose
from gssl.data import Draws
from gssl.probe.folds import Labelled
from gssl.probe.knn import Knn
from gssl.probe.linear import Linear
from gssl.probe.training import streams


@pytest.fixture
def cfg():
    return compose("transfer", ["weights=random"]).probe


def clouds(n: int, seed: int) -> Labelled:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return Labelled((rng.normal(size=(n, 6)) + 1.5 * np.eye(6)[y]).astype(np.float32), y)


def test_linear_with_extra_is_the_fit_on_both(cfg):
    real, extra = clouds(3, 0), clouds(30, 1)  # one-shot: λ is given, so that the two fits have the same objective
    probe = Linear(cfg.linear)
    found = probe.fit(*real, 3, 0, extra)
    cfg.linear.l2_low = cfg.linear.l2_high = cfg.linear.l2_one_shot
    both = Linear(cfg.linear).fit(np.concatenate([real.x, extra.x]), np.concatenate([real.y, extra.y]), 3, 0)
    assert found.val_accuracy is None and both.val_accuracy is not None
    np.testing.assert_allclose(found.weight, both.weight, atol=1e-5)
    assert found.objective == pytest.approx(both.objective, rel=1e-6)


def test_linear_keeps_the_labels_names(cfg):
    real, extra = clouds(12, 0), clouds(12, 1)
    far = Linear(cfg.linear).fit(real.x, real.y * 2 + 1, 6, 0, Labelled(extra.x, extra.y * 2 + 1))
    near = Linear(cfg.linear).fit(*real, 3, 0, extra)
    assert np.array_equal(far.predict(extra.x), near.predict(extra.x) * 2 + 1)


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_it_is_learnt_from_in_the_folds_too(cfg, probe):
    fit = {"knn": Knn(cfg.knn), "linear": Linear(cfg.linear)}[probe].fit
    real, extra = clouds(30, 0), clouds(300, 1)
    assert fit(*real, 3, 0, extra).val_accuracy > 0.55
    assert fit(*real, 3, 0, Labelled(extra.x, (extra.y + 1) % 3)).val_accuracy < 0.4


def test_knn_with_extra_is_the_vote_of_both(cfg):
    real, extra, query = clouds(9, 0), clouds(50, 1), clouds(40, 2)
    both = Knn(cfg.knn).fit(np.concatenate([real.x, extra.x]), np.concatenate([real.y, extra.y]), 3, 0)
    found = Knn(cfg.knn).fit(*real, 3, 0, extra)
    assert found.chosen == both.chosen == {"k": 20}
    assert np.array_equal(found.predict(query.x), both.predict(query.x))


@pytest.mark.parametrize(
    ("n", "m", "size", "expected"),
    [(40, 40, 64, (32, 32)), (3, 3, 64, (3, 3)), (100, 50, 60, (40, 20)), (100, 1, 8, (7, 1)), (1, 100, 8, (1, 7))],
)
def test_a_batch_has_both_in_proportion_and_keeps_its_size(quarters, n, m, size, expected):
    images = quarters(30)
    index = np.arange(120)
    parts = streams(images.subset(index[:n]), images.subset(index[:m]), size, Draws(0), torch.device("cpu"))
    assert tuple(len(part(0)["label"]) for part in parts) == expected
    if n == m and n > 3:
        assert not np.array_equal(parts[0].indices(0), parts[1].indices(0))
