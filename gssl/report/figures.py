"""The report's figures: the list of all, and those over training: scores, losses and the alarms that runs raised."""

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gssl.figures import lines, style
from gssl.figures.figure import Data, Figure
from gssl.report.score_figures import (
    arm_looks,
    arm_titles,
    differences,
    generation,
    labels,
    on_axis,
    percent_of,
    primary,
    scale_of,
    spoken_unit,
    unit_of,
)
from gssl.report.wording import big, metric_title, shown
from gssl.words import by_probe, count, label_budget_text

MOST_PANELS = 12
MOST_POINTS = 10_000  # in one figure: a report over hundreds of runs must still open
HOVER = 12  # points of a line that say something when pointed at


def figures(report: Any) -> dict[str, Figure]:
    """Every figure the data allow, by name: primary, labels, labels-<probe>, progress, progress-<n>, generation,
    differences, validation, losses."""
    drawn = [
        primary(report),
        *labels(report),
        *progress(report),
        generation(report),
        differences(report),
        validation(report),
        losses(report),
    ]
    return {f.name: f for f in drawn if f}


# ── scores against compute ───────────────────────────────────────────────────────────────────────


def progress(report: Any) -> list[Figure]:
    """Validation scores against training compute, one figure per probe and label budget; the primary one first, else
    the one with most runs."""
    settings: dict[tuple[str, str], list[Any]] = {}
    for run in report.progress:
        settings.setdefault((run.probe, run.label_budget), []).append(run)
    own = (report.primary.probe, report.primary.label_budget)
    order = sorted(settings, key=lambda key: (key != own, -len(settings[key])))
    drawn = [
        _compute_curve(report, settings[key], *key, "progress" if i == 0 else f"progress-{i}")
        for i, key in enumerate(order)
    ]
    return [f for f in drawn if f]


def _compute_curve(report: Any, runs: list[Any], probe: str, budget: str, name: str) -> Figure | None:
    look, titles = arm_looks(report.arms), arm_titles(report)
    over = {a.name: _over_seeds([r for r in runs if r.arm == a.name]) for a in report.arms}
    over = {arm: found for arm, found in over.items() if found}
    if not over:
        return None
    metric = runs[0].metric
    scale, text = scale_of(metric), partial(shown, metric)
    untrained = _untrained([r for r in runs if r.arm == "random"])
    drawn = [
        lines.Line(
            titles[arm],
            look[arm],
            [p["x"] for p in found],
            [scale * p["mean"] for p in found],
            [scale * p["low"] for p in found],
            [scale * p["high"] for p in found],
            ends=True,
            said={i: _checkpoint_said(titles[arm], p, p is found[-1], text) for i, p in enumerate(found)},
        )
        for arm, found in over.items()
    ]
    level = (titles["random"], look["random"], scale * untrained) if untrained is not None else None
    title = f"{metric_title(metric)} on {_split(runs)} images"
    panel = lines.Panel(
        drawn,
        x_axis="training compute, FLOPs (log scale)",
        y_axis=f"{title}{unit_of(metric)}",
        log=True,
        level=level,
        write_x=big,
    )
    said = "; ".join(
        f"{titles[a]} ends at {text(f[-1]['mean'])} after {big(f[-1]['x'], 'FLOP')}" for a, f in over.items()
    )
    where = f"{by_probe(probe)} with {label_budget_text(budget)}"
    line = " Broken line: a network that was never trained, on the same images." if level else ""
    heads = [
        "arm",
        "step",
        "FLOP",
        "images",
        *(f"{v} {percent_of(metric)}".strip() for v in ("mean", "lowest seed", "highest seed")),
        "seeds",
    ]
    return lines.figure(
        name,
        [panel],
        f"Evaluated by {where}, from checkpoints; no test image was opened for it. Line: mean over seeds. Band: lowest"
        f" to highest seed. Large marker: the end of training.{line}",
        alt=f"{metric_title(metric).capitalize()} on {_split(runs)} images{spoken_unit(metric)} against training"
        f" compute, by {where}, one line per arm. {said}.",
        data=Data(
            heads,
            [
                [titles[a], p["step"], p["x"], p["images"], *(scale * p[v] for v in ("mean", "low", "high")), p["n"]]
                for a, found in over.items()
                for p in found
            ],
        ),
    )


def _split(runs: Sequence[Any]) -> str:
    return "validation" if all(r.split == "val" for r in runs) else str(runs[0].split)


def _over_seeds(runs: Sequence[Any]) -> list[dict[str, Any]]:
    """The mean over seeds at each checkpoint, over the folds of a seed first; a network that was not trained has none.

    Checkpoints lie at the same fractions of the budget and are matched by their place from the end: a budget of
    seconds ends at other steps in every run.
    """
    at: dict[int, dict[Any, list[Any]]] = {}
    for run in runs:
        points = [p for p in run.points if p.value is not None and p.flops]
        for place, p in enumerate(points, -len(points)):
            at.setdefault(place, {}).setdefault(run.seed, []).append(p)
    found = []
    for here in at.values():
        values = [statistics.fmean(p.value for p in points) for points in here.values()]
        every = [p for points in here.values() for p in points]
        x, step = statistics.fmean(p.flops for p in every), round(statistics.fmean(p.step for p in every))
        images = [p.images for p in every if p.images is not None]
        row = {"step": step, "x": x, "images": round(statistics.fmean(images)) if images else None, "n": len(here)}
        found.append(row | {"mean": statistics.fmean(values), "low": min(values), "high": max(values)})
    return sorted(found, key=lambda p: p["x"])


def _untrained(runs: Sequence[Any]) -> float | None:
    """The mean over seeds of a network that was never trained, on the same images; None where it was not evaluated."""
    by_seed: dict[Any, list[float]] = {}
    for run in runs:
        for p in run.points:
            if p.value is not None and not p.flops:
                by_seed.setdefault(run.seed, []).append(p.value)
    return statistics.fmean(statistics.fmean(values) for values in by_seed.values()) if by_seed else None


def _checkpoint_said(title: str, p: dict[str, Any], last: bool, text: Callable[[float], str]) -> str:
    end = ", end of training" if last else ""
    between = f"seeds {text(p['low'])} to {text(p['high'])}, {count(p['n'], 'seed')}"
    return f"{title}, step {p['step']:,}, {big(p['x'], 'FLOP')}: {text(p['mean'])}, {between}{end}"


# ── curves of training ───────────────────────────────────────────────────────────────────────────


def _several(curves: Sequence[Any]) -> list[Any]:
    """Curves with more than one point."""
    return [c for c in curves if len(c.value) > 1]


def _shared_metric(curves: Sequence[Any]) -> str | None:
    """One metric on one axis: the validation measure that most arms logged."""
    names = dict.fromkeys(c.metric for c in _several(curves) if c.kind == "validation")
    return max(names, key=lambda m: len({c.arm for c in curves if c.metric == m}), default=None)


def thinned(n: int, lines: int) -> list[int]:
    """Indices of a line's n points that are drawn where there are `lines` of them; first and last stay."""
    most = max(8, MOST_POINTS // max(lines, 1))
    return _evenly(n, most)


def _evenly(n: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist()


def _numbers(values: Sequence[float | None], scale: float = 1.0) -> list[float]:
    return [math.nan if v is None else scale * v for v in values]


# ── alarms ───────────────────────────────────────────────────────────────────────────────────────


def _crosses(
    report: Any, curve: Any, x: Sequence[float], y: Sequence[float], title: str
) -> list[tuple[float, float, str]]:
    """A cross on the curve where its run raised an alarm; x, y: the curve as it is drawn, over its steps."""
    steps, xs, ys = (np.array(_numbers(values), float) for values in (curve.step, x, y))
    known = np.isfinite(ys) & np.isfinite(xs)
    found = []
    for alarm in report.alarms:
        same = (alarm.arm, alarm.seed) == (curve.arm, curve.seed)
        if same and alarm.step is not None and known.any():
            at, height = (float(np.interp(alarm.step, steps[known], values[known])) for values in (xs, ys))
            text = f"alarm: {title}, seed {alarm.seed}, step {alarm.step:,}: {alarm.alarm}"
            found.append((at, height, text))
    return found


def _alarms_said(report: Any, curves: Sequence[Any]) -> str:
    """The sentence of a caption about alarms."""
    runs = {(c.arm, c.seed) for c in curves}
    here = [a for a in report.alarms if (a.arm, a.seed) in runs and a.step is not None]
    return f" Crosses: {count(len(here), 'alarm')}, listed below." if here else ""


# ── validation scores ────────────────────────────────────────────────────────────────────────────


def validation(report: Any) -> Figure | None:
    """The validation scores that pretraining logged, all arms on one axis, one line per seed."""
    metric = _shared_metric(report.curves)
    curves = [c for c in _several(report.curves) if c.metric == metric]
    if metric is None or not curves:
        return None
    look, titles = arm_looks(report.arms), arm_titles(report)
    by_images = all(None not in c.images for c in curves)
    scale, write = scale_of(metric), partial(on_axis, metric)
    drawn = []
    for c in curves:
        keep = thinned(len(c.value), len(curves))
        every = c.images if by_images else c.step
        x, y, title = [every[i] for i in keep], _numbers([c.value[i] for i in keep], scale), titles[c.arm]
        said = {}
        for i in _evenly(len(x), HOVER):
            at = f"{x[i]:,} images" if by_images else f"step {x[i]:,}"
            said[i] = f"{title}, seed {c.seed}, {at}: {write(y[i])}"
        crosses = _crosses(report, c, every, _numbers(c.value, scale), title)
        drawn.append(lines.Line(title, look[c.arm], x, y, markers=False, said=said, crosses=crosses))
    panel = lines.Panel(
        drawn,
        x_axis="real images read in training" if by_images else "steps",
        y_axis=f"{metric}{unit_of(metric)}",
        write_x=lines.thousands,
    )
    ends = "; ".join(f"{titles[arm]} ends at {_end(curves, arm)}" for arm in dict.fromkeys(c.arm for c in curves))
    return lines.figure(
        "validation",
        [panel],
        f"{metric} on the validation split, one line per seed. No choice was made on test images."
        + _alarms_said(report, curves),
        alt=f"Validation score {metric}{spoken_unit(metric)} during pretraining, one line per seed. {ends}.",
        data=_data(curves, titles),
    )


def _end(curves: Sequence[Any], arm: str) -> str:
    ends = [c for c in curves if c.arm == arm and c.value[-1] is not None]
    if not ends:
        return "no finite value"
    metric = ends[0].metric
    return on_axis(metric, scale_of(metric) * sum(c.value[-1] for c in ends) / len(ends))


def _data(curves: Sequence[Any], titles: dict[str, str]) -> Data:
    """The curves as they are drawn."""
    rows = []
    for c in curves:
        for i in thinned(len(c.value), len(curves)):
            rows.append([titles[c.arm], c.seed, c.metric, c.step[i], c.images[i], c.value[i]])
    return Data(["arm", "seed", "metric", "step", "images", "value"], rows)


# ── losses ───────────────────────────────────────────────────────────────────────────────────────


def losses(report: Any) -> Figure | None:
    """Small panels, one per arm and loss: their scales have nothing to do with each other.

    A validation measure that the shared figure leaves out (a GAN's KID beside kNN) has its panel here.
    """
    shared = _shared_metric(report.curves)
    curves = [c for c in _several(report.curves) if c.metric != shared]
    every = list(dict.fromkeys((c.arm, c.metric) for c in curves))
    chosen = every[:MOST_PANELS]
    if not chosen:
        return None
    curves = [c for c in curves if (c.arm, c.metric) in chosen]
    look, titles = arm_looks(report.arms), arm_titles(report)
    panels = []
    for arm, metric in chosen:
        mine = [c for c in curves if (c.arm, c.metric) == (arm, metric)]
        drawn = [_loss_line(report, c, titles[arm], look[arm], len(curves)) for c in mine]
        panels.append(lines.Panel(drawn, f"{titles[arm]}\n{metric}", "steps", write_x=lines.thousands))
    said = ", ".join(f"{titles[arm]} {metric}" for arm, metric in chosen)
    more = f" {len(every) - len(chosen)} more are in report.json." if len(every) > len(chosen) else ""
    return lines.figure(
        "losses",
        panels,
        "One line per seed; val_… is measured on the validation split. Scales cannot be compared across panels."
        + _alarms_said(report, curves)
        + more,
        alt=f"Training curves over steps, one panel each: {said}.",
        data=_data(curves, titles),
        height=1.75,
    )


def _loss_line(report: Any, c: Any, title: str, look: style.Look, count_: int) -> lines.Line:
    keep, values = thinned(len(c.value), count_), _numbers(c.value)
    x, y = [c.step[i] for i in keep], [values[i] for i in keep]
    said = {len(x) - 1: f"{title}, {c.metric}, seed {c.seed}, step {x[-1]:,}: {y[-1]:.4g}"}
    crosses = _crosses(report, c, c.step, values, title)
    return lines.Line(title, look, x, y, markers=False, said=said, crosses=crosses)
