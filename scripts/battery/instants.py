"""Instants of a command that can be counted, so that trials can meet each of them.

`watch(act)` calls `act(phase, k)` before the k-th event of a phase in this process:

- `file`: a file is opened for writing, renamed, removed or pushed to the disk
- `save`: the same, while a checkpoint is saved
- `evaluation`: a module is called while the method in training is evaluated
- `forward`: a module is called, in training, evaluation, probes or fine-tuning
- `end`: a file operation or a module's call, from the last step of training on
"""

import builtins
import functools
import io
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

LAST = 11  # index of the last of 12 steps
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

Act = Callable[[str, int], None]
Opened = Callable[[Any, int], None]


def watch(act: Act, opened: Opened | None = None) -> Counter[str]:
    """The counts so far, by phase. opened(file, k): called with what the k-th opening for writing made."""
    counts: Counter[str] = Counter()
    within: Counter[str] = Counter()

    def event(*phases: str) -> None:
        for phase in (*phases, *(name for name in ("end",) if within[name])):
            counts[phase] += 1
            act(phase, counts[phase])

    def file_event() -> None:
        event("file", *(["save"] if within["save"] else []))

    def operation(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            file_event()
            return function(*args, **kwargs)

        return inner

    def opening(function: Callable[..., Any], writes: Callable[..., bool]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            if not writes(*args, **kwargs):
                return function(*args, **kwargs)
            file_event()
            found = function(*args, **kwargs)
            counts["opened"] += 1
            if opened:
                opened(found, counts["opened"])
            return found

        return inner

    for name in ("fsync", "rename", "replace", "unlink"):
        setattr(os, name, operation(getattr(os, name)))
    os.open = opening(os.open, lambda path, flags, *_, **__: bool(flags & WRITES))
    io.open = builtins.open = opening(io.open, _to_write)
    _watch_training(event, within)
    return counts


def _to_write(file: Any, mode: str = "r", *_: Any, **__: Any) -> bool:
    return not isinstance(file, int) and any(letter in mode for letter in "wax+")


def _watch_training(event: Callable[..., None], within: Counter[str]) -> None:
    from torch.nn.modules.module import register_module_forward_pre_hook

    from gssl.engine import checkpoint, flops, loop

    def during(owner: Any, name: str, phase: str) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            within[phase] += 1
            try:
                return function(*args, **kwargs)
            finally:
                within[phase] -= 1

        setattr(owner, name, inner)

    update = flops.CountedUpdate.__call__

    def updated(self: Any, batch: Any, step: int) -> Any:
        within["end"] += step == LAST
        return update(self, batch, step)

    def called(*_: Any) -> None:
        event("forward", *(["evaluation"] if within["evaluation"] else []))

    flops.CountedUpdate.__call__ = updated  # type: ignore[method-assign]
    during(checkpoint.Checkpoints, "save", "save")
    during(loop._Training, "_evaluated", "evaluation")
    register_module_forward_pre_hook(called)
