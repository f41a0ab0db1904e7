"""Figures of scores: from the report's document to dots and lines, and what each of them says when pointed at."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from gssl.figures import dots, lines, style
from gssl.figures.figure import Data, Figure
from gssl.report import views
from gssl.report.wording import in_percent, metric_title, reach, shown
from gssl.words import by_probe, count, label_budget_text, shortened

MOST_PAIRS = 14  # rows in the figure of differences; the tables hold them all
MOST_PANELS = 9  # of generation
TITLE = 22  # letters of an arm's name
GOOD = {"low": "low is good", "high": "high is good", "one": "near 1 is good"}


def arm_looks(arms: Sequence[Any]) -> dict[str, style.Look]:
    """How each arm looks in every figure and table."""
    return style.looks([(a.name, a.role) for a in arms])


# ── parts of all figures ──────────────────────────────────────────────────────────────────────────


def arm_titles(report: Any, most: int = TITLE) -> dict[str, str]:
    return {a.name: shortened(a.title, most) for a in report.arms}


def arm_roles(report: Any) -> dict[str, str]:
    return {a.name: a.role for a in report.arms}


def scale_of(metric: str) -> float:
    """What a value is multiplied with on an axis: fractions are shown in percent."""
    return 100.0 if in_percent(metric) else 1.0


def on_axis(metric: str, value: float, sign: bool = False) -> str:
    """A value of an axis as text."""
    return shown(metric, value / scale_of(metric), sign)


def unit_of(metric: str) -> str:
    return ", %" if in_percent(metric) else ""


def spoken_unit(metric: str) -> str:
    return " in percent" if in_percent(metric) else ""


def percent_of(metric: str) -> str:
    return "%" if in_percent(metric) else ""


def _bounds(metric: str) -> tuple[float, float]:
    return (-2.0, 112.0) if in_percent(metric) else (-math.inf, math.inf)


def _ends(row: Any, scale: float) -> tuple[float, float] | None:
    return (scale * row.interval.low, scale * row.interval.high) if row.interval else None


def row_of(name: str, look: style.Look, row: Any, metric: str, sign: bool = False, **more: Any) -> dots.Row:
    """A row of a table (scores, differences, generation) as a row of dots."""
    scale, said = scale_of(metric), name.replace("\n", " ")
    between = f", 95% interval {reach(metric, row.interval, sign)}" if row.interval else ""
    return dots.Row(
        name,
        look,
        scale * row.mean,
        f"{said}: mean {shown(metric, row.mean, sign)}{between}, {count(row.n_seeds, 'seed')}",
        _ends(row, scale),
        {str(seed): scale * value for seed, value in row.per_seed.items()},
        **more,
    )


def _by_arm(report: Any, probe: str) -> dict[str, list[tuple[float, Any]]]:
    """Each arm's rows of `probe` with their numbers of labelled images, few first."""
    size = {budget.key: budget.n_train for budget in report.label_budgets}
    found: dict[str, list[tuple[float, Any]]] = {}
    for arm in report.arms:
        rows = [r for r in report.table if (r.arm, r.probe) == (arm.name, probe) and size.get(r.label_budget)]
        if rows:
            found[arm.name] = sorted(((size[r.label_budget], r) for r in rows), key=lambda pair: pair[0])
    return found


# ── the primary comparison ───────────────────────────────────────────────────────────────────────


def primary(report: Any) -> Figure | None:
    """One row per arm at the primary label budget: a dot per seed, the mean, the interval."""
    probe, budget, metric = report.primary.probe, report.primary.label_budget, report.primary.metric
    rows = {
        a: next((r for _, r in found if r.label_budget == budget), None) for a, found in _by_arm(report, probe).items()
    }
    arms = [(a, row) for a in report.arms if (row := rows.get(a.name))]
    compared = {name for pair in report.primary.pairs for name in pair}
    role = ("contestant", "control", "reference").index
    arms.sort(key=lambda found: (role(found[0].role), found[0].name not in compared))  # what is compared first
    if not arms:
        return None
    look, name = arm_looks(report.arms), metric_title(metric)
    shown_rows = [
        row_of(shortened(a.title, TITLE), look[a.name], row, metric, strong=a.role == "contestant", group=a.role)
        for a, row in arms
    ]
    panel = dots.Panel(
        shown_rows,
        lambda value: on_axis(metric, value),
        axis=f"test {name} with {label_budget_text(budget)}{unit_of(metric)}",
        bounds=_bounds(metric),
    )
    dot = "Dots: seeds. " if max(row.n_seeds for _, row in arms) > 1 else ""
    said = ", ".join(f"{a.title} {shown(metric, row.mean)}" for a, row in arms)
    return dots.figure(
        "primary",
        [panel],
        f"Test {name}{spoken_unit(metric)} with {label_budget_text(budget)}, by {by_probe(probe)}: {said}.",
        f"{dot}Line: mean. Bar: {views.intervals(report, [row for _, row in arms])}. Evaluated by {by_probe(probe)}."
        " Grey: controls, which learnt nothing from these images, and reference lines, which use the labels of all"
        " training images.",
        dots.values(
            ["arm"], [([a.title], row) for (a, _), row in zip(arms, shown_rows, strict=True)], percent_of(metric)
        ),
    )


def differences(report: Any) -> Figure | None:
    """Paired differences at the primary probe and label budget: the primary family, then the others."""
    probe, budget, metric = report.primary.probe, report.primary.label_budget, report.primary.metric
    here = [d for d in report.differences if d.mean is not None and (d.probe, d.label_budget) == (probe, budget)]
    here = here[:MOST_PAIRS]
    if not here:
        return None
    look, titles, name = arm_looks(report.arms), arm_titles(report, 20), metric_title(metric)
    rows = [
        row_of(
            f"{titles[d.a]} −\n{titles[d.b]}", look[d.a], d, metric, True, strong=d.family == "primary", group=d.family
        )
        for d in here
    ]
    unit = "points" if in_percent(metric) else ""
    said = "; ".join(f"{row.name} {on_axis(metric, row.mean, True)}" for row in rows).replace("\n", " ")
    return dots.figure(
        "differences",
        [
            dots.Panel(
                rows,
                lambda value: on_axis(metric, value, True),
                axis=f"difference in test {name}{', points' if unit else ''}",
                zero=True,
            )
        ],
        f"Paired differences of test {name}{' in points' if unit else ''} with {label_budget_text(budget)}, by"
        f" {by_probe(probe)}: {said}.",
        "Right of the line the first arm scores higher. Dots: seeds. Bar: 95% interval of the paired difference by"
        " itself. Dark names: the primary family. Grey names: exploratory, not adjusted.",
        dots.values(
            ["a", "b", "family"],
            [([titles[d.a], titles[d.b], d.family], row) for d, row in zip(here, rows, strict=True)],
            unit,
        ),
    )


def generation(report: Any) -> Figure | None:
    """A panel per metric, a row per arm, real images as a broken line."""
    found = [r for r in report.generation if r.mean is not None]
    panels = list(dict.fromkeys(r.metric for r in found))[:MOST_PANELS]
    if not panels:
        return None
    look, titles = arm_looks(report.arms), arm_titles(report, 18)
    drawn, said = [], []
    for metric in panels:
        mine = [r for r in found if r.metric == metric]
        rows = [_generation_row(r, look, titles) for r in mine]
        title = f"{mine[0].label}{unit_of(metric)} ({GOOD[mine[0].better]})"
        drawn.append(dots.Panel(rows, partial(on_axis, metric), title, means=False))
        said.append(f"{mine[0].label}: " + ", ".join(f"{titles[r.arm]} {shown(metric, r.mean)}" for r in mine))
    return dots.figure(
        "generation",
        drawn,
        f"How well the generators' images match real ones, one panel per metric. {'; '.join(said)}.",
        "Dots: seeds. Line: mean. Bar: 95% interval. Broken line: what real training images get in place of generated"
        " ones.",
        _generation_data(report, titles),
    )


def _generation_row(row: Any, look: dict[str, style.Look], titles: dict[str, str]) -> dots.Row:
    metric, real = row.metric, row.baseline
    name = titles[row.arm]
    found = row_of(name, look[row.arm], row, metric, baseline=None if real is None else scale_of(metric) * real)
    more = f"; real images {shown(metric, real)}" if real is not None else ""
    size = f", n = {row.n:,}" if row.n is not None else ""
    return dots.Row(**(vars(found) | {"said": f"{row.label}, {found.said}{size}{more}"}))


def _generation_data(report: Any, titles: dict[str, str]) -> Data:
    """Every row of the report's generation, in the metrics' own units."""
    heads = ["arm", "metric", "mean", "low", "high", "real images", "evaluator", "split", "n", "seeds"]
    rows = []
    for r in report.generation:
        low, high = _ends(r, 1.0) or (None, None)
        rows.append([titles[r.arm], r.metric, r.mean, low, high, r.baseline, r.evaluator, r.split, r.n, r.n_seeds])
    return Data(heads, rows)


# ── scores against labels ────────────────────────────────────────────────────────────────────────


def labels(report: Any) -> list[Figure]:
    """One figure per probe, the primary one first."""
    first = report.primary.probe
    drawn = [_label_curve(report, first, "labels")]
    drawn += [_label_curve(report, probe, f"labels-{probe}") for probe in report.probes if probe != first]
    return [f for f in drawn if f]


def _label_curve(report: Any, probe: str, name: str) -> Figure | None:
    rows = _by_arm(report, probe)
    budgets = {x: r.label_budget for found in rows.values() for x, r in found}
    if len(rows) < 2 or len(budgets) < 2:
        return None
    look, titles, role, metric = arm_looks(report.arms), arm_titles(report), arm_roles(report), report.primary.metric
    scale, title = scale_of(metric), metric_title(report.primary.metric)
    drawn = []
    for arm, found in rows.items():
        ends = [_ends(r, scale) or (scale * r.mean, scale * r.mean) for _, r in found]
        drawn.append(
            lines.Line(
                titles[arm],
                look[arm],
                [x for x, _ in found],
                [scale * r.mean for _, r in found],
                [low for low, _ in ends],
                [high for _, high in ends],
                strong=role[arm] == "contestant",
                markers=role[arm] == "contestant",
                said={i: _score_said(titles[arm], r, metric) for i, (_, r) in enumerate(found)},
            )
        )
    panel = lines.Panel(
        drawn,
        x_axis=f"{_label_unit(list(budgets.values()))} (log scale)",
        y_axis=f"test {title}{unit_of(metric)}",
        log=True,
        ticks={x: _tick(key, x) for x, key in budgets.items()},
        bounds=(0, 101) if in_percent(metric) else (-math.inf, math.inf),
    )
    every = [r for found in rows.values() for _, r in found]
    said = "; ".join(_highest(every, key, titles, role, metric) for key in budgets.values())
    return lines.figure(
        name,
        [panel],
        f"Evaluated by {by_probe(probe)}. Bands: {views.intervals(report, every)}.",
        alt=f"Test {title}{spoken_unit(metric)} against the number of labels, by {by_probe(probe)}, one line per arm."
        f" {said}.",
        data=Data(
            [
                "arm",
                "probe",
                "labels",
                "labelled images",
                *(f"{end} {percent_of(metric)}".strip() for end in ("mean", "low", "high")),
                "seeds",
            ],
            [
                [titles[arm], r.probe, r.label_budget, x, scale * r.mean, *(_ends(r, scale) or (None, None)), r.n_seeds]
                for arm, found in rows.items()
                for x, r in found
            ],
        ),
        height=3.0,
    )


def _score_said(title: str, row: Any, metric: str) -> str:
    between = f", 95% interval {reach(metric, row.interval)}" if row.interval else ""
    value = f"{shown(metric, row.mean)}{percent_of(metric)}"
    return f"{title}, {label_budget_text(row.label_budget)}: {value}{between}, {count(row.n_seeds, 'seed')}"


def _highest(rows: Sequence[Any], budget: str, titles: dict[str, str], role: dict[str, str], metric: str) -> str:
    """ "10 labels per class: highest SimCLR 83.1", reference lines aside."""
    here = [(r.mean, r.arm) for r in rows if r.label_budget == budget and role[r.arm] != "reference"]
    if not here:
        return f"{label_budget_text(budget)}: only reference lines"
    mean, arm = max(here)
    return f"{label_budget_text(budget)}: highest {titles[arm]} {shown(metric, mean)}"


def _label_unit(keys: Sequence[str]) -> str:
    return "labels per class" if any(key.isdigit() for key in keys) else "labelled images"


def _tick(key: str, n_train: float) -> str:
    if key == "all":
        return f"all ({n_train:,.0f})"
    return key[:-1] if key.endswith("i") else key
