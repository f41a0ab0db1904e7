"""The optimiser against torch's own, the schedule against its definition."""

import math

import pytest
import torch
from torch import nn

from gssl import schemas
from gssl.engine.device import Precision
from gssl.engine.optim import Optimizer, lr_factor, split

CPU = torch.device("cpu")


def config(**changes):
    values = dict(
        name="sgd", lr=0.1, weight_decay=0.01, momentum=0.9, betas=[0.9, 0.99], warmup=0.0,
        schedule="constant", clip=None,
    )  # fmt: skip
    return schemas.Optim(**(values | changes))


def make(params, accumulate=1, **changes):
    return Optimizer(params, config(**changes), device=CPU, precision=Precision("fp32", CPU), accumulate=accumulate)


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def loss_of(net):
    return lambda batch: {"loss": (net(batch["x"]).squeeze(1) - batch["y"]).square().mean()}


def batch(seed=1):
    g = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(12, 4, generator=g), "y": torch.randn(12, generator=g)}


def test_the_schedule_warms_up_and_falls_to_zero():
    assert lr_factor(0.0, 0.1, "cosine") == 0
    assert lr_factor(0.05, 0.1, "cosine") == pytest.approx(0.5)
    assert lr_factor(0.1, 0.1, "cosine") == pytest.approx(1)
    assert lr_factor(0.55, 0.1, "cosine") == pytest.approx(0.5)
    assert lr_factor(1.0, 0.1, "cosine") == pytest.approx(0, abs=1e-12)
    assert lr_factor(0.25, 0.0, "linear") == pytest.approx(0.75)
    assert lr_factor(0.99, 0.0, "constant") == 1
    assert lr_factor(1.0, 1.0, "cosine") == pytest.approx(0.0)
    assert 0.5 * (1 + math.cos(math.pi * 0.3)) == pytest.approx(lr_factor(0.3, 0.0, "cosine"))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_step_is_torchs_step_with_decay_on_matrices_only(name):
    ours, theirs = model(), model()
    opt = make(ours.parameters(), name=name)
    weights = [p for p in theirs.parameters() if p.ndim > 1]
    biases = [p for p in theirs.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": 0.01}, {"params": biases, "weight_decay": 0.0}]
    if name == "sgd":
        reference = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    else:
        kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
        reference = kind(groups, lr=0.1, betas=(0.9, 0.99))
    for seed in range(3):
        opt.minimize(loss_of(ours), batch(seed))
        reference.zero_grad()
        loss_of(theirs)(batch(seed))["loss"].backward()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_accumulation_equals_the_whole_batch():
    whole, parts = model(), model()
    a, b = make(whole.parameters()), make(parts.parameters(), accumulate=3)
    for seed in range(3):
        one = a.minimize(loss_of(whole), batch(seed))
        three = b.minimize(loss_of(parts), batch(seed))
        torch.testing.assert_close(one["loss"], three["loss"])
    for p, q in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_clipping_bounds_the_step():
    net = model()
    before = [p.clone() for p in net.parameters()]
    make(net.parameters(), clip=1e-3, momentum=0.0, weight_decay=0.0).minimize(loss_of(net), batch())
    pairs = zip(net.parameters(), before, strict=True)
    moved = math.sqrt(sum(float((p - q).detach().square().sum()) for p, q in pairs))
    assert moved == pytest.approx(0.1 * 1e-3, rel=1e-2)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_state_goes_round_with_its_memory_format(name):
    def conv():
        torch.manual_seed(0)
        return nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)

    g = torch.Generator().manual_seed(0)
    data = [{"x": torch.randn(2, 3, 8, 8, generator=g)} for _ in range(4)]

    def loss(net):
        return lambda b: {"loss": net(b["x"]).square().mean()}

    straight, first = conv(), conv()
    opt = make(straight.parameters(), name=name)
    for b in data:
        opt.minimize(loss(straight), b)
    half = make(first.parameters(), name=name)
    for b in data[:2]:
        half.minimize(loss(first), b)
    tensors, rest = half.state()
    second = conv()
    second.load_state_dict(first.state_dict())
    resumed = make(second.parameters(), name=name)
    resumed.load({key: value.contiguous() for key, value in tensors.items()}, rest)
    for b in data[2:]:
        resumed.minimize(loss(second), b)
    assert torch.equal(straight.weight, second.weight)
    assert torch.equal(straight.bias, second.bias)


def test_parts_of_unequal_length_count_by_their_length():
    whole, parts = model(), model()
    a, b = make(whole.parameters()), make(parts.parameters(), accumulate=5)  # 12 in chunks of 3, 3, 3, 3
    c = model()
    d = make(c.parameters(), accumulate=7)  # 12 in six chunks of 2
    losses = [opt.minimize(loss_of(net), batch())["loss"] for opt, net in ((a, whole), (b, parts), (d, c))]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[0], losses[2])
    for p, q, r in zip(whole.parameters(), parts.parameters(), c.parameters(), strict=True):
        torch.testing.assert_close(p, q)
        torch.testing.assert_close(p, r)


@pytest.mark.parametrize("name", ["sgd", "adam", "lars"])
def test_steady_parameters_keep_their_rate_while_the_others_follow_the_schedule(name):
    net = model()
    head = list(net[2].parameters())
    cfg = config(name=name, schedule="cosine", warmup=0.2)
    opt = Optimizer(net.parameters(), cfg, device=CPU, precision=Precision("fp32", CPU), steady=iter(head))
    for progress, falling, constant in ((0.0, 0.0, 0.0), (0.1, 0.05, 0.05), (0.2, 0.1, 0.1), (0.6, 0.05, 0.1)):
        opt.progress = progress
        opt.minimize(loss_of(net), batch())
        rates = {id(p): group["lr"] for group in opt.inner.param_groups for p in group["params"]}
        assert len(rates) == 4
        for p in net.parameters():
            wanted = constant if any(p is h for h in head) else falling
            assert rates[id(p)] == pytest.approx(wanted, abs=1e-9)
        assert opt.lr == pytest.approx(falling, abs=1e-9)  # what is logged: the schedule
    opt.progress = 1.0
    before = [p.detach().clone() for p in net.parameters()]
    opt.minimize(loss_of(net), batch())
    moved = [not torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True)]
    assert moved == [False, False, True, True]


def test_steady_changes_no_step_while_the_rate_is_constant():
    """The same decay on matrices only, whichever group a parameter is in."""
    one, other = model(), model()
    a = make(one.parameters())
    b = Optimizer(
        other.parameters(), config(), device=CPU, precision=Precision("fp32", CPU), steady=other[2].parameters()
    )
    for seed in range(3):
        a.minimize(loss_of(one), batch(seed))
        b.minimize(loss_of(other), batch(seed))
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize(("size", "parts"), [(10, 4), (8, 3), (12, 5), (7, 7), (5, 9)])
def test_micro_batches_are_all_there_and_of_one_size_up_to_one(size, parts):
    cut = split({"x": torch.arange(size), "y": torch.arange(size) * 2}, parts)
    sizes = [len(part["x"]) for part in cut]
    assert max(sizes) - min(sizes) <= 1 and min(sizes) == max(1, size // parts)
    assert torch.equal(torch.cat([part["x"] for part in cut]), torch.arange(size))
    assert all(torch.equal(part["y"], 2 * part["x"]) for part in cut)
