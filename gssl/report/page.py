"""report.html: one file that needs no network, from the report's document alone."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gssl.report import markdown
from gssl.report.document import probe_for
from gssl.report.plots import figures
from gssl.report.svg import Style, styles
from gssl.report.words import amount_text, count, fixed_by, p_text, points

SUFFIX = {"contestant": "", "control": "control", "reference": "reference, not ranked"}


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
    filters: dict[str, Callable[[Any], str]] = {
        "points": points,
        "signed": lambda v: points(v, sign=True),
        "amount": amount_text,
        "fixed_by": fixed_by,
        "p": _p,
        "short": lambda text: str(text)[:12],
    }
    env.filters |= filters
    return env.get_template("page.html.j2").render(r=report, **view(report))


def write(report: dict[str, Any], out_dir: Path | str) -> Path:
    """Write report.html, report.md and report.json, each whole or not at all; returns the page's path."""
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "report.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _write(out / "report.md", markdown.render(report))
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
    look = styles(report["arms"])
    arms = {a["name"]: a | {"style": _style(look[a["name"]]), "note": SUFFIX[a["role"]]} for a in report["arms"]}
    probe = report["primary"]["probe"]
    rows = {(r["arm"], r["probe"], r["amount"]): r for r in report["table"]}
    matrix = []
    for a in arms.values():
        own = probe_for(a["name"], probe)
        cells = [rows.get((a["name"], own, k["key"])) for k in report["amounts"]]
        if any(cells):
            matrix.append({"arm": a, "probe": own, "cells": cells})
    intervals = {r["interval"]["kind"] for r in report["table"] if r["interval"]}
    n_seeds = sorted({r["n_seeds"] for r in report["table"]})
    return {
        "arms": arms,
        "matrix": matrix,
        "figures": figures(report),
        "interval_note": _interval_note(intervals),
        "seed_note": _range(n_seeds, "seed") if n_seeds else "no seed",
        "pairs": [d for d in report["differences"] if d["family"] == "primary"],
        "explored": [d for d in report["differences"] if d["family"] == "exploratory"],
        "controls": _controls(report),
        "samples": _samples(report, arms),
        "compute": compute_rows(report),
        "environments": [
            {"runs": e["runs"], "items": _flat(e["values"])} for e in report["provenance"]["environments"]
        ],
        "data": [{"runs": d["runs"], "items": _flat(d["summary"])} for d in report["provenance"]["data"]],
        "commands": [c for c in report["provenance"]["runs"] if c["command"]],
        "reload": _loads(report),
    }


def _style(style: Style) -> dict[str, Any]:
    kind = "solid" if style.dashes == "solid" else "dotted" if style.dashes[1][0] <= 1 else "dashed"
    return {"series": style.series, "line": kind}


def _p(value: float | None) -> str:
    return p_text(value).removeprefix("= ") if value is not None else "–"


def _range(values: list[int], noun: str) -> str:
    if len(values) == 1:
        return count(values[0], noun)
    return f"{values[0]} to {count(values[-1], noun)}"


def _interval_note(kinds: set[str]) -> str:
    told = {
        "t": "95% t intervals over seeds, cut at 0 and 100",
        "wilson": "95% Wilson intervals over test images (one seed)",
    }
    return "; ".join(text for kind, text in told.items() if kind in kinds) or "no intervals"


LABELS = "Reads the labels of all training images: a reference line. Never ranked."


def _controls(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Each control with every contestant's distance from it at the primary amount."""
    said = {
        "random": "The same network, frozen at its random initialisation: what no training earned.",
        "pixels": "No network: the images themselves, small, as features.",
        "supervised": "The same network trained on all labels: how far there is to go. Never ranked.",
    }
    primary = report["primary"]
    out = []
    for a in report["arms"]:
        if a["role"] == "contestant":
            continue
        found = [
            d
            for d in report["differences"]
            if d["b"] == a["name"] and (d["probe"], d["amount"]) == (primary["probe"], primary["amount"])
        ]
        row = next(
            (
                r
                for r in report["table"]
                if (r["arm"], r["probe"], r["amount"]) == (a["name"], primary["probe"], primary["amount"])
            ),
            None,
        )
        text = said.get(a["name"], LABELS if a["role"] == "reference" else "")
        out.append({"arm": a["name"], "text": text, "row": row, "differences": found})
    return out


def _samples(report: dict[str, Any], arms: dict[str, Any]) -> list[dict[str, Any]]:
    out = []
    for s in report["samples"]:
        step = f", step {s['step']:,}" if s["step"] is not None else ""
        who = f"{arms[s['arm']]['title'] if s['arm'] in arms else s['arm']}, seed {s['seed']}{step}"
        if s["kind"] == "reconstructions":
            told = "a row is what the network was given, what it made of it and, where that differs, the original"
            out.append(s | {"who": f"{who}: {told}", "alt": f"Reconstructions by {who}"})
        else:
            out.append(s | {"who": who, "alt": f"Grid of images generated by {who}"})
    return out


def compute_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What each arm spent per stage: the mean over its runs, as texts with their numbers for sorting."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for c in report["compute"]:
        groups.setdefault((c["arm"], c["stage"]), []).append(c)
    order = {a["name"]: i for i, a in enumerate(report["arms"])}
    shown = []
    for (arm, stage), runs in sorted(groups.items(), key=lambda g: (order.get(g[0][0], 99), g[0][1])):
        cells = []
        for key, unit in FORMATS.items():
            known = [c[key] for c in runs if c[key] is not None]
            mean = sum(known) / len(known) if known else None
            cells.append({"value": mean, "text": unit(mean) if mean is not None else "–"})
        shown.append({"arm": arm, "stage": stage, "runs": len(runs), "cells": cells})
    return shown


def _big(value: float, unit: str = "") -> str:
    for size, name in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {name}{unit}".strip()
    return f"{value:.3g} {unit}".strip()


def _seconds(value: float) -> str:
    if value < 100:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 5400 else f"{value / 3600:.1f} h"


FORMATS = {
    "seconds": _seconds,
    "flops": lambda v: _big(v, "FLOP"),
    "images": lambda v: f"{v:,.0f}",
    "steps": lambda v: f"{v:,.0f}",
    "peak_memory_bytes": lambda v: f"{v / 2**20:,.0f} MiB",
    "images_per_second": lambda v: f"{v:,.0f}",
}


def _flat(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as (dotted name, text) pairs; what is empty is left out."""
    if isinstance(tree, dict):
        return [pair for k, v in tree.items() for pair in _flat(v, f"{prefix}.{k}" if prefix else str(k))]
    if tree is None or tree == "" or tree == []:
        return []
    if isinstance(tree, list):
        short = [str(v) for v in tree[:12]]
        return [(prefix, ", ".join(short) + (f" … ({len(tree)})" if len(tree) > 12 else ""))]
    return [(prefix, str(tree))]


def _loads(report: dict[str, Any]) -> dict[str, int]:
    """Runs that were filled from weights, and how many of them had keys missing or unexpected."""
    told = [r["load_report"] for r in report["provenance"]["runs"] if (r["load_report"] or {}).get("loaded")]
    return {"runs": len(told), "partial": sum(bool(t.get("missing") or t.get("unexpected")) for t in told)}
