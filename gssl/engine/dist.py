"""Several processes that train one network together, by torch's process group. This file alone knows ranks.

Demanded: N processes with a batch of B/N images each compute what one process computes with B. So a batch is cut by
consecutive slices, every random number is drawn for the whole batch (`gssl.data.draws`), a loss that compares images
gets those of all processes (`gather`), batch norms take the statistics of all (`globalise`), and gradients are averaged
(`Together`: torch's DistributedDataParallel around the loss, not around networks. One forward per backward whatever the
loss does inside, no buffers to broadcast, and `autograd.grad` of a penalty stays inside the forward). Which of torch's
own pieces are no choice: SyncBatchNorm refuses CPU tensors and has no second derivative; `torch.distributed.nn` warns
that it will go.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gssl.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

SILENT = 60  # seconds after which a process that does not answer is taken for dead
_joined = (0, 1)  # rank and number of processes


def rank() -> int:
    """This process among all of them, from 0. Rank 0 alone writes."""
    return _joined[0]


def processes() -> int:
    """The number of processes that have a global batch in common."""
    return _joined[1]


def check() -> None:
    """Raises UsageError where the environment asks for several processes and this is none of a group.

    Each of them would train alone, on all of every batch.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size != "1" and processes() == 1:
        raise UsageError(
            f"WORLD_SIZE={size}: expected 1, or no such variable, because gssl trains in one process;"
            " unset it, and start gssl without torchrun"
        )


def join(own: int, count: int, meeting: str, backend: str = "gloo") -> None:
    """Become rank `own` of `count`; returns when all are there. `meeting`: torch's init_method, such as a file://."""
    global _joined
    import torch.distributed as torchs

    torchs.init_process_group(
        backend, init_method=meeting, rank=own, world_size=count, timeout=timedelta(seconds=SILENT)
    )
    _joined = own, count


def leave() -> None:
    """The end of the group, for this process; to be called by all."""
    global _joined
    import torch.distributed as torchs

    _joined = 0, 1
    torchs.destroy_process_group()


def gather(x: "Tensor") -> "Tensor":
    """(B/N, …) of every process → (B, …) in the order of the images, with the gradients of all; x where N = 1."""
    if processes() == 1:
        return x
    from gssl.engine.together import gathered

    return gathered(x)


def mean(x: "Tensor") -> "Tensor":
    """The mean over processes, with gradients; x in one process."""
    if processes() == 1:
        return x
    from gssl.engine.together import averaged

    return averaged(x)


def means(values: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The means over processes, without gradients, by one message."""
    if processes() == 1:
        return values
    import torch

    flat = mean(torch.cat([value.detach().reshape(-1).float() for value in values.values()]))
    parts = flat.split([value.numel() for value in values.values()])
    return {key: part.view_as(value) for (key, value), part in zip(values.items(), parts, strict=True)}


@contextmanager
def whole_batch() -> Iterator[None]:
    """Inside, batch norms in training mode take the statistics of all processes' images."""
    if processes() == 1:
        yield
        return
    from gssl.engine import together

    together.GLOBAL.append(True)
    try:
        yield
    finally:
        together.GLOBAL.pop()


def globalise(module: "nn.Module") -> None:
    """Every batch norm in `module` can take statistics over all processes from now on: see `whole_batch`."""
    if processes() > 1:
        from gssl.engine.together import globalise as swap

        swap(module)


class Together:
    """Calls a loss, and the backward pass that follows leaves in `params` the mean gradient of all processes.

    Made at the first call, for memory layouts must be final.
    """

    def __init__(self, params: "list[nn.Parameter]") -> None:
        self.params = params
        self._ddp: Any = None

    def __call__(self, loss: Callable[[Any], Any], batch: Any) -> Any:
        if processes() == 1:
            return loss(batch)
        if self._ddp is None:
            from gssl.engine.together import parallel

            self._ddp = parallel(self.params)
        return self._ddp(loss, batch)

    def unsynchronised(self, more: bool) -> AbstractContextManager[Any]:
        """Around forward and backward of a micro-batch that others follow (`more`): gradients only add up."""
        if self._ddp is None or not more:
            return nullcontext()
        found: AbstractContextManager[Any] = self._ddp.no_sync()
        return found
