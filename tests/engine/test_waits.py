"""On a GPU the host must run ahead of the device. What would make it wait in a step is found on a CPU here.

A dispatch mode looks at every operation of a step: whatever reads a number from a tensor of the device (`.item()`,
`bool()`, `tolist`), whatever has a result whose size depends on values (`nonzero`, boolean indexing, `unique`), and
every copy from the host to the device whose memory is not pinned. "Device" is all that came from the batch or the
networks: tensors that the host made (by Draws, by NumPy) may be read there until they are sent.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import gssl.method
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


def from_host(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    """What NumPy made is the host's until `to_device`."""
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
        if name.startswith("gssl") and getattr(module, "to_device", None) is send:
            monkeypatch.setattr(module, "to_device", sent)


@pytest.mark.parametrize(("family", "name"), RECIPES)
def test_no_step_waits_for_the_device(family: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = method_of(family, name, [])
    batch = batch_of(method.needs, 0)
    method.update(batch, 0)  # what is set up once may wait
    waits = Waits()
    from_host(waits, monkeypatch)
    with waits:
        method.update(batch, 1 if family == "ssl" else 16)
    assert not waits.found


def test_what_waits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(6.0)  # of the device: made before anybody looks
    for bad in (lambda: x[x > 2], lambda: float(x.sum()), lambda: x.nonzero(), lambda: bool(x.any())):
        with Waits() as waits:
            bad()
        assert waits.found
    waits = Waits()
    from_host(waits, monkeypatch)
    with waits:
        float(torch.from_numpy(np.ones(3)).sum())
        assert not waits.found
        x + torch.from_numpy(np.ones(6))
    assert waits.found
