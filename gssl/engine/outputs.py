"""Files that the user names with -o: never over a file that gssl did not write. No torch here.

What proves that gssl wrote a file: JSON of a schema `gssl.…`, a PNG whose text names gssl, an .npz with the entry
`gssl`, and of any other file a description beside it (`NAME.json`, or with the suffix replaced) that holds the file's
sha256. So a table that somebody has corrected by hand since is not gssl's any more.
"""

import json
import os
import zipfile
from pathlib import Path
from typing import Any, TextIO

from gssl.engine.files import find_json, sha256, write_json
from gssl.errors import UsageError

MARK = "gssl"  # the entry of an .npz, and the value of Software in a PNG
PNG_TEXT = {"Software": MARK}
FILLED = ("checkpoints", "samples", "weights")  # folders of a run directory that a training fills
TELLING = (".json", ".png", ".npz")  # files that say themselves who wrote them


def check(out: Path, suffix: str | None = None, force: bool = False) -> None:
    """Raises UsageError where `out` cannot be a file of that kind, or is one that gssl did not write.

    `force`: write all the same; a folder, a device or a pipe is never replaced.
    """
    if suffix is not None and out.suffix != suffix:
        raise UsageError(f"-o {out}: expected a file name that ends in {suffix}")
    if out.parent.exists() and not out.parent.is_dir():
        raise UsageError(f"-o {out}: cannot be written ({out.parent} is not a folder)")
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not os.access(above, os.W_OK):
        raise UsageError(f"-o {out}: cannot be written ({above} is read-only); choose another folder")
    if out.is_dir():
        raise UsageError(f"-o {out}: is a folder; choose another name")
    if out.exists() and not out.is_file():  # it looks empty, and a file would take the place of /dev/null for everybody
        raise UsageError(f"-o {out}: is no regular file (a device, a pipe or a socket); choose another name")
    beside = described(out)
    if not force and out.suffix not in TELLING and beside.exists() and not _schema(find_json(beside)):
        raise UsageError(
            f"-o {out}: {beside} would be written too, which gssl did not write; choose another name, or overwrite"
            " both with --force"
        )
    if not force and out.exists() and not ours(out):
        raise UsageError(
            f"-o {out}: there is a file that gssl did not write, or that was changed since; choose another name, or"
            " overwrite it with --force"
        )


def check_inside(run: Path) -> None:
    """Raises UsageError where a link in a run directory leads out of it: files are written and deleted there.

    The directory itself may be a link. What is asked: its own entries and those of `FILLED`, not deeper ones.
    """
    home = os.path.realpath(run)
    for folder in (run, *(run / name for name in FILLED)):
        try:
            with os.scandir(folder) as entries:
                links = [Path(entry.path) for entry in entries if entry.is_symlink()]
        except (FileNotFoundError, NotADirectoryError):
            continue
        for path in links:
            if os.path.commonpath([home, os.path.realpath(path)]) != home:
                raise UsageError(
                    f"{path}: is a link out of the run directory, in which gssl writes and deletes; replace it by what"
                    " it leads to, or choose another hydra.run.dir"
                )


def open_to_append(path: Path) -> TextIO:
    """A text file to which lines are added, made where it is missing. Raises OSError where the name is a link."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    return os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")


def ours(path: Path) -> bool:
    """Whether gssl wrote the file, as it is now."""
    try:
        if path.stat().st_size == 0:  # nothing to lose
            return True
        if path.suffix == ".json" and _schema(find_json(path)):
            return True
        if path.suffix == ".png":
            return _png(path)
        if path.suffix == ".npz" and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as held:
                return f"{MARK}.npy" in held.namelist()
    except OSError:
        return False
    texts = [find_json(place) for place in (described(path), path.with_suffix(".json"))]
    return any(_schema(text) and text.get("sha256") == sha256(path) for text in texts)


def described(path: Path) -> Path:
    """Where the description of a file lies whose own form has no place for one."""
    return path.with_name(f"{path.name}.json")


def describe(path: Path, text: dict[str, Any]) -> None:
    """Write the description of a file that is there."""
    write_json(described(path), text | {"sha256": sha256(path)})


def npz_mark(text: dict[str, Any]) -> str:
    """What an .npz holds as its entry `gssl`."""
    return json.dumps(text, ensure_ascii=False)


def _schema(text: Any) -> bool:
    return isinstance(text, dict) and str(text.get("schema")).startswith(f"{MARK}.")


def _png(path: Path) -> bool:
    """Whether one of the first text chunks of a PNG says so; the pixels are not read."""
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return False
        while len(head := file.read(8)) == 8:
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind in (b"IDAT", b"IEND"):
                return False
            data = file.read(length + 4)[:-4]
            if kind == b"tEXt" and data == f"Software\0{MARK}".encode():
                return True
    return False
