"""The resampling inside exported models is that of gssl's own evaluation."""

import pytest
import torch

from gssl.data.preprocessing import Preprocessing
from gssl.nets.photographs import Answering, Photographs

VIEWS = [
    {"size": 24},
    {"size": 24, "fit": "short", "crop": 0.875, "interpolation": "bicubic"},
    {"size": 24, "fit": "short", "crop": 1.0, "interpolation": "bilinear"},
    {"size": 24, "fit": "squash", "crop": 0.9, "interpolation": "bicubic"},
]
SIDES = [(24, 24), (61, 40), (17, 90), (25, 24), (300, 200)]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.get("fit", "centre"))
@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_the_same_pixels_but_for_a_level_where_rounding_falls(view, sides):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (2, *sides, 3), dtype=torch.uint8, generator=generator)
    ours = Photographs(**view)(x)
    theirs = Preprocessing(**view)(x.permute(0, 3, 1, 2))
    difference = (ours - theirs).abs() * 255
    assert ours.shape == theirs.shape == (2, 3, 24, 24)
    assert difference.max() < 1.01 and (difference > 0.5).float().mean() < 0.08


def test_the_temperature_divides_logits():
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4))
    x = torch.randint(0, 256, (2, 30, 20, 3), dtype=torch.uint8)
    made = Answering(network, 2.0, size=8)
    torch.testing.assert_close(made(x), (network(Photographs(8)(x)) / 2).softmax(1))
    assert made(x).sum(1).allclose(torch.ones(2))
