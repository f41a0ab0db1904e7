"""What is said of images beside their class."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from gssl.experiment.answers import trained_on


def test_training_images_are_known_by_their_features():
    rng = np.random.default_rng(0)
    bank = rng.normal(size=(20, 8)).astype(np.float32)
    model: Any = SimpleNamespace(bank=torch.from_numpy(bank))
    noisy = bank[:3] * (1 + 1e-6 * rng.normal(size=(3, 8))).astype(np.float32)  # other batches, other rounding
    assert trained_on(model, np.concatenate([noisy, rng.normal(size=(5, 8)).astype(np.float32)])) == 3
    model.bank = None
    assert trained_on(model, bank) == 0
