"""Device, precision and threads: chosen once, in one place."""

import contextlib
import ctypes
import gc
import math
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from gssl import schemas
from gssl.engine import dist, limits, loggers, torchrun
from gssl.engine.progress import write_json_lines
from gssl.errors import UsageError


def pick_device(name: str) -> torch.device:
    """`auto` takes a GPU if there is one, else the CPU. Raises UsageError where the device is absent.

    Of several processes on a machine each takes its own GPU.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available():
        there, mine = torch.cuda.device_count(), dist.here().local_rank
        if mine >= there:
            raise UsageError(f"engine.processes: each needs a GPU of its own, and this machine has {there}")
        return torch.device("cuda", mine)
    if name == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        have = f"{torch.cuda.device_count()} CUDA device(s)" if torch.cuda.is_available() else "no CUDA device"
        raise UsageError(f"engine.device={name}: this machine has {have}; use engine.device=auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("engine.device=mps: not available on this machine; use engine.device=auto or cpu")
    return device


def native_bf16_cpu() -> bool:
    """True where the CPU multiplies bf16 in hardware; without it bf16 is emulated and many times slower."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def found_precision(name: str, device: torch.device) -> str:
    """`auto`: bf16 on a CUDA device that multiplies it in hardware, else fp32. Other names stay."""
    if name != "auto":
        return name
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


@dataclass(frozen=True)
class Precision:
    """Autocast and, for fp16, loss scaling. fp16 needs a GPU.

    name: that was asked for; in the end fp32, bf16 or fp16.
    """

    name: str
    device: torch.device

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", found_precision(self.name, self.device))
        if self.name == "fp16" and self.device.type == "cpu":
            raise UsageError("engine.precision=fp16: needs a GPU; use fp32 on the CPU")
        if self.name == "bf16" and self.device.type == "cpu" and not native_bf16_cpu():
            raise UsageError("engine.precision=bf16: this CPU has no bf16 arithmetic (8x slower); use fp32")

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.name == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def cores() -> int:
    """CPU cores that this process may use: those it is bound to, and as many as a container's quota pays for."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = limits.processors()
    return bound if found is None else max(1, min(bound, math.ceil(found)))


KEPT = 1 << 25  # bytes: larger blocks are given back at once; as much as glibc permits
TRIM, TOP_PAD, MMAP = -1, -2, -3  # glibc's names of what mallopt sets


@cache
def keep_memory() -> bool:
    """Let the process keep freed memory for the next step, where the C library is glibc and MALLOC_… says nothing.

    A step frees what it needs again at once. glibc gives the top of the heap back to the system each time, and the next
    step takes a page fault for every 4 kB: 15,000 of them for 256 images of 32 px and the small convnet, a third of its
    time (measured in one virtual machine: 128 to 154 ms of processor, 93 to 96 so; resident memory 5% larger).
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    return all([mallopt(MMAP, KEPT), mallopt(TRIM, (1 << 31) - 1), mallopt(TOP_PAD, KEPT)])


def release_memory() -> None:
    """Give what is kept and free back to the system: between the jobs of a worker."""
    if torch.cuda.is_initialized():
        gc.collect()  # what lies in circles keeps its memory on the device
        torch.cuda.empty_cache()
    if keep_memory():
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def set_threads(count: int) -> int:
    """Fix the number of CPU threads (0: one per core) and return it. Results on a CPU depend on it.

    Memory that is freed is kept from here on (`keep_memory`).
    """
    count = count or max(1, cores() // dist.here().local_count)
    keep_memory()
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    # NumPy's and SciPy's products are small here; a second pool of threads beside torch's only gets in its way
    threadpool_limits(1, user_api="blas")
    return count


def set_kernels(cfg: schemas.Engine, device: torch.device) -> None:
    """How a CUDA device multiplies float32: in TF32 or in full. On other devices nothing changes.

    Autocast leaves to float32 what a loss computes, and all of `precision=fp32`.
    """
    if device.type != "cuda":
        return
    torch.set_float32_matmul_precision("high" if cfg.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = cfg.tf32


@contextlib.contextmanager
def fixed_shapes(cfg: schemas.Engine, device: torch.device) -> Iterator[None]:
    """Inside, where batches have one shape, cuDNN tries its kernels for each new one and keeps the quickest."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, cfg.benchmark and device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


_chosen: dict[str, Any] = {}  # by the last `prepare` of this process


def arithmetic() -> dict[str, Any]:
    """What environment.json says of how numbers are computed: the precision, and a GPU's kernels."""
    if not torch.cuda.is_available():
        return dict(_chosen)
    return _chosen | {
        "tf32": torch.get_float32_matmul_precision() != "highest",
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn": torch.backends.cudnn.version(),
    }


def prepare(cfg: schemas.Engine, alone: bool = False) -> tuple[torch.device, Precision]:
    """Device and precision of a run, threads set. Raises UsageError.

    `alone`: where several processes are asked for, one is enough here.
    """
    place = torchrun.found() if dist.processes() == 1 else None
    if not alone and (place or cfg.processes > dist.processes()):
        asked = f"WORLD_SIZE={place.count}" if place else f"engine.processes={cfg.processes}"
        raise UsageError(f"{asked}: only {torchrun.NAMED} run by several processes; leave it out here")
    loggers.check(cfg.loggers)
    write_json_lines(cfg.progress_format == "json")
    set_threads(cfg.threads)
    device = pick_device(cfg.device)
    set_kernels(cfg, device)
    precision = Precision(cfg.precision, device)
    _chosen["precision"] = precision.name
    return device, precision


def synchronize(device: torch.device) -> None:
    """Wait for the device, so that a clock read means something. Never in the hot loop."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak so far: workers run many jobs, and each has its own."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Bytes since `reset_peak_memory`: allocated on a GPU, the process's resident set on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
