"""On a GPU the host must run ahead of the device. What would make it wait in a step is found on a CPU here.

A dispatch mode looks at every operation of a step: whatever reads a number from a tensor of the device (`.item()`,
`bool()`), whatever has a result whose size depends on values (`nonzero`, boolean indexing, `unique`), and every copy
from the host to the device whose memory is not pinned. What never becomes an operation on a CPU (`tolist`, `cpu`,
`numpy`, a tensor made of numbers on a device) is found by its call. "Device" is all that came from the batch or the
networks: tensors that the host made (by Draws, by NumPy) may be read there until they are sent.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import gssl.method
from gssl.config.composing import compose
from gssl.data import Draws, RandomViews, resampling
from gssl.data.pairs import Given
from gssl.engine.feed import Feed
from gssl.nets.ema import EMA
from tests.data.test_batches import make
from tests.engine.ranks import batch_of, method_of

ROOT = Path(__file__).parents[2]
ATEN = torch.ops.aten
READS = {ATEN._local_scalar_dense, ATEN.equal, ATEN.is_nonzero}
SIZED = {ATEN.nonzero, ATEN.masked_select, ATEN._unique2, ATEN.unique_dim, ATEN.unique_consecutive, ATEN.bincount}
RECIPES = [(kind, f.stem) for kind in ("ssl", "gan") for f in sorted((ROOT / "conf" / kind).glob("*.yaml"))]


class Waits(TorchDispatchMode):
    """Collects the operations by which a GPU's host would wait. `host`: tensors that are known to be the host's; `new`:
    those that were made of none, which may be anybody's."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.host: set[int] = set()
        self.new: set[int] = set()
        self.kept: list[torch.Tensor] = []  # alive, so that no address comes again

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func._overloadpacket
        mine = [x for x in args if isinstance(x, torch.Tensor)]
        where = any(id(x) not in self.host | self.new for x in mine)
        if packet in READS and where:
            self.found.append(str(packet))
        if packet in SIZED and where:
            self.found.append(str(packet))
        if where and any(id(x) in self.host and x.ndim for x in mine):
            self.found.append(f"{packet} of a tensor that was not sent by to_device")
        indexed = packet in (ATEN.index, ATEN.index_put_, ATEN.index_put, ATEN._index_put_impl_) and where
        if indexed and any(i is not None and i.dtype == torch.bool for i in args[1]):
            self.found.append(f"{packet} by a mask")
        out = func(*args, **(kwargs or {}))
        made = [x for x in (out if isinstance(out, tuple | list) else [out]) if isinstance(x, torch.Tensor)]
        if not where:  # what the host computes of its own is its own
            (self.host if any(id(x) in self.host for x in mine) else self.new).update(map(id, made))
            self.kept += made
        return out


class Calls(TorchFunctionMode):
    """Adds to `waits` the calls that bring numbers to the host, or from it, without an operation on a CPU."""

    READ = (torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy, torch.Tensor.__array__)
    MADE = (torch.tensor, torch.as_tensor)

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, waits = kwargs or {}, self.waits
        named = func is torch.Tensor.to and "cpu" in (*args[1:], kwargs.get("device"))
        if (func in self.READ or named) and id(args[0]) not in waits.host | waits.new:
            waits.found.append(f"{func.__name__} of a tensor of the device")
        if func in self.MADE and kwargs.get("device") is not None:
            waits.found.append(f"{func.__name__} on the device, of numbers of the host")
        out = func(*args, **kwargs)
        if func in self.MADE and kwargs.get("device") is None:
            waits.host.add(id(out))
            waits.kept.append(out)
        return out


@contextlib.contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What would wait inside."""
    waits = Waits()
    with monkeypatch.context() as patch:
        from_host(waits, patch)
        with waits, Calls(waits):
            yield waits.found


def from_host(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    """What NumPy made is the host's until `to_device`, and constants of modules are."""
    make, send = torch.from_numpy, gssl.method.to_device

    def noted(x: Any) -> torch.Tensor:
        found = make(x)
        waits.host.add(id(found))
        waits.kept.append(found)
        return found

    def sent(x: torch.Tensor, device: torch.device) -> torch.Tensor:
        found = send(x, device).clone()
        waits.host.discard(id(found))
        return found

    monkeypatch.setattr(torch, "from_numpy", noted)
    for name, module in list(sys.modules.items()):
        if name.startswith("gssl"):
            waits.host.update(id(x) for x in vars(module).values() if isinstance(x, torch.Tensor))
        if name.startswith("gssl") and getattr(module, "to_device", None) is send:
            monkeypatch.setattr(module, "to_device", sent)


# what a recipe may have beside its own choices
MORE = [("ssl", "simclr", ["ssl.optim.name=lars", "ssl.optim.clip=1"]), ("gan", "dcgan", ["gan.augment=diffaugment"])]


@pytest.mark.parametrize(("family", "name", "overrides"), [*[(*recipe, []) for recipe in RECIPES], *MORE])
def test_no_step_waits_for_the_device(
    family: str, name: str, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = method_of(family, name, overrides)
    batch = batch_of(method.needs, 0)
    twice = differentiated_twice(monkeypatch)
    method.update(batch, 0)  # what is set up once may wait
    assert getattr(method, "second_derivatives", False) is any(twice)  # which are not to be compiled
    with watched(monkeypatch) as found:
        method.update(batch, 1 if family == "ssl" else 16)
    assert not found


def differentiated_twice(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each gradient inside a loss, whether there is one of it."""
    asked: list[bool] = []
    grad = torch.autograd.grad

    def noted(*args: Any, create_graph: bool = False, **kwargs: Any) -> Any:
        asked.append(create_graph)
        return grad(*args, create_graph=create_graph, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", noted)
    return asked


EVERYTHING = ["jitter=0.8", "grayscale=0.2", "blur=0.5", "solarize=0.2", "cutout=0.5", "rotate=10", "flip=0.5"]


@pytest.mark.parametrize("sides", ["alike", "unlike", "large"])
def test_no_view_waits_for_the_device(sides: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation that views know; `unlike`: images of several sizes, on a canvas."""
    cfg = compose("pretrain-ssl", ["data.size=16", *(f"data.views.{word}" for word in EVERYTHING)]).data
    side = 48 if sides == "large" else 20
    batch = {"image": torch.randint(0, 256, (8, 3, side, side), dtype=torch.uint8), "label": torch.arange(8)}
    if sides == "unlike":
        batch["extent"] = torch.randint(12, side, (8, 2))

    class Batches:
        whole = 8

        def __call__(self, step: int) -> dict[str, torch.Tensor]:
            return batch

    monkeypatch.setattr(resampling, "by_image", lambda image: False)  # as on a GPU
    feed = Feed(Batches(), make(), ("view0", "view1", "crop2", "real", "label"), cfg, Draws(0))  # type: ignore[arg-type]
    feed(0)
    with watched(monkeypatch) as found:
        made = feed(1)
    assert not found and made["view0"].shape == (8, 3, 16, 16)


@pytest.mark.parametrize("given", [Given("masks", 4), Given("super_resolution", 3, 4), Given("colour")])
def test_no_input_of_pairs_waits_for_the_device(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = compose("pretrain-ssl", ["data.size=16", "data.views.flip=0.5"]).data
    raw = {"image": torch.randint(0, 256, (8, 3, 20, 20), dtype=torch.uint8)}
    raw["mask"] = torch.randint(0, 4, (8, 20, 20), dtype=torch.uint8)
    raw["extent"] = torch.randint(12, 20, (8, 2))
    monkeypatch.setattr(resampling, "by_image", lambda image: False)  # as on a GPU
    views = RandomViews(cfg.views, 16, Draws(0))
    given.cropped(raw, views, 0)
    with watched(monkeypatch) as found:
        made = given.cropped(raw, views, 1)
    assert not found and made.shape == (8, given.channels, 16, 16)


def test_no_average_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    average = EMA(network, 0.9)
    with watched(monkeypatch) as found:
        average.update(network)
        average.update(network, 0.5)
    assert not found


X = torch.arange(6.0)  # of the device: made before anybody looks
PLANTED = {
    "item": lambda: X.sum().item(),
    "float": lambda: float(X.sum()),
    "bool": lambda: bool(X.any()),
    "tolist": lambda: X.tolist(),
    "cpu": lambda: X.cpu(),
    "to cpu": lambda: X.to("cpu"),
    "numpy": lambda: X.detach().numpy(),
    "array": lambda: np.asarray(X),
    "equal": lambda: torch.equal(X, X + 1),
    "nonzero": lambda: X.nonzero(),
    "where": lambda: torch.where(X > 2),
    "mask": lambda: X[X > 2],
    "masked_select": lambda: X.masked_select(X > 2),
    "assigned by mask": lambda: X.clone().__setitem__(X > 2, X[:3]),
    "unique": lambda: X.unique(),
    "pageable": lambda: X + torch.from_numpy(np.ones(6, np.float32)).to(X.device),
    "numbers": lambda: X + torch.tensor([1.0] * 6, device=X.device),
    "numbers, sent late": lambda: X + torch.tensor([1.0] * 6).to(X.device),
}


@pytest.mark.parametrize("how", PLANTED)
def test_a_wait_that_is_planted_in_a_loss_is_found(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = method_of("ssl", "rotation", [])
    batch = batch_of(method.needs, 0)
    method.update(batch, 0)
    loss = method.loss

    def slow(part: Any) -> Any:
        PLANTED[how]()
        return loss(part)

    method.loss = slow
    with watched(monkeypatch) as found:
        method.update(batch, 1)
    assert found


def test_what_the_host_has_of_its_own_it_may_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with watched(monkeypatch) as found:
        made = torch.from_numpy(np.ones(3))
        assert float(made.sum()) == 3 and made.tolist() == [1, 1, 1] and torch.tensor([1, 2]).tolist() == [1, 2]
        X[:3] + gssl.method.to_device(made, X.device)
    assert not found
