import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from gssl.data import Draws
from gssl.nets import build_backbone
from gssl.nets.weights import load_into, save_weights
from gssl.probe.adapter import LowRank, add_adapters
from gssl.probe.finetune import Classifier, Finetune
from gssl.probe.setting import Setting
from gssl.schemas import Backbone
from gssl.schemas import probes as schema
from tests.probe.conftest import fits
from tests.probe.test_finetune import BOXES, MASKS

CPU = torch.device("cpu")
KINDS = {
    "convnet": Backbone(name="convnet", norm="batch", width=8, patch=1),
    "convnet_plain": Backbone(name="convnet", norm="none", width=8, patch=1),
    "vit_micro": Backbone(name="vit_micro", norm="none", width=12, patch=4),
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = build_backbone(KINDS[name], 8)
    network(torch.rand(64, 3, 8, 8))  # batch statistics of their own
    return network


def views(image, step, view=0, extent=None):
    return image.float() / 255


def tune(name: str, images, **changes):
    values = dict(train="lora", stages=1, rank=2, layer_decay=1.0, steps=60, batch_size=16, draws=1, points=0)
    values |= dict(folds=1, clip=None, head_l2=None, colour=True)
    cfg = schema.Finetune(**(values | dict(masks=MASKS, boxes=BOXES, lrs=[0.02], weight_decays=[0.01]) | changes))
    return Finetune(cfg).fit(images, Setting(lambda: build(name), 4, views, None, 8, CPU, 0, Draws(0), fits()))


@pytest.mark.parametrize("name", KINDS)
def test_at_first_nothing_changes_and_only_adapters_can_be_trained(name):
    plain = build(name).eval()
    network = copy.deepcopy(plain).train()
    add_adapters(network, 3, Draws(0))
    x = torch.rand(4, 3, 8, 8)
    assert torch.equal(network(x), plain(x))
    weights = [m.weight for m in plain.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trained == sum(3 * (len(w) + w[0].numel()) for w in weights)
    network(x).sum().backward()
    assert {key.split(".")[-1] for key, p in network.named_parameters() if p.grad is not None} == {"a", "b"}


@pytest.mark.parametrize("name", ["convnet", "vit_micro"])
def test_what_is_frozen_stays_and_what_changes_has_low_rank(quarters, name):
    before, after = build(name), tune(name, quarters(2), steps=5).network.backbone
    kept = {key.replace("parametrizations.weight.original", "weight"): v for key, v in after.state_dict().items()}
    assert all(torch.equal(kept[key], value) for key, value in before.state_dict().items())
    for key, old in before.named_modules():
        new = after.get_submodule(key)
        assert isinstance(old, nn.Conv2d | nn.Linear) == is_parametrized(new)
        if is_parametrized(new):
            change = (new.weight - old.weight).detach().flatten(1).double()
            assert torch.linalg.matrix_rank(change, rtol=1e-3) == 2


@pytest.mark.long
def test_it_learns(quarters):
    fitted, unseen = tune("convnet", quarters(10)), quarters(20, 1)
    assert (fitted.predict(unseen) == unseen.labels).mean() > 0.9


@pytest.mark.parametrize("name", KINDS)
def test_saved_it_is_a_plain_classifier(quarters, tmp_path, name):
    tuned = tune(name, quarters(1), steps=5).network
    save_weights(tuned, tmp_path / "tuned.safetensors")
    plain = Classifier(build(name), 4, Draws(1))
    report = load_into(plain, load_file(tmp_path / "tuned.safetensors"), ignore=())
    assert report.complete and not report.ignored
    x = torch.rand(5, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(plain.to(memory_format=torch.channels_last).eval()(x), tuned(x))


def test_the_rank_is_at_most_the_matrix_has():
    weight = torch.randn(3, 2, 1, 1)
    adapter = LowRank(weight, 10, Draws(0).generator("x"))
    assert (adapter.a.shape, adapter.b.shape) == ((2, 2), (3, 2))
    nn.init.normal_(adapter.b)
    expected = weight + torch.einsum("or,ri->oi", adapter.b, adapter.a)[..., None, None]
    torch.testing.assert_close(adapter(weight), expected)


def test_adapters_are_a_function_of_the_seed_and_differ():
    made = []
    for seed in (0, 0, 1):
        network = build("vit_micro")
        torch.manual_seed(len(made))
        add_adapters(network, 2, Draws(seed))
        made.append([p for key, p in network.named_parameters() if key.endswith(".a")])
    assert all(torch.equal(a, b) for a, b in zip(made[0], made[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(made[0], made[2], strict=True))
    first, second = made[0][1], made[0][5]  # of one layer in two blocks
    assert first.shape == second.shape and not torch.equal(first, second)
