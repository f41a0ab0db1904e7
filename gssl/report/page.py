"""report.html: one file that needs no network, from the report's document alone.

The page is made of page.html.j2 (its first screens), records.html.j2 (from compute to limitations), page.css and
page.js, all inlined.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gssl.figures import style
from gssl.report import glossary, markdown, screen, tables, tex, units
from gssl.report.figures import figures
from gssl.report.score_figures import arm_looks
from gssl.report.verdict import against
from gssl.words import count, fixed_by, judge, label_budget_text, metric_text, p_text, points

SUFFIX = {"contestant": "", "control": "control", "reference": "reference, not ranked"}
GLOSSARY = "<!-- glossary -->"  # where the words of the finished page go


def render(report: dict[str, Any]) -> str:
    """The page as one HTML document: styles, script, figures and images inline, everything else escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "points": points,
        "signed": lambda v: points(v, sign=True),
        "label_budget": label_budget_text,
        "judged": judge,
        "fixed_by": fixed_by,
        "p": _p,
        "chosen": _chosen,
        "short": lambda text: str(text)[:12],
        "duration": units.duration,
        "big": units.big,
        "shown": lambda value, metric, sign=False: units.shown(metric, value, sign),
        "number": lambda value, metric: units.number(metric, value),
        "plain": units.plain,
        "unit": units.unit,
        "reach": lambda interval, metric, sign=False: units.reach(metric, interval, sign),
    }
    env.filters |= filters
    whole, words = glossary.mark(env.get_template("page.html.j2").render(r=report, **view(report)))
    entries = [f'<dt id="{glossary.slug(word)}">{word}</dt><dd>{glossary.TERMS[word]}</dd>' for word in words]
    return whole.replace(GLOSSARY, f"<dl>{''.join(entries)}</dl>", 1)


def write(report: dict[str, Any], out_dir: Path | str) -> Path:
    """Write report.html, report.md, report.json and report.tex, each whole or not at all; returns the page's path."""
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "report.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _write(out / "report.md", markdown.render(report))
    _write(out / "report.tex", tex.render(report))
    _write(out / "report.html", render(report))
    return out / "report.html"


def _write(path: Path, text: str) -> None:
    temp = path.with_name(f".{path.name}.tmp")
    with temp.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temp.replace(path)


# ── what the template shows ──────────────────────────────────────────────────────────────────────


def view(report: dict[str, Any]) -> dict[str, Any]:
    """The document regrouped for the template: texts and structures, no decisions about what holds."""
    look = arm_looks(report.arms)
    arms = {a.name: a | {"look": look[a.name], "suffix": SUFFIX[a.role]} for a in report.arms}
    found = tables.pictures(report)
    scored = [tables.difference(d, report) for d in report.differences if d.probe is not None]
    metric = metric_text(report.primary.metric)
    return {
        "answer": screen.short(report),
        "headline": screen.sentence(report),
        "how_sure": screen.how_sure(report),
        "advice": screen.lead(report),
        "advice_groups": screen.groups(report),
        "chart_key": screen.key(report),
        "facts": screen.facts(report),
        "metric": metric,
        "margin": f"{100 * (report['primary'].get('margin') or 0):.3g}",
        "adapting": tables.adapting(report),
        "needed": tables.needed(report),
        "registered": tables.registered(report),
        "arms": arms,
        "matrix": _matrix(report, arms),
        "figures": figures(report),
        "colours": style.css(),
        "interval_note": tables.intervals(report),
        "seed_note": _seed_note(report),
        "pairs": [d for d in scored if d.family == "primary"],
        "explored": [d for d in scored if d.family == "exploratory"],
        "generated": [d for d in report.differences if d.probe is None],
        "generation": tables.generation(report),
        "controls": _controls(report),
        "grids": [s for s in found if s.kind in ("samples", "neighbours")],
        "pictures": [s for s in found if s.kind not in ("samples", "neighbours")],
        "cost": tables.cost(report),
        "compute": tables.compute(report),
        "columns": tables.STAGE_COLUMNS,
        "stability": tables.stability(report),
        "trials": tables.trials(report),
        "environments": _grouped(report.provenance.environments, "values"),
        "data": _grouped(report.provenance.data, "summary"),
        "commands": [c for c in report.provenance.runs if c.command],
        "reload": tables.loads(report),
        "foreign": tables.foreign(report),
    }


def _matrix(report: dict[str, Any], arms: dict[str, Any]) -> list[dict[str, Any]]:
    """Arms against label budgets, by the primary probe."""
    rows = {(r.arm, r.probe, r.label_budget): r for r in report.table}
    out = []
    for a in arms.values():
        own = report.primary.probe
        cells = [rows.get((a.name, own, k.key)) for k in report.label_budgets]
        if any(cells):
            out.append({"arm": a, "probe": own, "cells": cells})
    return out


def _p(value: float | None) -> str:
    return p_text(value).removeprefix("= ") if value is not None else "–"


def _chosen(found: list[dict[str, Any]]) -> str:
    """ "l2=0.01": what the probe's selection took, of the first draw."""
    return ", ".join(f"{k}={v}" for entry in found[:1] for k, v in entry.items()) or "–"


def _seed_note(report: dict[str, Any]) -> str:
    seeds = sorted({r.n_seeds for r in report.table})
    if not seeds:
        return "no seed"
    return count(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {count(seeds[-1], 'seed')}"


def _grouped(entries: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    return [{"runs": e.runs, "items": tables.flat(e[key])} for e in entries]


LABELS = "Reads the labels of all training images: a reference line. Never ranked."
SAID = {
    "random": "The same network, frozen at its random initialisation: what no training earned.",
    "pixels": "No network: the images themselves, small, as features.",
    "majority": "No image is looked at: always the most frequent class.",
    "supervised": "The same network trained on all labels: how far there is to go. Never ranked.",
}


def _controls(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Each control with every contestant's distance from it at the primary label budget."""
    primary = report.primary.probe, report.primary.label_budget
    rows = {(r.arm, r.probe, r.label_budget): r for r in report.table}
    out = []
    for a in report.arms:
        if a.role == "contestant":
            continue
        here = []
        for arm, mean, d in against(report, a.name, *primary):
            i = d.interval
            if i and d.a == a.name:  # written the other way round
                i = i | {"low": -i.high, "high": -i.low}
            here.append({"a": arm, "mean": mean, "interval": i})
        text = SAID.get(a.name, LABELS if a.role == "reference" else a.note)
        out.append({"arm": a.name, "text": text, "row": rows.get((a.name, *primary)), "differences": here})
    return out
