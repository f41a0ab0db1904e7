"""Images with captions in files: `captions.csv` with path,caption[,split][,group][,class], or NAME.jpg beside NAME.txt.

An image has as many rows of the table, or lines of the text, as it has captions. Texts are read as they are: `NA` and
`null` are captions. No torch here; nothing is decoded.
"""

import csv
import io
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gssl.data.sources.folders import Told, images_below, some
from gssl.data.sources.parts import part_of
from gssl.errors import UsageError

TABLE = "captions.csv"
COLUMNS = ("path", "caption", "split", "group", "class")
EXPECTED = "expected a header with path,caption[,split][,group][,class]"
LAYOUT = f"expected {TABLE} ({EXPECTED.removeprefix('expected a header with ')}), or NAME.jpg beside NAME.txt"
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
FIXED = ("split", "group", "class")  # of an image, and not of a caption
LONGEST_HEADER = 10_000  # characters
OFTEN = 0.5  # a caption of more than this fraction of the images says nothing about one


@dataclass
class Pair:
    """An image below the root, and what is said about it. where: the line or file that names it first."""

    path: str
    where: str
    captions: list[str] = field(default_factory=list)
    split: str | None = None
    group: str | None = None
    label: str | None = None


@dataclass
class Listing:
    """Images with captions, what has none (a text about each), and how many captions are empty."""

    pairs: list[Pair]
    alone: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def read(root: Path, encoding: str | None, told: Told) -> Listing:
    """What lies in `root`. Raises UsageError."""
    if (root / TABLE).is_file():
        found = _listed(root / TABLE, root, encoding, told)
    else:
        found = _beside(root, encoding, told)
    if found.empty:
        noun = "caption is" if len(found.empty) == 1 else "captions are"
        told.notes.append(f"{len(found.empty):,} empty {noun} left out (the first is {found.empty[0]})")
    found.alone += [f"{pair.where}: {pair.path} has no caption" for pair in found.pairs if not pair.captions]
    found.pairs = [pair for pair in found.pairs if pair.captions]
    if not found.pairs:
        raise UsageError(f"data.root: {root} has no image with a caption; {LAYOUT}")
    _warn_of_common(found.pairs, told)
    return found


def classed(root: Path) -> bool:
    """Whether there is a table of captions whose header names classes."""
    if not (root / TABLE).is_file():
        return False
    with open(root / TABLE, encoding="utf-8-sig", errors="replace") as file:
        header = file.readline(LONGEST_HEADER)
    return any({"path", "caption", "class"} <= set(_names(header.split(separator))) for separator in SEPARATORS)


def _warn_of_common(pairs: list[Pair], told: Told) -> None:
    text, count = Counter(text for pair in pairs for text in set(pair.captions)).most_common(1)[0]
    if count > OFTEN * len(pairs) and len(pairs) > 1:
        told.warnings.append(
            f"data.root: {count:,} of {len(pairs):,} images have the caption '{text[:40]}': it tells none of them from"
            " the others; leave it out, or give captions that say what differs"
        )


# ── a table ──────────────────────────────────────────────────────────────────────────────────────


def _listed(file: Path, root: Path, encoding: str | None, told: Told) -> Listing:
    pairs: dict[str, Pair] = {}
    empty: list[str] = []
    from gssl.data.texts import read_text  # brings numpy, which who looks at a folder does without

    for line, cells in _rows(file, read_text(file, encoding), told):
        where = f"{file} line {line}"
        name = _inside(cells["path"], root, where)
        split = _split(cells["split"], where)
        known = pairs.get(name)
        given = {"split": split, "group": cells["group"] or None, "label": cells["class"] or None}
        if known is None:
            known = pairs[name] = Pair(name, where, [], given["split"], given["group"], given["label"])
        for key, value in given.items():
            before = getattr(known, key)
            if value != before:
                what = {"label": "class"}.get(key, key)
                raise UsageError(
                    f"data.root: {where} gives {name} the {what} {value or 'none'}, and {known.where} gives it"
                    f" {before or 'none'}; an image has one for all its captions"
                )
        if cells["caption"].strip():
            known.captions.append(" ".join(cells["caption"].split()))
        else:
            empty.append(where)
    if missing := [pair for pair in pairs.values() if not os.path.isfile(root / pair.path)]:
        raise UsageError(
            f"data.root: {len(missing):,} of {len(pairs):,} images of {file} are not there: {missing[0].path}"
            f" ({missing[0].where}); paths are below {root}: correct them, or add the files"
        )
    for pair in pairs.values():
        pair.captions = list(dict.fromkeys(pair.captions))
    spare = [name for name in images_below(root, [], None) if name not in pairs]
    if spare:
        told.notes.append(f"{len(spare):,} images below {root} are not in {TABLE} and not read: {some(spare)}")
    return Listing(list(pairs.values()), empty=empty)


def _rows(file: Path, text: str, told: Told) -> list[tuple[int, dict[str, str]]]:
    """Every row that is not blank, with its line. Raises UsageError."""
    from gssl.data.texts import LONGEST

    header = next((line for line in text.split("\n") if line.strip()), "")
    separator = next((own for own in SEPARATORS if {"path", "caption"} <= set(_names(header.split(own)))), ",")
    if separator != ",":
        told.notes.append(f"{file} is separated by {SEPARATORS[separator]}")
    before = csv.field_size_limit(LONGEST)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        names = _names(next((row for row in reader if any(cell.strip() for cell in row)), []))
        if not {"path", "caption"} <= set(names) or any(names.count(name) > 1 for name in COLUMNS):
            raise UsageError(f"data.root: {file} has the columns {some(names, 8) or 'none'}; {EXPECTED}")
        if left := [name for name in names if name and name not in COLUMNS]:
            told.notes.append(f"{file}: columns that are not read: {some(left)}")
        found = []
        for row in reader:
            if len(row) > len(names) and any(cell.strip() for cell in row[len(names) :]):
                raise UsageError(
                    f"data.root: {file} line {reader.line_num} has {len(row)} cells and the header {len(names)}; put"
                    ' captions that hold a separator into "quotes"'
                )
            if any(cell.strip() for cell in row):
                cells = dict.fromkeys(COLUMNS, "") | dict(zip(names, row, strict=False))
                cells |= {name: cells[name].strip() for name in ("path", *FIXED)}
                found.append((reader.line_num, cells))
    except csv.Error as error:
        raise UsageError(f"data.root: {file} line {reader.line_num}: {error}; correct its quotes") from error
    finally:
        csv.field_size_limit(before)
    return found


def _names(cells: list[str]) -> list[str]:
    return [cell.strip().strip('"').lower() for cell in cells]


def _inside(name: str, root: Path, where: str) -> str:
    """The path below `root`, with forward slashes. Raises UsageError where it is none."""
    if not name:
        raise UsageError(f"data.root: {where} has no path; {EXPECTED}")
    made = name if "\\" not in name or os.path.lexists(root / name) else name.replace("\\", "/")
    if os.path.isabs(made) or re.match(r"[A-Za-z]:/", made):
        raise UsageError(f"data.root: {where}: {name} is an absolute path; give paths below {root}")
    made = os.path.normpath(made)
    if made.split("/")[0] == "..":
        raise UsageError(f"data.root: {where}: {name} leaves {root}; give paths below it")
    return made


def _split(text: str, where: str) -> str | None:
    split = part_of(text) if text else None
    if text and split is None:
        raise UsageError(f"data.root: {where} has split {text}; expected train, val, test or pretrain; correct it")
    return split


# ── files beside each other ──────────────────────────────────────────────────────────────────────


def _beside(root: Path, encoding: str | None, told: Told) -> Listing:
    """Folders whose names are those of parts say so."""
    from gssl.data.texts import read_text

    images = images_below(root, [], None)
    texts = set(_texts_below(root))
    found = Listing([])
    claimed: dict[str, str] = {}
    for name in images:
        text = f"{os.path.splitext(name)[0]}.txt"
        if text not in texts:
            found.alone.append(f"{name} has no {os.path.basename(text)}")
            continue
        if text in claimed:
            raise UsageError(f"data.root: {name} and {claimed[text]} in {root} have one {text}; rename one of them")
        claimed[text] = name
        lines = read_text(root / text, encoding).split("\n")
        if lines and not lines[-1].strip():
            lines.pop()
        kept = [" ".join(line.split()) for line in lines if line.strip()]
        found.empty += [text] * (len(lines) - len(kept))
        parts = {part for folder in name.split("/")[:-1] if (part := part_of(folder))}
        found.pairs.append(Pair(name, text, list(dict.fromkeys(kept)), parts.pop() if len(parts) == 1 else None))
    found.alone += [f"{text} has no image of its name" for text in sorted(texts - set(claimed))]
    return found


def _texts_below(root: Path) -> list[str]:
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        found += [prefix + name for name in files if name.lower().endswith(".txt") and not name.startswith(".")]
    return found
