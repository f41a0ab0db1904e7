"""What each arm spent and what came of it on the way: cost, accuracy against compute, stability."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gssl.report.collect import Run
from gssl.report.generation import deaths
from gssl.statistics import paired

# metric: its key in a run's `spent`, how stages of a chain are put together, what it is called
COSTS: dict[str, tuple[str, Any, str]] = {
    "flops": ("flops", sum, "FLOPs of training"),
    "images": ("images", sum, "images seen"),
    "seconds": ("seconds", sum, "wall time of training, s"),
    "cpu_seconds": ("cpu_seconds", sum, "processor time of training, s"),
    "memory": ("peak_memory_bytes", max, "peak memory, bytes"),
    "steps": ("steps", sum, "steps of training"),
}


class Trained:
    """Which training runs stand behind a judgement, however the arms share them."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.by_path = {run.path.resolve(): run for run in runs}

    def behind(self, run: Run) -> list[Run]:
        """Every training run that `run` rests on, each once."""
        found: dict[Path, Run] = {}
        queue = list(run.depends)
        while queue:
            key = queue.pop(0).resolve()
            other = self.by_path.get(key)
            if other is None or key in found:
                continue
            found[key] = other
            queue += other.depends
        return [other for other in found.values() if other.stage == "pretrain"]

    def of_arm(self, runs: Iterable[Run], arm: str) -> list[Run]:
        """Its training runs, also those that it shares with another arm."""
        mine = [run for run in runs if run.arm == arm]
        found = {run.path: run for run in mine if run.stage == "pretrain"}
        for run in mine:
            found |= {other.path: other for other in self.behind(run)}
        return list(found.values())


def cost(runs: Sequence[Run], arms: Sequence[str]) -> list[dict[str, Any]]:
    """Per arm and metric: mean over seeds of what all its stages of training spent."""
    trained = Trained(runs)
    rows = []
    for arm in arms:
        spent: dict[str, dict[str, float]] = {metric: {} for metric in COSTS}
        for run in runs:
            if run.arm != arm or run.stage != "transfer" or not run.finished:
                continue
            stages = [other.result.get("spent") or {} for other in trained.behind(run) if other.finished]
            for metric, (key, together, _) in COSTS.items():
                values = [float(stage[key]) for stage in stages if stage.get(key) is not None]
                if values:
                    spent[metric][str(run.seed)] = float(together(values))
        for metric, (_, _, label) in COSTS.items():
            if spent[metric]:
                row = over_seeds(spent[metric])
                if row["interval"]:  # nothing costs less than nothing
                    row["interval"]["low"] = max(row["interval"]["low"], 0.0)
                rows.append({"arm": arm, "metric": metric, "label": label, **row})
    return rows


def over_seeds(per_seed: dict[str, float]) -> dict[str, Any]:
    """mean, interval (t over seeds, None below two), per_seed, n_seeds."""
    values = list(per_seed.values())
    found = paired.t_interval(values)
    interval = None
    if found:
        ends = {"low": found.low, "high": found.high}
        interval = {"kind": "t", "over": "seeds", "n": len(values), "level": 0.95, **ends}
    return {"mean": float(np.mean(values)), "interval": interval, "per_seed": per_seed, "n_seeds": len(values)}


def progress(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Accuracy on validation images at each milestone of the last stage; what earlier stages spent is added."""
    from gssl.schemas.label_budgets import label_budget_key

    trained = Trained(runs)
    out = []
    for run in runs:
        if run.stage != "milestones" or not run.finished:
            continue
        judged = trained.by_path.get(run.depends[0].resolve()) if run.depends else None
        before = [other for other in trained.behind(run) if other is not judged and other.finished]
        spent = {key: sum((other.result.get("spent") or {}).get(key) or 0.0 for other in before) for key in AXES}
        points = [
            {"step": point["step"], "accuracy": point["accuracy"]}
            | {key: None if point.get(key) is None else point[key] + spent[key] for key in AXES}
            for point in run.result["points"]
        ]
        label_budget = label_budget_key(run.result.get("labels_per_class"), run.result.get("fraction"))
        entry = {"arm": run.arm, "seed": run.seed, "probe": run.result["probe"], "label_budget": label_budget}
        out.append(entry | {"split": run.result["split"], "points": points})
    return out


AXES = ("flops", "images", "seconds")


def stability(runs: Sequence[Run], arms: Sequence[str]) -> list[dict[str, Any]]:
    """Per arm that was trained: how many runs finished, diverged, collapsed, failed otherwise. None is dropped.

    Collapsed: finished, with an alarm of its own or a generator that is dead by its evaluation on test images.
    """
    trained = Trained(runs)
    dead = {path for _, _, path in deaths(runs)}
    rows = []
    for arm in arms:
        mine = trained.of_arm(runs, arm)
        if not mine:
            continue
        alarmed = [run for run in mine if run.path.resolve() in dead or any(e.get("alarm") for e in run.metrics)]
        diverged = [run for run in mine if not run.finished and "diverged" in (run.error or "")]
        failed = [run for run in mine if run.state == "failed" and run not in diverged]
        rows.append(
            {
                "arm": arm,
                "runs": len(mine),
                "finished": sum(run.finished for run in mine),
                "diverged": len(diverged),
                "collapsed": sum(run.finished for run in alarmed),
                "failed": len(failed),
                "alarms": len(alarmed),
            }
        )
    return rows
