from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from gssl.data import Draws
from gssl.errors import JobError
from gssl.probe.finetune import Finetune

CPU = torch.device("cpu")


class Tiny(nn.Module):
    dim = 8

    def __init__(self):
        super().__init__()
        conv = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        self.layers = nn.Sequential(*conv, nn.Flatten(), nn.Dropout(0.1), nn.Linear(32, 8))

    def forward(self, x):
        return self.layers(x)


def build() -> nn.Module:
    return Tiny()


def views(image, step, view=0, extent=None):
    return image.float() / 255


def config(steps=40, lrs=(0.01,), batch_size=16):
    return SimpleNamespace(steps=steps, batch_size=batch_size, lrs=list(lrs), weight_decay=0.01, draws=1)


def fit(cfg, images, seed=0):
    return Finetune(cfg).fit(build, images, 4, views, 8, CPU, seed, Draws(seed))


def test_learns_what_can_be_learnt(quarters):
    fitted = fit(config(), quarters(12))
    unseen = quarters(20, 1)
    predicted = fitted.predict(unseen)
    assert predicted.dtype == np.int64
    assert (predicted == unseen.labels).mean() > 0.9
    assert fitted.chosen == {"lr": 0.01}
    assert fitted.val_accuracy > 0.5
    assert not fitted.network.training


def test_same_seed_same_network_and_global_randomness_untouched(quarters):
    images = quarters(3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = fit(config(6, [0.01, 0.001]), images, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = (
        fit(config(6, [0.01, 0.001]), images, seed=3),
        fit(config(6, [0.01, 0.001]), images, seed=4),
    )
    weights = [list(f.network.parameters()) for f in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))


def test_chooses_the_learning_rate_that_learns(quarters):
    fitted = fit(config(25, [1e-9, 0.02, 1e30]), quarters(10))
    assert fitted.chosen == {"lr": 0.02}
    assert fitted.val_accuracy > 0.7


def test_one_shot_takes_the_first(quarters):
    fitted = fit(config(3, [0.003, 0.01]), quarters(1))
    assert fitted.chosen == {"lr": 0.003}
    assert fitted.val_accuracy is None


def test_two_images_are_enough(quarters):
    images = quarters(1).subset(np.array([0, 3]))
    fitted = fit(config(3), images)
    assert np.isfinite([p.detach().sum() for p in fitted.network.parameters()]).all()


def test_divergence_is_said(quarters):
    with pytest.raises(JobError, match="diverged"):
        fit(config(3, [1e30]), quarters(1))
