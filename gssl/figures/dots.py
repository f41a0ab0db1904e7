"""Figures of dots, one line per arm or pair: the primary comparison, paired differences, generation."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from gssl.figures.svg import GRID, INK, MUTED, Data, Figure, Mark, draw, styles
from gssl.report import tables
from gssl.report.units import is_share, reach, shown
from gssl.words import count, judge, label_budget_text, metric_text, points, shortened

MOST_PAIRS = 14  # lines in the figure of differences; the tables hold them all
MOST_PANELS = 9
GOOD = {"low": "low is good", "high": "high is good", "one": "near 1 is good"}


class Line(NamedTuple):
    """One line of dots: a mean, its interval and the seeds, in the unit of the axis."""

    name: str
    colour: str
    strong: bool
    mean: float
    interval: tuple[float, float] | None
    seeds: dict[str, float]
    told: str  # what the mean says when pointed at
    floor: float | None = None


def _line(name: str, colour: str, strong: bool, row: dict[str, Any], metric: str = "accuracy", **more: Any) -> Line:
    """A row of a table (accuracies, differences, generation) as a line of dots."""
    scale, i = 100 if is_share(metric) else 1, row["interval"]
    sign = more.pop("sign", False)
    spread = f", 95% interval {reach(metric, i, sign)}" if i else ""
    return Line(
        name,
        colour,
        strong,
        scale * row["mean"],
        (scale * i["low"], scale * i["high"]) if i else None,
        {str(s): scale * v for s, v in row["per_seed"].items()},
        f"{name}: mean {shown(metric, row['mean'], sign)}{spread}, {count(row['n_seeds'], 'seed')}",
        **more,
    )


def _dots(ax: Any, lines: Sequence[Line], names: Sequence[str], say: Callable[[float], str]) -> list[Mark]:
    """Paint `lines` from the top; returns the marks, means first."""
    means, seeds = [], []
    top = len(lines) - 1
    for i, line in enumerate(lines):
        y = top - i
        if line.interval:
            ax.plot(line.interval, [y, y], color=line.colour, linewidth=7, alpha=0.22, solid_capstyle="butt")
        if len(line.seeds) > 1:
            x = list(line.seeds.values())
            ax.plot(x, [y] * len(x), "o", color=line.colour, markersize=3.6, alpha=0.75, mew=0)
            seeds += [Mark(ax, v, y, f"{line.name}, seed {s}: {say(v)}") for s, v in line.seeds.items()]
        if line.floor is not None:
            ax.plot([line.floor] * 2, [y - 0.42, y + 0.42], color=MUTED, linewidth=1.2, linestyle=(0, (2, 1.5)))
        ax.plot([line.mean] * 2, [y - 0.3, y + 0.3], color=line.colour, linewidth=2.4)
        means.append(Mark(ax, line.mean, y, line.told))
    ax.set_yticks(range(len(lines)), list(reversed(names)))
    for label, line in zip(ax.get_yticklabels(), reversed(lines), strict=True):
        label.set_color(INK if line.strong else MUTED)
    ax.set_ylim(-0.6, len(lines) - 0.4)
    ax.grid(False, axis="y")
    ax.spines["left"].set_visible(False)
    return means + seeds


def _write_means(ax: Any, lines: Sequence[Line], say: Callable[[float], str]) -> None:
    """The mean in figures right of everything that its line drew."""
    for i, line in enumerate(lines):
        right = max([line.mean, *(line.interval or ()), *line.seeds.values()])
        colour = INK if line.strong else MUTED
        at = {"textcoords": "offset points", "va": "center", "color": colour}
        ax.annotate(say(line.mean), (right, len(lines) - 1 - i), (6, 0), **at)


def _one_decimal(value: float) -> str:
    return points(value / 100)


# ── the primary comparison ───────────────────────────────────────────────────────────────────────


def primary_rows(report: dict[str, Any], probe: str) -> dict[str, list[dict[str, Any]]]:
    """Each arm's rows for a figure of `probe`, by label budget."""
    size = {a["key"]: a["n_train"] for a in report["label_budgets"]}
    out: dict[str, list[dict[str, Any]]] = {}
    for arm in report["arms"]:
        rows = [r for r in report["table"] if r["arm"] == arm["name"] and r["probe"] == probe]
        rows = [r | {"x": size.get(r["label_budget"])} for r in rows if size.get(r["label_budget"])]
        if rows:
            out[arm["name"]] = sorted(rows, key=lambda r: r["x"])
    return out


def primary(report: dict[str, Any]) -> Figure | None:
    """One line per arm at the primary label budget: a dot per seed, the mean, the interval."""
    probe, label_budget = report["primary"]["probe"], report["primary"]["label_budget"]
    metric = metric_text(report["primary"]["metric"])
    rows = {
        a: next((r for r in found if r["label_budget"] == label_budget), None)
        for a, found in primary_rows(report, probe).items()
    }
    arms = [(a, row) for a in report["arms"] if (row := rows.get(a["name"]))]
    compared = {name for pair in report["primary"]["pairs"] for name in pair}
    role = ("contestant", "control", "reference").index
    arms.sort(key=lambda found: (role(found[0]["role"]), found[0]["name"] not in compared))  # what is compared first
    if not arms:
        return None
    look = styles(report["arms"])
    lines = [
        _line(shortened(a["title"], 26), look[a["name"]].colour, a["role"] == "contestant", row) for a, row in arms
    ]

    def paint(fig: Any, narrow: bool) -> list[Mark]:
        ax = fig.add_subplot()
        marks = _dots(ax, lines, [line.name for line in lines], lambda v: f"{_one_decimal(v)}%")
        _write_means(ax, lines, _one_decimal)
        for i in range(1, len(arms)):  # a hair line between contestants, controls and the reference line
            if arms[i][0]["role"] != arms[i - 1][0]["role"]:
                ax.axhline(len(arms) - i - 0.5, color=GRID, linewidth=0.8)
        low, high = ax.get_xlim()
        ax.set_xlim(max(low, -2), min(high + 0.09 * (high - low), 112))
        ax.set_xlabel(f"test {metric}, %" if narrow else f"test {metric} with {label_budget_text(label_budget)}, %")
        return marks

    height = 0.75 + 0.34 * len(arms)
    n = max(r["n_seeds"] for _, r in arms)
    spread = tables.intervals(report, [row for _, row in arms])
    dots = "Dots: seeds. " if n > 1 else ""
    said = ", ".join(f"{a['title']} {points(r['mean'])}" for a, r in arms)
    return draw(
        "primary",
        paint,
        (height, height),
        f"Test {metric} in percent with {label_budget_text(label_budget)}, {judge(probe)}: {said}.",
        f"{dots}Line: mean. Bar: {spread}. Judged by {judge(probe)}. Grey: controls, which learnt nothing from these"
        " images, and reference lines, which read all labels.",
        _data(["arm"], [([a["title"]], line) for (a, _), line in zip(arms, lines, strict=True)], "%"),
    )


def _data(heads: list[str], lines: Sequence[tuple[list[Any], Line]], unit: str) -> Data:
    """Means, ends of intervals and seeds of lines of dots."""
    seeds = list(dict.fromkeys(s for _, line in lines for s in line.seeds))
    tail = f" {unit}" if unit else ""
    return Data(
        [*heads, f"mean{tail}", f"low{tail}", f"high{tail}", *(f"seed {s}{tail}" for s in seeds)],
        [
            [*head, line.mean, *(line.interval or (None, None)), *(line.seeds.get(s) for s in seeds)]
            for head, line in lines
        ],
    )


# ── paired differences ───────────────────────────────────────────────────────────────────────────


def differences(report: dict[str, Any]) -> Figure | None:
    """Paired differences at the primary probe and label budget: the primary family, then the others."""
    probe, label_budget = report["primary"]["probe"], report["primary"]["label_budget"]
    metric = metric_text(report["primary"]["metric"])
    found = [
        d
        for d in report["differences"]
        if d["mean"] is not None and (d["probe"], d["label_budget"]) == (probe, label_budget)
    ][:MOST_PAIRS]
    if not found:
        return None
    look, titles = styles(report["arms"]), {a["name"]: shortened(a["title"], 20) for a in report["arms"]}
    lines = [
        _line(f"{titles[d['a']]} − {titles[d['b']]}", look[d["a"]].colour, d["family"] == "primary", d, sign=True)
        for d in found
    ]

    def paint(fig: Any, narrow: bool) -> list[Mark]:
        ax = fig.add_subplot()
        names = [line.name.replace(" − ", " −\n") if narrow else line.name for line in lines]
        marks = _dots(ax, lines, names, lambda v: points(v / 100, sign=True))
        _write_means(ax, lines, lambda v: points(v / 100, sign=True))
        low, high = ax.get_xlim()
        ax.set_xlim(min(low, 0), max(high + 0.1 * (high - low), 0))
        ax.axvline(0, color=INK, linewidth=0.9, zorder=1)
        ax.set_xlabel(f"difference in test {metric}, points")
        return marks

    said = "; ".join(f"{line.name} {points(line.mean / 100, sign=True)}" for line in lines)
    return draw(
        "differences",
        paint,
        (0.75 + 0.32 * len(lines), 0.75 + 0.42 * len(lines)),
        f"Paired differences of test {metric} in points with {label_budget_text(label_budget)}, {judge(probe)}: {said}.",
        "Right of the line the first arm scores higher. Dots: seeds. Bar: 95% interval of the paired difference,"
        " by itself."
        " Dark names: the primary family; grey: exploratory, not adjusted.",
        _data(
            ["a", "b", "family"],
            [([titles[d["a"]], titles[d["b"]], d["family"]], line) for d, line in zip(found, lines, strict=True)],
            "points",
        ),
    )


# ── generation ───────────────────────────────────────────────────────────────────────────────────


def generation(report: dict[str, Any]) -> Figure | None:
    """A panel per metric, a line of dots per arm, real images as a broken line."""
    metrics = {r["metric"]: r for r in report["generation"] if r["mean"] is not None}
    panels = list(metrics)[:MOST_PANELS]
    if not panels:
        return None
    look, titles = styles(report["arms"]), {a["name"]: shortened(a["title"], 18) for a in report["arms"]}
    rows = {m: [r for r in report["generation"] if r["metric"] == m and r["mean"] is not None] for m in panels}
    arms = [a for a in titles if any(r["arm"] == a for found in rows.values() for r in found)]
    lines = {m: [_generation_line(r, look, titles) for r in found] for m, found in rows.items()}

    def paint(fig: Any, narrow: bool) -> list[Mark]:
        columns = across(narrow)
        axes = fig.subplots(math.ceil(len(panels) / columns), columns, squeeze=False).ravel()
        marks: list[Mark] = []
        for i, ax in enumerate(axes):
            if i >= len(panels):
                ax.set_visible(False)
                continue
            m = panels[i]
            names = [line.name for line in lines[m]]
            marks += _dots(ax, lines[m], names, partial(_own_unit, m))
            ax.locator_params(axis="x", nbins=4)
            ax.margins(x=0.08)
            label = metrics[m]["label"] + (", %" if is_share(m) else "")
            ax.set_title(f"{label} ({GOOD[metrics[m]['better']]})", color=INK)
        return marks

    def across(narrow: bool) -> int:
        return min(len(panels), 1 if narrow else 2)

    def height(narrow: bool) -> float:
        return 0.1 + (0.6 + 0.24 * len(arms)) * math.ceil(len(panels) / across(narrow))

    said = "; ".join(
        f"{metrics[m]['label']}: "
        + ", ".join(f"{line.name} {shown(m, r['mean'])}" for r, line in zip(rows[m], lines[m], strict=True))
        for m in panels
    )
    return draw(
        "generation",
        paint,
        (height(False), height(True)),
        f"How well the generators' images match real ones, one panel per metric. {said}.",
        "Dots: seeds. Line: mean. Bar: 95% interval. Broken line: what real training images get in place of generated"
        " ones.",
        _generation_data(report, titles),
    )


def _own_unit(metric: str, value: float) -> str:
    return shown(metric, value / 100 if is_share(metric) else value)


def _generation_line(row: dict[str, Any], look: dict[str, Any], titles: dict[str, str]) -> Line:
    m, floor = row["metric"], row["baseline"]
    scaled = None if floor is None else (100 if is_share(m) else 1) * floor
    line = _line(titles[row["arm"]], look[row["arm"]].colour, True, row, m, floor=scaled)
    real = f"; real images {shown(m, floor)}" if floor is not None else ""
    return line._replace(told=f"{row['label']}, {line.told}, n = {row['n']:,}{real}")


def _generation_data(report: dict[str, Any], titles: dict[str, str]) -> Data:
    """Every row of the report's generation, in the metrics' own units."""
    rows = []
    for r in report["generation"]:
        i = r["interval"] or {"low": None, "high": None}
        told = [r["evaluator"], r["split"], r["n"], r["n_seeds"]]
        rows.append([titles[r["arm"]], r["metric"], r["mean"], i["low"], i["high"], r["baseline"], *told])
    return Data(["arm", "metric", "mean", "low", "high", "real images", "evaluator", "split", "n", "seeds"], rows)
