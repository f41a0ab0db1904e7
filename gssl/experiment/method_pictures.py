"""Pictures of a method at work: what its network was fed, and what it makes of images."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gssl.data import centre
from gssl.figures.grid import save_grid
from gssl.method import Batch

ROWS = 8  # images
WIDE = 10  # columns at most, beside the first


@contextlib.contextmanager
def inputs_of(network: nn.Module) -> Iterator[list[Tensor]]:
    """The batches of images that pass through `network` inside the block."""
    found: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        found.append(args[0].detach().clone())

    hook = network.register_forward_pre_hook(keep)
    try:
        yield found
    finally:
        hook.remove()


def _columns(x: Tensor, count: int, size: int) -> list[Tensor]:
    """A batch as columns of `count` images. Tiles lie image by image: (count · m, 3, h, w) is m columns."""
    if len(x) % count:
        return []
    x = x.float()
    if x.shape[-1] != size:
        x = F.interpolate(x, size=(size, size), mode="nearest")
    return list(x.unflatten(0, (count, -1)).unbind(1))


def save_views(raw: Batch, batch: Batch, inputs: list[Tensor], path: Path, size: int) -> list[str]:
    """One row per image: as it is, each view of it, then the backbone's input where that was something else.

    `raw`: of `Batches`; `batch`: of `Feed`; `inputs`: of `inputs_of`. Returns the columns' names.
    """
    count = len(raw["image"])
    columns, names = [centre(raw["image"], size, raw.get("extent"))], ["image"]
    for name, value in batch.items():
        if value.ndim == 4:
            columns.append(value)
            names.append(name)
    views = list(columns)
    for x in inputs:
        if any(x.shape == y.shape and torch.equal(x, y) for y in views):
            continue
        found = _columns(x, count, size)
        columns += found
        names += ["input of the backbone"] * len(found)
    columns, names = columns[: WIDE + 1], names[: WIDE + 1]
    save_columns(columns, path)
    return list(dict.fromkeys(names))


def save_columns(columns: list[Tensor], path: Path) -> None:
    """Images side by side: row i has the i-th image of every column; at most `ROWS` rows."""
    rows = torch.stack([column[:ROWS].float().cpu() for column in columns], dim=1)
    save_grid(rows.flatten(0, 1), path, columns=len(columns))
