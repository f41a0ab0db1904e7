"""When the primary family of a comparison was fixed: before its arms were judged, or with their scores at hand.

`families.jsonl`, beside the parts, holds every family that a comparison was started with, and when for the first time.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gssl.commands.parts import Part, Planner
from gssl.config import schema
from gssl.engine.files import read_json
from gssl.engine.run import now

FAMILIES = "families.jsonl"


def fixed_before(cfg: schema.Compare, planner: Planner, parts: Sequence[Part]) -> bool:
    """Put the family on record, and say whether it stood there before any of the `parts` had judged its arm.

    Parts of another comparison count, too: who has read their scores may have chosen by them.
    """
    probe, amount = planner.primary()
    family = {"probe": probe, "amount": amount, "pairs": sorted(sorted(pair) for pair in planner.pairs())}
    path = Path(cfg.parts) / FAMILIES
    known = [row for row in _rows(path) if {key: row.get(key) for key in family} == family]
    first = known[0]["time"] if known else now()
    if not known:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"schema": "gssl.family/1", "time": first, **family}) + "\n")
    judged = [read_json(part.path / "status.json") or {} for part in parts if part.stage == "transfer"]
    return all(first <= status["ended"] for status in judged if status.get("state") == "finished")


def _rows(path: Path) -> list[dict[str, Any]]:
    """Whole lines only: a kill may have cut the last one off."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
