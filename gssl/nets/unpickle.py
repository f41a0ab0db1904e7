"""`python -m gssl.nets.unpickle IN OUT`: run a pickle and write the tensors that it holds as safetensors.

This runs whatever the file says. `gssl convert --trust` alone starts it, in a process of its own; nothing imports it.
Classes that are not installed are replaced by empty ones, so that their tensors are found all the same.
"""

import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from gssl.nets.prefixes import DEEP
from gssl.nets.weights import save_weights


class Absent:
    """In the place of an object whose class is not installed: it keeps what it is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})

    def __call__(self, *args: Any, **kwargs: Any) -> "Absent":
        return self


class Unpickler(pickle.Unpickler):
    """pickle's own, to which a class that cannot be imported is `Absent`."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return Absent


def _tolerant() -> ModuleType:
    """`pickle` with that reader, as torch.load takes it."""
    module = ModuleType("gssl_pickle")
    module.__dict__.update(pickle.__dict__)
    module.__dict__.update({"Unpickler": Unpickler, "load": lambda file, **kwargs: Unpickler(file, **kwargs).load()})
    return module


def found(value: Any) -> Iterator[tuple[str, Tensor]]:
    """Named tensors in dicts and in modules within each other; a module's are named as in its state dict."""
    seen: set[int] = set()

    def walk(part: Any, above: str, depth: int) -> Iterator[tuple[str, Tensor]]:
        if depth > 8 * DEEP or id(part) in seen:
            return
        seen.add(id(part))
        if not isinstance(part, Mapping):
            part = {} if isinstance(part, type) else _of_module(getattr(part, "__dict__", None))
        for key, item in part.items():
            if isinstance(item, Tensor):
                yield f"{above}{key}", item
            elif isinstance(key, str):
                yield from walk(item, f"{above}{key}.", depth + 1)

    yield from walk(value, "", 0)


def _of_module(inside: Any) -> dict[str, Any]:
    if not isinstance(inside, dict) or "_modules" not in inside:
        return {}
    dropped = inside.get("_non_persistent_buffers_set") or set()
    parts = {**(inside.get("_parameters") or {}), **(inside.get("_buffers") or {})}
    return {key: v for key, v in {**parts, **inside["_modules"]}.items() if key not in dropped and v is not None}


def main(source: Path, goal: Path) -> None:
    try:
        content = torch.load(source, map_location="cpu", weights_only=False, pickle_module=_tolerant())
    except RuntimeError as error:
        if "weights_only" not in str(error):
            raise
        content = torch.load(source, map_location="cpu", weights_only=False)
    tensors = {name: value for name, value in found(content) if not value.is_sparse and not value.is_quantized}
    if not tensors:
        raise SystemExit("no named tensors in it")
    save_weights(tensors, goal)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
