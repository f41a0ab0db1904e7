"""Weights of a run are evaluated on the data of that run, where the user names no other. No torch here."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gssl.config.command_line import quoted
from gssl.data.sources import SOURCES, places
from gssl.engine.documents import read_yaml
from gssl.errors import UsageError

# What says which images they are and how they are divided; the rest of `data` is about training.
KEYS = (
    *("root", "size", "train", "test", "pretrain", "labels", "masks", "groups", "crop"),
    *("val_fraction", "test_fraction", "split_seed", "limit", "range", "store", "on_error"),
)
DEFAULT = "mnist5k"  # the data of every command that nobody has chosen


def overrides(whole: DictConfig, given: Sequence[str], swept: Sequence[str] = ()) -> list[str]:
    """Overrides that make the data of a composed configuration those of the run in its `weights` (or all `sources`).

    [] where the user chose data, or where nothing is read from a run. given: keys that the user wrote. swept: all
    `weights` of a sweep. Raises UsageError where runs are of different data,
    or where what a run was trained on cannot be read.
    """
    chosen = OmegaConf.select(whole, "hydra.runtime.choices.data")
    if chosen != DEFAULT or "data" in given or OmegaConf.select(whole, "to"):
        return []
    texts = [str(OmegaConf.select(whole, "weights") or ""), *map(str, OmegaConf.select(whole, "sources") or [])]
    found = {text: data for text in [*texts, *swept] if (data := _data_of(text.rpartition("@")[2]))}
    if not found:
        return []
    run, data = next(iter(found.items()))
    if other := next((text for text in found if _which(found[text]) != _which(data)), None):
        raise UsageError(
            f"data: {run} was trained on {_named(data)} and {other} on {_named(found[other])}; give data= (or to=), the"
            " data to evaluate both on"
        )
    if data["name"] == DEFAULT:
        return []
    if "data.root" in given:  # they were moved
        data = places.moved(data, str(OmegaConf.select(whole, "data.root")))
    mine = [f"data.{key}={quoted(data[key])}" for key in KEYS if key in data and f"data.{key}" not in given]
    print(f"note: the data are those of {run}: {_named(data)}; data= overrides", file=sys.stderr, flush=True)
    return [f"data={data['name']}", *mine]


def _which(data: dict[str, Any]) -> list[Any]:
    told = places.recorded(data)  # runs of older versions have paths relative to where they were started
    return [told.get(key) for key in ("name", "root", "train", "pretrain", "labels")]


def _named(data: dict[str, Any]) -> str:
    folder = data.get("root") or data.get("train") or data.get("pretrain")
    return f"{data['name']} ({folder})" if folder else str(data["name"])


def _data_of(text: str) -> dict[str, Any] | None:
    """The section `data` of the run that `text` names: its directory, one of its checkpoints, or weights in it."""
    path = Path(text).expanduser()
    if not text or not os.path.exists(path):
        return None
    for folder in (path, *path.absolute().parents[:2]):
        if (folder / "status.json").is_file() and (folder / "config.yaml").is_file():
            data = (read_yaml(folder / "config.yaml") or {}).get("data")  # damaged: no other data are taken instead
            return data if isinstance(data, dict) and str(data.get("name")) in SOURCES else None
    return None
