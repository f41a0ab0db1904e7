"""From transfer runs of several sources to one table: accuracy against labels, gains over scratch, steps to reach it.

Reads files only: result.json and predictions.npz of each run.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gssl.config.menus import from_scratch
from gssl.config.registry import reads_labels
from gssl.schemas.label_budgets import label_budget_key
from gssl.statistics.intervals import wilson
from gssl.statistics.paired import paired_difference, t_interval

LEVEL = 0.95
Runs = Mapping[tuple[str, str], Path]  # (source, target) → its transfer run


class Judged:
    """One transfer run: its scores by probe and amount, and which test images each fit got right."""

    def __init__(self, path: Path) -> None:
        self.result = _result(path)
        with np.load(path / self.result["predictions"]) as found:
            self.right = found["guess"] == found["labels"]  # (fits, n)
        self.groups: dict[tuple[str, str], list[int]] = {}
        for row, score in enumerate(self.result["scores"]):
            key = score["probe"], label_budget_key(score["labels_per_class"], score["fraction"])
            self.groups.setdefault(key, []).append(row)

    def fits(self, probe: str, label_budget: str) -> dict[int, np.ndarray]:
        """Draw of labels → bool (n,), True where right."""
        rows = self.groups.get((probe, label_budget), [])
        return {self.result["scores"][row]["draw"]: self.right[row] for row in rows}


def _result(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "result.json").read_text(encoding="utf-8"))
    return found


def openings(path: Path) -> int:
    """How often a run opened its test set."""
    found: int = _result(path)["test_openings"]
    return found


def cells(runs: Runs, scratch: str) -> list[dict[str, Any]]:
    """One per source, target, probe and label budget.

    mean, low, high: accuracy; over several draws a t interval (which images are labelled), with one draw Wilson's over
    test images. gain and its interval: paired, against `scratch` trained on the same draws of the same labels (its
    fine-tuning, or for a probe that trains the network that probe); None where scratch was not judged so.
    """
    judged = {key: Judged(path) for key, path in runs.items()}
    found = []
    for (source, target), one in judged.items():
        reads = _reads(one.result)
        for (probe, label_budget), rows in one.groups.items():
            scores = [one.result["scores"][row] for row in rows]
            entry: dict[str, Any] = {
                "source": source,
                "target": target,
                "probe": probe,
                "label_budget": label_budget,
                "labels_per_class": scores[0]["labels_per_class"],
                "fraction": scores[0]["fraction"],
                "n_train": round(float(np.mean([s["n_train"] for s in scores]))),
                "n_test": scores[0]["n_test"],
                "draws": len(scores),
                "reads_labels": reads,
                **_accuracy(scores),
            }
            for name in ("ece", "nmi"):
                if name in scores[0]:
                    entry[name] = float(np.mean([s[name] for s in scores]))
            found.append(entry | _gain(one, judged.get((scratch, target)), source, scratch, probe, label_budget))
    return found


def _reads(result: Mapping[str, Any]) -> bool:
    """Whether the source has learnt from the labels of the very data set that it is judged on."""
    origin = result["source"]
    if not origin.get("labels_used", reads_labels(origin["method"])) or not origin["path"]:
        return False
    path = Path(origin["path"])
    run = path.parents[1] if origin["kind"] == "checkpoint" else path
    try:
        return bool(_result(run)["data"]["hash"] == result["data"]["hash"])
    except (OSError, ValueError, KeyError):  # gone since: what cannot be ruled out is said
        return True


def _accuracy(scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [s["accuracy"] for s in scores]
    found = t_interval(values, LEVEL)
    if found is not None and np.ptp(values) > 1e-12:
        return {"mean": found.mean, "low": found.low, "high": found.high, "interval": "t over draws"}
    low, high = wilson(scores[0]["correct"], scores[0]["n_test"], LEVEL)
    return {"mean": float(np.mean(values)), "low": low, "high": high, "interval": "wilson over test images"}


def _gain(
    one: Judged, other: Judged | None, source: str, scratch: str, probe: str, label_budget: str
) -> dict[str, Any]:
    none = dict.fromkeys(("gain", "gain_low", "gain_high", "gain_interval", "gain_draws"))
    if other is None or source == scratch or label_budget == "0":
        return none
    against = from_scratch(probe)  # whatever it is called here
    mine, its = one.fits(probe, label_budget), other.fits(against, label_budget)
    shared = sorted(set(mine) & set(its))
    if not shared:
        return none
    found, kind = paired_difference([mine[d] for d in shared], [its[d] for d in shared], LEVEL)
    return {
        "gain": found.mean,
        "gain_low": found.low,
        "gain_high": found.high,
        "gain_interval": kind,
        "gain_draws": len(shared),
    }


def reach(runs: Runs, scratch: str, level: float | None) -> list[dict[str, Any]]:
    """How soon fine-tuning reaches an accuracy on validation images: the first measured place at or above it.

    `level` None: what scratch ended with, for the same target, probe and amount (draw 0). steps, seconds: None where it
    was never reached; `times`: scratch's steps to the level ÷ the source's.
    """
    curves: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for (source, target), path in runs.items():
        for found in _result(path).get("learning_curves") or []:
            if found["draw"] == 0:
                label_budget = label_budget_key(found["labels_per_class"], found["fraction"])
                curves[source, target, found["probe"], label_budget] = found["points"]
    rows = []
    for (source, target, probe, label_budget), places in curves.items():
        its = curves.get((scratch, target, probe, label_budget))
        aim = level if level is not None else its[-1]["val_accuracy"] if its else None
        if aim is None:
            continue
        mine, base = _first(places, aim), _first(its or [], aim)
        rows.append(
            {
                "source": source,
                "target": target,
                "probe": probe,
                "label_budget": label_budget,
                "level": aim,
                "steps": mine and mine["step"],
                "seconds": mine and mine["seconds"],
                "of": places[-1]["step"],
                "times": base["step"] / mine["step"] if mine and base else None,
            }
        )
    return rows


def _first(places: Sequence[dict[str, Any]], level: float) -> dict[str, Any] | None:
    return next((p for p in places if p["val_accuracy"] >= level - 1e-12), None)
