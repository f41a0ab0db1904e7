"""Training from given weights: learning rates by stage, batch statistics, and whether the run says that it forgot."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from gssl import schemas
from gssl.commands import pretrain_ssl
from gssl.config.composing import compose
from gssl.engine.device import Precision
from gssl.engine.files import read_json, sha256
from gssl.engine.optim import Optimizer
from gssl.errors import UsageError
from gssl.experiment import continued
from gssl.nets import build_backbone, recompute_batch_norm
from gssl.nets.norms import evaluating

CPU = torch.device("cpu")
SMALL = schemas.Backbone(name="convnet", norm="batch", width=8, patch=1)


def test_every_stage_learns_slower_than_the_next_one_and_what_is_added_at_the_whole_rate():
    backbone, head = build_backbone(SMALL, 16), nn.Linear(64, 4)
    cfg = schemas.Continued(layer_decay=0.5, batch_statistics="auto")
    optim = compose("pretrain-ssl", ["ssl.optim.lr=0.2"]).ssl.optim

    def make(params, optim, **kwargs):
        return Optimizer(params, optim, device=CPU, precision=Precision("fp32", CPU), **kwargs)

    made = continued.optimizers(make, backbone, cfg)([*head.parameters(), *backbone.parameters()], optim)
    scale = {id(p): group["lr_scale"] for group in made.inner.param_groups for p in group["params"]}
    assert {scale[id(p)] for p in head.parameters()} == {1.0}
    stages = [{scale[id(p)] for p in stage} for stage in backbone.layer_groups()]
    assert stages == [{0.0625}, {0.125}, {0.25}, {0.5}]
    assert len(scale) == len([*head.parameters(), *backbone.parameters()])


def test_without_layer_decay_the_factory_is_the_engines_own():
    cfg = schemas.Continued(layer_decay=1.0, batch_statistics="auto")
    assert continued.optimizers(Optimizer, build_backbone(SMALL, 16), cfg) is Optimizer


@pytest.mark.parametrize(
    ("weights", "auto", "kept", "trained"),
    [
        ("random", False, False, False),
        ("runs/pretrain_ssl/one", False, True, False),
        ("efficientnet_lite0", True, True, False),
        ("timm:resnet18", True, True, False),
        ("torchvision:resnet18", True, True, False),
    ],
)
def test_published_networks_keep_their_batch_statistics_unless_it_is_said(weights, auto, kept, trained):
    asked = [continued.kept(weights, how) for how in ("auto", "kept", "trained")]
    assert asked == [auto, kept, trained]


def test_kept_statistics_survive_training_pictures_and_export(tiny):
    torch.manual_seed(0)
    net = build_backbone(SMALL, 16).train()
    net(torch.rand(8, 3, 16, 16))
    before = copy.deepcopy(dict(net.named_buffers()))
    continued.hold(net, tiny("pretrain-ssl", "weights=somewhere", "continued.batch_statistics=kept"))
    with evaluating(net):
        pass
    copy.deepcopy(net)(torch.rand(8, 3, 16, 16))
    net(torch.rand(8, 3, 16, 16))
    recompute_batch_norm(net, iter([torch.rand(8, 3, 16, 16)]))
    assert all(torch.equal(value, before[key]) for key, value in net.named_buffers())


@pytest.mark.parametrize(("better", "worse", "fell"), [(5, 5, False), (0, 30, True), (30, 0, False), (3, 6, False)])
def test_a_fall_is_one_whose_interval_lies_below_zero(better, worse, fell):
    before = np.zeros(200, bool)
    before[: 100 + worse] = True
    after = before.copy()
    after[:worse], after[200 - better :] = False, True
    found = continued.against_start(before, after)
    assert found["fell"] == fell == (found["interval"][1] < 0)
    assert abs(found["change"] - (better - worse) / 200) < 1e-9 and found["n"] == 200
    assert abs(found["end"] - found["val_knn"] - found["change"]) < 1e-9


@pytest.fixture
def begun(tiny, tmp_path):
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=8"), tmp_path / "first")
    return f"weights={tmp_path / 'first'}"


def test_a_run_from_weights_says_how_its_probe_stands_beside_theirs(begun, tiny, tmp_path, capsys):
    same = ["continued.batch_statistics=kept", "ssl.optim.name=sgd", "ssl.optim.lr=1e-9"]
    pretrain_ssl.main(tiny("pretrain-ssl", begun, *same, "budget.steps=2"), tmp_path / "kept")
    start = read_json(tmp_path / "kept" / "result.json")["start"]
    assert start["change"] == 0 and not start["fell"] and start["val_knn"] == start["end"]
    assert "note: kNN on 12 validation images" in capsys.readouterr().err


def test_forgetting_is_a_warning_with_its_interval_and_what_to_do(capsys):
    before = np.ones(100, bool)
    continued.tell(continued.against_start(before, np.arange(100) < 70))
    said = capsys.readouterr().err
    assert said.startswith("warning: kNN on 100 validation images: 100.0 % with the weights as they came, 70.0 %")
    assert "(−30.0, 95% interval −" in said and "ssl.optim.lr" in said and said.count("\n") == 1


def test_a_run_from_nothing_has_no_start_to_fall_from(tiny, tmp_path):
    pretrain_ssl.main(tiny("pretrain-ssl", "budget.steps=1"), tmp_path / "run")
    assert "start" not in read_json(tmp_path / "run" / "result.json")


@pytest.mark.long
def test_a_continued_run_that_was_killed_ends_with_the_same_bytes_and_start(begun, tiny, tmp_path, killed):
    cfg = tiny("pretrain-ssl", begun, "experiment=continued", "resume=auto", "engine.checkpoint_every=2")
    pretrain_ssl.main(cfg, tmp_path / "whole")
    killed(pretrain_ssl.main, cfg, tmp_path / "broken", step=3)
    pretrain_ssl.main(cfg, tmp_path / "broken")
    runs = [tmp_path / name for name in ("whole", "broken")]
    assert len({sha256(run / "weights" / "backbone.safetensors") for run in runs}) == 1
    one, two = (read_json(run / "result.json")["start"] for run in runs)
    assert one == two


@pytest.mark.parametrize(
    ("weights", "size", "says"),
    [
        ("timm:test_resnet", 160, "ssl=mae: leaves patches out, which ResNet cannot"),
        ("timm:test_vit", 32, "positions for images of 160 pixels; set data.size=160"),
    ],
)
def test_a_method_of_patches_says_at_once_that_a_network_does_not_serve(weights, size, says, tiny, tmp_path):
    timm = pytest.importorskip("timm")
    file = tmp_path / "weights.pth"
    torch.save(timm.create_model(weights.removeprefix("timm:"), pretrained=False).state_dict(), file)
    cfg = tiny("pretrain-ssl", "ssl=mae", "backbone.width=24", "data.size=16", f"weights={weights}@{file}")
    cfg = schemas.replace(cfg, data=schemas.replace(cfg.data, size=size, root="nowhere"))
    with pytest.raises(UsageError, match=says):
        pretrain_ssl.main(cfg, tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("method", ["mae", "ijepa", "simmim", "dino", "simclr"])
def test_timms_vision_transformers_go_on_at_their_own_size(method, tiny, tmp_path):
    timm = pytest.importorskip("timm")
    file = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(timm.create_model("test_vit", pretrained=False).state_dict(), file)
    unit = ["ssl.unit=16"] if method == "simmim" else []
    words = [f"ssl={method}", "experiment=continued", f"weights=timm:test_vit@{file}", *unit, "data.limit=24"]
    cfg = tiny("pretrain-ssl", *words, "data.size=160", "backbone.width=24", "ssl.batch_size=4", "budget.steps=2")
    pretrain_ssl.main(cfg, tmp_path / "run")
    result = read_json(tmp_path / "run" / "result.json")
    assert result["backbone"]["name"] == "timm:test_vit" and result["start"]["n"] > 0
