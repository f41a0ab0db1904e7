"""What a curve looks like: its tables in Markdown, its lines in a terminal, its picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gssl.config.menus import trains
from gssl.figures.curve import Cell, figure
from gssl.words import PROBES, between, count, label_budget_text, points, title


def _amounts(found: Sequence[dict[str, Any]]) -> list[str]:
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
    mark = "*" if c["draws"] > 1 and not c["interval"].startswith("t ") else ""
    return f"{points(c['mean'])} ({points(c['low'])}–{points(c['high'])}){mark}"


def markdown(text: dict[str, Any]) -> str:
    """Tables: accuracy per target and probe, gains over scratch, steps to reach it, similarity, CKA."""
    lines: list[str] = []
    for target in text["targets"]:
        mine = [c for c in text["cells"] if c["target"] == target]
        if not mine:
            continue
        n = mine[0]["n_test"]
        lines += [f"## {target}: test accuracy, % (95% interval; n = {n:,} test images)", ""]
        for probe in dict.fromkeys(c["probe"] for c in mine):
            here = [c for c in mine if c["probe"] == probe]
            label_budgets = _amounts(here)
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
                read = any(c["reads_labels"] for c in here if c["source"] == source)
                mark = " (has read all of these labels: a reference)" if read else ""
                lines.append(f"| {title(source)}{mark} | " + " | ".join(map(_cell, row)) + " |")
            lines.append("")
    lines += _gain_lines(text) + _reach_lines(text) + _likeness_lines(text)
    lines.append(
        "Intervals: over several draws of labels t (which images are labelled), with one draw Wilson's over test images"
        " (other images, this network; *: all draws alike); neither says anything of other seeds of the pretraining."
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
    lines = ["## Steps to reach an accuracy on validation images (first measured place; scratch's own end)", ""]
    lines += ["| source | target | probe | labels | accuracy | steps | seconds | scratch ÷ it |"]
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


def _likeness_lines(text: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    if text["similarity"]:
        judge = text["similarity"][0]["evaluator"]
        lines += [f"## How alike the images are, without labels: KID by the judge {judge} (0: alike)", ""]
        lines += ["| pretrained on (source) | target | KID | n |", "|---|---|--:|--:|"]
        for s in text["similarity"]:
            interval = f"{s['low']:.3f} to {s['high']:.3f}"
            lines.append(
                f"| {s['data']} ({title(s['source'])}) | {s['target']} | {s['kid']:.3f} ({interval}) | {s['n']:,} |"
            )
        lines.append("")
        lines += [told for told in [_trend(text)] if told] + [""]
    if text["cka"]:
        names = text["cka"]["names"]
        lines += [f"## How alike the backbones see n = {text['cka']['n']:,} training images (unbiased linear CKA)", ""]
        lines += ["| | " + " | ".join(map(title, names)) + " |", "|---|" + "--:|" * len(names)]
        for name, row in zip(names, text["cka"]["matrix"], strict=True):
            lines.append(f"| {title(name)} | " + " | ".join("" if v is None else f"{v:.2f}" for v in row) + " |")
        lines.append("")
    return lines


def _trend(text: dict[str, Any]) -> str:
    """Does more likeness go with more gain? Only over enough cells to ask."""
    from scipy.stats import spearmanr

    at = {(s["source"], s["target"]): s["kid"] for s in text["similarity"]}
    told = []
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
            told.append(
                f"{PROBES.get(probe, probe)}, {label_budget_text(label_budget)}: rank correlation of KID and gain"
                f" {found.statistic:+.2f} over {len(both)} cells"  # they share sources and targets: no p-value
            )
    return "; ".join(told)


def told(text: dict[str, Any]) -> list[str]:
    """The table that a terminal shows is in table.md; a line per source says the first thing one asks."""
    rows = [c for c in text["cells"] if c["gain"] is not None]
    lines = []
    for source, target in dict.fromkeys((c["source"], c["target"]) for c in rows):
        mine = [c for c in rows if (c["source"], c["target"]) == (source, target)]
        best = min(
            mine, key=lambda c: (trains(c["probe"]), c["probe"] != "linear", c["label_budget"] != "10", c["n_train"])
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
    """curve.png: accuracy against labels, a panel per target and probe, a line per source, bands: 95% intervals."""
    cells = []
    for c in text["cells"]:
        if c["n_train"] > 0:
            mean, low, high = (100 * c[key] for key in ("mean", "low", "high"))
            cells.append(Cell(title(c["source"]), c["target"], _probe(c), c["n_train"], mean, low, high, c["n_test"]))
    if cells:
        figure(cells).save(path)
