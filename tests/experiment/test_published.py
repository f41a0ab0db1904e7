"""Published networks: names, files, and files that do not say which of two networks they are of."""

import json

import pytest
import torch
from safetensors.torch import save_file

from gssl import schemas
from gssl.config import arms, label_use
from gssl.errors import UsageError
from gssl.experiment import published, weight_sources
from gssl.nets import foreign
from gssl.schemas.determining import NAMED_WEIGHTS
from gssl.schemas.ready_made import READY_MADE, SHORT

timm = pytest.importorskip("timm")

SMALL = schemas.Backbone(name="convnet", norm="batch", width=4, patch=1)


def stored(network: torch.nn.Module, file) -> str:
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, file)
    return str(file)


def test_short_names_are_networks_of_timm_with_published_weights(monkeypatch) -> None:
    for short, name in SHORT.items():
        base = name.partition("?")[0]
        foreign.check(base)
        assert base in timm.list_pretrained(), short
        assert arms.PUBLISHED.fullmatch(short) and NAMED_WEIGHTS.fullmatch(f"{short}@w.pth")
        assert arms.parse(f"{short}@w.pth").source == f"{short}@w.pth"  # no arm of that name
        assert label_use.of_weights(short) is False
    origin = weight_sources.find_weights("dinov2_vits14")
    assert origin.backbone.name == "timm:vit_small_patch14_dinov2.lvd142m?img_size=224"
    assert origin.own(SMALL).record() == {"size": 224, "fit": "short", "crop": 1.0, "interpolation": "bicubic"}
    assert weight_sources.find_weights("clip_vitb32").own(SMALL).crop == pytest.approx(0.9)

    create = foreign._create

    def offline(name, pretrained, **options):
        if pretrained:
            raise OSError("no network")
        return create(name, False, **options)

    monkeypatch.setattr(foreign, "_create", offline)
    with pytest.raises(UsageError) as error:
        published.tensors("timm", origin.backbone.name, None, None, {})
    assert "\n" not in str(error.value)
    assert "fetch model.safetensors of https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m" in str(error.value)
    assert str(error.value).endswith("give the file: weights=dinov2_vits14@FILE")


def test_every_published_network_says_its_own_size() -> None:
    lite = weight_sources.WeightSource("x", backbone=schemas.Backbone.model_construct(None, name="timm:test_vit"))
    assert lite.own(SMALL).record() == {"size": 160, "fit": "short", "crop": 0.95, "interpolation": "bicubic"}
    resnet = weight_sources.find_weights("torchvision:resnet50").own(SMALL)
    assert (resnet.size, resnet.need, resnet.interpolation) == (224, 232, "bilinear")
    assert weight_sources.find_weights("torchvision:resnet18").own(SMALL).need == 256
    assert weight_sources.find_weights("random").own(SMALL) is None


def test_torchvision_from_a_file(tmp_path) -> None:
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    theirs = models.resnet18(weights=None)
    weights = f"torchvision:resnet18@{stored(theirs, tmp_path / 'w.safetensors')}"
    origin = weight_sources.find_weights(weights)
    net, report = weight_sources.build(origin, SMALL, 32, 0)
    assert report["missing"] == [] == report["unexpected"] and torch.equal(net.conv1.weight, theirs.conv1.weight)
    assert origin.sha256 and label_use.of_weights(weights) is None  # what it has learned from is not on record
    with pytest.raises(UsageError, match="no such file nowhere.pth; expected weights of torchvision's resnet18"):
        weight_sources.find_weights("torchvision:resnet18@nowhere.pth")


def test_a_folder_of_the_hub_is_a_source(tmp_path) -> None:
    torch.manual_seed(0)
    net = foreign.TimmBackbone("test_vit", 160)
    stored(net.net, tmp_path / "model.safetensors")
    config = {"architecture": "test_vit", "pretrained_cfg": {"input_size": [3, 160, 160]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for weights in (f"hf:{tmp_path}", str(tmp_path)):
        origin = weight_sources.find_weights(weights)
        made, report = weight_sources.build(origin, SMALL, 32, 0)
        assert report["missing"] == [] and torch.equal(made.net.cls_token, net.net.cls_token)
        assert origin.record()["kind"] == "hf" and origin.record()["name"] == "timm:test_vit"
        assert origin.own(SMALL).size == 160 and origin.described(SMALL, 32)["name"] == "timm:test_vit"
    with pytest.raises(UsageError, match="name the network that they belong to: weights=timm:NAME@FILE"):
        other = f"timm:test_resnet@{tmp_path / 'model.safetensors'}"
        weight_sources.build(weight_sources.find_weights(other), SMALL, 32, 0)


@pytest.mark.long
def test_files_of_networks_that_names_and_shapes_do_not_tell_apart(tmp_path, capsys, monkeypatch) -> None:
    assert foreign.alternative("efficientnet_lite0") == "tf_efficientnet_lite0"
    assert foreign.alternative("tf_efficientnet_lite0.in1k") == "efficientnet_lite0"
    assert foreign.alternative("test_resnet") is None and foreign.alternative("resnet18") is None
    net = timm.create_model("efficientnet_lite0", num_classes=0)

    def load(name: str, file: str) -> None:
        path = tmp_path / file
        if not path.exists():
            stored(net, path)
        published.tensors("timm", f"timm:{name}", path, None, {})

    load("efficientnet_lite0", "weights.safetensors")
    said = capsys.readouterr().err
    assert "tf_efficientnet_lite0 has the same names and shapes and pads otherwise" in said and said.count("\n") == 1
    load("efficientnet_lite0", "efficientnet_lite0_ra-1.safetensors")
    load("tf_efficientnet_lite0", "tf_efficientnet_lite0-1.safetensors")
    assert capsys.readouterr().err == ""
    with pytest.raises(UsageError, match=r"name says tf_efficientnet_lite0, .*; use weights=timm:tf_"):
        load("efficientnet_lite0", "tf_efficientnet_lite0-1.safetensors")
    # the weights of the Python package, whatever the file is called
    mark = published.digest(net.conv_stem.weight.detach().contiguous().numpy().tobytes()).hexdigest()
    made = READY_MADE["efficientnet_lite0"]
    monkeypatch.setitem(READY_MADE, "efficientnet_lite0", made._replace(first=mark))
    with pytest.raises(UsageError, match="these are the weights of tf_efficientnet_lite0 .efficientnet_lite0., which"):
        load("efficientnet_lite0", "weights.safetensors")
    load("tf_efficientnet_lite0", "weights.safetensors")
    assert capsys.readouterr().err == ""


def test_the_packages_file_is_known_by_its_hash(tmp_path) -> None:
    sha = READY_MADE["efficientnet_lite0"].sha256
    with pytest.raises(UsageError, match="this is the file of efficientnet_lite0, .* use weights=efficientnet_lite0$"):
        published.tensors("timm", "timm:tf_efficientnet_lite0", tmp_path / "w.pth", sha, {})


def test_files_of_the_first_authors_are_read_by_timms_own_rules(tmp_path) -> None:
    """DINOv2's file has a mask token, which only its training needs."""
    torch.manual_seed(0)
    name = "vit_small_patch14_dinov2?embed_dim=32&depth=1&num_heads=2&img_size=28"
    net = foreign.TimmBackbone(name, 28)
    state = {key: value.contiguous() for key, value in net.net.state_dict().items()}
    save_file(state | {"mask_token": torch.zeros(1, 32)}, tmp_path / "w.safetensors")
    origin = weight_sources.find_weights(f"timm:{name}@{tmp_path / 'w.safetensors'}")
    made, report = weight_sources.build(origin, SMALL, 28, 0)
    assert report["unexpected"] == [] and torch.equal(made.net.pos_embed, net.net.pos_embed)
    with pytest.raises(UsageError, match="timm cannot build it so"):
        weight_sources.find_weights("timm:test_resnet?colour=1")
