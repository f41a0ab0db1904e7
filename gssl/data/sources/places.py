"""Where a run's images lie, as it stands on record: paths that hold from every working directory, and after a move.

Which images they are is known by their content: a run that goes on, and what reads a finished one, compare hashes.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gssl.data.sources import shards

WITHIN = ("pretrain", "train", "test", "labels", "groups")  # below data.root where they are there


def recorded(data: Mapping[str, Any]) -> dict[str, Any]:
    """The section `data` of a configuration for config.yaml: what is below the working directory becomes absolute.

    What lies below data.root stays relative to it. Names that are no paths (ORG/NAME, folds, a column) stay, too.
    """
    found = dict(data)
    root = _path(data.get("root"))
    if root is not None and _there(root):
        found["root"] = os.path.abspath(root)
    for key in WITHIN:
        path = _path(data.get(key))
        if path is None or data.get("name") == "hf" or (root is not None and _there(root / path)):
            continue
        if data.get("name") == "webdataset" and key == "labels":  # which members, and no path
            continue
        if _there(path):
            found[key] = os.path.abspath(path)
    return found


def moved(data: Mapping[str, Any], root: str) -> dict[str, Any]:
    """The section with its images below `root` now, as they were below data.root then, or below one folder."""
    found = dict(data)
    paths = {key: str(data[key]) for key in WITHIN if os.path.isabs(str(data.get(key) or ""))}
    old = data.get("root")
    if old is None and paths:
        old = os.path.commonpath([os.path.dirname(path) for path in paths.values()])
    else:
        found["root"] = root
    for key, path in paths.items():
        if old is not None and Path(path).is_relative_to(old):
            found[key] = os.path.join(os.path.abspath(root), os.path.relpath(path, old))
    return found


def _there(path: Path) -> bool:
    """Whether it leads to something; of a pattern of archives, whether its first name does."""
    if os.path.exists(path) or not shards.is_pattern(str(path)):
        return os.path.exists(path)
    return os.path.exists(shards.expanded(str(path))[0])


def _path(value: Any) -> Path | None:
    return Path(str(value)).expanduser() if value else None
