"""Runs that make images from images, side by side: arms over seeds, controls and differences on the same pairs.

`gssl compare` has no such arms: what it compares is encoders, by labels that pairs do not have. No torch here.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from gssl.cli.evaluation_table import TRANSLATION
from gssl.cli.output import table, tell
from gssl.engine.documents import read_result
from gssl.report.run_table import short, shown
from gssl.statistics.paired import t_interval, varies
from gssl.words import count

RESAMPLES, SEED = 1000, 0x5EED
Arm = tuple[str, list[dict[str, Any]]]  # name, and `translation` of its runs


def found(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """`translation` for the document of `runs compare`; None where a finished run makes no images from images, or they
    are of several kinds or of unlike numbers of pairs, whose figures are not to be compared."""
    arms: list[Arm] = []
    for row in document["settings"]:
        results = [read_result(Path(run["run"])) or {} for run in row["runs"] if run["state"] == "finished"]
        own = [result["translation"] | {"seed": result.get("seed")} for result in results if "translation" in result]
        if len(own) < len(results):
            return None
        if own:
            name = ", ".join(f"{short(key)}={shown(row['values'][key])}" for key in document["keys"]) or "all"
            arms.append((name, own))
    every = [one for _, own in arms for one in own]
    kinds = {(str(one.get("made_from")), one["n"]) for one in every}
    if len(kinds) != 1:
        return None
    controls = [name for name in every[0]["rows"] if name != "generated"]
    rows = [{"image": name, "seeds": len(own), **_over(own, "generated")} for name, own in arms]
    once = list({one["seed"]: one for one in every}.values())  # arms of one seed share their controls
    rows += [{"image": name.replace("_", " "), "seeds": len(once), **_over(once, name)} for name in controls]
    pairs = [_difference(a, b) for a, b in combinations(arms, 2)]
    return {"split": every[0]["split"], "n": every[0]["n"], "rows": rows, "differences": [p for p in pairs if p]}


def _over(own: Sequence[Mapping[str, Any]], row: str) -> dict[str, Any]:
    """Each figure as mean over runs, with its t interval over them; of one run, or where they are all alike, with that
    over pairs."""
    figures: dict[str, Any] = {}
    for key in TRANSLATION:
        cells = [one["rows"][row][key] for one in own if key in one["rows"][row]]
        if not cells:
            continue
        values = [cell["value"] for cell in cells]
        over = t_interval(values) if varies(values) else None
        ends = (cells[0]["low"], cells[0]["high"]) if over is None else (over.low, over.high)
        figures[key] = {"value": float(np.mean(values)), "low": ends[0], "high": ends[1]}
    return {"figures": figures}


def _difference(a: Arm, b: Arm) -> dict[str, Any] | None:
    """b less a, seed by seed on the same pairs, and the mean over seeds; its interval is over pairs."""
    sides = [{one["seed"]: one["pairs"] for one in own} for _, own in (a, b)]
    seeds = sorted(sides[0].keys() & sides[1].keys(), key=str)
    if not seeds:
        return None
    figures = {}
    for key in sides[0][seeds[0]]:
        each = np.mean([np.subtract(sides[1][seed][key], sides[0][seed][key]) for seed in seeds], axis=0)
        random = np.random.Generator(np.random.Philox(key=SEED))
        times = random.multinomial(len(each), np.full(len(each), 1 / len(each)), size=RESAMPLES)
        low, high = np.percentile(times @ each / len(each), [2.5, 97.5])
        figures[key] = {"value": float(each.mean()), "low": float(low), "high": float(high)}
    return {"a": a[0], "b": b[0], "seeds": seeds, "figures": figures}


def show(text: Mapping[str, Any]) -> None:
    keys = [key for key in TRANSLATION if any(key in row["figures"] for row in text["rows"])]
    rows = [
        [row["image"], str(row["seeds"]), *(_cell(row["figures"].get(key)) for key in keys)] for row in text["rows"]
    ]
    table(["image", "runs", *(TRANSLATION[key] for key in keys)], rows)
    tell(f"{text['n']} {text['split']} pairs; intervals: 95%, t over runs, of one or of equal ones over pairs")
    for one in text["differences"]:
        cells = [f"{TRANSLATION[key]} {_cell(cell, '+.3g')}" for key, cell in one["figures"].items() if key in keys]
        tell(f"{one['b']} less {one['a']}, same pairs, {count(len(one['seeds']), 'seed')}: {', '.join(cells)}")
    tell("none of these is enough alone: a mean has a high PSNR, any photo a low KID")


def _cell(cell: Mapping[str, float] | None, form: str = ".3g") -> str:
    if cell is None:
        return "–"
    return f"{cell['value']:{form}} ({cell['low']:{form}} to {cell['high']:{form}})"
