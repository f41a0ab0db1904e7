"""`gssl data`: what is in a data set before anything is trained, as page.html, data.json and issues.csv."""

import csv
import os
import shutil
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.engine.device import pick_device
from gssl.engine.files import read_json, write_json, write_text
from gssl.errors import UsageError
from gssl.experiment.data_report import look
from gssl.report import data_page

COLUMNS = ["file", "part", "label", "kind", "detail"]
FILES = ("page.html", "data.json", "issues.csv")


def data(cfg: schemas.Data, called: str, out: Path, images: int, device: str, progress: bool = True) -> dict[str, Any]:
    """Write the report of the data that `cfg` names into the folder `out`; returns the document. Raises UsageError.

    Nothing appears before all of it is there; files of an earlier report are replaced, others stay.
    """
    _check(out)
    found = look(cfg, called, images, pick_device(device), progress)
    page = data_page.render(found.text, found.pictures)
    into = out.resolve()  # of a link what it leads to; and `.` has no name
    part = into.with_name(f".{into.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_text(part / "page.html", page)
        write_json(part / "data.json", found.text)
        with open(part / "issues.csv", "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(found.issues)
        if into.is_dir():
            for name in FILES:
                (part / name).replace(into / name)
        else:
            part.rename(into)
    except OSError as error:
        raise UsageError(f"-o {out}: cannot be written ({error.strerror or error}); choose another folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return found.text | {"page": str(out / "page.html")}


def _check(out: Path) -> None:
    """Raises UsageError where `out` is no place for a report: before anything is read, and nothing is left there."""
    if out.is_dir():
        held = {p.name for p in out.iterdir()}
        written = read_json(out / "data.json")
        ours = isinstance(written, dict) and str(written.get("schema")).startswith("gssl.data/")
        if held - set(FILES) or (held and not ours):
            raise UsageError(f"-o {out}: holds other files; give a folder that is new or holds an earlier data report")
        return
    if out.exists() or out.is_symlink():
        raise UsageError(f"-o {out}: is no folder; give one that is new or holds an earlier data report")
    above = next(p for p in out.absolute().parents if p.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UsageError(f"-o {out}: {above} cannot be written; choose another folder")
