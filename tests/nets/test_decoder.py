"""Shapes, growth and reach of the decoder."""

import copy

import pytest
import torch
from torch import nn

from gssl.config.composing import compose
from gssl.nets.backbone import build_backbone
from gssl.nets.decoder import Decoder, last_side


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize(("side", "size"), [(4, 28), (4, 32), (2, 16), (8, 64), (1, 16), (4, 4), (8, 4)])
def test_maps_become_images_of_the_size(side, size, norm):
    net = Decoder(12, side, size, channels=5, width=4, norm=norm)
    out = net(torch.randn(2, 12, side, side))
    assert out.shape == (2, 5, size, size)
    out.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters())


def test_channels_halve_down_to_the_width():
    net = Decoder(12, 4, 32, channels=3, width=4)
    convs = [(m.in_channels, m.out_channels) for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert convs == [(12, 16), (16, 8), (8, 4), (4, 3)]


def test_values_are_not_squashed():
    net = Decoder(12, 4, 8, channels=3, width=4)
    nn.init.constant_(net.last.bias, 7.0)
    assert net(torch.randn(2, 12, 4, 4)).mean() > 3


def test_a_place_of_the_map_is_a_place_of_the_image():
    torch.manual_seed(0)
    net = Decoder(6, 4, 32, channels=3, width=4, norm="none").eval()
    x = torch.randn(1, 6, 4, 4)
    changed = x.clone()
    changed[:, :, 0, 3] += 1
    with torch.no_grad():
        where = (net(x) - net(changed)).abs().amax((0, 1)) > 1e-6
    assert where[:8, 24:].all() and not where[24:].any() and not where[:, :8].any()


@pytest.mark.parametrize(("name", "norm", "width", "size", "side"), [
    ("convnet", "batch", 4, 28, 4), ("convnet", "none", 4, 16, 2), ("vit_micro", "none", 24, 32, 8),
])  # fmt: skip
def test_the_last_side_is_found_and_the_backbone_left_as_it_was(name, norm, width, size, side):
    cfg = compose("pretrain-ssl", [f"backbone={name}", f"backbone.norm={norm}", f"backbone.width={width}"]).backbone
    backbone = build_backbone(cfg, size)
    first = next(backbone.children()).eval()
    assert last_side(backbone, size) == side == backbone.dense(torch.rand(2, 3, size, size))[-1].shape[-1]
    assert backbone.training and not first.training


def test_looking_for_the_last_side_moves_no_statistics():
    backbone = build_backbone(compose("pretrain-ssl", ["backbone.width=4"]).backbone, 16)
    before = copy.deepcopy(backbone.state_dict())
    last_side(backbone, 16)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
