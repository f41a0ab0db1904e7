"""What sources that read folders have in common: where a folder is, which images it has, and what in it is not read.

Never data: hidden files and folders, folders that systems make for themselves, run directories of gssl and what its
commands wrote. Everything that is left out is told (`Told`).
"""

import os
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from gssl.errors import UsageError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".jp2", ".j2k", ".jpf", ".jpx"),
    *(".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".tga"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
PICTURES = (  # pictures to people, and nothing that is read here
    *(".heic", ".heif", ".jxl", ".svg", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
    *(".dcm", ".nii", ".npy", ".npz", ".mat", ".exr", ".hdr", ".mp4", ".avi", ".mov", ".eps", ".pdf"),
)
OWN = ("labels.csv", "classes.json")  # files that say something about the images
SYSTEM = frozenset(
    ("@eadir", "__macosx", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found")
    + ("__pycache__", "@tmp", "#snapshot", "@syno", "node_modules")
)
COMMANDS = ("compare", "curve", "data", "pretrain_ssl", "train_gan", "transfer", "parts")
RUN_FILES = ("config.yaml", "result.json", "environment.json", "metrics.jsonl", "parts.json", "checkpoints")
SYSTEM_FOLDER, RUN_FOLDER, TWICE = "made by a system", "written by gssl", "linked twice or back"
SHOWN = 4  # suffixes that are named


@dataclass
class Told:
    """What a folder holds that is not read: files by suffix, folders by reason; and what is to be known of the rest.

    notes: how the folder was understood. warnings: what is likely wrong.
    """

    files: dict[str, list[str]] = field(default_factory=dict)
    folders: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def file(self, path: str) -> None:
        """A file that is no image."""
        suffix = os.path.splitext(path)[1].lower() or "without a suffix"
        self.files.setdefault(suffix, []).append(path)

    def folder(self, path: str, why: str) -> None:
        """A folder that is not read, with nothing below it."""
        own = self.folders.setdefault(why, [])
        if path not in own:
            own.append(path)

    def merge(self, other: "Told") -> None:
        """What another part's folder holds, too."""
        for mine, theirs in ((self.files, other.files), (self.folders, other.folders)):
            for key, paths in theirs.items():
                known = set(mine.setdefault(key, []))
                mine[key] += [path for path in paths if path not in known]
        self.notes += other.notes
        self.warnings += other.warnings

    def texts(self) -> list[str]:
        """Everything that is not read, a text each: counts by reason, and the first path."""
        found = list(self.notes)
        count = sum(map(len, self.files.values()))
        if count:
            order = sorted(self.files, key=lambda suffix: (-len(self.files[suffix]), suffix))
            kinds = some([f"{len(self.files[suffix]):,} {suffix}" for suffix in order], SHOWN)
            noun = "file is no image that is read" if count == 1 else "files are no images that are read"
            found.append(f"{count:,} {noun} ({kinds}; the first is {self.files[order[0]][0]})")
        for why, paths in sorted(self.folders.items()):
            noun = "folder is" if len(paths) == 1 else "folders are"
            found.append(f"{len(paths)} {noun} not read, {why} ({some(paths, 2)})")
        return found

    def suspicious(self) -> list[str]:
        """What is likely wrong: files that are pictures to people."""
        found = list(self.warnings)
        for suffix, paths in sorted(self.files.items()):
            if suffix in PICTURES:
                noun = "file is" if len(paths) == 1 else "files are"
                found.append(
                    f"{len(paths):,} {suffix} {noun} left out, the first is {paths[0]}: convert to PNG or JPEG"
                )
        return found


def find_folder(key: str, value: str | None, root: Path | None) -> Path | None:
    """The folder `value` of data.`key`, below `root` where it is there; None without it. Raises UsageError."""
    if value is None:
        return None
    path = Path(value).expanduser()
    if root is not None and os.path.isdir(root / path):  # an absolute path stays what it is
        path = root / path
    if not os.path.isdir(path):  # which is False, too, of what no path can be
        raise UsageError(f"data.{key}: {path} is not a folder; give a folder that holds images")
    return path


def child(root: Path, name: str) -> Path | None:
    """The folder `name` in `root`, None where there is none."""
    return root / name if os.path.isdir(root / name) else None


def is_image(name: str) -> bool:
    """Whether a file of this name is read as an image."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def unread(folder: str, beside: Container[str] = ()) -> str:
    """Why a folder is never data, by its name, a few files in it and those beside it; "" where it may be."""
    name = os.path.basename(folder)
    if name.lower() in SYSTEM:
        return SYSTEM_FOLDER
    there = os.path.exists
    if there(f"{folder}/status.json") and any(there(f"{folder}/{file}") for file in RUN_FILES):
        return RUN_FOLDER
    if there(f"{folder}/page.html") and there(f"{folder}/data.json"):
        return RUN_FOLDER
    if name in ("runs", "multirun") and any(there(f"{folder}/{command}") for command in COMMANDS):
        return RUN_FOLDER
    if name.endswith("_masks") and f"{name.removesuffix('_masks')}.csv.json" in beside:
        return RUN_FOLDER  # of gssl predict
    return ""


def folders_in(root: Path, told: Told | None = None) -> list[str]:
    """Names of the folders in `root` that may hold data, sorted."""
    inside, files = _listed(str(root))
    found = []
    for name in sorted(inside):
        if name.startswith("."):
            continue
        path = f"{root}/{name}"
        if why := unread(path, files):
            if told is not None:
                told.folder(path, why)
        else:
            found.append(name)
    return found


def _listed(path: str) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files in a folder; nothing where it cannot be read."""
    inside: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                (inside if entry.is_dir() else files).append(entry.name)
    except OSError:
        pass
    return inside, files


def images_below(root: Path, exclude: Sequence[Path], told: Told | None = None) -> list[str]:
    """Paths relative to `root` with forward slashes, sorted; nothing hidden, and no run directories.

    In each folder of `root` every folder is read once, wherever symbolic links lead: two classes may be links to one.
    """
    names: list[str] = []
    told = Told() if told is None else told
    outside = {folder.resolve() for folder in exclude}
    home = root.resolve()
    around = {home, *home.parents}
    seen: set[tuple[str, Path]] = set()
    beside: dict[str, list[str]] = {}
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_refused):
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        top = below.split("/", 1)[0]
        real = Path(folder).resolve()
        if below != ".":
            if real in outside:
                subfolders.clear()
                continue
            why = unread(folder, beside.get(os.path.dirname(folder), ()))
            if real in around or (top, real) in seen:
                why = TWICE
            if why:
                told.folder(folder, why)
                subfolders.clear()
                continue
        seen.add((top, real))
        for name in [name for name in subfolders if name.lower() in SYSTEM]:  # which may not be readable
            told.folder(f"{folder}/{name}", SYSTEM_FOLDER)
        subfolders[:] = sorted(n for n in subfolders if not n.startswith(".") and n.lower() not in SYSTEM)
        if any(name.endswith("_masks") for name in subfolders):
            beside[folder] = files
        prefix = "" if below == "." else f"{below}/"
        for name in files:
            if is_image(name):
                names.append(prefix + name)
            elif not name.startswith(".") and name not in OWN:
                told.file(f"{folder}/{name}")
    return sorted(names)


def _refused(error: OSError) -> None:
    """A folder that cannot be read is an error: its images would be missing without a word."""
    raise UsageError(f"{error.filename}: cannot be read ({error.strerror}); allow it, or move this folder away")


def class_of(name: str) -> str:
    r"""The class that the first folder of an image's path stands for, as text: bytes that are no UTF-8 become \xNN.

    Paths keep such bytes as Python has them, for files are opened by them; names of classes are written everywhere.
    """
    return _class(name.split("/", 1)[0])


@cache
def _class(folder: str) -> str:
    """One text for all images of a folder."""
    return os.fsencode(folder).decode("utf-8", "backslashreplace")


def one_line(reason: str) -> str:
    """The text on one line."""
    return " ".join(reason.split())


def some(items: Sequence[str], count: int = 3) -> str:
    """The first items and how many more there are."""
    return ", ".join(items[:count]) + (f" and {len(items) - count} more" if len(items) > count else "")
