"""Several processes train as one would: the loss, everything logged and all weights, for every recipe.

In float32 the first step is equal up to rounding. In float64, three steps are equal up to 1e-9: what gathers the
processes' images, batch statistics, negatives and gradients wrongly is off by per cents.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from gssl.engine import together
from gssl.errors import UsageError

ROOT = Path(__file__).parents[2]
Recipe = tuple[str, str, list[str]]

FEW: list[Recipe] = [("ssl", "simclr", []), ("ssl", "colorization", []), ("gan", "dcgan", ["gan.penalty=r1"])]
WIDE: list[Recipe] = [("ssl", "simclr", []), ("ssl", "barlow_twins", []), ("ssl", "swav", []), ("gan", "dcgan", [])]
ALL: list[Recipe] = [
    (kind, f.stem, []) for kind in ("ssl", "gan") for f in sorted((ROOT / "conf" / kind).glob("*.yaml"))
]
ALL += [
    ("gan", "dcgan", ["gan.penalty=r1"]),  # a second derivative of batch norm
    ("gan", "dcgan", ["gan.augment=diffaugment", "gan.augment_target=0.6", "gan.lecam=0.1"]),
    ("gan", "sngan", ["gan.consistency=1"]),
    ("gan", "cyclegan", ["gan.pool=6"]),  # which is full after a step
    ("ssl", "moco", ["ssl.version=v3"]),
    ("ssl", "distill", ["ssl.loss=kl"]),
    ("ssl", "swav", ["ssl.queue=32", "ssl.queue_from=0"]),
]
CALL = (
    "import sys; sys.path[:0] = [{root!r}, {here!r}]; from ranks import main; main({own}, {count}, {folder!r}, {rest})"
)


def name(recipe: Recipe) -> str:
    kind, method, overrides = recipe
    return "-".join([kind, method, *overrides])


def run(count: int, folder: Path, recipes: list[Recipe], steps: int, double: bool) -> None:
    folder.mkdir()
    rest = f"{recipes!r}, {steps}, {double}"
    here = str(Path(__file__).parent)
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                CALL.format(root=str(ROOT), here=here, own=i, count=count, folder=str(folder), rest=rest),
            ],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for i in range(count)
    ]
    assert [process.wait(300) for process in started] == [0] * count


def worst(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).abs().max()) if a.numel() else 0.0


def compare(tmp_path: Path, count: int, recipes: list[Recipe], steps: int, double: bool) -> None:
    run(1, tmp_path / "one", recipes, steps, double)
    run(count, tmp_path / "several", recipes, steps, double)
    wrong = []
    for recipe in recipes:
        one, *several = (
            torch.load(file, weights_only=False)
            for file in [tmp_path / "one" / f"{name(recipe)}.0.pt"]
            + [tmp_path / "several" / f"{name(recipe)}.{i}.pt" for i in range(count)]
        )
        for found in (one, *several):
            assert "error" not in found, found["error"]
        state = several[0]["state"]
        assert all(torch.equal(other["state"][key], state[key]) for other in several for key in state), name(recipe)
        if double:
            off = {key: worst(value, state[key]) for key, value in one["state"].items()}
            for mine, theirs in zip(one["logs"], several[0]["logs"], strict=True):
                assert mine.keys() == theirs.keys()
                off |= {f"log {key}": worst(value, theirs[key]) for key, value in mine.items()}
        else:  # of a GAN's generator not: it comes after a step of Adam, which makes ± lr of the smallest gradients
            off = {"loss": worst(one["logs"][0]["loss"], several[0]["logs"][0]["loss"])}
        wrong += [(name(recipe), key, value) for key, value in off.items() if not value <= (1e-9 if double else 1e-5)]
    assert not wrong


@pytest.mark.long
def test_two_processes_are_as_one(tmp_path: Path) -> None:
    compare(tmp_path, 2, FEW, 2, double=True)


@pytest.mark.long
def test_two_processes_are_as_one_in_every_recipe(tmp_path: Path) -> None:
    compare(tmp_path, 2, ALL, 3, double=True)


@pytest.mark.long
def test_the_first_step_of_two_processes_is_that_of_one_in_float32(tmp_path: Path) -> None:
    compare(tmp_path, 2, ALL, 1, double=False)


@pytest.mark.long
def test_four_processes_are_as_one(tmp_path: Path) -> None:
    compare(tmp_path, 4, WIDE, 3, double=True)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet"])
def test_every_batch_norm_of_a_network_of_timm_is_swapped_and_given_back(monkeypatch, name):
    """Beside no other process it is the network that it was, running statistics too."""
    timm = pytest.importorskip("timm")
    nets = [timm.create_model(name, num_classes=0).train() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    kinds = [type(part) for part in nets[1].modules()]
    together.globalise(nets[1])
    norms = [part for part in nets[1].modules() if isinstance(part, _BatchNorm)]
    assert norms and all(isinstance(part, together._Global) for part in norms)
    monkeypatch.setattr(together, "GLOBAL", [True])
    monkeypatch.setattr(together, "gathered", lambda x: x)
    x = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    one, other = (net(x) for net in nets)
    assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)
    for (key, a), (_, b) in zip(nets[0].state_dict().items(), nets[1].state_dict().items(), strict=True):
        assert torch.allclose(a.float(), b.float(), rtol=1e-3, atol=1e-4), key
    together.localise(nets[1])
    assert [type(part) for part in nets[1].modules()] == kinds


def test_a_batch_norm_that_is_not_known_is_refused():
    with pytest.raises(UsageError, match="engine.processes: the network's BatchNorm3d cannot take the statistics"):
        together.globalise(torch.nn.Sequential(torch.nn.BatchNorm3d(2)))
