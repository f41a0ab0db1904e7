"""Our backbones as torchvision and timm build them: every name is there, and the features are the same."""

import math

import pytest
import torch
import torch.nn.functional as F

from gssl.errors import UsageError
from gssl.nets.backbone import build_backbone
from gssl.nets.export import architecture, form, renamed
from gssl.schemas import Backbone


def made(cfg, size):
    """A backbone with nothing left as it was initialised: norms that do nothing would hide mistakes."""
    torch.manual_seed(0)
    network = build_backbone(cfg, size).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.add_(0.2 * torch.rand_like(value) if "var" in name else 0.05 * torch.randn_like(value))
    return network


def normalised(network, images):
    mean, std = (torch.tensor(network.inputs.record()[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (images - mean) / std


RESNETS = [("torchvision", "resnet18", 32), ("torchvision", "resnet18", 72)]
RESNETS += [("timm", "resnet18", 32), ("timm", "resnet50", 72)]


@pytest.mark.long
@pytest.mark.parametrize(("library", "name", "size"), RESNETS)
def test_resnets(library, name, size):
    cfg = Backbone(name=name, norm="batch", width=64, patch=1)
    network = made(cfg, size)
    there = form(library, cfg, network, size)
    assert there.small == (size <= 64)
    model = there.build()
    model.load_state_dict(renamed(there, network), strict=True)
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        ours, theirs = network(images), model(normalised(network, images))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5 * float(ours.abs().max()))


@pytest.mark.parametrize(
    ("name", "width", "patch", "size", "other"), [("vit_micro", 24, 4, 16, 16), ("vit_tiny", 36, 8, 16, 32)]
)
def test_vits_in_timm(name, width, patch, size, other):
    """`other`: the size of the images; positions are those of their patches, not of the training images'."""
    cfg = Backbone(name=name, norm="none", width=width, patch=patch)
    network = made(cfg, size)
    there = form("timm", cfg, network, other)
    model = there.build()
    model.load_state_dict(renamed(there, network), strict=True)
    images = torch.rand(3, 3, other, other)
    with torch.no_grad():
        ours, theirs = network(images), model(normalised(network, images))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5 * float(ours.abs().max()))


@pytest.mark.parametrize(
    ("library", "cfg", "size"),
    [
        ("torchvision", Backbone(name="resnet18", norm="batch", width=64, patch=1), 32),
        ("timm", Backbone(name="resnet18", norm="batch", width=64, patch=1), 32),
        ("timm", Backbone(name="vit_micro", norm="none", width=24, patch=4), 16),
        ("timm", Backbone.model_construct(name="timm:test_convnext", norm="none", width=1, patch=1), 32),
    ],
    ids=["torchvision", "timm-resnet", "timm-vit", "timm"],
)
def test_a_head_goes_along(library, cfg, size):
    network, head = made(cfg, size), torch.nn.Linear(build_backbone(cfg, size).dim, 3)
    there = form(library, cfg, network, size, classes=3)
    model = there.build()
    model.load_state_dict(renamed(there, network, head), strict=True)
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        ours, theirs = head(network(images)), model(normalised(network, images))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5 * float(ours.abs().max()))


@pytest.mark.parametrize(
    ("library", "cfg", "size", "said"),
    [
        (
            "torchvision",
            Backbone(name="convnet", norm="batch", width=8, patch=1),
            16,
            "no convnet; use --to safetensors, onnx",
        ),
        (
            "timm",
            Backbone.model_construct(name="convnet_plain", norm="none", width=8, patch=1),
            16,
            "no convnet_plain; use --to safetensors, onnx",
        ),
        (
            "torchvision",
            Backbone(name="vit_micro", norm="none", width=24, patch=4),
            16,
            "no vit_micro; use --to timm, safetensors",
        ),
        (
            "timm",
            Backbone(name="resnet18", norm="group", width=64, patch=1),
            16,
            "has batch norm, this one backbone.norm=group",
        ),
        (
            "torchvision",
            Backbone.model_construct(name="timm:test_vit", norm="none", width=1, patch=1),
            16,
            "no timm:test_vit; use --to timm, safetensors",
        ),
        (
            "timm",
            Backbone.model_construct(name="timm:test_vit", norm="none", width=1, patch=1),
            32,
            "takes images of 160 pixels, this run's have 32",
        ),
    ],
)
def test_what_cannot_be_had(library, cfg, size, said):
    with pytest.raises(UsageError, match=said):
        form(library, cfg, build_backbone(cfg, size), size)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_the_sentence_about_the_convnet_is_enough_to_build_it(norm):
    network = made(Backbone(name="convnet", norm=norm, width=36, patch=1), 15)
    state, images = network.state_dict(), torch.rand(3, 3, 15, 15)
    x = normalised(network, images)
    for i in range(4):
        if i:
            x = F.avg_pool2d(x, 2, ceil_mode=True)
        x = F.conv2d(x, state[f"blocks.{i}.0.weight"], padding=1)
        weight, bias = (state.get(f"blocks.{i}.1.{key}") for key in ("weight", "bias"))
        if norm == "batch":
            mean, var = (state[f"blocks.{i}.1.running_{key}"] for key in ("mean", "var"))
            x = F.batch_norm(x, mean, var, weight, bias, eps=1e-5)
        elif norm == "group":
            x = F.group_norm(x, math.gcd(x.shape[1], min(32, x.shape[1] // 4)), weight, bias, eps=1e-5)
        else:
            x = x + bias.view(-1, 1, 1)
        x = F.leaky_relu(x, 0.1)
    with torch.no_grad():
        torch.testing.assert_close(x.mean((2, 3)), network(images), rtol=1e-4, atol=1e-5)


def test_the_sentence_tells_a_small_stem():
    cfg = Backbone(name="resnet18", norm="batch", width=64, patch=1)
    assert "small images" in architecture(cfg, build_backbone(cfg, 32))
    assert "small images" not in architecture(cfg, build_backbone(cfg, 96))
