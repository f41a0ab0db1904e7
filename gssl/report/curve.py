"""From transfer runs of several sources to the tables and the figure of a curve: scores against labels, gains over
scratch, steps to reach a score. Reads files only: result.json and predictions.npz of each run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gssl.config.menus import from_scratch, linear_head, trains
from gssl.config.registry import reads_labels
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.figures.curve import Cell, figure
from gssl.report.consistency import PREDICTIONS
from gssl.report.scores import Predictions, metrics_of, read_predictions, value_of
from gssl.report.wording import metric_title
from gssl.schemas.label_budgets import label_budget_of
from gssl.statistics import items
from gssl.statistics.intervals import wilson
from gssl.statistics.metric import METRICS, replicates
from gssl.statistics.paired import paired_difference, t_interval
from gssl.statistics.two_way import cross_validated, share_interval, two_way, two_way_interval
from gssl.words import PROBES, between, count, label_budget_text, points, title

LEVEL = 0.95
OVER_FOLDS = "two-way over draws and test images, widened for folds"
Runs = Mapping[tuple[str, str], Path]  # (source, target) → its transfer run


class Evaluated:
    """One transfer run: its scores by probe and label budget, and what each fit predicted for the test images."""

    def __init__(self, path: Path) -> None:
        self.result = _result(path)
        found = read_predictions(path)
        assert found is not None, f"{path / PREDICTIONS} cannot be read"
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


def cells(runs: Runs, scratch: str) -> list[dict[str, Any]]:
    """One per source, target, probe and label budget.

    mean, low, high: of the metric; over several draws a t interval (which images are labelled), with one draw over test
    images: Wilson's, or where the metric is no mean over images by bootstrap; with folds over draws and images. gain
    and its interval: paired, against `scratch` trained on the same draws of the same labels (its fine-tuning, or for a
    probe that trains the network that probe); None where scratch was not evaluated so.
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
                "probe": probe,
                "label_budget": label_budget,
                "labels_per_class": scores[0].get("labels_per_class"),
                "fraction": scores[0].get("fraction"),
                "metric": one.metric,
                "n_train": round(float(np.mean([s["n_train"] for s in scores]))),
                "n_test": scores[0]["n_test"],
                **({"folds": scores[0]["folds"]} if scores[0].get("folds") else {}),
                **({"seen": True} if (one.result.get("folds") or {}).get("transductive") else {}),
                "draws": len(scores),
                "reads_labels": reads,
                **_mean(one, rows),
            }
            for name in ("ece", "nmi"):
                if name in scores[0]:
                    entry[name] = float(np.mean([s[name] for s in scores]))
            found.append(entry | _gain(one, evaluated.get((scratch, target)), source, scratch, probe, label_budget))
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
    if one.folds and one.predictions.right is not None:
        over = two_way(one.units(rows))
        ends = share_interval(cross_validated(over, one.folds), LEVEL)
        return {"mean": ends.mean, "low": ends.low, "high": ends.high, "interval": OVER_FOLDS}
    found = t_interval(values, LEVEL)
    if found is not None and np.ptp(values) > 1e-12:
        return {"mean": found.mean, "low": found.low, "high": found.high, "interval": "t over draws"}
    if one.predictions.stats is None:
        score = one.result["scores"][rows[0]]
        (low, high), kind = wilson(score["correct"], score["n_test"], LEVEL), "wilson over test images"
    else:
        (low, high), kind = _quantiles(one.resampled(rows[0])), "bootstrap over test images"
    return {"mean": float(np.mean(values)), "low": low, "high": high, "interval": kind}


def _quantiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _gain(
    one: Evaluated, other: Evaluated | None, source: str, scratch: str, probe: str, label_budget: str
) -> dict[str, Any]:
    none = dict.fromkeys(("gain", "gain_low", "gain_high", "gain_interval", "gain_draws"))
    if other is None or source == scratch or label_budget == "0":
        return none
    mine, its = one.fits(probe, label_budget), other.fits(from_scratch(probe), label_budget)
    common = sorted(set(mine) & set(its))
    if not common:
        return none
    a, b = one.predictions.right, other.predictions.right
    if one.folds and a is not None and b is not None:
        units = one.units([mine[d] for d in common]) - other.units([its[d] for d in common])
        found, kind = two_way_interval(cross_validated(two_way(units), one.folds), LEVEL), OVER_FOLDS
        ends = {"gain": found.mean, "gain_low": found.low, "gain_high": found.high}
    elif a is not None and b is not None:
        found, kind = paired_difference([a[mine[d]] for d in common], [b[its[d]] for d in common], LEVEL)
        ends = {"gain": found.mean, "gain_low": found.low, "gain_high": found.high}
    else:
        gains = [one.value(mine[d]) - other.value(its[d]) for d in common]
        over, kind = t_interval(gains, LEVEL), "t over draws"
        ends = {"gain": float(np.mean(gains))}
        if over is not None and np.ptp(gains) > 1e-12:
            ends |= {"gain_low": over.low, "gain_high": over.high}
        else:  # the same resamples of the test images on both sides
            kind = "bootstrap over test images"
            low, high = _quantiles(one.resampled(mine[common[0]]) - other.resampled(its[common[0]]))
            ends |= {"gain_low": low, "gain_high": high}
    return {**ends, "gain_interval": kind, "gain_draws": len(common)}


def reach(runs: Runs, scratch: str, level: float | None) -> list[dict[str, Any]]:
    """How soon fine-tuning reaches a score on validation images: the first measured point at or above it.

    `level` None: what scratch ended with, for the same target, probe and label budget (draw 0). steps, seconds: None
    where it was never reached; `times`: scratch's steps to the level ÷ the source's.
    """
    curves: dict[tuple[str, str, str, str], list[dict[str, Any]]] = {}
    for (source, target), path in runs.items():
        for found in _result(path).get("learning_curves") or []:
            if found["draw"] == 0:
                label_budget = label_budget_of(found)
                curves[source, target, found["probe"], label_budget] = found["points"]
    rows = []
    for (source, target, probe, label_budget), measured in curves.items():
        its = curves.get((scratch, target, probe, label_budget))
        aim = level if level is not None else _validated(its[-1]) if its else None
        if aim is None:
            continue
        mine, base = _first(measured, aim), _first(its or [], aim)
        rows.append(
            {
                "source": source,
                "target": target,
                "probe": probe,
                "label_budget": label_budget,
                "level": aim,
                "steps": mine and mine["step"],
                "seconds": mine and mine["seconds"],
                "of": measured[-1]["step"],
                "times": base["step"] / mine["step"] if mine and base else None,
            }
        )
    return rows


def _first(measured: Sequence[dict[str, Any]], level: float) -> dict[str, Any] | None:
    return next((p for p in measured if _validated(p) >= level - 1e-12), None)


def _validated(point: Mapping[str, Any]) -> float:
    """The validation score of a point of a learning curve: its one key that says so."""
    return float(next(value for key, value in point.items() if key.startswith("val_")))


# ── what it looks like ───────────────────────────────────────────────────────────────────────────


def _label_budgets(found: Sequence[dict[str, Any]]) -> list[str]:
    """Label budgets, few first."""
    size: dict[str, float] = {}
    for c in found:
        size[c["label_budget"]] = max(size.get(c["label_budget"], 0), c["n_train"])
    return sorted(size, key=lambda a: size[a])


def _probe(c: dict[str, Any]) -> str:
    return PROBES.get(c["probe"], c["probe"])


def _cell(c: dict[str, Any] | None) -> str:
    if c is None:
        return ""
    mark = "*" if c["draws"] > 1 and not c["interval"].startswith(("t ", OVER_FOLDS)) else ""
    return f"{points(c['mean'])} ({points(c['low'])}–{points(c['high'])}){mark}"


def markdown(text: dict[str, Any]) -> str:
    """Tables: scores per target and probe, gains over scratch, steps to reach it, similarity, CKA."""
    lines: list[str] = []
    for target in text["targets"]:
        mine = [c for c in text["cells"] if c["target"] == target]
        if not mine:
            continue
        n = mine[0]["n_test"]
        k = mine[0].get("folds")
        where = f" in {k} folds; all labels: {k - 1}/{k} of them" if k else ""
        head = f"{target}: test {metric_title(mine[0]['metric'])}, % (95% interval; n = {n:,} test images{where})"
        lines += [f"## {head}", ""]
        for probe in dict.fromkeys(c["probe"] for c in mine):
            here = [c for c in mine if c["probe"] == probe]
            label_budgets = _label_budgets(here)
            draws = {a: max(c["draws"] for c in here if c["label_budget"] == a) for a in label_budgets}
            heads = [f"{label_budget_text(a)} ({count(draws[a], 'draw')})" for a in label_budgets]
            lines += [
                f"| {PROBES.get(probe, probe)} | " + " | ".join(heads) + " |",
                "|---|" + "--:|" * len(label_budgets),
            ]
            for source in dict.fromkeys(c["source"] for c in here):
                row = [
                    next((c for c in here if (c["source"], c["label_budget"]) == (source, a)), None)
                    for a in label_budgets
                ]
                labels = any(c["reads_labels"] for c in here if c["source"] == source)
                mark = " (trained with all of these labels: a reference)" if labels else ""
                lines.append(f"| {title(source)}{mark} | " + " | ".join(map(_cell, row)) + " |")
            lines.append("")
    lines += _gain_lines(text) + _reach_lines(text) + _similarity_lines(text)
    if any(c.get("folds") for c in text["cells"]):
        lines.append(
            "Intervals: over draws of labels and test images, widened for folds; they do not cover other seeds of the"
            " pretraining."
        )
        return "\n".join(lines) + "\n"
    lines.append(
        "Intervals: over several draws of labels t (which images are labelled), with one draw over test images"
        " (other images, this network; *: all draws alike); neither covers other seeds of the pretraining."
    )
    return "\n".join(lines) + "\n"


def _gain_lines(text: dict[str, Any]) -> list[str]:
    rows = [c for c in text["cells"] if c["gain"] is not None]
    if not rows:
        return []
    lines = ["## Gain over training from scratch on the same labels, points (paired 95% interval)", ""]
    lines += ["| source | target | probe | labels | gain | over |", "|---|---|---|---|--:|---|"]
    for c in rows:
        over = count(c["gain_draws"], "draw") if c["gain_interval"].startswith("t ") else "test images"
        lines.append(
            f"| {title(c['source'])} | {c['target']} | {_probe(c)} | {label_budget_text(c['label_budget'])} |"
            f" {points(c['gain'], sign=True)} ({between(c['gain_low'], c['gain_high'])}) | {over} |"
        )
    return [*lines, ""]


def _reach_lines(text: dict[str, Any]) -> list[str]:
    if not text["reach"]:
        return []
    lines = ["## Steps to reach a score on validation images (first measured point; scratch's own end)", ""]
    lines += ["| source | target | probe | labels | score | steps | seconds | scratch ÷ it |"]
    lines += ["|---|---|---|---|--:|--:|--:|--:|"]
    for r in text["reach"]:
        steps = f"{r['steps']:,}" if r["steps"] else f"never in {r['of']:,}"
        seconds = f"{r['seconds']:.1f}" if r["seconds"] is not None else ""
        times = f"{r['times']:.1f}×" if r["times"] else ""
        lines.append(
            f"| {title(r['source'])} | {r['target']} | {_probe(r)} | {label_budget_text(r['label_budget'])} |"
            f" {points(r['level'])} | {steps} | {seconds} | {times} |"
        )
    return [*lines, ""]


def _similarity_lines(text: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    if text["similarity"]:
        evaluator = text["similarity"][0]["evaluator"]
        lines += [f"## How alike the images are, without labels: KID by {evaluator} (0: alike)", ""]
        lines += ["| pretrained on (source) | target | KID | n |", "|---|---|--:|--:|"]
        for s in text["similarity"]:
            interval = f"{s['low']:.3f} to {s['high']:.3f}"
            lines.append(
                f"| {s['data']} ({title(s['source'])}) | {s['target']} | {s['kid']:.3f} ({interval}) | {s['n']:,} |"
            )
        lines.append("")
        lines += [trend for trend in [_trend(text)] if trend] + [""]
    if text["cka"]:
        names = text["cka"]["names"]
        lines += [
            f"## How alike the backbones are on n = {text['cka']['n']:,} training images (unbiased linear CKA)",
            "",
        ]
        lines += ["| | " + " | ".join(map(title, names)) + " |", "|---|" + "--:|" * len(names)]
        for name, row in zip(names, text["cka"]["matrix"], strict=True):
            lines.append(f"| {title(name)} | " + " | ".join("" if v is None else f"{v:.2f}" for v in row) + " |")
        lines.append("")
    return lines


def _trend(text: dict[str, Any]) -> str:
    """Does more similarity go with more gain? Only over enough cells to ask."""
    from scipy.stats import spearmanr

    at = {(s["source"], s["target"]): s["kid"] for s in text["similarity"]}
    parts = []
    for probe, label_budget in dict.fromkeys(
        (c["probe"], c["label_budget"]) for c in text["cells"] if c["gain"] is not None
    ):
        rows = [
            c
            for c in text["cells"]
            if (c["probe"], c["label_budget"]) == (probe, label_budget) and c["gain"] is not None
        ]
        both = [(at[c["source"], c["target"]], c["gain"]) for c in rows if (c["source"], c["target"]) in at]
        if len(both) >= 5 and np.ptp(np.array(both), axis=0).min() > 0:
            found = spearmanr(*np.array(both).T)
            parts.append(
                f"{PROBES.get(probe, probe)}, {label_budget_text(label_budget)}: rank correlation of KID and gain"
                f" {found.statistic:+.2f} over {len(both)} cells"  # cells are not independent: no p-value
            )
    return "; ".join(parts)


def summary(text: dict[str, Any]) -> list[str]:
    """The table that a terminal shows is in table.md; a line per source says the first thing one asks."""
    rows = [c for c in text["cells"] if c["gain"] is not None]
    lines = []
    for source, target in dict.fromkeys((c["source"], c["target"]) for c in rows):
        mine = [c for c in rows if (c["source"], c["target"]) == (source, target)]
        best = min(
            mine,
            key=lambda c: (trains(c["probe"]), not linear_head(c["probe"]), c["label_budget"] != "10", c["n_train"]),
        )
        interval = between(best["gain_low"], best["gain_high"])
        over = count(best["gain_draws"], "draw") + " of labels"
        if not best["gain_interval"].startswith("t "):
            over = f"{best['n_test']:,} test images, {over}"
        lines.append(
            f"{title(source)} on {target}, {_probe(best)}, {label_budget_text(best['label_budget'])}:"
            f" {points(best['gain'], sign=True)} points over scratch"
            f" (95% interval {interval} over {over}; one network each)"
        )
    return lines


def draw(text: dict[str, Any], path: Path) -> None:
    """curve.png: scores against labels, a panel per target and probe, a line per source, bands: 95% intervals."""
    cells = []
    for c in text["cells"]:
        if c["n_train"] > 0:
            mean, low, high = (100 * c[key] for key in ("mean", "low", "high"))
            cells.append(Cell(title(c["source"]), c["target"], _probe(c), c["n_train"], mean, low, high, c["n_test"]))
    if cells:
        figure(cells, f"test {metric_title(text['cells'][0]['metric'])}, %").save(path)
