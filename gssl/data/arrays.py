"""Named arrays in one sealed file, memory-mapped when they are read: there may be millions of rows."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gssl.data import checksums

VERSION = 1
PAD = -checksums.HEAD % 8  # that numbers lie where processors want them


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises OSError."""
    shapes = {name: [value.dtype.str, list(value.shape)] for name, value in arrays.items()}
    about = json.dumps({"version": VERSION, "arrays": shapes}).encode()
    parts: list[Any] = [bytes(PAD), np.int64(len(about)).tobytes()]
    for raw in (np.frombuffer(about, np.uint8), *map(as_bytes, arrays.values())):
        parts += [raw, bytes(-len(raw) % 8)]
    checksums.write(path, *parts)


def read(path: Path) -> dict[str, np.ndarray]:
    """Errors: Damaged; OSError; ValueError, KeyError or TypeError, where it holds something else."""
    body = checksums.mapped(path)[PAD:]
    count = int.from_bytes(body[:8].tobytes(), sys.byteorder)
    about = json.loads(body[8 : 8 + count].tobytes())
    if about["version"] != VERSION:
        raise ValueError("it is of another version")
    place, found = 8 + count + -count % 8, {}
    for name, (kind, shape) in about["arrays"].items():
        dtype = np.dtype(kind)
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        found[name] = body[place : place + size].view(dtype).reshape(shape)
        place += size + -size % 8
    return found


def as_bytes(array: np.ndarray) -> np.ndarray:
    """uint8 (n,): the bytes of an array, a view where they lie one after another."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
