import numpy as np
import pytest
import torch
from torch import nn

from gssl.errors import JobError
from gssl.probe.features import extract, pixels

CPU = torch.device("cpu")


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def test_independent_of_the_batch_and_of_the_mode(quarters):
    images = quarters(6)
    net = encoder().train()
    net[1].eval()  # frozen statistics stay frozen
    before = {name: value.clone() for name, value in net.state_dict().items()}
    parts = [extract(net, images, 8, size, CPU) for size in (1, 5, 64)]
    assert parts[0].shape == (24, 4)
    assert parts[0].dtype == np.float32
    for other in parts[1:]:
        assert np.allclose(parts[0], other, atol=1e-6)
    assert [m.training for m in net] == [True, False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(p.grad is not None for p in net.parameters())


def test_modes_return_after_an_error(quarters):
    class Breaks(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    net = Breaks().train()
    with pytest.raises(RuntimeError, match="broken"):
        extract(net, quarters(1), 8, 2, CPU)
    assert net.training


def test_a_diverged_backbone_is_said(quarters):
    net = encoder()
    net[0].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(JobError, match="diverged"):
        extract(net, quarters(1), 8, 2, CPU)


def test_pixels_are_averages_of_the_crop(stored):
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        raw = rng.integers(0, 256, (5, 16, 16, channels), dtype=np.uint8)
        expected = raw.reshape(5, 8, 2, 8, 2, channels).mean(axis=(2, 4)) / 255
        got = pixels(stored(raw, np.zeros(5, dtype=np.int64)), 16)
        assert got.shape == (5, 64 * channels)
        assert np.allclose(got, expected.transpose(0, 3, 1, 2).reshape(5, -1), atol=1e-6)
