"""report.html: one file that needs no network, from the report's document alone.

The page is made of page.html.j2 (its first screens), records.html.j2 (from compute to limitations), page.css and
page.js, all inlined.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gssl.figures import style
from gssl.names import shown_text
from gssl.report import markdown, scores, tex, views, wording
from gssl.report.figures import figures
from gssl.report.model import Report
from gssl.report.score_figures import arm_looks
from gssl.report.verdict import against
from gssl.words import MEANINGS, by_probe, count, fixed_by, label_budget_text, points

SUFFIX = {"contestant": "", "control": "control", "reference": "reference, not ranked"}
AS_THEY_ARE = re.compile(r"(<(?:pre|code|script|style)\b.*?</(?:pre|code|script|style)>)", re.DOTALL)
GLOSSARY = "<!-- glossary -->"  # where the words of the finished page go


def render(report: Report) -> str:
    """The page as one HTML document: styles, script, figures and images inline, everything else escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=shown_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "points": points,
        "signed": lambda v: points(v, sign=True),
        "label_budget": label_budget_text,
        "by_probe": by_probe,
        "fixed_by": fixed_by,
        "p": wording.p_cell,
        "chosen": _chosen,
        "short": lambda text: str(text)[:12],
        "duration": wording.duration,
        "big": wording.big,
        "shown": lambda value, metric, sign=False: wording.shown(metric, value, sign),
        "number": lambda value, metric: wording.number(metric, value),
        "one_decimal": wording.one_decimal,
        "unit": wording.unit,
        "reach": lambda interval, metric, sign=False: wording.reach(metric, interval, sign),
    }
    env.filters |= filters
    filled = env.get_template("page.html.j2").render(r=report, **view(report))
    whole, words = wording.mark(filled, report.metric_names)
    entries = [f'<dt id="{wording.slug(word)}">{word}</dt><dd>{wording.TERMS[word]}</dd>' for word in words]
    return _said(report, whole.replace(GLOSSARY, f"<dl>{''.join(entries)}</dl>", 1))


def _said(report: Report, page: str) -> str:
    """The page in the words of what is predicted; commands, paths and scripts stay as they are."""
    pieces = AS_THEY_ARE.split(page)
    return "".join(piece if i % 2 else report.said(piece) for i, piece in enumerate(pieces))


def write(report: Report, out_dir: Path | str) -> Path:
    """Write report.html, report.md, report.json and report.tex, each whole or not at all; returns the page's path."""
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "report.json", report.text())
    _write(out / "report.md", markdown.render(report))
    _write(out / "report.tex", tex.render(report))
    _write(out / "report.html", render(report))
    return out / "report.html"


def _write(path: Path, text: str) -> None:
    temp = path.with_name(f".{path.name}.tmp")
    with temp.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)


# ── what the template shows ──────────────────────────────────────────────────────────────────────


def view(report: Report) -> dict[str, Any]:
    """The document regrouped for the template: texts and structures, no conclusions."""
    look = arm_looks(report.arms)
    arms = {a.name: vars(a) | {"look": look[a.name], "suffix": SUFFIX[a.role]} for a in report.arms}
    found = views.pictures(report)
    scored = [views.difference(d, report) for d in report.differences if d.probe is not None]
    metric = wording.metric_title(report.primary.metric)
    return {
        "answer": views.short(report),
        "headline": views.headline(report),
        "confidence": views.confidence(report),
        "advice": views.lead(report),
        "advice_groups": views.groups(report),
        "chart_key": views.chart_key(report),
        "facts": views.facts(report),
        "metric": metric,
        "margin": f"{100 * report.primary.margin:.3g}",
        "a_point": MEANINGS.get(report.primary.metric, ("", "a hundredth of the largest possible score"))[1],
        "metrics": list(dict.fromkeys(name for row in report.table for name in row.metrics)),
        "metric_title": wording.metric_title,
        "adapting": scores.adapting(report),
        "components": scores.components(report),
        "needed": views.needed(report),
        "registered": views.registered(report),
        "arms": arms,
        "matrix": _matrix(report, arms),
        "figures": figures(report),
        "colours": style.css(),
        "interval_note": views.intervals(report),
        "interval_method": wording.interval_method(report.primary.metric),
        "seed_note": _seed_note(report),
        "pairs": [d for d in scored if d["family"] == "primary"],
        "explored": [d for d in scored if d["family"] == "exploratory"],
        "generated": [d for d in report.differences if d.probe is None],
        "generation": views.generation(report),
        "controls": _controls(report),
        "grids": [s for s in found if s["kind"] in ("samples", "neighbours")],
        "pictures": [s for s in found if s["kind"] not in ("samples", "neighbours")],
        "cost": views.cost(report),
        "compute": views.compute(report),
        "columns": views.STAGE_COLUMNS,
        "stability": views.stability(report),
        "trials": views.trials(report),
        "environments": [{"runs": e.runs, "items": views.flat(e.values)} for e in report.provenance.environments],
        "data": [{"runs": d.runs, "items": views.flat(d.summary)} for d in report.provenance.data],
        "commands": [c for c in report.provenance.runs if c.command],
        "reload": views.loads(report),
        "foreign": views.foreign(report),
    }


def _matrix(report: Report, arms: dict[str, Any]) -> list[dict[str, Any]]:
    """Arms against label budgets, by the primary probe."""
    out = []
    for name, arm in arms.items():
        cells = [report.row(name, None, k.key) for k in report.label_budgets]
        if any(cells):
            out.append({"arm": arm, "probe": report.primary.probe, "cells": cells})
    return out


def _chosen(found: list[dict[str, Any]]) -> str:
    """ "l2=0.01": what the probe's selection took, of the first draw."""
    return ", ".join(f"{k}={v}" for entry in found[:1] for k, v in entry.items()) or "–"


def _seed_note(report: Report) -> str:
    seeds = sorted({r.n_seeds for r in report.table})
    if not seeds:
        return "no seed"
    return count(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {count(seeds[-1], 'seed')}"


LABELS = "Uses the labels of all training images: a reference line. Never ranked."
ABOUT = {
    "random": "The same network, frozen at its random initialisation: what features reach without any training.",
    "pixels": "No network: the images themselves, small, as features.",
    "majority": "Uses no image: always predicts what is most frequent among the labels.",
    "supervised": "The same network trained on all labels: how far there is to go. Never ranked.",
}


def _controls(report: Report) -> list[dict[str, Any]]:
    """Each control with every contestant's distance from it at the primary label budget."""
    out = []
    for a in report.arms:
        if a.role == "contestant":
            continue
        here = [
            {"a": arm, "mean": mean, "interval": d.over(a.name).interval}
            for arm, mean, d in against(report, a.name, report.primary.probe, report.primary.label_budget)
        ]
        text = ABOUT.get(a.name, LABELS if a.role == "reference" else a.note)
        out.append({"arm": a.name, "text": text, "row": report.row(a.name), "differences": here})
    return out
