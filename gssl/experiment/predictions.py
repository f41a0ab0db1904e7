"""The table that `gssl predict` writes, and the check of its answers against known labels."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from gssl.data.sources import labels_csv
from gssl.data.sources.folders import class_of
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment.answers import relative
from gssl.statistics.intervals import wilson

DIGITS = 4  # of probabilities


def table(
    names: list[str],
    folder: Path,
    classes: list[str],
    given: np.ndarray,
    unknown: np.ndarray | None,
    top: int,
    every: bool,
    skipped: list[str],
) -> str:
    """The CSV: file (below `folder`), label, probability, label_2, probability_2, …, unknown, and with `every`
    probability_CLASS of each class. Files that could not be read come last, with nothing but their name."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    more = [f"{word}_{k}" for k in range(2, top + 1) for word in ("label", "probability")]
    head = ["file", "label", "probability", *more, "unknown"]
    head += [f"probability_{name}" for name in classes] if every else []
    writer.writerow(head)
    order = np.argsort(-given, axis=1, kind="stable")[:, :top]
    for i, name in enumerate(names):
        row = [relative(name, folder)]
        for c in order[i].tolist():
            row += [classes[c], f"{given[i, c]:.{DIGITS}f}"]
        row.append("" if unknown is None else f"{unknown[i]:.3f}")
        row += [f"{p:.{DIGITS}f}" for p in given[i]] if every else []
        writer.writerow(row)
    for line in skipped:
        writer.writerow([relative(line.rsplit(" (", 1)[0], folder), *[""] * (len(head) - 1)])
    return out.getvalue()


def labels_of(names: list[str], folder: Path, classes: list[str], file: Path | None) -> list[str | None] | None:
    """The known label of each image: from a CSV (path,label), else from folders where all of them are named like
    classes; None where nothing is known. Raises UsageError."""
    short = [relative(name, folder) for name in names]
    if file is None:
        first = [class_of(name) if "/" in name else None for name in short]
        return first if first and None not in first and {str(name) for name in first} <= set(classes) else None
    if not file.is_file():
        raise UsageError(f"--labels {file}: no such file; {labels_csv.EXPECTED}")
    listed: dict[str, str | None] = {}
    for part in labels_csv.read(file, base=folder).values():
        listed |= dict(zip(part.names, part.labels, strict=True))
    found = [listed.get(name, listed.get(full)) for name, full in zip(short, names, strict=True)]
    if not any(found):
        raise UsageError(
            f"--labels {file}: none of its {len(listed)} paths is one of the {len(names)} images; expected paths"
            f" below {folder}, such as {short[0]}"
        )
    here = {*short, *names}
    if left := [path for path, label in listed.items() if label is not None and path not in here]:
        say(f"note: --labels {file}: {len(left)} labelled paths are no image that was read, the first is {left[0]}")
    if other := sorted({str(label) for label in found if label is not None} - set(classes)):
        say(f"note: the model does not know {', '.join(other[:3])}; such images count as mistakes")
    return found


def checked(
    names: list[str], folder: Path, classes: list[str], given: np.ndarray, known: list[str | None]
) -> tuple[dict[str, Any], list[tuple[str, str, str, float]]]:
    """Accuracy with its interval, and (file, label, predicted, probability) of the mistakes, the most confident
    first."""
    best = given.argmax(axis=1)
    rows = []
    n = right = 0
    for i, label in enumerate(known):
        if label is None:
            continue
        n += 1
        right += classes[best[i]] == label
        if classes[best[i]] != label:
            rows.append((relative(names[i], folder), label, classes[best[i]], float(given[i, best[i]])))
    rows.sort(key=lambda row: -row[3])
    return {"accuracy": right / n, "interval": wilson(right, n), "n": n}, rows
