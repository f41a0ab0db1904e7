"""No network and no published weights: random ones in files, and stand-ins for packages that may not be installed."""

import hashlib
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from gssl.errors import UsageError
from gssl.metrics import pretrained
from gssl.metrics.evaluator import evaluator_outputs
from gssl.metrics.pretrained import load


def images(n: int, size: int = 16) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def refuse(*args, **kwargs):
        raise OSError("no network here")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@pytest.mark.parametrize("name, dim, classes", [("resnet18", 512, 1000), ("mobilenet_v3_small", 1024, 7)])
def test_torchvision_features_are_what_enters_the_last_layer(tmp_path, name, dim, classes):
    torch.manual_seed(0)
    network = models.get_model(name, weights=None, num_classes=classes).eval()
    file = tmp_path / "w.pth"
    torch.save(network.state_dict(), file)
    state = torch.get_rng_state()
    evaluator = load("torchvision", name, 16, str(file))
    assert torch.equal(torch.get_rng_state(), state)
    assert (evaluator.name, evaluator.dim, evaluator.classes, evaluator.size) == (
        f"torchvision-{name}-file",
        dim,
        classes,
        16,
    )
    assert not evaluator.training and not any(p.requires_grad for p in evaluator.parameters()) and not evaluator.fid

    preset = models.get_model_weights(name).DEFAULT.transforms(resize_size=224)
    entered = []
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    last.register_forward_hook(lambda _, inputs, out: entered.append(inputs[0]))
    with torch.no_grad():
        wanted = network(preset(images(3))).softmax(dim=1)
    found = evaluator_outputs(evaluator, images(3))
    assert np.allclose(found.features, entered[0], rtol=1e-3, atol=1e-5)
    assert np.allclose(found.probabilities, wanted, rtol=1e-3, atol=1e-6)
    alone = evaluator_outputs(evaluator, images(3), batch_size=1)
    assert np.allclose(alone.features, found.features, rtol=1e-3, atol=1e-5)


def test_other_weights_are_another_judge(tmp_path):
    hashes = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save({"state_dict": models.mobilenet_v3_small().state_dict()}, tmp_path / "w.pth")
        hashes += [load("torchvision", "mobilenet_v3_small", size, str(tmp_path / "w.pth")).hash for size in (8, 16)]
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3] and len(hashes[0]) == 64


def test_torchvisions_errors_say_what_to_do(tmp_path, no_network):
    torch.save({"a": torch.zeros(1)}, tmp_path / "wrong.pth")
    (tmp_path / "no.pth").write_text("no weights")
    for args, says in (
        (("resnet81", None), "did you mean resnet"),
        (("resnet18", None), "put that file into"),
        (("resnet18", str(tmp_path / "wrong.pth")), "does not hold the weights of resnet18"),
        (("resnet18", str(tmp_path / "no.pth")), "does not hold the weights of resnet18"),
        (("resnet18", str(tmp_path / "gone.pth")), "gone.pth"),
        (("deeplabv3_resnet50", None), "no such classifier"),
    ):
        with pytest.raises(UsageError) as caught:
            load("torchvision", args[0], 16, args[1])
        text = str(caught.value)
        assert text.startswith(f"evaluator=torchvision:{args[0]}: ") and says in text and "\n" not in text


class Extractor(nn.Module):
    """Takes what torch-fidelity's extractor takes, and remembers it."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        assert features_list == ["2048", "logits_unbiased"]
        self.w = nn.Parameter(torch.zeros(2048))
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))

    def forward(self, x):
        assert x.dtype == torch.uint8
        self.seen = x
        mean = x.float().mean(dim=(1, 2, 3))[:, None]
        return mean + self.w, mean * torch.linspace(0, 1, 1008)


@pytest.fixture
def fidelity(monkeypatch):
    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Extractor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_fid_is_for_the_verified_file_only(fidelity, monkeypatch, tmp_path):
    file = tmp_path / "any.pth"
    torch.save({"w": torch.ones(2048)}, file)
    evaluator = load("inception", "", 16, str(file))
    assert not evaluator.fid and evaluator.name == "inception-other" and "no FID" in evaluator.note
    # the content decides, not the name
    monkeypatch.setattr(pretrained, "FID_SHA256", hashlib.sha256(file.read_bytes()).hexdigest()[:8])
    verified = load("inception", "", 16, str(file))
    assert verified.fid and verified.name == "inception" and not verified.note
    assert verified.hash == evaluator.hash


def test_inception_sees_rounded_bytes(fidelity, tmp_path):
    file = tmp_path / "any.pth"
    torch.save({"w": torch.ones(2048)}, file)
    evaluator = load("inception", "", 4, str(file))
    stored = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4) * 5 + 3
    found = evaluator_outputs(
        evaluator, torch.cat([stored / 255, (stored - 0.4) / 255])
    )  # truncation would lose a level
    assert torch.equal(evaluator.network.seen, stored.repeat(2, 1, 1, 1))
    assert found.features.shape == (2, 2048)
    assert found.probabilities is not None and found.probabilities.shape == (2, 1008)
    assert np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-4)


def test_inceptions_errors_say_what_to_do(fidelity, no_network, monkeypatch, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "wrong.pth")
    for weights, says in (
        (str(tmp_path / "wrong.pth"), "expected weights-inception-2015-12-05-6726825d.pth"),
        (None, "put that file into"),
    ):
        with pytest.raises(UsageError) as caught:
            load("inception", "", 16, weights)
        assert str(caught.value).startswith("evaluator=inception: ") and says in str(caught.value)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.delitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3")
    with pytest.raises(UsageError, match=r"pip install 'gssl\[fid\]'"):
        load("inception", "", 16, None)


def test_a_file_that_would_run_code_is_refused(fidelity, tmp_path):
    mark = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return mark.touch, ()

    torch.save({"w": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(UsageError, match="does not hold"):
        load("inception", "", 16, str(tmp_path / "bomb.pth"))
    assert not mark.exists()


def test_dinov2_goes_through_timm(monkeypatch, tmp_path):
    class Tokens(nn.Module):
        num_features = 384
        pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}

        def forward(self, x):
            assert x.shape[1:] == (3, 224, 224)
            return x.mean(dim=(2, 3)).repeat(1, 128)

    asked = {}

    def create_model(name, **kwargs):
        asked.update(kwargs, name=name)
        if "pretrained_cfg_overlay" not in kwargs:
            raise FileNotFoundError("no network here\nand more")
        return Tokens()

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    (tmp_path / "w.pth").touch()
    evaluator = load("dinov2", "", 16, str(tmp_path / "w.pth"))
    assert asked["name"] == pretrained.DINOV2 and asked["pretrained"] and asked["num_classes"] == 0
    assert asked["pretrained_cfg_overlay"] == {"file": str(tmp_path / "w.pth")}
    found = evaluator_outputs(evaluator, torch.full((2, 3, 16, 16), 0.75))
    assert found.features.shape == (2, evaluator.dim) == (2, 384) and found.probabilities is None
    assert np.allclose(found.features, 1)
    with pytest.raises(UsageError, match=r"evaluator=dinov2: .*no network here and more.*give them as a file"):
        load("dinov2", "", 16, None)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'gssl\[timm\]'"):
        load("dinov2", "", 16, None)
