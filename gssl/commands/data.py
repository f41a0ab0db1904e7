"""`gssl data`: what is in a data set before anything is trained, as page.html, data.json and issues.csv."""

import csv
import shutil
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.engine.device import pick_device
from gssl.engine.files import write_json, write_text
from gssl.errors import UsageError
from gssl.experiment.data_report import look
from gssl.report import data_page

COLUMNS = ["file", "part", "label", "kind", "detail"]
FILES = ("page.html", "data.json", "issues.csv")


def data(cfg: schemas.Data, called: str, out: Path, images: int, device: str, progress: bool = True) -> dict[str, Any]:
    """Write the report of the data that `cfg` names into the folder `out`; returns the document. Raises UsageError.

    Nothing appears before all of it is there; files of an earlier report are replaced, others stay.
    """
    if out.exists() and (not out.is_dir() or any(p.name not in FILES for p in out.iterdir())):
        raise UsageError(f"-o {out}: holds other files; give a folder that is new or holds an earlier data report")
    found = look(cfg, called, images, pick_device(device), progress)
    page = data_page.render(found.text, found.pictures)
    part = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write_text(part / "page.html", page)
        write_json(part / "data.json", found.text)
        with open(part / "issues.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(found.issues)
        if out.is_dir():
            shutil.rmtree(out)
        part.rename(out)
    except OSError as error:
        raise UsageError(f"-o {out}: cannot be written ({error.strerror}); choose another folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return found.text | {"page": str(out / "page.html")}
