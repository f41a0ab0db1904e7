"""`gssl data`: its command line, which takes a folder or overrides, and what it prints. No torch before it runs."""

import contextlib
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gssl.cli.options import Device, Json, guard
from gssl.cli.output import emit, table, tell
from gssl.errors import UsageError

COUNTED = ("class_counts", "class_boxes", "class_images")  # pixels of masks are on the page, in percent
SIZE = 112  # pixels that are stored: pictures of twice that serve every network of the report

app = typer.Typer()
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FOLDER] [KEY=VALUE]...", help="A folder, or data=NAME and data.KEY=VALUE.", show_default=False
    ),
]


@app.command("data")
def data(
    words: Words = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder to write; default: in runs/data.", show_default=False)
    ] = None,
    images: Annotated[
        int, typer.Option("--images", "-n", min=5, help="Images whose features are computed, at most.")
    ] = 2000,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Report what is in a data set before anything is trained: counts, sizes, copies, outliers, label suspects.

    \b
    Examples:
      gssl data photos/                     class folders, train/ and test/, labels.csv, masks, tars, or no labels
      gssl data data=cifar10 -n 5000
      gssl data photos/ data.labels=mine.csv -o report
    """
    with guard():
        with contextlib.redirect_stdout(sys.stderr):
            cfg, called = configured(words or [])
            from gssl.commands import data as command

            where = out or Path("runs/data") / f"{_slug(called)}-{datetime.now():%Y%m%d-%H%M%S}"
            found = command.data(cfg, called, where, images, device, progress=not as_json)
        emit(found) if as_json else show(found)


def configured(words: list[str]) -> tuple[Any, str]:
    """(the configuration of the data, how the data set is called). Raises UsageError."""
    folders = [w for w in words if "=" not in w or Path(w).is_dir()]  # a folder's name may have one
    overrides = [w for w in words if w not in folders]
    for text in overrides:
        key = text.split("=", 1)[0].lstrip("+~")
        if key != "data" and not key.startswith("data."):
            raise UsageError(f"{text}: gssl data takes a folder and keys of data only, such as data.labels=mine.csv")
    if len(folders) > 1:
        raise UsageError(f"{folders[1]}: one folder at a time, and {folders[0]} is given already")
    if not folders and not overrides:
        raise UsageError("no data: give a folder, such as gssl data photos/, or data=NAME")
    from gssl.config.composing import compose

    known = {text.split("=", 1)[0] for text in overrides}
    texts = [] if "data.on_error" in known else ["data.on_error=skip"]
    if folders:
        if "data" in known:
            raise UsageError(f"{folders[0]} and data= exclude each other; give the folder as data.root= beside data=")
        texts += _found(Path(folders[0]))
    name = next((t.split("=", 1)[1] for t in [*texts, *overrides] if t.startswith("data=")), None)
    if name in ("imagefolder", "hf", "webdataset") and "data.size" not in known:
        texts.append(f"data.size={SIZE}")
    cfg = compose("pretrain-ssl", [*texts, *overrides]).data
    return cfg, folders[0] if folders else f"{cfg.name}{f' ({cfg.root})' if cfg.root else ''}"


def _found(folder: Path) -> list[str]:
    """Overrides that say what the folder is. Raises UsageError where it is none."""
    from gssl.config.command_line import quoted
    from gssl.data import layout

    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "no such folder"
        raise UsageError(f"{folder}: {what}; give a folder of images, such as gssl data photos/")
    try:
        found = layout.look(folder)
        name, keys = found.name, found.keys | ({"pretrain": found.spare} if found.spare else {})
    except UsageError:  # nothing to compare on, but something to look at: unlabelled images, one class
        name, keys = "imagefolder", {"root": str(folder)}
    return [f"data={name}", *(f"data.{key}={quoted(value)}" for key, value in keys.items())]


def _slug(called: str) -> str:
    name = Path(called).resolve().name if Path(called).is_dir() else called  # `.` is called something
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"


def show(found: dict[str, Any]) -> None:
    """Print a data report: counts, problems, suggestions."""
    from gssl.report import data_page

    tell(data_page.headline(found))
    for what, text in data_page.facts(found):
        tell(f"{what}: {text}")
    counts = next((found[key] for key in COUNTED if key in found), None)
    if counts:
        rows = [
            [name, *(f"{own[i]:,}" for own in counts.values()), f"{sum(own[i] for own in counts.values()):,}"]
            for i, name in enumerate(found["classes"])
        ]
        table(["class", *counts, "all"], rows[:40])
        if len(rows) > 40:
            tell(f"and {len(rows) - 40} more classes")
    for problem in found["problems"]:
        tell(f"{'mend' if problem['grave'] else 'note'}: {problem['text']}")
    for suggestion in found["suggestions"]:
        tell(f"suggestion: {suggestion['text']}")
    tell(found["page"])
