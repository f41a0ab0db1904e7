"""Our updates against torch's optimisers, to the bit, and what they are for."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from gssl.nets import updates

RATE, BETAS, MOMENTUM = 0.03, (0.5, 0.99), 0.9


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    return made.to(memory_format=torch.channels_last)


def groups(module: nn.Module, decay: float) -> list[dict]:
    params = list(module.parameters())
    return [{"params": params[:2], "weight_decay": decay}, {"params": params[2:], "weight_decay": 0.0, "lr": 0.01}]


def train(module: nn.Module, optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        x = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad(set_to_none=True)
        module(x).square().mean().backward()
        optimizer.param_groups[0]["lr"] = RATE / (1 + step)
        optimizer.step()


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_they_are_torchs_to_the_bit(name, fused, decay):
    ours, theirs = network(), network()
    mine = updates.make(name, groups(ours, decay), RATE, MOMENTUM, BETAS, fused)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    more = {"momentum": MOMENTUM} if name == "sgd" else {"betas": BETAS}
    reference = kind(groups(theirs, decay), lr=RATE, fused=fused or None, **more)
    for module, optimizer in ((ours, mine), (theirs, reference)):
        train(module, optimizer, 0, 6)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    kept, known = mine.state_dict()["state"], reference.state_dict()["state"]
    assert kept.keys() == known.keys()
    for number, state in known.items():
        assert {key: value.tolist() for key, value in kept[number].items()} == {k: v.tolist() for k, v in state.items()}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_they_go_on_from_their_state(name):
    whole, first = network(), network()
    straight, before = (updates.make(name, groups(m, 0.05), RATE, MOMENTUM, BETAS, True) for m in (whole, first))
    train(whole, straight, 0, 6)
    train(first, before, 0, 3)
    second = copy.deepcopy(first)
    after = updates.make(name, groups(second, 0.05), 1.0, MOMENTUM, BETAS, True)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    train(second, after, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_what_has_no_gradient_stays():
    module = network()
    module[0].requires_grad_(False)
    before = module[0].weight.clone()
    optimizer = updates.make("adamw", groups(module, 0.05), RATE, MOMENTUM, BETAS, True)
    train(module, optimizer, 0, 2)
    assert torch.equal(module[0].weight, before) and module[0].weight not in optimizer.state


@pytest.mark.long
def test_no_compiler_is_imported():
    code = """
import sys, torch
from gssl.nets import updates
w = torch.nn.Parameter(torch.ones(3, 2))
for name in ("sgd", "adam", "adamw"):
    for fused in (True, False):
        made = updates.make(name, [{"params": [w], "weight_decay": 0.1}], 0.1, 0.9, (0.9, 0.99), fused)
        w.sum().backward()
        made.step()
        made.zero_grad()
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
