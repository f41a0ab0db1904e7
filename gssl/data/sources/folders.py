"""What sources that read folders have in common: where a folder is, which files it has, how some of them are named."""

import os
from collections.abc import Sequence
from pathlib import Path

from gssl.errors import UsageError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jp2", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)


def find_folder(key: str, value: str | None, root: Path | None) -> Path | None:
    """The folder `value` of data.`key`, below `root` where it is there; None without it. Raises UsageError."""
    if value is None:
        return None
    path = Path(value).expanduser()
    if root is not None and (root / path).is_dir():  # an absolute path stays what it is
        path = root / path
    if not path.is_dir():
        raise UsageError(f"data.{key}: {path} is not a folder; give a folder that holds images")
    return path


def child(root: Path, name: str) -> Path | None:
    """The folder `name` in `root`, None where there is none."""
    return root / name if (root / name).is_dir() else None


def images_below(root: Path, exclude: list[Path]) -> list[str]:
    """Paths relative to `root` with forward slashes, sorted; nothing hidden, every folder once."""
    names: list[str] = []
    visited = {folder.resolve() for folder in exclude}
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = Path(folder).resolve()
        if real in visited:  # excluded, or a symbolic link that leads back
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        names += [prefix + name for name in files if not name.startswith(".") and name.lower().endswith(SUFFIXES)]
    return sorted(names)


def one_line(reason: str) -> str:
    """The text on one line."""
    return " ".join(reason.split())


def some(items: Sequence[str], count: int = 3) -> str:
    """The first items and how many more there are."""
    return ", ".join(items[:count]) + (f" and {len(items) - count} more" if len(items) > count else "")
