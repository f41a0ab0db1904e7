"""data.groups: which files belong together, by a pattern of their names or by a CSV (path,group)."""

import re
from collections.abc import Callable
from pathlib import Path

from gssl.data.sources import labels_csv
from gssl.errors import UsageError


def grouping(groups: str | None, root: Path) -> Callable[[Path], str] | None:
    """What gives the group of a file's path below `root`; None without data.groups. Raises UsageError.

    groups: a pattern of names with {group}, such as '{group}_*', or a CSV with the columns path and group.
    """
    if groups is None:
        return None
    if groups.lower().endswith(".csv"):
        return _listed(groups, root)
    if groups.count("{group}") != 1:
        raise UsageError(
            f"data.groups={groups}: expected a pattern with {{group}}, such as '{{group}}_*', or a CSV file"
        )
    parts = re.split(r"(\{group\}|\*)", groups)
    shape = re.compile("".join({"{group}": "(.+?)", "*": ".*"}.get(part, re.escape(part)) for part in parts))
    depth = groups.count("/") + 1

    def group(path: Path) -> str:
        name = "/".join([*path.parts[-depth:-1], path.stem])
        match = shape.fullmatch(name)
        if match is None:
            raise UsageError(f"data.groups={groups}: {name} ({path}) does not fit this pattern; fit it to the names")
        return match[1]

    return group


def _listed(groups: str, root: Path) -> Callable[[Path], str]:
    path = root / groups if (root / groups).is_file() else Path(groups).expanduser()
    known = labels_csv.groups(path, root)

    def group(image: Path) -> str:
        own = next(
            (known[name] for name in (str(image.relative_to(root)), image.name, image.stem) if name in known), None
        )
        if own is None:
            raise UsageError(f"data.groups: {path} has no row for {image.relative_to(root)}; give every image a group")
        return own

    return group
