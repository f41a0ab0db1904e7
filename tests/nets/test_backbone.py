"""What all backbones have in common: shapes, normalisation, gradients, configuration."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from gssl import schemas
from gssl.errors import UsageError
from gssl.nets import build_backbone
from gssl.nets.backbone import BACKBONES
from gssl.nets.norms import Shift

OURS = [name for name in BACKBONES if name != "timm"]  # conf/backbone/timm.yaml: any of timm's
CONF = Path(__file__).parents[2] / "conf" / "backbone"
NORMS = {"batch": nn.BatchNorm2d, "group": nn.GroupNorm, "none": Shift}


def build(name: str, size: int, norm: str | None = None, width: int | None = None) -> nn.Module:
    """The backbone of conf/backbone/<name>.yaml, narrowed where that is possible."""
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    small = {"convnet": 4, "vit_tiny": 24, "vit_small": 24, "vit_base": 48}
    values["width"] = width or small.get(name, values["width"])
    values["patch"] = {16: 4}.get(values["patch"], values["patch"])
    values["norm"] = norm or values["norm"]
    values["vocab"] = 264 if name.startswith("text") else None
    torch.manual_seed(0)
    return build_backbone(schemas.Backbone.model_construct(**values), size)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_a_configuration_with_the_keys_of_the_schema(name: str) -> None:
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert [*values, "vocab", "hop_ms"] == list(schemas.Backbone.model_fields)  # which follow from the data
    if name == "timm":
        assert values["name"] == "???"
    else:
        assert BACKBONES[values["name"]] == BACKBONES[name]  # convnet_plain is a convnet


@pytest.mark.parametrize(
    ("name", "size", "sides"),
    [
        ("convnet", 16, [16, 8, 4, 2]),
        ("convnet", 28, [28, 14, 7, 4]),
        ("convnet", 32, [32, 16, 8, 4]),
        ("convnet", 64, [64, 32, 16, 8]),
        ("convnet", 224, [224, 112, 56, 28]),
        ("resnet18", 28, [28, 14, 7, 4]),
        ("resnet18", 32, [32, 16, 8, 4]),
        ("resnet18", 224, [56, 28, 14, 7]),
        ("resnet50", 32, [32, 16, 8, 4]),
        ("vit_tiny", 28, [7, 7, 7, 7]),
        ("vit_tiny", 64, [16, 16, 16, 16]),
        ("vit_small", 32, [8, 8, 8, 8]),
        ("vit_base", 16, [4, 4, 4, 4]),
    ],
)
def test_maps_per_stage_and_pooled_features(name: str, size: int, sides: list[int]) -> None:
    net = build(name, size).eval()
    x = torch.rand(1, 3, size, size)
    with torch.no_grad():
        maps, pooled = net.dense(x), net(x)
    assert [tuple(m.shape) for m in maps] == [(1, d, s, s) for d, s in zip(net.dims, sides, strict=True)]
    assert pooled.shape == (1, net.dim)
    if name not in ("vit_small", "vit_base"):  # whose features are the class token
        torch.testing.assert_close(pooled, maps[-1].mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "norm"),
    [("convnet", n) for n in NORMS] + [("resnet18", n) for n in NORMS] + [("vit_tiny", "none")],
)
def test_gradients_reach_every_parameter(name: str, norm: str) -> None:
    net = build(name, 16, norm)
    features = net(torch.rand(4, 3, 16, 16))
    (features * torch.randn_like(features)).sum().backward()
    dead = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@pytest.mark.parametrize("name", OURS)
def test_depths_hold_every_weight_once_in_the_stage_where_it_acts(name: str) -> None:
    net = build(name, 16)
    layer_groups = net.layer_groups()
    assert len(layer_groups) == len(net.dims)
    assert [id(p) for stage in layer_groups for p in stage] == list(
        dict.fromkeys(id(p) for s in layer_groups for p in s)
    )
    assert {id(p) for stage in layer_groups for p in stage} == {id(p) for p in net.parameters()}
    x = torch.randint(8, 264, (2, 16)) if net.takes.column == "text" else torch.rand(2, 3, 16, 16)
    for i, features in enumerate(net.dense(x)):
        own = [p for stage in layer_groups[: i + 1] for p in stage]
        later = [p for stage in layer_groups[i + 1 :] for p in stage]
        grads = torch.autograd.grad(features.square().sum(), own + later, retain_graph=True, allow_unused=True)
        assert [g is None for g in grads] == [False] * len(own) + [True] * len(later)


@pytest.mark.parametrize("name", ["convnet", "resnet18"])
@pytest.mark.parametrize("norm", NORMS)
def test_norm_layers_are_what_was_asked_for(name: str, norm: str) -> None:
    kinds = {type(m) for m in build(name, 32, norm).modules()} & set(NORMS.values())
    assert kinds == {NORMS[norm]}


@pytest.mark.parametrize("name", ["convnet", "resnet18", "vit_tiny"])
def test_eval_features_do_not_depend_on_the_batch(name: str) -> None:
    net = build(name, 16)
    net(torch.rand(8, 3, 16, 16))  # moves batch statistics away from their start
    net.eval()
    x = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        together, apart = net(x), torch.cat([net(image[None]) for image in x])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "zero"), [("convnet", [0.5] * 3), ("resnet18", [0.485, 0.456, 0.406])])
def test_colour_is_normalised_inside(name: str, zero: list[float]) -> None:
    """The image whose colour is the mean becomes 0, and convolutions without bias keep it there."""
    net = build(name, 16, "none").eval()
    mean = torch.tensor(zero).view(1, 3, 1, 1).expand(2, 3, 16, 16)
    with torch.no_grad():
        assert net(mean).abs().max() < 1e-6
        assert net(mean + 0.3).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["convnet", "vit_tiny"])
def test_one_set_of_weights_serves_all_sizes(name: str) -> None:
    small, large = build(name, 16), build(name, 32)
    large.load_state_dict(small.state_dict())


def test_a_shift_without_norm_keeps_the_scale_of_a_convnet() -> None:
    net = build("convnet", 32, "none", width=16).eval()
    with torch.no_grad():
        maps = net.dense(torch.rand(4, 3, 32, 32))
    assert 0.1 < maps[-1].std() / maps[0].std() < 2


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"name": "alexnet"}, "backbone.name"),
        ({"norm": "instance"}, "backbone.norm"),
        ({"name": "resnet18", "width": 32}, "backbone.width"),
        ({"name": "vit_tiny", "norm": "batch"}, "backbone.norm"),
        ({"name": "vit_tiny", "norm": "none", "width": 20}, "backbone.width"),
        ({"name": "vit_tiny", "norm": "none", "width": 24, "patch": 5}, "backbone.patch"),
    ],
)
def test_what_does_not_fit_together_is_one_line_that_names_the_key(change: dict, key: str) -> None:
    cfg = schemas.Backbone.model_construct(**{"name": "convnet", "norm": "batch", "width": 4, "patch": 1} | change)
    with pytest.raises(UsageError, match=f"^{key}") as error:
        build_backbone(cfg, 32)
    assert "\n" not in str(error.value)


def test_tiny_images_are_refused_by_convnet() -> None:
    with pytest.raises(UsageError, match="^data.size"):
        build("convnet", 4)


@pytest.mark.long
def test_torchvision_is_imported_only_by_who_uses_it() -> None:
    code = (
        "import sys; from gssl.nets import build_backbone; from gssl.schemas import Backbone;"
        "build_backbone(Backbone(name='convnet', norm='batch', width=4, patch=1), 32);"
        "build_backbone(Backbone(name='vit_tiny', norm='none', width=24, patch=4), 32);"
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


SIDES = {"convnet": (24, 40), "resnet18": (24, 40), "vit_micro": (24, 40)}


@pytest.mark.parametrize("name", SIDES)
def test_dense_maps_of_images_that_are_not_square_cover_them(name: str) -> None:
    """A wide image's map has the image's shape, and its columns see their own part of the image."""
    net = build(name, 16).eval()
    x = torch.rand(2, 3, *SIDES[name])
    other = x.clone()
    other[..., :4] = 0  # the left margin
    with torch.no_grad():
        maps, changed = net.dense(x), net.dense(other)
    for own, there, dim in zip(maps, changed, net.dims, strict=True):
        height, width = own.shape[-2:]
        assert own.shape[:2] == (2, dim) and width / height == pytest.approx(40 / 24, rel=0.35)
        far = (own - there).abs().amax((0, 1, 2))
        assert far[: -(-width // 2)].max() > far[-1] >= 0
    assert net.takes == ("image", 3)
    with torch.no_grad():
        assert net.pooled(x).shape == (2, net.dim)
        assert torch.equal(net.pooled(x), net(x))


@pytest.mark.parametrize("name", SIDES)
def test_dense_of_a_turned_image_is_the_turned_shape(name: str) -> None:
    net = build(name, 16).eval()
    x = torch.rand(1, 3, 24, 40)
    with torch.no_grad():
        wide, tall = net.dense(x), net.dense(x.transpose(2, 3))
    assert [m.shape[-2:] for m in wide] == [m.shape[-2:][::-1] for m in tall]
