"""What a transfer run records where texts or sounds have a class: accuracy per class, confusion, calibration.

Wrong answers by name stand in mistakes.csv. Figures that are about images are left out, and the record says so.
"""

from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.data.targets import of_columns
from gssl.experiment.diagnostics import Evaluated, answers, left_out

WHY = "of images; here {}s have a class"


def diagnose(evaluated: Evaluated, cfg: schemas.Diagnose, run_dir: Path) -> dict[str, Any]:
    """Entries for result.json; nothing is drawn."""
    why = WHY.format(of_columns(evaluated.test.columns).row)
    return answers(evaluated) | (left_out(why) if cfg.pictures else {})
