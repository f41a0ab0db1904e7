"""What `gssl curve` shows of its cells (`gssl.report.curve`): table.md, lines for the terminal, curve.png."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gssl.config.menus import linear_head, trains
from gssl.data.targets import Target, of_task
from gssl.figures.curve import Cell, figure
from gssl.report.curve import OVER_GROUPS
from gssl.report.wording import in_percent, metric_title, shown
from gssl.words import PROBES, count, label_budget_text, listed, title


def tested(found: Mapping[str, Any]) -> str:
    """What a cell, or a column of them, is tested on: "60 test images", "24 test clips in 3 groups"."""
    what = count(found["n_test"], f"test {of_task(found['task']).row}")
    return f"{what} in {count(found['groups'], 'group')}" if found.get("groups") else what


def budget(found: Mapping[str, Any]) -> str:
    """The label budget of a cell, or of a column of them."""
    text = label_budget_text(found["label_budget"])
    return of_task(found["task"]).said(text, [text], bool(found.get("groups")))


def axis(metric: str) -> str:
    """ "accuracy" → "accuracy, %"."""
    return f"{metric_title(metric)}{', %' if in_percent(metric) else ''}"


def ends(metric: str, low: float, high: float) -> str:
    """ "81.0 to 84.2"."""
    return f"{shown(metric, low)} to {shown(metric, high)}"


def ordered(found: Sequence[dict[str, Any]]) -> list[str]:
    """Label budgets of cells, few first."""
    size: dict[str, float] = {}
    for c in found:
        size[c["label_budget"]] = max(size.get(c["label_budget"], 0), c["n_train"])
    return sorted(size, key=lambda a: size[a])


def _probe(c: dict[str, Any]) -> str:
    return PROBES.get(c["probe"], c["probe"])


def _cell(c: dict[str, Any] | None) -> str:
    if c is None:
        return ""
    mark = "*" if c["draws"] > 1 and not c["interval"].startswith(("t ", "two-way ")) else ""
    mean, low, high = (shown(c["metric"], c[key]) for key in ("mean", "low", "high"))
    return f"{mean} ({low}–{high}){mark}"


def markdown(text: dict[str, Any]) -> str:
    """Tables: scores per target and probe, gains over the baseline, steps to reach it, similarity, CKA."""
    lines: list[str] = []
    for target in text["targets"]:
        mine = [c for c in text["cells"] if c["target"] == target]
        if not mine:
            continue
        k = mine[0].get("folds")
        where = f" in {k} folds; all labels: {k - 1}/{k} of them" if k else ""
        metric = mine[0]["metric"]
        head = f"{target}: test {axis(metric)} (95% interval; n = {tested(mine[0])}{where})"
        lines += [f"## {head}", ""]
        for probe in dict.fromkeys(c["probe"] for c in mine):
            here = [c for c in mine if c["probe"] == probe]
            label_budgets = ordered(here)
            draws = {a: max(c["draws"] for c in here if c["label_budget"] == a) for a in label_budgets}
            said = {c["label_budget"]: budget(c) for c in here}
            heads = [f"{said[a]} ({count(draws[a], 'draw')})" for a in label_budgets]
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
    if all(c["interval"] == OVER_GROUPS for c in text["cells"]):
        lines.append(
            "Intervals: over draws of labels and the groups that test items belong to; they do not cover other seeds of"
            " the pretraining."
        )
        return "\n".join(lines) + "\n"
    grouped = "; where test items belong to groups, over both" if any(c.get("groups") for c in text["cells"]) else ""
    lines.append(
        "Intervals: over several draws of labels t (which images are labelled), with one draw over test images"
        f" (other images, this network; *: all draws alike){grouped}; neither covers other seeds of the pretraining."
    )
    return "\n".join(lines) + "\n"


def _gain_lines(text: dict[str, Any]) -> list[str]:
    rows = [c for c in text["cells"] if c["gain"] is not None]
    if not rows:
        return []
    unit = ", points" if all(in_percent(c["metric"]) for c in rows) else ""
    lines = [
        f"## Gain over {against(text, [c['gain_over'] for c in rows])} on the same labels{unit} (paired 95% interval)",
        "",
    ]
    lines += ["| source | target | probe | labels | gain | over |", "|---|---|---|---|--:|---|"]
    for c in rows:
        metric = c["metric"]
        row = of_task(c["task"]).row
        kind = count(c["gain_draws"], "draw") if c["gain_interval"].startswith("t ") else f"test {row}s"
        kind = f"groups of {kind}" if c["gain_interval"] == OVER_GROUPS else kind
        gain = f"{shown(metric, c['gain'], sign=True)} ({ends(metric, c['gain_low'], c['gain_high'])})"
        what = (title(c["source"]), c["target"], _probe(c), budget(c), gain, kind)
        lines.append(f"| {' | '.join(what)} |")
    return [*lines, ""]


def against(text: dict[str, Any], names: Sequence[str]) -> str:
    """What gains are over, in words: baselines by their names."""
    weights = {source["name"]: source["weights"] for source in text["sources"]}
    found = ["training from scratch" if weights[name] == "scratch" else title(name) for name in names]
    return listed(list(dict.fromkeys(found)), "or")


def _target(text: dict[str, Any], found: Mapping[str, Any]) -> Target:
    return of_task(str(text["targets"][found["target"]].get("task")))


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
        labels = label_budget_text(r["label_budget"])
        lines.append(
            f"| {title(r['source'])} | {r['target']} | {_probe(r)} | {_target(text, r).said(labels)} |"
            f" {shown(r['metric'], r['level'])} | {steps} | {seconds} | {times} |"
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
        metric = best["metric"]
        interval = ends(metric, best["gain_low"], best["gain_high"])
        over = count(best["gain_draws"], "draw") + " of labels"
        if not best["gain_interval"].startswith("t "):
            over = f"{tested(best)}, {over}"
        unit = "points" if in_percent(metric) else metric_title(metric)
        lines.append(
            f"{title(source)} on {target}, {_probe(best)}, {budget(best)}:"
            f" {shown(metric, best['gain'], sign=True)} {unit} over {against(text, [best['gain_over']])}"
            f" (95% interval {interval} over {over}; one network each)"
        )
    return lines


def draw(text: dict[str, Any], path: Path) -> None:
    """curve.png: scores against labels, a panel per target and probe, a line per source, bands: 95% intervals."""
    cells = []
    for c in text["cells"]:
        if c["n_train"] > 0:
            scale = 100 if in_percent(c["metric"]) else 1
            mean, low, high = (scale * c[key] for key in ("mean", "low", "high"))
            goal, where = of_task(c["task"]), (title(c["source"]), c["target"], _probe(c))
            names = (f"test {axis(c['metric'])}", goal.row, goal.labelled)
            cells.append(Cell(*where, c["n_train"], mean, low, high, c["n_test"], *names))
    if cells:
        figure(cells).save(path)
