"""The GPU battery's own code, on the CPU: what it says, and that its checks can fail."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gssl.data import batches
from gssl.engine import lars
from tests.gpu import battery

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
SOME = ["step byol bf16", "step r3gan fp32", "step lejepa fp16", "data resident", "data streamed, sizes differ", "lars"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.long
def test_without_a_gpu_it_is_one_line(monkeypatch):
    monkeypatch.delenv(battery.ON, raising=False)
    done = subprocess.run([sys.executable, "tests/gpu/battery.py"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, battery.NONE + "\n")


@pytest.mark.long
@pytest.mark.parametrize("name", SOME)
def test_checks_run_on_a_cpu(name, tmp_path):
    battery.checks()[name](CPU, tmp_path)


def test_every_recipe_and_precision_is_there():
    found = battery.checks()
    for _, recipe in battery.RECIPES:
        assert {f"step {recipe} {precision}" for precision in ("fp32", "bf16", "fp16")} <= found.keys()


def test_the_checks_can_fail(tmp_path, monkeypatch):
    original = batches._on_device

    def other(images, device):
        kept = original(images, device)
        return kept | {"label": kept["label"].roll(1)}

    monkeypatch.setattr(battery, "_on_device", other)
    with pytest.raises(AssertionError, match="label"):
        battery.checks()["data resident"](CPU, tmp_path)
    with pytest.raises(AssertionError):
        battery.near([1.0, 2.0], [1.0, 2.1], 1e-2)


@pytest.mark.long
def test_a_wrong_gradient_on_one_device_is_found(tmp_path, monkeypatch):
    made = battery.method_of

    def scaled(family, name, device, precision):
        method, optimizers = made(family, name, device, precision)
        if precision.name == "bf16":  # the device's
            loss = method.loss
            method.loss = lambda batch: {key: -value for key, value in loss(batch).items()}
        return method, optimizers

    monkeypatch.setattr(battery, "method_of", scaled)
    with pytest.raises(AssertionError, match="loss"):
        battery.checks()["step simclr bf16"](CPU, tmp_path)


@pytest.mark.long
def test_steps_of_lars_that_differ_are_found(tmp_path, monkeypatch):
    trusts = iter([0.02] * 4 + [0.04] * 4)
    step = lars.LARS.step
    monkeypatch.setattr(
        lars.LARS, "step", lambda self, closure=None: (setattr(lars, "TRUST", next(trusts)), step(self))
    )
    monkeypatch.setattr(lars, "TRUST", 0.02)
    with pytest.raises(AssertionError):
        battery.checks()["lars"](CPU, tmp_path)
