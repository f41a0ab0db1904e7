"""ResNets against torchvision's own."""

import urllib.error

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gssl.errors import UsageError
from gssl.nets import load_into
from gssl.nets.resnet import ResNet, torchvision_weights

models = pytest.importorskip("torchvision").models
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def reference(name: str) -> nn.Module:
    """torchvision's network with random weights and batch statistics that are not at their start."""
    torch.manual_seed(0)
    net = getattr(models, name)(weights=None)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1)
                module.bias.normal_(0, 0.1)
    return net.eval()


def features(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """torchvision's output before `fc`, for an image in [0, 1]."""
    net.fc = nn.Identity()
    with torch.no_grad():
        return net((x - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvisions_state_dict_fits_and_gives_its_features(name: str) -> None:
    theirs, ours = reference(name), ResNet(name, "batch", 64, 1, 224)
    report = load_into(ours, theirs.state_dict())
    assert (report.missing, report.unexpected, report.mismatched) == ([], [], [])
    assert sorted(report.ignored) == ["fc.bias", "fc.weight"]
    assert set(ours.state_dict()) == set(theirs.state_dict()) - {"fc.weight", "fc.bias"}
    x = torch.rand(2, 3, 72, 72)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(x), features(theirs, x), rtol=1e-5, atol=1e-5)


def test_the_small_stem_is_a_3x3_convolution_without_pooling() -> None:
    ours, theirs = ResNet("resnet18", "batch", 64, 1, 64).eval(), reference("resnet18")
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    load_into(ours, theirs.state_dict())
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), features(theirs, x), rtol=1e-5, atol=1e-5)


def test_torchvisions_weights_do_not_fit_the_small_stem_silently() -> None:
    ours = ResNet("resnet18", "batch", 64, 1, 32)
    state = models.resnet18(weights=None).state_dict()
    with pytest.raises(UsageError, match=r"1 mismatched \(conv1.weight\)"):
        load_into(ours, state)
    assert load_into(ours, state, allow_partial=True).mismatched == ["conv1.weight"]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_depth_does_not_explode_without_norm(name: str) -> None:
    torch.manual_seed(0)
    net = ResNet(name, "none", 64, 1, 32).eval()
    x = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        stem = F.relu(net.conv1(net.inputs(x))).std()
        assert 0.2 < net.dense(x)[-1].std() / stem < 10


def test_no_network_is_one_line_that_says_where_to_put_the_file(monkeypatch, tmp_path) -> None:
    def refuse(*args, **kwargs):
        assert kwargs["check_hash"] and kwargs["weights_only"]
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UsageError, match="resnet18-.*no network") as error:
        torchvision_weights("resnet18")
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UsageError, match="convnet"):
        torchvision_weights("convnet")
