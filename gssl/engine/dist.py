"""Several processes that train one network together, by torch's process group. This file alone knows ranks.

Demanded: N processes with a batch of B/N images each compute what one process computes with B. So a batch is cut by
consecutive slices, every random number is drawn for the whole batch (`gssl.data.draws`), a loss that compares images
gets those of all processes (`gather`), batch norms take the statistics of all (`globalise`), and gradients are averaged
(`Together`: torch's DistributedDataParallel around the loss, not around networks. One forward per backward whatever the
loss does inside, no buffers to broadcast, and `autograd.grad` of a penalty stays inside the forward). Which of torch's
own pieces are no choice: SyncBatchNorm refuses CPU tensors and has no second derivative; `torch.distributed.nn` warns
that it will go.
"""

import math
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gssl.data import division
from gssl.errors import Interrupted, JobError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

SILENT = 60.0  # seconds in a step after which a process that does not answer is taken for dead
KEPT = "the last checkpoint is kept, and resume=auto goes on from there"
ENDED = f"a process of this training has ended; {KEPT}"
MEETING = 600  # seconds that processes of several machines have to come together
PATIENT = 7  # days that the others wait while rank 0 evaluates or writes; one that dies is noticed at once
CLOSED = ("Connection closed by peer", "Connection reset", "Broken pipe", "NCCL")  # words of torch's errors
LATE = ("Timed out waiting", "timed out", "Wait timeout")


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


def silent() -> float:
    """Seconds after which a process that does not answer in a step is given up. Raises UsageError."""
    text = os.environ.get("GSSL_SILENT_SECONDS") or str(SILENT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= 86400:
        raise UsageError(f"GSSL_SILENT_SECONDS: expected seconds, 1 to 86400; got {text[:40]!r}")
    return seconds


def unanswered() -> str:
    """What is said of a process that is there and does not answer."""
    return f"a process of this training has not answered for {silent():g} seconds and is given up; {KEPT}"


def lost(error: BaseException) -> str | None:
    """What is said where torch's error means that another process has gone; None where it means something else."""
    text = str(error)
    if any(word in text for word in LATE):
        return unanswered()
    return ENDED if any(word in text for word in CLOSED) else None


def join(own: int, count: int, meeting: str, gpus: bool = False) -> None:
    """Become rank `own` of `count`; returns when all are there. Raises JobError where they do not come.

    `meeting`: torch's init_method: env://, file://…, or torchrun:// for processes that torchrun may start again.
    """
    global _joined
    import torch.distributed as torchs

    # what starts one process on each machine may leave these out
    alone = meeting == "torchrun://"
    local = int(os.environ.get("LOCAL_RANK", "0" if alone else str(own)))
    most = int(os.environ.get("LOCAL_WORLD_SIZE", "1" if alone else str(count)))
    if gpus:
        _take_gpu(local)
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    how: dict[str, Any] = {"rank": own, "world_size": count, "timeout": timedelta(seconds=silent())}
    try:
        where = {"store": _meet(own, count)} if meeting == "torchrun://" else {"init_method": meeting}
        torchs.init_process_group(backend, **where, **how)
    except (RuntimeError, ValueError) as error:
        host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
        raise JobError(
            f"{count} processes cannot meet at {host}:{port} ({' '.join(str(error).split())[:200]}); that is the first"
            " machine's name and a free port (--rdzv-endpoint), and GLOO_SOCKET_IFNAME names the network interface"
        ) from error
    import gssl.engine.together  # noqa: F401  # seconds, which are not the training's

    division.use(_Several())
    control = torchs.new_group(backend="gloo", timeout=timedelta(days=PATIENT))
    _joined = Group(own, count, local, most, control)


def _take_gpu(local: int) -> None:
    """From now on `cuda` means this process's own GPU: NCCL and what names no device would all go to the first one.

    Where there are too few, `gssl.engine.device.pick_device` says so, when all have met.
    """
    import torch

    if local < torch.cuda.device_count():
        torch.cuda.set_device(local)


def _meet(own: int, count: int) -> Any:
    """torchrun's store under a prefix that only the processes alive now know.

    torchrun starts all of them again with the same store, in which the addresses of those that died still stand; how
    often it has done so may be another number on each machine. So rank 0 calls, each of the others answers with a name
    of its own, and by that name rank 0 says that its call was the newest.
    """
    import torch.distributed as torchs

    store, _, _ = next(torchs.rendezvous("env://", own, count, timeout=timedelta(seconds=MEETING)))
    until, mine = time.monotonic() + MEETING, uuid.uuid4().hex
    if own == 0:
        store.set("gssl/call", mine)
        for other in range(1, count):
            answer = store.get(f"gssl/{mine}/{other}").decode()  # waits
            store.set(f"gssl/go/{answer}", mine)
        return torchs.PrefixStore(f"gssl/{mine}", store)
    answered = ""
    while not store.check([f"gssl/go/{mine}"]):
        if time.monotonic() > until:
            raise RuntimeError(f"the first process did not come within {MEETING} seconds")
        call = store.get("gssl/call").decode()
        if call != answered:
            store.set(f"gssl/{call}/{own}", mine)
            answered = call
        time.sleep(0.05)
    return torchs.PrefixStore(f"gssl/{store.get(f'gssl/go/{mine}').decode()}", store)


def leave() -> None:
    """The end of the group, for this process; to be called by all."""
    global _joined
    import torch.distributed as torchs

    _joined = Group()
    division.use(division.One())
    torchs.destroy_process_group()


@dataclass(frozen=True)
class Agreed:
    """What all processes do next."""

    step: int  # of rank 0
    progress: float  # of rank 0: its clock decides
    go: bool  # rank 0 goes on
    code: int  # exit code of a signal that any of them was sent; 0: none


@contextmanager
def noticing() -> Iterator[None]:
    """Where another process has gone, torch's error becomes a JobError that says so."""
    try:
        yield
    except RuntimeError as error:
        if processes() > 1 and (text := lost(error)):
            raise JobError(text) from error
        raise


def agree(step: int = 0, progress: float = 0.0, go: bool = True, code: int = 0, patient: bool = False) -> Agreed:
    """Called by all between two steps; only rank 0's step, progress and go count.

    Raises JobError where a process has gone. Rank 0 waits for the others as long as for any answer in a step, or as
    long as it takes (`patient`); they wait for it as long as it takes, for it may evaluate. No device waits: the
    message is the CPU's own.
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
        work = torchs.all_reduce(message, group=_joined.control, async_op=True)
        work.wait(*([] if patient or rank() else [timedelta(seconds=silent())]))
    except RuntimeError as error:
        raise JobError(lost(error) or ENDED) from error
    values = message.tolist()
    return Agreed(int(values[0]), values[1], bool(values[2]), int(max(values[3:])))


def release(patient: bool = False) -> None:
    """Rank 0 tells the others that there is no further step; without effect where there are none, or where one died."""
    if rank() == 0 and processes() > 1:
        with suppress(JobError):
            agree(go=False, patient=patient)


def ids() -> list[int]:
    """The ids of all processes, where they are of one machine."""
    import torch
    import torch.distributed as torchs

    own = torch.tensor([os.getpid()])
    found = [torch.empty_like(own) for _ in range(processes())]
    torchs.all_gather(found, own, group=_joined.control)
    return [int(one) for one in found]


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


class _Several:
    """`gssl.data.division.Division` among these processes."""

    def place(self) -> tuple[int, int]:
        return rank(), processes()

    def first(self, make: Callable[[], Any]) -> Any:
        return first(make)

    def rows(self, mine: "np.ndarray | None") -> "np.ndarray":
        import numpy as np
        import torch.distributed as torchs

        if processes() == 1:
            assert mine is not None
            return mine
        found: list[Any] = [None] * processes()
        with noticing():
            torchs.all_gather_object(found, mine, group=_joined.control)
        return np.concatenate([rows for rows in found if rows is not None])

    def mean(self, x: "Tensor") -> "Tensor":
        return mean(x)


def first(make: Callable[[], Any]) -> Any:
    """What `make` returns in rank 0, which alone calls it, by itself; raises in all processes what it raises there.

    The others wait for it as long as it takes.
    """
    if processes() == 1:
        return make()
    import torch.distributed as torchs

    message: list[Any] = [None]
    raised: BaseException | None = None
    if rank() == 0:
        try:
            with alone():
                message = [(make(), None)]
        except BaseException as error:
            raised, told = error, isinstance(error, UsageError | JobError | Interrupted)
            message = [(None, error if told else JobError(ENDED))]
    with noticing():
        torchs.broadcast_object_list(message, src=0, group=_joined.control)
    value, failed = message[0]
    if raised or failed:
        raise raised or failed
    return value


def globalise(module: "nn.Module") -> None:
    """Every batch norm in `module` can take statistics over all processes from now on: see `whole_batch`."""
    if processes() > 1:
        from gssl.engine.together import globalise as swap

        swap(module)


def localise(module: "nn.Module") -> None:
    """The inverse of `globalise`."""
    if processes() > 1:
        from gssl.engine.together import localise as swap

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
