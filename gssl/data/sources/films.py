"""Films in a folder: video files, animated pictures and frame folders, by their names alone. No torch here."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gssl.data.sources.folders import is_image, unread

FILMS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".3gp")
ANIMATED = (".gif", ".webp", ".apng")


class Film(NamedTuple):
    """A film in files below a folder: one file, or the pictures of a frame folder in their order.

    name: of the file or the folder. span: seconds [start, end) that are read, None: all.
    """

    name: str
    files: tuple[str, ...]
    span: tuple[float, float] | None = None

    @property
    def folder(self) -> bool:
        return self.files != (self.name,)

    @property
    def key(self) -> str:
        """The name with what is read of it."""
        return self.name if self.span is None else f"{self.name} [{self.span[0]:g}, {self.span[1]:g}) s"


def natural(name: str) -> list[Any]:
    """A key by which 2 comes before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def films_below(root: Path, exclude: Sequence[Path] = ()) -> list[Film]:
    """Films below a folder, at any depth, in natural order; nothing hidden, and no run directories.

    A folder with two pictures or more and no film is a frame folder: a film itself.
    """
    found: list[Film] = []
    outside = {path.resolve() for path in exclude}
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(n for n in subfolders if not n.startswith(".") and not unread(f"{folder}/{n}", files))
        if Path(folder).resolve() in outside:
            subfolders.clear()
            continue
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        names = sorted((name for name in files if not name.startswith(".")), key=natural)
        films = [name for name in names if name.lower().endswith((*FILMS, *ANIMATED))]
        frames = [name for name in names if is_image(name)]
        if films:
            found += [Film(prefix + name, (prefix + name,)) for name in films]
        elif len(frames) > 1 and below != ".":
            found.append(Film(below, tuple(prefix + name for name in frames)))
    return sorted(found, key=lambda film: natural(film.name))
