"""The page of several runs side by side: one HTML file from a `gssl.settings/1` document, with its figure."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gssl.figures import parallel, style
from gssl.figures.figure import Figure
from gssl.figures.parallel import Axis
from gssl.names import shown_text
from gssl.report.run_table import best_lines, notes, short, shown

MOST_AXES = 8  # settings in the figure
ARROWS = {"max": "↑", "min": "↓"}


def render(document: Mapping[str, Any]) -> str:
    """The page; it needs no network and no other file."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent
    env = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=shown_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"short": short, "shown": shown}
    drawn = figure(document)
    return env.get_template("run_page.html.j2").render(
        d=document,
        best=best_lines(document),
        notes=notes(document),
        figure=drawn,
        colours=style.css(),
        arrows=ARROWS,
        several=len(document["objectives"]) > 1,
    )


def figure(document: Mapping[str, Any]) -> Figure | None:
    """Parallel coordinates of the settings with the objective that most have; None where there is nothing to choose."""
    counts = Counter(row["objective"] for row in document["settings"] if row["mean"] is not None)
    if not counts:
        return None
    name = counts.most_common(1)[0][0]
    rows = [row for row in document["settings"] if row["objective"] == name and row["mean"] is not None]
    values = {key: [_plotted(row["values"][key]) for row in rows] for key in document["keys"]}
    keys = [key for key in values if len(set(values[key])) > 1]
    if len(rows) < 2 or not keys:
        return None
    axes = [Axis(short(key), values[key]) for key in keys[:MOST_AXES]]
    axes.append(Axis(f"{name} {ARROWS[rows[0]['direction']]}", [row["mean"] for row in rows]))
    best = next((i for i, row in enumerate(rows) if row["best"]), 0)
    caption = f"Each line is a setting of {len(rows)}, the best in colour; the last axis is its mean {name}."
    if len(keys) > MOST_AXES:
        caption += f" The first {MOST_AXES} of {len(keys)} keys have an axis."
    said = [
        ", ".join([*(f"{short(key)}={shown(row['values'][key])}" for key in keys), f"{row['mean']:.4g} (n {row['n']})"])
        for row in rows
    ]
    return parallel.figure("settings", axes, best, caption, said)


def _plotted(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number or value is None else shown(value)
