"""The search before a comparison: some settings of some arms, chosen by their scores on validation images."""

from collections.abc import Mapping
from typing import Any

from gssl import schemas
from gssl.comparison.execution import execute
from gssl.comparison.parts import Part
from gssl.comparison.plan import Planner
from gssl.config import arms
from gssl.engine.files import read_json
from gssl.engine.progress import say
from gssl.statistics.metric import METRICS


def search(cfg: schemas.Compare, planner: Planner, commands: Mapping[str, str]) -> list[dict[str, Any]]:
    """Per searched arm: every trial with what it scored on validation images, and the overrides of the best."""
    if not cfg.search.trials:
        return []
    searched = [arm for arm in arms.read(cfg.arms) if arm.name in cfg.search.space]
    trials = {arm.name: planner.trials(arm) for arm in searched}
    parts = {part.path: part for found in trials.values() for _, needed in found for part in needed}
    execute(list(parts.values()), cfg.jobs, cfg.engine, commands, executor=cfg.executor)
    return [_found(name, tried, planner) for name, tried in trials.items()]


def _found(name: str, tried: list[tuple[list[str], list[Part]]], planner: Planner) -> dict[str, Any]:
    """One arm's entry of the report's `searches`."""
    rows: list[dict[str, Any]] = []
    for overrides, needed in tried:
        result = read_json(needed[-1].path / "result.json") or {}
        value = (result.get("objective") or {}).get("value")
        rows.append({"overrides": overrides, "value": value, "state": "failed" if value is None else "finished"})
    scored = [row for row in rows if row["value"] is not None]
    best = max(scored, key=lambda row: row["value"], default=None)
    if best is None:
        say(f"warning: every trial of {name} failed; it takes part with its recipe as it is")
    # trials that differ in a later stage of a chain have the earlier ones in common
    spent = {part.path: _spent(part) for _, needed in tried for part in needed[:-1]}
    flops, seconds = (sum((one or {}).get(key, 0.0) for one in spent.values()) for key in ("flops", "seconds"))
    probe, label_budget = planner.primary()
    metric = METRICS[planner.task.metrics[0]].title
    return {
        "arm": name,
        "trials": len(rows),
        "chosen": best["overrides"] if best else [],
        "objective": f"{metric} of the {probe} probe on validation images ({label_budget})",
        "flops": flops,
        "seconds": seconds,
        "uncounted": sum(any(spent[part.path] is None for part in needed[:-1]) for _, needed in tried),
        "rows": rows,
    }


def _spent(part: Part) -> dict[str, Any] | None:
    """What a part's training spent, a failed one's too; {} where it never began, None where it left no record."""
    found: dict[str, Any] | None
    for name in ("result.json", "status.json"):
        if found := (read_json(part.path / name) or {}).get("spent"):
            return found
    return None if (part.path / "status.json").is_file() else {}
