"""Documents that an earlier version wrote, with the present names of their keys. No torch here.

`gssl.result/2` and `gssl.evaluation/3` hold what `gssl.result/1` and `gssl.evaluation/2` do, under other names.
"""

from pathlib import Path
from typing import Any

from gssl.engine.files import read_json

RENAMED = {
    "gssl.result/1": {"judge": "evaluator", "kid_floor": "kid_baseline", "plain": "classical"},
    "gssl.evaluation/1": {"judge": "evaluator", "floor": "baseline"},
    "gssl.evaluation/2": {"judge": "evaluator", "floor": "baseline"},
}


def present(document: dict[str, Any]) -> dict[str, Any]:
    """`document` under its own schema, its keys and those of an evaluation within it renamed where they are old."""
    names = RENAMED.get(str(document.get("schema")), {})
    found = {names.get(key, key): value for key, value in document.items()}
    if isinstance(found.get("evaluation"), dict):
        found["evaluation"] = present(found["evaluation"])
    return found


def read_result(run: Path) -> dict[str, Any] | None:
    """The result.json of `run` with the present names of its keys; None where there is no readable one."""
    found = read_json(run / "result.json")
    return present(found) if isinstance(found, dict) else None
