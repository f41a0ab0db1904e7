"""`data.size=auto`: the size chosen from the images and the device, and the line that says so. No torch here."""

import contextlib
import functools
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from gssl.data.layout import SIZES, chosen_size, shorter_sides
from gssl.data.sources import SOURCES
from gssl.errors import UsageError

AUTO = "auto"
FOLDERS = ("root", "pretrain", "train", "good")
_said: set[str] = set()
_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """For configurations that nobody runs, such as defaults that another one is compared with: nothing is said."""
    before = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(before)


def resolve(values: Mapping[str, Any]) -> Any:
    """`data.size` of a configuration: the number that auto stands for, else what is there. Says once what was chosen.

    Raises UsageError where auto has no folder to look into.
    """
    data = values["data"]
    if data.get("size") != AUTO:
        return data.get("size")
    if data.get("name") not in SOURCES or not SOURCES[data["name"]].folder:
        raise UsageError(f"data.size=auto: is for folders of images; data={data.get('name')} has a size of its own")
    size, text = _chosen_for(data, str((values.get("engine") or {}).get("device")))
    if text and text not in _said and not _silent.get():
        _said.add(text)
        print(f"note: {text}", file=sys.stderr, flush=True)
    return size


def chosen(data: Mapping[str, Any], device: str) -> int:
    """What data.size=auto is for folders of images, without a line that says so."""
    return _chosen_for(data, device)[0]


def _chosen_for(data: Mapping[str, Any], device: str) -> tuple[int, str]:
    return _chosen(tuple(_folders(data)), SIZES[-1] if has_gpu(device) else SOURCES[data["name"]].most)


def _folders(data: Mapping[str, Any]) -> list[str]:
    """The folders that the images to train on lie in; what is missing is refused by who reads them."""
    found = [Path(str(data[key])).expanduser() for key in FOLDERS if data.get(key)]
    root = found[0] if data.get("root") else None
    found += [root / path for path in found[1:]] if root else []  # as the source looks for them
    known = [path for path in found if path.is_dir()]
    return [str(path) for path in known if not any(other in path.parents for other in known)]


def has_gpu(device: str) -> bool:
    """Whether engine.device means a GPU. auto: it is known by its files, for torch takes seconds to import."""
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return device.startswith(("cuda", "mps")) or (device == "auto" and (os.path.exists("/dev/nvidiactl") or apple))


@functools.lru_cache(maxsize=64)
def _chosen(folders: tuple[str, ...], most: int) -> tuple[int, str]:
    sides = shorter_sides([Path(folder) for folder in folders])
    if not sides:  # the source says what is wrong, or its lists lead elsewhere
        return most, ""
    size = chosen_size(sides, most)
    low, middle, high = sides[0], sides[len(sides) // 2], sides[-1]
    range_ = f"all {low}" if low == high else f"{low:,} to {high:,}, the middle one {middle:,}"
    why = " (the most without a GPU)" if size == most and size < SIZES[-1] and middle >= 1.25 * size else ""
    return size, f"data.size={size}{why}, chosen from the images' shorter sides ({range_} px); data.size=N changes it"
