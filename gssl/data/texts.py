"""Documents in files: .txt, or rows of .csv, .tsv and .jsonl with `text` and perhaps `label`, `split`, `group`.

Rows may have `text_b`, too: pairs (`gssl.data.text_pairs`). Those of .jsonl may have `messages` in place of `text`:
dialogues (`gssl.data.dialogues`).

Texts are read as they are: `NA` and `null` are texts, `01` and `1` two labels. No torch here.
"""

import codecs
import csv
import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gssl.data import dialogues
from gssl.data.sources.folders import some
from gssl.data.sources.parts import part_of
from gssl.errors import UsageError

TABLES = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
SUFFIXES = (".txt", *TABLES, *LINES)
TEXTS = ("text", "text_b")
ABOUT = ("label", "split", "group")
EXPECTED = "expected a header with text[,text_b][,label][,split][,group]"
LONGEST = 2**31 - 1  # characters of a field
MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class Document:
    """A text, where it stands, and what is known of it. messages: of a dialogue, whose text is a line for each.
    text_b: of a pair, the second text."""

    text: str
    name: str
    label: str | None = None
    group: str | None = None
    messages: tuple[dialogues.Message, ...] = ()
    text_b: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The text, or both of a pair."""
        return (self.text,) if self.text_b is None else (self.text, self.text_b)


@dataclass
class Found:
    """Documents of each part, and what is to be told of them."""

    parts: dict[str, list[Document]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, part: str, documents: list[Document]) -> None:
        self.parts.setdefault(part, []).extend(documents)


def is_text(name: str) -> bool:
    """Whether a file of this name is read."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def read_text(path: Path, encoding: str | None) -> str:
    """A file's text without its byte order mark; lines end as in Unix. Raises UsageError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"data.root: {path} cannot be read ({error.strerror}); mend that, or remove it") from error
    if encoding is None and (mark := next((name for start, name in MARKS.items() if raw.startswith(start)), None)):
        raise UsageError(f"data.root: {path} is {mark.upper()}; add data.encoding={mark}, or save it as UTF-8")
    try:
        text = raw.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        what = encoding or "UTF-8"
        raise UsageError(
            f"data.root: {path} is not {what} (byte {error.start}); save it as UTF-8, or add data.encoding=cp1252 or"
            " whatever it is"
        ) from error
    except LookupError:
        raise UsageError(f"data.encoding={encoding}: no encoding of this name; expected utf-8, cp1252, …") from None
    if (at := text.find("\0")) >= 0:
        raise UsageError(f"data.root: {path} has a zero byte (character {at}): it is no text; remove it")
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def documents(path: Path, encoding: str | None, part: str | None = None) -> Found:
    """What a file holds. part: of all of it; None: a table's column `split` says so, else it is training."""
    found = Found()
    suffix = path.suffix.lower()
    text = read_text(path, encoding)
    if suffix == ".txt":
        found.add(part or "train", [Document(text, str(path))])
        return found
    rows = _lines(path, text, found) if suffix in LINES else _table(path, text, TABLES[suffix], found)
    for number, cells in rows:
        own = part or _split(cells.get("split") or "", path, number)
        label, group = cells.get("label") or None, cells.get("group") or None
        more = cells.get("messages", ()), cells.get("text_b")
        found.add(own, [Document(cells["text"], f"{path}:{number}", label, group, *more)])
    return found


def _table(path: Path, text: str, separator: str, found: Found) -> list[tuple[int, dict[str, Any]]]:
    before = csv.field_size_limit(LONGEST)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header = [name.strip().lower() for name in next(reader, [])]
        if "text" not in header:
            raise UsageError(f"data.root: {path} has the columns {some(header) or 'none'}; {EXPECTED}")
        known = [name for name in header if name in (*TEXTS, *ABOUT)]
        if twice := next((name for name in known if known.count(name) > 1), None):
            more = "; the second text of a pair is text_b" if twice == "text" else ""
            raise UsageError(f"data.root: {path} has the column {twice} twice{more}; rename or remove one")
        if left := [name for name in header if name and name not in known]:
            found.notes.append(f"{path}: columns that are not read: {some(left)}")
        rows = []
        for row in reader:
            if len(row) > len(header):
                raise UsageError(
                    f"data.root: {path} line {reader.line_num} has {len(row)} cells and the header {len(header)}; put"
                    ' cells that hold a separator into "quotes"'
                )
            if row:
                cells = dict(zip(header, row, strict=False))
                cells |= {name: cells[name].strip() for name in ABOUT if name in cells}
                rows.append((reader.line_num, {name: "" for name in TEXTS if name in header} | cells))
    except csv.Error as error:
        raise UsageError(f"data.root: {path} line {reader.line_num}: {error}; correct its quotes") from error
    finally:
        csv.field_size_limit(before)
    return rows


def _lines(path: Path, text: str, found: Found) -> list[tuple[int, dict[str, Any]]]:
    rows: list[tuple[int, dict[str, Any]]] = []
    empty: list[int] = []  # of each empty message its line
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            cells: Any = json.loads(line)
        except ValueError as error:
            raise UsageError(f"data.root: {path} line {number} is no JSON ({error}); correct it") from error
        spoken = isinstance(cells, dict) and "messages" in cells
        if not isinstance(cells, dict) or spoken == ("text" in cells) or not (spoken or isinstance(cells["text"], str)):
            raise UsageError(
                f'data.root: {path} line {number}: expected an object with either "text" or "messages"; correct it'
            )
        own: dict[str, Any] = {n: str(cells[n]).strip() for n in ABOUT if cells.get(n) is not None}
        if "text_b" in cells:
            if spoken or not isinstance(cells["text_b"], str):
                where = f"data.root: {path} line {number}"
                raise UsageError(f'{where}: "text_b": expected a text beside "text"; correct it')
            own["text_b"] = cells["text_b"]
        if spoken:
            messages = dialogues.read(cells["messages"], f"{path} line {number}")
            empty += [number] * (len(cells["messages"]) - len(messages))
            own |= {"messages": messages, "text": "\n".join(content for _, content in messages)}
        else:
            own["text"] = cells["text"]
        rows.append((number, own))
    if empty:
        noun = "message is" if len(empty) == 1 else "messages are"
        found.notes.append(f"{path}: {len(empty):,} empty {noun} left out (the first in line {empty[0]})")
    return rows


def _split(value: str, path: Path, line: int) -> str:
    if not value:
        return "train"
    part = part_of(value)
    if part is None:
        raise UsageError(
            f"data.root: {path} line {line}: split={value}: expected train, val, test or pretrain; correct it"
        )
    return part


def below(root: Path) -> list[Path]:
    """Files below a folder that are read, by their names."""
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(files) if is_text(name)]
    return found


def folder(root: Path, encoding: str | None) -> Found:
    """A folder: files or folders that are parts by their names, else .txt files in class folders or without a class,
    and tables. Raises UsageError."""
    names = sorted(name for name in os.listdir(root) if not name.startswith("."))
    parts = {name: part_of(Path(name).stem if is_text(name) else name) for name in names}
    known = {part for part in parts.values() if part}
    if "train" not in known:
        return _plain(root, below(root), encoding)
    found = Found()
    for name, part in parts.items():
        if part is None:
            if is_text(name):
                found.warnings.append(f"data.root: {root / name} is no part (train, val, test, pretrain): left out")
            continue
        path = root / name
        own = _plain(path, below(path), encoding, part) if path.is_dir() else documents(path, encoding, part)
        _merge(found, own)
    return found


def _plain(root: Path, files: list[Path], encoding: str | None, part: str | None = None) -> Found:
    if not files:
        raise UsageError(f"data.root: no texts below {root}; expected .txt, .csv, .tsv or .jsonl files")
    found = Found()
    for path in files:
        own = documents(path, encoding, part)
        inner = path.relative_to(root).parts
        if path.suffix.lower() == ".txt" and len(inner) > 1 and part != "pretrain":
            own.parts = {p: [Document(d.text, d.name, inner[0]) for d in ds] for p, ds in own.parts.items()}
        _merge(found, own)
    return found


def _merge(found: Found, own: Found) -> None:
    for part, documents_ in own.parts.items():
        found.add(part, documents_)
    found.notes += own.notes
    found.warnings += own.warnings
