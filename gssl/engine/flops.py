"""FLOPs of one full step, counted while it runs: multiplications and additions of convolutions and products.

`torch.utils.flop_counter.FlopCounterMode` tracks modules too and crashes on `autograd.grad` with respect to an
input (gradient penalties); a bare dispatch mode over its registry does not. Views, norms and activations are
not counted: they are a few per cent of a step.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from gssl.engine import dist
from gssl.engine.budget import Clock
from gssl.engine.steps import checked
from gssl.errors import JobError
from gssl.method import Batch

_HEAVY = ("conv", "mm", "attention", "_rnn", "lstm", "gru")
_LIGHT = ("cummax",)  # has the letters of a product in its name


def _attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape)


# torch's registry knows the GPU's attention kernels only
_CPU_ATTENTION: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class CountFlops(TorchDispatchMode):
    """Counts while active: `with CountFlops() as counted: step()`, then `counted.total`."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether torch wraps the method below for its compiler, which it imports for that (1.2 s of processor)."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet in flop_registry:
            self.total += cast(Any, flop_registry)[packet](*args, **kwargs, out_val=out)
        elif packet in _CPU_ATTENTION:
            self.total += _CPU_ATTENTION[packet](*args, **kwargs)
        elif any(part in packet.__name__ for part in _HEAVY) and packet.__name__ not in _LIGHT:
            raise JobError(f"FLOPs of {packet} are not known: register it in gssl/engine/flops.py")
        return out


class CountedUpdate:
    """A method's update whose FLOPs are counted over its first period, the steps until the same work comes again.

    After them the FLOP budget of `clock` is a number of steps. `flops`: counted by an earlier process. `around`: a
    context for updates that are not counted.
    """

    def __init__(
        self,
        method: Any,
        clock: Clock,
        done: int,
        flops: float,
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.method, self.clock, self.flops, self.around = method, clock, flops, around
        self.period: int = getattr(method, "period", 1)  # steps: n_dis, lazy penalties
        if done >= self.period:
            clock.count(flops / self.period)

    def __call__(self, batch: Batch, step: int) -> dict[str, Tensor]:
        if step >= self.period:
            with self.around():
                made: dict[str, Tensor] = self.method.update(batch, step)
            return made
        with CountFlops() as counted:
            out = checked(self.method, self.method.update(batch, step))
        self.flops += counted.total * dist.processes()
        if step + 1 == self.period:
            self.clock.count(self.flops / self.period)
        return out
