"""timm's networks behind our interface, with random weights: nothing is fetched."""

import builtins
import logging

import pytest
import torch
from torch import nn

from gssl import schemas
from gssl.errors import UsageError
from gssl.nets import build_backbone, foreign
from gssl.nets.foreign import TimmBackbone

timm = pytest.importorskip("timm")


def images(size: int) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def normed(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(net.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (x - mean) / std


@pytest.mark.parametrize(
    ("name", "size", "side"),
    [("test_resnet", 32, None), ("test_convnext", 64, None), ("test_vit", 32, 160), ("test_vit", 160, 160)],
)
def test_features_are_timms_own(name: str, size: int, side: int | None) -> None:
    net = TimmBackbone(name, size).eval()
    x = images(size)
    assert net.side == side
    given = x
    if side and side != size:
        given = nn.functional.interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        expected = net.net(normed(net.net, given))
        found, maps = net(x), net.dense(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert found.shape == (2, net.dim) and [m.shape[1] for m in maps] == net.dims
    sides = [m.shape[2] for m in maps]
    assert len(maps) == 4 and sides == sorted(sides, reverse=True) and all(m.shape[2] == m.shape[3] for m in maps)


def test_the_last_stage_of_a_resnet_averages_to_its_features() -> None:
    net = TimmBackbone("test_resnet", 32).eval()
    with torch.no_grad():
        torch.testing.assert_close(net.dense(images(32))[-1].mean((2, 3)), net(images(32)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_depths_have_every_weight_once_from_input_to_output(name: str) -> None:
    net = TimmBackbone(name, 32)
    layer_groups = net.layer_groups()
    ids = [id(weight) for stage in layer_groups for weight in stage]
    assert len(layer_groups) == len(net.dims) and all(layer_groups)
    assert sorted(ids) == sorted(id(weight) for weight in net.parameters())
    order = {id(weight): i for i, (_, weight) in enumerate(net.named_parameters())}
    means = [sum(order[id(w)] for w in stage) / len(stage) for stage in layer_groups]
    assert means == sorted(means)


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [("test_resnet", (48, 80), None), ("test_vit", (48, 80), (10, 17)), ("test_vit", (40, 40), (10, 10))],
)
def test_dense_maps_keep_the_shape_of_images_that_are_not_square(name, size, grid) -> None:
    """test_vit is made for 160 px and has patches of 16: its positions are interpolated to 160 × 272 px."""
    net, x = TimmBackbone(name, 32).eval(), torch.rand(2, 3, *size)
    other = x.clone()
    other[..., :8] = 0
    with torch.no_grad():
        maps, changed = net.dense(x), net.dense(other)
        pooled = net.pooled(x)
    assert pooled.shape == (2, net.dim) and net.takes == ("image", 3)
    assert [m.shape[1] for m in maps] == net.dims
    for own, there in zip(maps, changed, strict=True):
        assert own.shape[2:] == grid if grid else own.shape[3] / own.shape[2] == pytest.approx(5 / 3, rel=0.4)
        far = (own - there).abs().amax((0, 1, 2))
        assert far[: -(-own.shape[3] // 2)].max() > far[-1]


def test_interpolated_positions_leave_square_images_as_they_are() -> None:
    """The same features as of a network that was built for one size."""
    torch.manual_seed(0)
    net = TimmBackbone("test_vit", 160).eval()
    fixed = timm.create_model("test_vit", num_classes=0).eval()
    fixed.load_state_dict(net.net.state_dict())
    x = images(160)
    with torch.no_grad():
        assert torch.allclose(net(x), fixed(net.inputs(x)), atol=1e-5)  # sums in another order


def test_a_network_that_cannot_take_small_images_gets_its_own_size(monkeypatch) -> None:
    class Picky(nn.Module):
        pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 48, 48), "interpolation": "lanczos"}

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 40)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).mean((2, 3))

    monkeypatch.setattr(foreign, "_create", lambda name, pretrained: Picky())
    net = TimmBackbone("test_resnet", 32)
    assert net.side == 48 and net.dim == 5
    # timm offers no maps of it: the features are its only stage
    assert [m.shape for m in net.dense(images(32))] == [(2, 5, 1, 1)] and net.layer_groups() == [list(net.parameters())]
    assert TimmBackbone("test_resnet", 64).side is None


def test_it_is_built_by_its_name_and_named_layers_are_in_its_state() -> None:
    net = build_backbone(schemas.Backbone.model_construct(name="timm:test_resnet"), 32)
    assert isinstance(net, TimmBackbone)
    assert {key.partition(".")[0] for key in net.state_dict()} == {"net"}


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet81", "timm:resnet18"), ("resnet18.a9_in1k", "timm:resnet18.a"), ("qqqq", "timm.list_models")],
)
def test_an_unknown_name_is_one_line_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"backbone=timm:{name}: .*{near}") as error:
        TimmBackbone(name, 32)
    assert "\n" not in str(error.value)


def test_without_timm_the_line_says_what_to_install(monkeypatch) -> None:
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] == "timm":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UsageError, match=r"pip install 'gssl\[timm\]'"):
        TimmBackbone("test_resnet", 32)


def test_without_a_network_the_line_says_where_a_file_goes(monkeypatch) -> None:
    create = foreign._create
    levels = []

    def offline(name: str, pretrained: bool) -> nn.Module:
        if pretrained:
            levels.append(logging.getLogger("huggingface_hub").level)
            raise OSError("no route\nto host")
        return create(name, pretrained)

    monkeypatch.setattr(foreign, "_create", offline)
    before = logging.getLogger("huggingface_hub").level
    with pytest.raises(UsageError, match="no route to host.*weights=timm:test_resnet@FILE") as error:
        foreign.published("test_resnet")
    assert "\n" not in str(error.value)
    assert levels == [logging.ERROR] and logging.getLogger("huggingface_hub").level == before


def test_published_weights_leave_torchs_generator_alone(monkeypatch) -> None:
    create = foreign._create
    monkeypatch.setattr(foreign, "_create", lambda name, pretrained: create(name, False))
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    state = foreign.published("test_resnet")
    assert torch.equal(torch.rand(1), first)
    TimmBackbone("test_resnet", 32).net.load_state_dict(state)
