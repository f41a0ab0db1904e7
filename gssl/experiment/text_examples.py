"""What a transfer run records beside its scores where texts have a class: accuracy per class, confusion, calibration.

Wrong answers by name stand in mistakes.csv. Figures that are about images are left out, and the record says so.
"""

from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.experiment.diagnostics import Evaluated, answers

LEFT_OUT = ("confusion.png", "mistakes.png", "saliency.png", "reliability.png", "map.png", "cka.png")
WHY = "of images; here texts have a class"


def diagnose(evaluated: Evaluated, cfg: schemas.Diagnose, run_dir: Path) -> dict[str, Any]:
    """Entries for result.json; nothing is drawn."""
    return answers(evaluated) | ({"pictures_left_out": dict.fromkeys(LEFT_OUT, WHY)} if cfg.pictures else {})
