"""The CSV of data.labels: columns path, label and, where wanted, split and group."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

from gssl.errors import UsageError

COLUMNS = ("path", "label", "split", "group")
SPLITS = ("train", "val", "test", "pretrain")
EXPECTED = "expected a header path,label[,split][,group]"


@dataclass
class Rows:
    """Rows of one split; label None where the cell is empty; groups: [] without that column."""

    names: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


def find_labels(labels: str | None, *folders: Path | None) -> Path | None:
    """data.labels as it stands or below one of `folders`; without it, `labels.csv` in one of them."""
    candidates = [folder / (labels or "labels.csv") for folder in folders if folder is not None]
    if labels is not None:
        candidates.insert(0, Path(labels).expanduser())
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None and labels is not None:
        raise UsageError(f"data.labels: there is no file {labels}; {EXPECTED}")
    return path


def read(path: Path) -> dict[str, Rows]:
    """Rows per split; without a split they are `train`, without a label `pretrain`.

    Errors: UsageError for wrong columns, unknown splits, paths listed twice, or no labelled training row.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = list(reader)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"data.labels: {path} cannot be read as UTF-8 CSV ({error}); {EXPECTED}") from error
    if set(columns) - set(COLUMNS) or not {"path", "label"} <= set(columns):
        raise UsageError(f"data.labels: {path} has the columns {','.join(columns) or 'none'}; {EXPECTED}")
    made: dict[str, Rows] = {}
    listed: set[str] = set()
    for line, row in enumerate(rows, 2):
        cells = {name: (row[name] or "").strip() for name in columns}
        if not cells["path"]:
            raise UsageError(f"data.labels: {path} line {line} has no path; {EXPECTED}")
        if cells["path"] in listed:
            raise UsageError(f"data.labels: {path} line {line} lists {cells['path']} again; keep one of the rows")
        listed.add(cells["path"])
        split = cells.get("split") or "train"
        if split not in SPLITS:
            raise UsageError(f"data.labels: {path} line {line} has split {split}; expected one of {', '.join(SPLITS)}")
        if not cells["label"]:
            if split in ("val", "test"):
                raise UsageError(f"data.labels: {path} line {line}: a {split} image needs a label; fill it in")
            split = "pretrain"
        part = made.setdefault(split, Rows())
        part.names.append(cells["path"])
        part.labels.append(cells["label"] or None)
        if "group" in columns:  # an image without a group is a group of its own
            part.groups.append(cells["group"] or f"\0{cells['path']}")
    if "train" not in made:
        raise UsageError(f"data.labels: {path} has no labelled training row; {EXPECTED}")
    return made
