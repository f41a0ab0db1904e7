"""Checkpoints of others, built from their own modules: same features, or a refusal."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gssl.errors import UsageError
from gssl.nets import load_into, read_weights
from gssl.nets.inputs import Inputs
from gssl.nets.keymaps import resnet, unwrap
from gssl.nets.resnet import ResNet
from gssl.nets.vit import ViT, position_embedding

torchvision = pytest.importorskip("torchvision")
lightly = pytest.importorskip("lightly.models")
heads = pytest.importorskip("lightly.models.modules.heads")
X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def stirred(net: nn.Module, seed: int = 0) -> nn.Module:
    """Batch statistics that are not at their start: a swap of two norms would show."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1)
                module.bias.normal_(0, 0.1)
    return net.eval()


def published(name: str = "resnet18", small: bool = False, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = getattr(torchvision.models, name)(weights=None)
    if small:
        net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    net.fc = nn.Identity()
    return stirred(net, seed)


def without_head(net: nn.Module) -> nn.Sequential:
    """As lightly's examples take a trunk."""
    return nn.Sequential(*list(net.children())[:-1])


def features(net: nn.Module) -> Tensor:
    with torch.no_grad():
        return net(X).flatten(1)


def loaded(path: Path, content: object, name: str = "resnet18", size: int = 224):
    """Our network and the report, after the file was written and read."""
    torch.save(content, path / "w.ckpt")
    state = read_weights(path / "w.ckpt")
    ours = ResNet(name, "batch", 64, 1, size).eval()
    report = load_into(ours, state)
    assert report.complete
    ours.inputs = nn.Identity()  # theirs are normalised outside
    return ours, report, state


def prefixed(**parts: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for name, net in parts.items() for key, value in net.state_dict().items()}


def lightning(state: dict[str, Tensor]) -> dict[str, object]:
    rest = {"epoch": 9, "global_step": 90, "pytorch-lightning_version": "2.2", "optimizer_states": [], "loops": {}}
    return {"state_dict": state, "hyper_parameters": {"lr": 0.1, "backbone": "resnet18", "sizes": [1, 2]}, **rest}


RULES = ["0. → conv1.", "1. → bn1.", "4. → layer1.", "5. → layer2.", "6. → layer3.", "7. → layer4."]


@pytest.mark.parametrize(("name", "small"), [("resnet18", False), ("resnet18", True), ("resnet50", False)])
def test_lightlys_sequence_of_a_torchvision_resnet(tmp_path, name, small) -> None:
    net, other = published(name, small), published(name, small, seed=1)
    head = heads.SimCLRProjectionHead(8, 8, 8)
    state = prefixed(backbone=without_head(net), projection_head=head, backbone_momentum=without_head(other))
    ours, report, found = loaded(tmp_path, lightning(state), name, 32 if small else 224)
    torch.testing.assert_close(features(ours), features(net), rtol=1e-5, atol=1e-5)
    assert (report.mapped_by, report.unwrapped, report.renamed) == ("lightly", ["state_dict", "backbone."], RULES)
    assert any(key.startswith("backbone_momentum.") for key in report.ignored)
    assert resnet(found) == (name, 3 if small else 7)
    shown = str(report)
    assert "read as lightly's" in shown and "4. → layer1." in shown and "state_dict backbone." in shown


def test_of_teacher_and_student_the_teacher_is_taken(tmp_path) -> None:
    teacher, student = published(), published(seed=1)
    for make in (without_head, lambda net: net):
        state = prefixed(student_backbone=make(student), teacher_backbone=make(teacher))
        ours, report, _ = loaded(tmp_path, lightning(state))
        torch.testing.assert_close(features(ours), features(teacher), rtol=1e-5, atol=1e-5)
        assert report.mapped_by == "lightly" and report.unwrapped == ["state_dict", "teacher_backbone."]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_lightlys_own_resnet_is_ours_for_small_images(tmp_path, name) -> None:
    torch.manual_seed(0)
    net = stirred(lightly.ResNetGenerator(name.replace("resnet", "resnet-")))
    ours, report, found = loaded(tmp_path, net.state_dict(), name, 32)
    net.linear = nn.Identity()
    torch.testing.assert_close(features(ours), features(net), rtol=1e-5, atol=1e-5)
    assert report.renamed == [".shortcut. → .downsample."] and report.mapped_by == "lightly"
    assert report.ignored == ["linear.weight", "linear.bias"] and resnet(found) == (name, 3)


def test_lightlys_own_resnet_in_a_sequence_is_another_function_and_refused(tmp_path) -> None:
    net = stirred(lightly.ResNetGenerator("resnet-18"))
    taken = nn.Sequential(*list(net.children())[:-1], nn.AdaptiveAvgPool2d(1))
    whole = copy.deepcopy(net)
    whole.linear = nn.Identity()
    assert not torch.allclose(features(taken), features(whole), atol=1e-3)  # the stem's ReLU is lost
    torch.save({"state_dict": prefixed(backbone=taken)}, tmp_path / "w.ckpt")
    with pytest.raises(UsageError, match="w.ckpt: a ResNet as nn.Sequential.*numbered 2, 3, 4, 5.*ReLU") as error:
        read_weights(tmp_path / "w.ckpt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("trunk", "small"), [("backbone", True), ("backbone", False), ("encoder", True)])
def test_solo_learns_layout(tmp_path, trunk, small) -> None:
    net = published(small=small)
    parts = {trunk: net, f"momentum_{trunk}": published(small=small, seed=1)}
    parts |= {"projector": nn.Linear(4, 4), "classifier": nn.Linear(4, 4), "momentum_projector": nn.Linear(4, 4)}
    ours, report, found = loaded(tmp_path, lightning(prefixed(**parts)), size=32 if small else 224)
    torch.testing.assert_close(features(ours), features(net), rtol=1e-5, atol=1e-5)
    assert (report.mapped_by, report.renamed) == ("solo-learn", [])
    assert report.unwrapped == ["state_dict", f"{trunk}."] and resnet(found) == ("resnet18", 3 if small else 7)


def test_mocos_own_layout(tmp_path) -> None:
    net = published()
    state = {f"module.{k}": v for k, v in prefixed(encoder_q=net, encoder_k=published(seed=1)).items()}
    ours, report, _ = loaded(tmp_path, {"epoch": 3, "arch": "resnet18", "state_dict": state})
    torch.testing.assert_close(features(ours), features(net), rtol=1e-5, atol=1e-5)
    assert report.mapped_by == "MoCo" and report.unwrapped == ["state_dict", "module.", "encoder_q."]


def test_a_plain_torchvision_file_says_so(tmp_path) -> None:
    net = torchvision.models.resnet18(weights=None)
    _, report, _ = loaded(tmp_path, net.state_dict())
    assert (report.mapped_by, report.renamed, report.unwrapped) == ("torchvision", [], [])
    assert report.ignored == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_timms_resnets_are_torchvisions(tmp_path, name) -> None:
    timm = pytest.importorskip("timm")
    net = stirred(timm.create_model(name, pretrained=False, zero_init_last=False))
    ours, report, _ = loaded(tmp_path, net.state_dict(), name)
    net.reset_classifier(0)
    torch.testing.assert_close(features(ours), features(net), rtol=1e-4, atol=1e-5)
    assert report.ignored == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("name", ["resnet18d", "resnet34", "seresnet18", "resnext50_32x4d"])
def test_other_resnets_are_not_taken_for_ours(name) -> None:
    timm = pytest.importorskip("timm")
    net = timm.create_model(name, pretrained=False)
    ours = ResNet("resnet50" if "50" in name else "resnet18", "batch", 64, 1, 224)
    with pytest.raises(UsageError, match="only a part fits"):
        load_into(ours, unwrap(net.state_dict()))


def test_a_timm_vit_is_refused_and_the_way_out_is_named(tmp_path) -> None:
    timm = pytest.importorskip("timm")
    options = {"pretrained": False, "img_size": 32, "patch_size": 4, "depth": 4, "num_classes": 0}
    for also, message in (
        ({}, "class token"),
        ({"class_token": False, "global_pool": "avg"}, "positions of its own"),
    ):
        net = timm.create_model("vit_tiny_patch16_224", **options, **also)
        torch.save({"state_dict": prefixed(backbone=net)}, tmp_path / "w.pth")
        with pytest.raises(UsageError, match=f"w.pth: .*{message}.*timm:NAME@FILE"):
            read_weights(tmp_path / "w.pth")
        state = read_weights(tmp_path / "w.pth", rename=False)  # for timm's own network
        assert net.load_state_dict(state).missing_keys == [] and state.mapped_by is None
    wide = {"patch_embed.proj.weight": torch.zeros(384, 3, 4, 4), "pos_embed": position_embedding(384, 8)}
    with pytest.raises(UsageError, match="more heads"):
        unwrap(wide | {"norm.weight": torch.ones(384)})
    after = {"patch_embed.proj.weight": torch.zeros(24, 3, 4, 4), "pos_embed": position_embedding(24, 8)}
    with pytest.raises(UsageError, match="norm after the mean"):
        unwrap(after | {"fc_norm.weight": torch.ones(24)})


def test_a_timm_vit_with_our_positions_and_no_token_is_ours(tmp_path) -> None:
    timm = pytest.importorskip("timm")
    net = timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, img_size=32, patch_size=4, depth=4, embed_dim=96, num_classes=0,
        class_token=False, global_pool="avg", fc_norm=False,
    )  # fmt: skip
    with torch.no_grad():
        net.pos_embed.copy_(position_embedding(96, 8))
        for block in net.blocks:  # biases start at 0, where a mixed-up one would not show
            block.mlp.fc1.bias.normal_(0, 0.1)
            block.attn.qkv.bias.normal_(0, 0.1)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    ours = ViT("vit_micro", "none", 96, 4, 32).eval()
    report = load_into(ours, read_weights(tmp_path / "w.pth"))
    assert report.complete and report.mapped_by == "timm" and report.ignored == ["pos_embed"]
    ours.inputs = Inputs([0.0] * 3, [1.0] * 3)
    torch.testing.assert_close(features(ours), features(net.eval()), rtol=1e-5, atol=1e-5)


def test_torchvisions_vit_is_refused() -> None:
    net = torchvision.models.VisionTransformer(32, 16, 1, 2, 16, 16)
    with pytest.raises(UsageError, match="class token"):
        unwrap(net.state_dict())


class Thing:
    pass


def test_hyper_parameters_with_objects_are_refused_by_name(tmp_path) -> None:
    content = lightning(prefixed(backbone=published())) | {"hyper_parameters": {"cfg": Thing()}}
    torch.save(content, tmp_path / "w.ckpt")
    with pytest.raises(UsageError, match=r"w.ckpt: .*test_keymaps.Thing\), which are never run") as error:
        read_weights(tmp_path / "w.ckpt")
    assert "\n" not in str(error.value)


def test_our_own_names_are_nobody_elses() -> None:
    state = unwrap(ViT("vit_micro", "none", 24, 4, 16).state_dict())
    assert state.mapped_by is None and state.renamed == [] and resnet(state) is None
