"""Published vision transformers in our ViT: the features of timm's, torchvision's and DINO's own networks."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from gssl import schemas
from gssl.errors import UsageError
from gssl.experiment import weight_sources
from gssl.nets import vit_files
from gssl.nets.keymaps import unwrap
from gssl.nets.vit import SHAPES, ViT, position_embedding
from gssl.nets.vit_files import NAMES, network

timm = pytest.importorskip("timm")


def shaken(net: nn.Module) -> nn.Module:
    """Every weight away from its start, so that one that is mixed up would show."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.03 * torch.randn_like(weight))
    return net.eval()


WIDTHS = [48, pytest.param(384, marks=pytest.mark.long)]  # a narrow one is quick, the published one is checked too


def narrow(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Files of a ViT-Small of that width are known."""
    monkeypatch.setattr(vit_files, "NAMES", NAMES | {width: "vit_small"})


def timms(width: int, side: int = 64) -> nn.Module:
    name, more = "vit_small_patch16_224", {"embed_dim": width, "num_heads": 6}
    return shaken(timm.create_model(name, pretrained=False, img_size=side, dynamic_img_size=True, **more))


def ours(path: Path, side: int) -> ViT:
    """The network as `weights=FILE` finds it, which normalises colours inside."""
    source = weight_sources.find_weights(str(path))
    assert source.backbone is not None
    net, report = weight_sources.build(source, schemas.Backbone.model_construct(), side, 0)
    assert isinstance(net, ViT) and report["missing"] == report["unexpected"] == []
    return net.eval()


def close(net: ViT, x: Tensor, features: Tensor) -> None:
    with torch.no_grad():
        found = net(x)
    assert features.std() > 0.1
    torch.testing.assert_close(found, features, rtol=0, atol=1e-4)


@pytest.mark.parametrize("wrapped", ["timm", "dino", "dino with heads"])
@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("width", WIDTHS)
def test_timms_and_dinos_features_are_ours(width, side, wrapped, tmp_path, monkeypatch) -> None:
    """At the size of the positions, and at another, for which both interpolate them."""
    narrow(monkeypatch, width)
    net = timms(width)
    state: dict = net.state_dict()
    if wrapped == "dino":
        state = {key: value for key, value in state.items() if not key.startswith("head.")}
    elif wrapped == "dino with heads":
        teacher = {f"backbone.{key}": value for key, value in state.items() if not key.startswith("head.")}
        student = {f"module.backbone.{key}": torch.zeros_like(value) for key, value in state.items()}
        state = {"student": student, "teacher": teacher | {"head.mlp.0.weight": torch.zeros(3, 3)}, "epoch": 3}
    torch.save(state, tmp_path / "w.pth")
    mine, x = ours(tmp_path / "w.pth", 64), torch.rand(2, 3, side, side)
    assert (mine.side, mine.patch, mine.dim) == (4, 16, width)
    with torch.no_grad():
        normed = mine.inputs(x)
        expected = net.forward_head(net.forward_features(normed), pre_logits=True)
        maps = net.forward_intermediates(normed, indices=[2, 5, 8, 11], norm=False, intermediates_only=True)
        last = net.forward_intermediates(normed, indices=[11], norm=True, intermediates_only=True)[0]
        found = mine.dense(x)
    close(mine, x, expected)
    for one, other in zip(found, [*maps[:3], last], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def torchvisions(width: int, heads: int, side: int = 64) -> nn.Module:
    return shaken(torchvision.models.VisionTransformer(side, 16, 12, heads, width, 4 * width))


@pytest.mark.parametrize("width", WIDTHS)
def test_torchvisions_features_are_ours(width, tmp_path, monkeypatch) -> None:
    narrow(monkeypatch, width)
    net = torchvisions(width, 6)
    torch.save({"state_dict": {f"module.{key}": value for key, value in net.state_dict().items()}}, tmp_path / "w.pth")
    mine, x = ours(tmp_path / "w.pth", 64), torch.rand(2, 3, 64, 64)
    net.heads = nn.Identity()
    with torch.no_grad():
        close(mine, x, net(mine.inputs(x)))


@pytest.mark.long
def test_torchvisions_vit_b_16_is_vit_base_with_its_preprocessing(tmp_path) -> None:
    net = torchvisions(768, 12, 224)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    source = weight_sources.find_weights(f"torchvision:vit_b_16@{tmp_path / 'w.pth'}")
    assert source.backbone is not None and source.backbone.name == "vit_base" and source.size == 224
    own = source.own(source.backbone)
    assert own is not None and (own.size, own.need, own.interpolation) == (224, 256, "bilinear")
    mine, report = weight_sources.build(source, source.backbone, 64, 0)
    assert report["mapped_by"] == "torchvision"
    net.heads, x = nn.Identity(), torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        close(mine.eval(), x, net(mine.inputs(x)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("vit_small_patch14_dinov2", {}),  # layer scale
        ("vit_small_patch14_reg4_dinov2", {}),  # registers
        ("vit_small_patch16_224", {"depth": 4}),
        ("vit_small_patch16_224", {"qkv_bias": False}),
        ("vit_small_patch16_224", {"pre_norm": True}),
        ("vit_small_patch16_224", {"no_embed_class": True}),
        ("deit_small_distilled_patch16_224", {}),
        ("vit_small_patch16_224", {"embed_dim": 192}),
    ],
)
def test_what_computes_something_else_is_left_to_timm(name, more) -> None:
    with torch.device("meta"):
        state = timm.create_model(name, pretrained=False, img_size=56 if "14" in name else 64, **more).state_dict()
    with pytest.raises(UsageError, match=r"class token \(cls_token\), which none of ours computes; .*timm:NAME@FILE"):
        unwrap(state)


@pytest.mark.parametrize("name", ["vit_small", "vit_base"])
def test_parameters_are_as_many_as_published(name) -> None:
    """DeiT-S has 22.05 M and ViT-B/16 86.57 M with a classifier of 1000."""
    width = {value: key for key, value in NAMES.items()}[name]
    with torch.device("meta"):
        net = ViT(name, "none", width, 16, 224)
        published = timm.create_model(f"{name}_patch16_224", pretrained=False, num_classes=0)
    count, theirs = (sum(p.numel() for p in each.parameters()) for each in (net, published))
    assert theirs - count == width  # the class token's position is a part of the token
    text = (Path(__file__).parents[2] / "conf" / "backbone" / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"{count:,} parameters" in text


def test_positions_begin_as_waves_and_are_learned() -> None:
    net = ViT("vit_small", "none", 48, 4, 16)
    torch.testing.assert_close(net.positions, position_embedding(48, 4))
    names = {name for name, _ in net.named_parameters()}
    assert {"token", "positions"} <= names and net.token is not None and 0.01 < net.token.std() < 0.04
    net(torch.rand(2, 3, 16, 16)).square().sum().backward()
    assert net.positions.grad is not None and net.positions.grad.abs().sum() > 0
    assert len(net.blocks) == SHAPES["vit_small"].depth == 12


@pytest.mark.parametrize("name", ["vit_small", "vit_base"])
def test_parts_of_it_are_the_whole(name) -> None:
    """What masked-image methods ask for: `encode` of all patches is the last map, and the token sees them all."""
    net = shaken(ViT(name, "none", 48, 4, 16))
    x = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        tokens = net.embed(x) + net.embedding(*net.grid(x))
        out = net.encode(tokens)
        assert out.shape == (2, 24, 48)
        torch.testing.assert_close(net.dense(x)[-1].flatten(2).transpose(1, 2), out)
        order = torch.randperm(24)
        torch.testing.assert_close(net.encode(tokens[:, order]), out[:, order], rtol=1e-4, atol=1e-5)
        other = x.clone()
        other[:, :, 12:, 20:] = 0
        assert (net(x) - net(other)).abs().max() > 1e-3


def test_what_a_run_writes_is_known_by_its_names_too(tmp_path) -> None:
    with torch.device("meta"):
        net = ViT("vit_small", "none", 384, 16, 32)
    found = network(net.state_dict())
    assert found is not None and found[0].name == "vit_small" and found[1] == 32
    assert set(unwrap(net.state_dict())) == set(net.state_dict())
    assert network({"conv1.weight": torch.zeros(1)}) is None
