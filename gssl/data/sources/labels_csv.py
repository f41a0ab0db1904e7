"""The CSV of data.labels: columns path, label and, where wanted, split and group.

Commas, semicolons and tabs separate cells; the file is UTF-8, or UTF-16 as spreadsheets write it. Paths may have
backslashes. Other columns are left out, and that is told.
"""

import codecs
import csv
import difflib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path

from gssl.data.sources.folders import Told, one_line, some
from gssl.data.sources.parts import part_of
from gssl.errors import UsageError

COLUMNS = ("path", "label", "split", "group")
SPLITS = ("train", "val", "test", "pretrain")
UNLABELLED = "unlabelled"  # training rows without a label: pretraining has them beside the labelled ones
EXPECTED = "expected a header path,label[,split][,group]"
FOLDERS = "folders"  # data.labels=folders: the names of class folders are the labels, whatever CSV lies there
SEPARATORS = (",", ";", "\t", "|")
MOST_BYTES = 2**30
SHOWN = 160  # characters of a cell in a message


@dataclass
class Rows:
    """Rows of one split; label None where the cell is empty; groups: [] without that column."""

    names: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


def find_labels(labels: str | None, *folders: Path | None) -> Path | None:
    """data.labels as it stands or below one of `folders`; without it, `labels.csv` in one of them.

    None where data.labels=folders, so that a CSV that is about something else is not read.
    """
    candidates = [folder / (labels or "labels.csv") for folder in folders if folder is not None]
    if labels is not None:
        candidates.insert(0, Path(labels).expanduser())
    if labels == FOLDERS:
        return None
    path = next((candidate for candidate in candidates if os.path.isfile(candidate)), None)
    if path is None and labels is not None:
        raise UsageError(f"data.labels: there is no file {labels}; {EXPECTED}")
    return path


def read(path: Path, told: Told | None = None, base: Path | None = None, found: bool = False) -> dict[str, Rows]:
    """Rows per split; without a split they are `train`, such rows without a label `unlabelled`.

    told: gets what is left out. base: the folder that paths are below. found: nobody named the file, it lies there.
    Errors: UsageError for wrong columns, unknown splits, paths listed twice, or no labelled training row.
    """
    try:
        return _read(path, Told() if told is None else told, path.parent if base is None else base)
    except UsageError as error:
        if not found:
            raise
        raise UsageError(f"{error}; where it is no list of these images: data.labels={FOLDERS}") from error


def _read(path: Path, told: Told, base: Path) -> dict[str, Rows]:
    columns, rows = _table(path)
    if left := [name for name in columns if name not in COLUMNS and name]:
        told.notes.append(f"{path}: columns that are not read: {some(left)}")
    made: dict[str, Rows] = {}
    listed: set[str] = set()
    for line, row in rows:
        if len(row) > len(columns) and any(cell.strip() for cell in row[len(columns) :]):
            raise UsageError(
                f"data.labels: {path} line {line} has {len(row)} cells and the header {len(columns)}; put cells that"
                ' hold a separator into "quotes"'
            )
        cells = dict.fromkeys(COLUMNS, "") | {n: cell.strip() for n, cell in zip(columns, row, strict=False)}
        for column, cell in cells.items():
            if "\n" in cell.replace("\r", "\n") and (column != "path" or not os.path.lexists(base / cell)):
                raise UsageError(f"data.labels: {path} line {line}: the {column} has a line break; close its quotes")
        name = _posix(cells["path"], base)
        if not name:
            raise UsageError(f"data.labels: {path} line {line} has no path; {EXPECTED}")
        if "\0" in name:
            raise UsageError(f"data.labels: {path} line {line} has a path with a zero byte; correct it")
        if os.path.normpath(name) in listed:
            raise UsageError(f"data.labels: {path} line {line} lists {_short(name)} again; keep one of the rows")
        listed.add(os.path.normpath(name))
        split = _split(cells["split"], path, line)
        if not cells["label"]:
            if split in ("val", "test"):
                raise UsageError(f"data.labels: {path} line {line}: a {split} image needs a label; fill it in")
            split = "pretrain" if split == "pretrain" else UNLABELLED
        part = made.setdefault(split, Rows())
        part.names.append(name)
        part.labels.append(cells["label"] or None)
        if "group" in columns:  # an image without a group is a group of its own
            part.groups.append(cells["group"] or f"\0{name}")
    if "train" not in made:
        raise UsageError(f"data.labels: {path} has no labelled training row; {EXPECTED}")
    if "pretrain" in made and UNLABELLED in made:
        more, pool = made.pop(UNLABELLED), made["pretrain"]
        pool.names += more.names
        pool.labels += more.labels
        pool.groups += more.groups
    return made


@dataclass(frozen=True)
class Clip:
    """A row about a film: seconds [start, end) of it, None: all of it; label None where the cell is empty."""

    name: str
    label: str | None
    split: str
    group: str | None
    span: tuple[float, float] | None


def clips(path: Path, base: Path) -> list[Clip]:
    """The CSV of films: path,label[,split][,group][,start,end], a row per piece of a film. Raises UsageError as `read`.

    Without a split rows are `train`.
    """
    expected = f"{EXPECTED}[,start,end]"
    columns, rows = _table(path, expected=expected)
    found: list[Clip] = []
    for line, row in rows:
        cells = dict.fromkeys((*COLUMNS, "start", "end"), "")
        cells |= {n: cell.strip() for n, cell in zip(columns, row, strict=False)}
        name = _posix(cells["path"], base)
        if not name or "\0" in name:
            raise UsageError(f"data.labels: {path} line {line} has no path; {expected}")
        span = _span(cells["start"], cells["end"], path, line)
        if any(own.name == name and own.span == span for own in found):
            raise UsageError(f"data.labels: {path} line {line} lists {_short(name)} again; keep one of the rows")
        split = _split(cells["split"], path, line)
        if not cells["label"] and split in ("val", "test"):
            raise UsageError(f"data.labels: {path} line {line}: a {split} clip needs a label; fill it in")
        group = (cells["group"] or f"\0{name}") if "group" in columns else None
        found.append(Clip(name, cells["label"] or None, split, group, span))
    return found


def _span(start: str, end: str, path: Path, line: int) -> tuple[float, float] | None:
    if not start and not end:
        return None
    try:
        span = (float(start or 0), float(end or "inf"))
    except ValueError:
        span = (0.0, 0.0)
    if not 0 <= span[0] < span[1]:
        raise UsageError(
            f"data.labels: {path} line {line}: from {_short(start)} to {_short(end)} s is no piece of a film; expected"
            " seconds, the start before the end"
        )
    return span


def groups(path: Path, base: Path) -> dict[str, str]:
    """The CSV of data.groups: the group of each path, which is below `base`. Raises UsageError as `read`."""
    expected = "expected the columns path,group"
    columns, rows = _table(path, "data.groups", ("path", "group"), expected)
    found: dict[str, str] = {}
    for line, row in rows:
        cells = dict(zip(columns, (cell.strip() for cell in row), strict=False))
        name, group = _posix(cells.get("path", ""), base), cells.get("group", "")
        if not name or not group or found.get(name, group) != group:
            what = f"has two groups for {_short(name)}" if name in found else "lacks a path or a group"
            raise UsageError(f"data.groups: {path} line {line} {what}; {expected}, one group for each image")
        found[name] = group
    return found


def _table(
    path: Path, key: str = "data.labels", needed: tuple[str, ...] = ("path", "label"), expected: str = EXPECTED
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names of the columns, and every row that is not empty with its line. Raises UsageError."""
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{key}: {path} is no file of at most {MOST_BYTES >> 20:,} MB; {expected}")
        raw = path.read_bytes()
        wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        # names of files may be bytes that are no UTF-8, as the file system has them
        text = raw.decode("utf-16") if wide else raw.decode("utf-8-sig", errors="surrogateescape")
        header = next((line for line in text.split("\n") if line.strip()), "")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(header, needed), skipinitialspace=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{key}: {path} cannot be read as UTF-8 CSV ({error}); {expected}") from error
    columns = _columns(rows[0][1]) if rows else []
    near = [name for name in columns if name not in COLUMNS and difflib.get_close_matches(name, COLUMNS, cutoff=0.75)]
    if near or not set(needed) <= set(columns) or any(columns.count(name) > 1 for name in COLUMNS):
        raise UsageError(f"{key}: {path} has the columns {_short(','.join(columns)) or 'none'}; {expected}")
    for line, row in rows[1:]:
        for name, cell in zip(columns, row, strict=False):
            if name in ("label", "split") and any("\udc80" <= letter <= "\udcff" for letter in cell):
                raise UsageError(f"{key}: {path} line {line}: the {name} is no UTF-8; save the file as UTF-8")
    return columns, rows[1:]


def _columns(row: list[str]) -> list[str]:
    """Names of columns; the folders of images of Hugging Face call the path file_name."""
    found = [name.strip().lower() for name in row]
    return found if "path" in found else ["path" if name == "file_name" else name for name in found]


def _separator(header: str, needed: tuple[str, ...]) -> str:
    """The one that gives a header with the columns that are needed; a comma where none does."""
    for separator in SEPARATORS:
        own = _columns(next(csv.reader([header], delimiter=separator, skipinitialspace=True), []))
        if set(needed) <= set(own):
            return separator
    return ","


def _split(text: str, path: Path, line: int) -> str:
    split = part_of(text) if text else "train"
    if split is None:
        raise UsageError(
            f"data.labels: {path} line {line} has split {_short(text)}; expected one of {', '.join(SPLITS)}"
        )
    return split


def _short(text: str) -> str:
    """What a file holds, for a message: on one line, and not all of a file that is no CSV."""
    text = one_line(text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _posix(name: str, base: Path) -> str:
    """A path with forward slashes; a file that has backslashes in its name keeps them."""
    if "\\" not in name or os.path.lexists(base / name):
        return name
    return name.replace("\\", "/")
