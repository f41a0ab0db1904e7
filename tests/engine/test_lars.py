"""LARS against lightly's, and what it must leave alone."""

import pytest
import torch
from lightly.utils.lars import LARS as LightlyLARS
from torch import Tensor, nn

from gssl import schemas
from gssl.engine.device import Precision
from gssl.engine.lars import LARS, TRUST
from gssl.engine.optim import Optimizer

CPU = torch.device("cpu")
DECAY, LR, MOMENTUM = 0.01, 0.3, 0.9


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    return layers.to(memory_format=torch.channels_last)


def make(module: nn.Module, momentum: float = MOMENTUM, decay: float = DECAY) -> Optimizer:
    cfg = schemas.Optim(
        name="lars", lr=LR, weight_decay=decay, momentum=momentum, betas=[0.9, 0.99], warmup=0.0,
        schedule="constant", clip=None,
    )  # fmt: skip
    made = Optimizer(module.parameters(), cfg, device=CPU, precision=Precision("fp32", CPU))
    made.inner.clip = False  # as lightly's
    return made


def batch(seed: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(6, 3, 4, 4, generator=g), "y": torch.randn(6, 2, generator=g)}


def loss_of(module: nn.Module):
    return lambda b: {"loss": (module(b["x"]) - b["y"]).square().mean()}


def train(module: nn.Module, optimizer: Optimizer, seeds: range) -> None:
    for seed in seeds:
        optimizer.minimize(loss_of(module), batch(seed))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_several_steps_are_lightlys(momentum):
    ours, theirs = net(), net()
    weights = [p for p in theirs.parameters() if p.ndim > 1]
    vectors = [p for p in theirs.parameters() if p.ndim <= 1]  # it leaves out of the scaling what has no decay
    groups = [{"params": weights, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
    reference = LightlyLARS(groups, lr=LR, momentum=momentum, trust_coefficient=TRUST)
    train(ours, make(ours, momentum), range(6))
    for seed in range(6):
        reference.zero_grad()
        loss_of(theirs)(batch(seed))["loss"].backward()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_kernel_takes_the_papers_step_and_biases_and_norms_plain_sgd():
    """Momentum comes in with the second step; the first is η‖w‖ / (‖∇‖ + λ‖w‖) · (∇ + λw)."""
    module = net()
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    train(module, make(module), range(1))
    for name, p in module.named_parameters():
        w, gradient = before[name], p.grad
        step = gradient
        if p.ndim > 1:
            trust = TRUST * w.norm() / (gradient.norm() + DECAY * w.norm())
            step = trust * (gradient + DECAY * w)
        torch.testing.assert_close(p.detach(), w - LR * step, rtol=1e-5, atol=1e-7)


def test_a_matrix_is_scaled_without_weight_decay_too():
    module = net()
    before = module[0].weight.detach().clone()
    train(module, make(module, decay=0.0), range(1))
    torch.testing.assert_close((module[0].weight - before).norm(), LR * TRUST * before.norm(), rtol=1e-4, atol=0)


def test_biases_and_norms_follow_torchs_sgd_over_several_steps():
    """A net of nothing else: every step is SGD's."""

    class Offsets(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.bias = nn.BatchNorm2d(3), nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return self.norm(x).mean((2, 3))[:, :2] + self.bias

    ours, theirs = Offsets(), Offsets()
    reference = torch.optim.SGD(theirs.parameters(), lr=LR, momentum=MOMENTUM)
    train(ours, make(ours), range(4))
    for seed in range(4):
        reference.zero_grad()
        loss_of(theirs)(batch(seed))["loss"].backward()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_zero_weights_and_zero_gradients_take_a_plain_step():
    """Scaled by a trust of zero they would never move; 0 / 0 must not appear either."""
    zero, idle = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    nn.init.zeros_(zero.weight)
    still = idle.weight.detach().clone()

    def loss(b):
        return {"loss": (zero(b["x"]) * b["y"]).sum() + 0 * idle(b["x"]).sum()}

    g = torch.Generator().manual_seed(0)
    data = {"x": torch.randn(5, 3, generator=g), "y": torch.randn(5, 2, generator=g)}
    make(nn.ModuleList([zero, idle])).minimize(loss, data)
    torch.testing.assert_close(zero.weight.detach(), -LR * data["y"].T @ data["x"])
    torch.testing.assert_close(idle.weight.detach(), still * (1 - LR * DECAY))


def test_its_state_goes_round_and_the_run_goes_on_with_the_same_bytes():
    whole, first, second = net(), net(), net(seed=1)
    train(whole, make(whole), range(4))
    half = make(first)
    train(first, half, range(2))
    tensors, rest = half.state()
    assert len(tensors) == len(list(first.parameters()))  # a momentum buffer each
    second.load_state_dict(first.state_dict())
    resumed = make(second)
    resumed.load({key: value.contiguous() for key, value in tensors.items()}, rest)  # as a checkpoint has them
    train(second, resumed, range(2, 4))
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("lr", [1e-4, 10.0])
def test_a_clipped_step_is_never_longer_than_plain_sgds(lr):
    """trust · g where that is less than lr · g, else lr · g."""
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]]))
    inner = LARS([{"params": [weight], "weight_decay": 0.0, "adapt": True}], lr=lr, momentum=0.0)
    grad = torch.tensor([[0.6, 0.8]])
    weight.grad = grad.clone()
    before = weight.detach().clone()
    inner.step()
    trust = TRUST * 5 / 1
    torch.testing.assert_close(before - weight.detach(), min(lr, trust) * grad)
