"""`engine.compile`: the blocks of a training's networks as torch compiles them, while it makes its steps.

Blocks, not whole networks: methods call parts of a network (a ViT's blocks on some of the patches), and equal blocks
are compiled once. Optimisers are not compiled: they would be again for every learning rate. Evaluation, export and
the counting of FLOPs use the networks as they are. Names of weights stay. There is no second derivative through
compiled code (pytorch#91469), so a method with a gradient penalty is left alone.
"""

import importlib.util
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gssl import schemas
from gssl.engine import dist
from gssl.engine.budget import Clock
from gssl.errors import JobError, UsageError

BACKEND = "inductor"
STEPS = 10_000  # of a training from which `auto` compiles: a guess, which no GPU has confirmed
LIMIT = 64  # variants of a block (shapes, with and without gradients); torch gives up after 8


def wanted(cfg: schemas.Engine, method: Any, device: torch.device, clock: Clock) -> bool:
    """Whether the networks of `method` are to be compiled. Raises UsageError where `on` cannot be had."""
    long = device.type == "cuda" and clock.seconds is None and (clock.steps or 0) >= STEPS
    if cfg.compile == "off" or (cfg.compile == "auto" and not long):
        return False
    reason = _obstacle(method, device)
    if reason and cfg.compile == "on":
        raise UsageError(f"engine.compile=on: {reason}; use engine.compile=auto or off")
    return reason is None


def _obstacle(method: Any, device: torch.device) -> str | None:
    """Why networks cannot be compiled; None where they can."""
    if getattr(method, "second_derivatives", False):
        return "this method has a gradient penalty, and compiled networks have no second derivative"
    if dist.processes() > 1:
        return "several processes train together, whose batch norms send messages"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "torch's compiler needs the package triton on a GPU"
    if device.type == "cpu" and BACKEND == "inductor":
        from torch._inductor import cpp_builder
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            cpp_builder.get_cpp_compiler()
        except InvalidCxxCompiler:
            return "torch's compiler needs a C++ compiler on a CPU, and none was found (CXX, g++, clang++)"
    return None


def pieces(network: nn.Module) -> list[nn.Module]:
    """What of `network` is compiled: items of its lists, sequences, and modules made of simple layers."""
    found: list[nn.Module] = []
    for child in network.children():
        inner = list(child.children())
        if not inner or not any(True for _ in child.parameters()):
            continue
        if any(hasattr(module, "parametrizations") for module in child.modules()):
            found += pieces(child)  # spectral norms iterate, and are kept for a step: not what is around them
        elif not isinstance(child, nn.ModuleList) and (
            isinstance(child, nn.Sequential) or not any(isinstance(m, nn.ModuleList | nn.Sequential) for m in inner)
        ):
            found.append(child)
        else:
            found += pieces(child)
    return found


class Compiled:
    """The pieces of a method's networks, compiled; inside `with compiled():` they are used."""

    def __init__(self, method: nn.Module) -> None:
        import torch._dynamo as compiler  # seconds

        compiler.config.recompile_limit = max(compiler.config.recompile_limit, LIMIT)
        self.seconds = 0.0  # that compiling has taken
        self._calls: list[tuple[dict[str, Any], Any]] = []
        for piece in pieces(method):
            piece.compile(backend=BACKEND, dynamic=False)
            own = vars(piece)
            self._calls.append((own, own["_compiled_call_impl"]))
        self._use(False)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self._use(True)
        try:
            yield
        finally:
            self._use(False)

    @contextmanager
    def first(self) -> Iterator[None]:
        """Around first updates, in which torch compiles: counts the seconds. Raises JobError where it cannot."""
        since = time.perf_counter()
        try:
            with self(), warnings.catch_warnings(action="ignore"):  # of torch's compiler about itself
                yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # what torch's compiler raises, of many kinds
            text = str(error).strip().splitlines()
            raise JobError(
                f"engine.compile: torch could not compile the networks ({type(error).__name__}:"
                f" {text[0] if text else 'no more is known'}); engine.compile=off trains without"
            ) from error
        finally:
            self.seconds += time.perf_counter() - since

    def close(self) -> None:
        """Forget the compiled code, and what it holds on to."""
        import torch._dynamo as compiler

        self._calls.clear()
        compiler.reset()

    def _use(self, used: bool) -> None:
        for own, call in self._calls:
            own["_compiled_call_impl"] = call if used else None
