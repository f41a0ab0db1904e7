"""Figures over training: validation scores and losses, with the alarms that the runs raised."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gssl.figures.svg import INK, MUTED, PAPER, Data, Figure, Mark, draw, name_lines, styles, thousands
from gssl.words import count, points, shortened

MOST_PANELS = 12
MOST_POINTS = 10_000  # in one figure: a report over hundreds of runs must still open
HOVER = 12  # places of a line that speak


def _titles(report: dict[str, Any]) -> dict[str, str]:
    return {a["name"]: shortened(a["title"], 26) for a in report["arms"]}


def _clean(values: Sequence[float | None]) -> list[float]:
    return [math.nan if v is None else v for v in values]


def _thin(curves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fewer points per line where there are many lines; first and last stay."""
    most = max(8, MOST_POINTS // max(len(curves), 1))
    out = []
    for c in curves:
        n = len(c["value"])
        keep = range(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(int)).tolist()
        out.append(c | {key: [c[key][i] for i in keep] for key in ("step", "images", "value")})
    return out


def _shared_metric(curves: list[dict[str, Any]]) -> str | None:
    """One metric on one axis: the validation measure that most arms logged."""
    names = dict.fromkeys(c["metric"] for c in curves if c["kind"] == "validation" and len(c["value"]) > 1)
    return max(names, key=lambda m: len({c["arm"] for c in curves if c["metric"] == m}), default=None)


# ── alarms ───────────────────────────────────────────────────────────────────────────────────────


def _alarms(report: dict[str, Any], ax: Any, curve: dict[str, Any], key: str, scale: float, colour: str) -> list[Mark]:
    """A cross on the curve where its run raised an alarm; `key` names the x axis, steps or images."""
    steps, x, y = (np.array(_clean(curve[k]), float) for k in ("step", key, "value"))
    known = np.isfinite(y) & np.isfinite(x)
    title = _titles(report)[curve["arm"]]
    marks = []
    for alarm in report["alarms"]:
        same = (alarm["arm"], alarm["seed"]) == (curve["arm"], curve["seed"])
        if not same or alarm["step"] is None or not known.any():
            continue
        at = float(np.interp(alarm["step"], steps[known], x[known]))
        height = scale * float(np.interp(alarm["step"], steps[known], y[known]))
        ax.plot([at], [height], "X", color=colour, markersize=7, mec=PAPER, mew=0.9, zorder=5)
        told = f"alarm: {title}, seed {alarm['seed']}, step {alarm['step']:,}: {alarm['alarm']}"
        marks.append(Mark(ax, at, height, told))
    return marks


def _crosses(report: dict[str, Any], curves: list[dict[str, Any]]) -> str:
    """The sentence of a caption about alarms."""
    runs = {(c["arm"], c["seed"]) for c in curves}
    here = [a for a in report["alarms"] if (a["arm"], a["seed"]) in runs and a["step"] is not None]
    return f" Crosses: {count(len(here), 'alarm')}, listed below." if here else ""


# ── validation scores ────────────────────────────────────────────────────────────────────────────


def validation(report: dict[str, Any]) -> Figure | None:
    """The validation scores that pretraining logged, all arms on one axis."""
    metric = _shared_metric(report["curves"])
    curves = _thin([c for c in report["curves"] if c["metric"] == metric and len(c["value"]) > 1])
    if not curves:
        return None
    arms = list(dict.fromkeys(c["arm"] for c in curves))
    look, titles = styles(report["arms"]), _titles(report)
    role = {a["name"]: a["role"] for a in report["arms"]}
    key = "images" if all(None not in c["images"] for c in curves) else "step"

    def paint(fig: Any, narrow: bool) -> list[Mark]:
        ax = fig.add_subplot()
        last: dict[str, list[dict[str, Any]]] = {}
        marks, crosses = [], []
        for c in curves:
            x, y, colour = c[key], [100 * v for v in _clean(c["value"])], look[c["arm"]].colour
            ax.plot(x, y, color=colour, linewidth=1.4, alpha=0.8)
            last.setdefault(c["arm"], []).append({"x": x[-1], "y": y[-1]})
            crosses += _alarms(report, ax, c, key, 100, colour)
            for i in _places(len(x)):
                at = f"{x[i]:,} images" if key == "images" else f"step {x[i]:,}"
                marks.append(Mark(ax, x[i], y[i], f"{titles[c['arm']]}, seed {c['seed']}, {at}: {points(y[i] / 100)}%"))
        ends = {a: sum(e["y"] for e in found) / len(found) for a, found in last.items()}
        ends = {a: end for a, end in ends.items() if math.isfinite(end)}
        rows = {a: [max(last[a], key=lambda e: e["x"])] for a in ends}
        if ends:
            name_lines(ax, ends, rows, look, titles, role, narrow, False)
        thousands(ax)
        ax.set_xlabel("real images seen in training" if key == "images" else "steps")
        ax.set_title(f"{metric}, %", color=MUTED, loc="left")
        return crosses + marks

    said = "; ".join(f"{titles[a]} ends at {_end(curves, a)}" for a in arms)
    return draw(
        "validation",
        paint,
        (2.9, 3.1),
        f"Validation score {metric} in percent during pretraining, one line per seed. {said}.",
        f"{metric} on the validation split, one line per seed. No choice was made on test images."
        + _crosses(report, curves),
        _data(curves, titles),
    )


def _places(n: int) -> list[int]:
    """Indices of a line of n points that speak, the last one among them."""
    return np.unique(np.linspace(0, n - 1, min(n, HOVER)).round().astype(int)).tolist()


def _end(curves: list[dict[str, Any]], arm: str) -> str:
    ends = [c["value"][-1] for c in curves if c["arm"] == arm and c["value"][-1] is not None]
    return points(sum(ends) / len(ends)) if ends else "no finite value"


def _data(curves: list[dict[str, Any]], titles: dict[str, str]) -> Data:
    return Data(
        ["arm", "seed", "metric", "step", "images", "value"],
        [
            [titles[c["arm"]], c["seed"], c["metric"], step, images, value]
            for c in curves
            for step, images, value in zip(c["step"], c["images"], c["value"], strict=True)
        ],
    )


# ── losses ───────────────────────────────────────────────────────────────────────────────────────


def losses(report: dict[str, Any]) -> Figure | None:
    """Small panels, one per arm and loss: their scales have nothing to do with each other.

    A validation measure that the shared figure leaves out (a GAN's KID beside kNN) has its panel here.
    """
    shared = _shared_metric(report["curves"])
    curves = [c for c in report["curves"] if c["metric"] != shared and len(c["value"]) > 1]
    every = list(dict.fromkeys((c["arm"], c["metric"]) for c in curves))
    panels = every[:MOST_PANELS]
    if not panels:
        return None
    curves = _thin([c for c in curves if (c["arm"], c["metric"]) in panels])
    look, titles = styles(report["arms"]), _titles(report)

    def paint(fig: Any, narrow: bool) -> list[Mark]:
        columns = across(narrow)
        axes = fig.subplots(math.ceil(len(panels) / columns), columns, squeeze=False).ravel()
        marks: list[Mark] = []
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        for ax, (arm, metric) in zip(axes, panels, strict=False):
            crosses = []
            for c in curves:
                if (c["arm"], c["metric"]) == (arm, metric):
                    y, colour = _clean(c["value"]), look[arm].colour
                    ax.plot(c["step"], y, color=colour, linewidth=1.0, alpha=0.75)
                    crosses += _alarms(report, ax, c, "step", 1, colour)
                    told = f"{titles[arm]}, {metric}, seed {c['seed']}, step {c['step'][-1]:,}: {y[-1]:.4g}"
                    marks.append(Mark(ax, c["step"][-1], y[-1], told))
            marks = crosses + marks
            ax.set_title(f"{titles[arm]} · {metric}" if not narrow else f"{titles[arm]}\n{metric}", color=INK)
            ax.locator_params(axis="x", nbins=3)
            ax.locator_params(axis="y", nbins=4)
            thousands(ax)
            ax.set_xlabel("steps")
        return marks

    def across(narrow: bool) -> int:
        """Panels side by side: four where that leaves no hole, else three; two on a phone."""
        return min(len(panels), 2 if narrow else 4 if len(panels) % 4 == 0 else 3)

    def height(narrow: bool) -> float:
        return 0.2 + 1.65 * math.ceil(len(panels) / across(narrow))

    said = ", ".join(f"{titles[a]} {m}" for a, m in panels)
    more = f" {len(every) - len(panels)} more are in report.json." if len(every) > len(panels) else ""
    return draw(
        "losses",
        paint,
        (height(False), height(True)),
        f"Training curves over steps, one panel each: {said}.",
        "One line per seed; val_… is measured on the validation split. Scales cannot be compared across panels."
        + _crosses(report, curves)
        + more,
        _data(curves, titles),
    )
