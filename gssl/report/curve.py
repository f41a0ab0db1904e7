"""From transfer runs of several sources to the cells of a curve: scores against labels, gains over scratch, steps to
reach a score. Reads files only: result.json and predictions.npz of each run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gssl.config.menus import beside
from gssl.config.registry import reads_labels
from gssl.engine.files import read_json
from gssl.errors import Damaged, UsageError
from gssl.report.consistency import PREDICTIONS
from gssl.report.scores import Predictions, metrics_of, read_predictions, top_of, value_of
from gssl.schemas.label_budgets import label_budget_of
from gssl.statistics import items, resampled
from gssl.statistics.intervals import wilson
from gssl.statistics.metric import METRICS, replicates
from gssl.statistics.paired import paired_difference, t_interval
from gssl.statistics.two_way import TwoWay, cross_validated, share_interval, two_way, two_way_interval

LEVEL = 0.95
OVER_FOLDS = "two-way over draws and test images, widened for folds"
OVER_GROUPS = "two-way over draws and groups of test items"
Runs = Mapping[tuple[str, str], Path]  # (source, target) → its transfer run


class Evaluated:
    """One transfer run: its scores by probe and label budget, and what each fit predicted for the test images."""

    def __init__(self, path: Path) -> None:
        self.result = _result(path)
        found = read_predictions(path)
        if found is None:
            raise Damaged(path / PREDICTIONS, "is gone or cannot be read, or is not the one that status.json records")
        self.predictions: Predictions = found
        self.folds = max((int(s.get("folds") or 0) for s in self.result["scores"]), default=0)
        self.metric = next(iter(metrics_of(self.result["scores"][0])))
        self.groups: dict[tuple[str, str], list[int]] = {}
        for row, score in enumerate(self.result["scores"]):
            self.groups.setdefault((score["probe"], label_budget_of(score)), []).append(row)

    def fits(self, probe: str, label_budget: str) -> dict[int, int]:
        """Draw of labels → row of the scores and predictions."""
        return {self.result["scores"][row]["draw"]: row for row in self.groups.get((probe, label_budget), [])}

    def value(self, row: int) -> float:
        found = value_of(self.result["scores"][row], self.metric)
        assert found is not None
        return found

    def units(self, rows: Sequence[int]) -> np.ndarray:
        """(fits, units) as `items.units`: test images, or the groups that they belong to."""
        found = self.predictions
        assert found.right is not None
        assert found.labels is not None
        return items.units([found.right[row] for row in rows], found.labels, found.groups, self.metric)

    def alike(self, value: float) -> TwoWay:
        """The variance of a value that is the same in all resamples of the test items (`resampled.spread`)."""
        stats, groups = self.predictions.stats, self.predictions.groups
        assert stats is not None
        n = stats.shape[1] if groups is None else len(np.unique(groups))
        return resampled.spread([value], np.full((1, 2), value), n, 1.0)

    @property
    def width(self) -> float:
        """The range of one unit's value (`items.width`)."""
        assert self.predictions.labels is not None
        return items.width(self.predictions.labels, self.predictions.groups, self.metric)

    @property
    def grouped(self) -> int:
        """Groups of test items that belong together, so that no interval takes each for itself; 0: there are none."""
        return 0 if self.predictions.groups is None else len(np.unique(self.predictions.groups))

    def resampled(self, row: int) -> np.ndarray:
        """(resamples,): the metric of bootstrap resamples of the test images."""
        assert self.predictions.stats is not None
        return replicates(self.predictions.stats[row], METRICS[self.metric], self.predictions.groups)


def _result(path: Path) -> dict[str, Any]:
    found: dict[str, Any] | None = read_json(path / "result.json")
    if found is None:
        raise UsageError(f"{path / 'result.json'}: missing; run it again, or leave it out")
    return found


def openings(path: Path) -> int:
    """How often a run opened its test set."""
    found: int = _result(path)["test_openings"]
    return found


def cells(runs: Runs, base: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """One per source, target, probe and label budget. base: target → the source that gains are over.

    mean, low, high: of the target's primary metric; over several draws a t interval (which images are labelled), with
    one draw over test images: Wilson's, or where the metric is no mean over images by bootstrap; with folds over draws
    and images. gain and its interval: paired, against the baseline on the same draws of the same labels (of scratch its
    fine-tuning, or for a probe that trains the network that probe); above 0 is better, whatever the metric's direction.
    None where the baseline was not evaluated so.
    """
    evaluated = {key: Evaluated(path) for key, path in runs.items()}
    found = []
    for (source, target), one in evaluated.items():
        reads = _reads(one.result)
        for (probe, label_budget), rows in one.groups.items():
            scores = [one.result["scores"][row] for row in rows]
            entry: dict[str, Any] = {
                "source": source,
                "target": target,
                "task": scores[0].get("task"),
                "probe": probe,
                "label_budget": label_budget,
                "labels_per_class": scores[0].get("labels_per_class"),
                "fraction": scores[0].get("fraction"),
                **({"images_labelled": n} if (n := scores[0].get("images_labelled")) is not None else {}),
                "metric": one.metric,
                "unit": METRICS[one.metric].unit,
                "direction": METRICS[one.metric].direction,
                "n_train": round(float(np.mean([s["n_train"] for s in scores]))),
                "n_test": scores[0]["n_test"],
                **({"folds": scores[0]["folds"]} if scores[0].get("folds") else {}),
                **({"groups": one.grouped} if one.grouped else {}),
                **({"seen": True} if (one.result.get("folds") or {}).get("transductive") else {}),
                "draws": len(scores),
                "reads_labels": reads,
                **_mean(one, rows),
            }
            for name in ("ece", "nmi"):
                if name in scores[0]:
                    entry[name] = float(np.mean([s[name] for s in scores]))
            over = base.get(target)
            other = evaluated.get((over, target)) if over not in (None, source) else None
            found.append(entry | _gain(one, other, over, probe, label_budget))
    return found


def _reads(result: Mapping[str, Any]) -> bool:
    """Whether the source was trained with the labels of the very data set that it is evaluated on."""
    origin = result["source"]
    if not origin.get("labels_used", reads_labels(origin["method"])) or not origin["path"]:
        return False
    path = Path(origin["path"])
    run = path.parents[1] if origin["kind"] == "checkpoint" else path
    try:
        return bool(_result(run)["data"]["hash"] == result["data"]["hash"])
    except (OSError, ValueError, KeyError):  # gone since: what cannot be ruled out is mentioned
        return True


def _mean(one: Evaluated, rows: Sequence[int]) -> dict[str, Any]:
    values = [one.value(row) for row in rows]
    if (one.folds or one.grouped) and one.predictions.right is not None:
        over = two_way(one.units(rows), one.width)
        ends = share_interval(cross_validated(over, one.folds) if one.folds else over, LEVEL)
        kind = OVER_FOLDS if one.folds else OVER_GROUPS
        return {"mean": ends.mean, "low": ends.low, "high": ends.high, "interval": kind}
    found = t_interval(values, LEVEL)
    top = top_of(one.metric)
    if found is not None and np.ptp(values) > 1e-12:
        low, high = max(found.low, 0.0 if top < np.inf else -np.inf), min(found.high, top)
        return {"mean": found.mean, "low": low, "high": high, "interval": "t over draws"}
    if one.predictions.stats is None:
        score = one.result["scores"][rows[0]]
        (low, high), kind = wilson(score["correct"], score["n_test"], LEVEL), "wilson over test images"
    else:
        (low, high), kind = _quantiles(one.resampled(rows[0])), "bootstrap over test images"
        if high - low < 1e-12 and METRICS[one.metric].percent:  # no resample differs: that is no certainty
            ends = share_interval(one.alike(values[0]), LEVEL)
            low, high = ends.low, ends.high
    return {"mean": float(np.mean(values)), "low": low, "high": high, "interval": kind}


def _quantiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _gain(one: Evaluated, other: Evaluated | None, over: str | None, probe: str, label_budget: str) -> dict[str, Any]:
    none = dict.fromkeys(("gain", "gain_low", "gain_high", "gain_interval", "gain_draws", "gain_over"))
    if other is None or label_budget == "0":
        return none
    same = beside(probe, {name for name, _ in other.groups})
    mine, its = one.fits(probe, label_budget), other.fits(same, label_budget) if same else {}
    common = sorted(set(mine) & set(its))
    if not common:
        return none
    a, b = one.predictions.right, other.predictions.right
    if (one.folds or one.grouped) and a is not None and b is not None:
        spread = two_way(one.units([mine[d] for d in common]) - other.units([its[d] for d in common]), one.width)
        found = two_way_interval(cross_validated(spread, one.folds) if one.folds else spread, LEVEL)
        kind = OVER_FOLDS if one.folds else OVER_GROUPS
        ends = {"gain": found.mean, "gain_low": found.low, "gain_high": found.high}
    elif a is not None and b is not None:
        found, kind = paired_difference([a[mine[d]] for d in common], [b[its[d]] for d in common], LEVEL)
        ends = {"gain": found.mean, "gain_low": found.low, "gain_high": found.high}
    else:
        gains = [one.value(mine[d]) - other.value(its[d]) for d in common]
        over_draws, kind = t_interval(gains, LEVEL), "t over draws"
        ends = {"gain": float(np.mean(gains))}
        if over_draws is not None and np.ptp(gains) > 1e-12:
            ends |= {"gain_low": over_draws.low, "gain_high": over_draws.high}
        else:  # the same resamples of the test images on both sides
            kind = "bootstrap over test images"
            low, high = _quantiles(one.resampled(mine[common[0]]) - other.resampled(its[common[0]]))
            if high - low < 1e-12 and METRICS[one.metric].percent:
                unseen = two_way_interval(one.alike(ends["gain"]), LEVEL)
                low, high = unseen.low, unseen.high
            ends |= {"gain_low": low, "gain_high": high}
    top = top_of(one.metric)  # no difference of two values within [0, top] is larger
    ends |= {"gain_low": max(ends["gain_low"], -top), "gain_high": min(ends["gain_high"], top)}
    if METRICS[one.metric].direction == "min":
        ends = {"gain": -ends["gain"], "gain_low": -ends["gain_high"], "gain_high": -ends["gain_low"]}
    return {**ends, "gain_interval": kind, "gain_draws": len(common), "gain_over": over}


def reach(runs: Runs, base: Mapping[str, str | None], level: float | None) -> list[dict[str, Any]]:
    """How soon fine-tuning reaches a score on validation images: the first measured point at or above it.

    `level` None: what the target's baseline ended with, for the same probe and label budget (draw 0). steps, seconds:
    None where it was never reached; `times`: the baseline's steps to the level ÷ the source's.
    """
    curves: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for (source, target), path in runs.items():
        for found in _result(path).get("learning_curves") or []:
            if found["draw"] == 0:
                label_budget = label_budget_of(found)
                curves[source, target, found["probe"], label_budget] = found["points"]
    rows = []
    for (source, target, probe, label_budget), measured in curves.items():
        over = base.get(target)
        its = curves.get((over, target, probe, label_budget)) if over else None
        aim = level if level is not None else _validated(its[-1]) if its else None
        if aim is None:
            continue
        mine, theirs = _first(measured, aim), _first(its or [], aim)
        rows.append(
            {
                "source": source,
                "target": target,
                "probe": probe,
                "label_budget": label_budget,
                "metric": _validating(measured[-1]),
                "level": aim,
                "steps": mine and mine["step"],
                "seconds": mine and mine["seconds"],
                "of": measured[-1]["step"],
                "times": theirs["step"] / mine["step"] if mine and theirs else None,
            }
        )
    return rows


def _first(measured: Sequence[dict[str, Any]], level: float) -> dict[str, Any] | None:
    def there(point: Mapping[str, Any]) -> bool:
        metric = METRICS.get(_validating(point))
        over = _validated(point) - level
        return (-over if metric is not None and metric.direction == "min" else over) >= -1e-12

    return next((p for p in measured if there(p)), None)


def _validating(point: Mapping[str, Any]) -> str:
    """The metric of a point of a learning curve: its one key that says so."""
    return next(key for key in point if key.startswith("val_")).removeprefix("val_")


def _validated(point: Mapping[str, Any]) -> float:
    return float(point[f"val_{_validating(point)}"])
