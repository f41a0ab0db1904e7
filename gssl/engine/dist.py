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
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gssl.errors import JobError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

SILENT = 60  # seconds in a step after which a process that does not answer is taken for dead
ENDED = "a process of this training has ended; the last checkpoint is kept, and resume=auto goes on from there"
PATIENT = 7  # days that the others wait while rank 0 evaluates or writes; one that dies is noticed at once


@dataclass(frozen=True)
class Group:
    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1  # on this machine
    control: Any = None  # torch's group for `agree`, always on the CPU


_joined = Group()


def rank() -> int:
    """This process among all of them, from 0. Rank 0 alone writes."""
    return _joined.rank


def processes() -> int:
    """The number of processes that have a global batch in common."""
    return _joined.count


def here() -> Group:
    """The group that this process is in."""
    return _joined


def check() -> None:
    """Raises UsageError where the environment asks for several processes and this is none of a group.

    Each of them would train alone, on all of every batch.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size != "1" and processes() == 1:
        raise UsageError(
            f"WORLD_SIZE={size}: expected 1, or no such variable, because gssl starts its processes itself;"
            " unset it, start gssl without torchrun, and say engine.processes=N"
        )


def join(own: int, count: int, meeting: str, gpus: bool = False) -> None:
    """Become rank `own` of `count`; returns when all are there. `meeting`: torch's init_method: env:// or file://…"""
    global _joined
    import torch.distributed as torchs

    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    torchs.init_process_group(
        backend, init_method=meeting, rank=own, world_size=count, timeout=timedelta(seconds=SILENT)
    )
    import gssl.engine.together  # noqa: F401  # seconds, which are not the training's

    control = torchs.new_group(backend="gloo", timeout=timedelta(days=PATIENT))
    local, most = os.environ.get("LOCAL_RANK", str(own)), os.environ.get("LOCAL_WORLD_SIZE", str(count))
    _joined = Group(own, count, int(local), int(most), control)


def leave() -> None:
    """The end of the group, for this process; to be called by all."""
    global _joined
    import torch.distributed as torchs

    _joined = Group()
    torchs.destroy_process_group()


@dataclass(frozen=True)
class Agreed:
    """What all processes do next."""

    step: int  # of rank 0
    progress: float  # of rank 0: its clock decides
    go: bool  # rank 0 goes on
    code: int  # exit code of a signal that any of them was sent; 0: none


def agree(step: int = 0, progress: float = 0.0, go: bool = True, code: int = 0) -> Agreed:
    """Called by all between two steps; only rank 0's step, progress and go count.

    Raises JobError where a process has gone. No device waits: the message is the CPU's own.
    """
    if processes() == 1:
        return Agreed(step, progress, go, code)
    import torch
    import torch.distributed as torchs

    mine = [float(step), progress, float(go)] if rank() == 0 else [0.0, 0.0, 0.0]
    codes = [0.0] * processes()
    codes[rank()] = float(code)
    message = torch.tensor([*mine, *codes], dtype=torch.float64)
    try:
        torchs.all_reduce(message, group=_joined.control)
    except RuntimeError as error:
        raise JobError(ENDED) from error
    values = message.tolist()
    return Agreed(int(values[0]), values[1], bool(values[2]), int(max(values[3:])))


def release() -> None:
    """Rank 0 tells the others that there is no further step; without effect where there are none, or where one died."""
    if rank() == 0 and processes() > 1:
        with suppress(JobError):
            agree(go=False)


@contextmanager
def alone() -> Iterator[None]:
    """What rank 0 does inside, it does by itself: evaluations, exports. The others wait for its next step."""
    global _joined
    kept, _joined = _joined, Group()
    try:
        yield
    finally:
        _joined = kept


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

    Made when it is first needed, for memory layouts must be final.
    """

    def __init__(self, params: "list[nn.Parameter]") -> None:
        self.params = params
        self._ddp: Any = None

    def prepare(self) -> None:
        """Make it now, by all processes at once: that imports torch's compiler, for seconds."""
        if processes() > 1 and self._ddp is None:
            from gssl.engine.together import parallel

            self._ddp = parallel(self.params)

    def __call__(self, loss: Callable[[Any], Any], batch: Any) -> Any:
        if processes() == 1:
            return loss(batch)
        self.prepare()
        return self._ddp(loss, batch)

    def unsynchronised(self, more: bool) -> AbstractContextManager[Any]:
        """Around forward and backward of a micro-batch that others follow (`more`): gradients only add up."""
        if self._ddp is None or not more:
            return nullcontext()
        found: AbstractContextManager[Any] = self._ddp.no_sync()
        return found
