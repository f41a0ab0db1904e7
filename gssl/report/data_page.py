"""page.html of `gssl data`: one file that needs no network, from the document alone and its pictures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gssl.data.targets import TARGETS
from gssl.data.values import words
from gssl.figures import data_map, histograms, style
from gssl.figures.figure import Figure
from gssl.names import shown_text
from gssl.words import count, listed, upper

SUSPECTS, SHOWN = 24, 24
LARGE = (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "bytes")


def render(text: Mapping[str, Any], pictures: Mapping[int, str]) -> str:
    """The page as one HTML document. `pictures`: index of an image → data URI."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=shown_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "bytes": in_bytes,
        "count": count,
        "listed": listed,
        "short": short_name,
        "percent": lambda value: f"{100 * value:.3g}",
        "number": lambda value: f"{value:,.4g}" if isinstance(value, float) else f"{value:,}",
    }
    env.filters |= filters
    return env.get_template("data.html.j2").render(
        d=text,
        pictures=pictures,
        figures=figures(text),
        colours=style.css(),
        headline=headline(text),
        facts=facts(text),
        table=_table(text),
        suspects=(text["suspects"] or {"images": []})["images"][:SUSPECTS],
    )


def headline(text: Mapping[str, Any]) -> str:
    """How many images there are, and how many problems."""
    grave = sum(problem["grave"] for problem in text["problems"])
    what = count(text["images"], TARGETS[text.get("column") or "label"].row)
    if text["classes"]:
        what += f" of {len(text['classes']):,} classes"
    if not text["labelled"]:
        what += " without labels"
    return f"{what}: " + (f"{count(grave, 'problem')} to mend before training" if grave else "nothing grave found")


def facts(text: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Short facts: (what, text)."""
    files, sides, values = text["files"], text["shapes"], text["values"]
    found = [("parts", ", ".join(f"{name} {n:,}" for name, n in text["parts"].items()))]
    if text["classes"]:
        found.append(("labelled", f"{text['labelled']:,} of {text['images']:,}"))
    low, middle, high = (sides["shorter"][key] for key in ("min", "median", "max"))
    found.append(("shorter side", f"{low:g} px" if low == high else f"{low:g} to {high:g} px, median {middle:g}"))
    low, high = sides["aspect"]["min"], sides["aspect"]["max"]
    found.append(("width ÷ height", f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"))
    if files:
        found.append(("formats", ", ".join(f"{name} {n:,}" for name, n in files["formats"].items())))
        found.append(("modes", ", ".join(f"{name} {n:,}" for name, n in files["modes"].items())))
        found.append(("bytes", f"{in_bytes(files['bytes']['total'])}, median {in_bytes(files['bytes']['median'])}"))
    means = ", ".join(f"{v:.3f}" for v in values["mean"])
    found.append(("mean of channels", f"{means}; s.d. {', '.join(f'{v:.3f}' for v in values['std'])}"))
    known = text.get("range")
    mapped = f", of {words(known)} in files of more than 8 bits a value" if known else ""
    found.append(("values", f"{values['range'][0]} to {values['range'][1]}{mapped}"))
    if values["grey"]:
        found.append(("without colour", f"{values['grey']:,}"))
    if text["features"]:
        found.append(("features", f"{text['features']['about']}, of {text['features']['n']:,} images"))
    return found


def figures(text: Mapping[str, Any]) -> dict[str, Figure]:
    """`shapes`: histograms of sizes and values; `map`: where there are features."""
    own = text["numbers"]
    panels = [
        histograms.Panel("shorter side", "pixels", own["shorter"]),
        histograms.Panel("width ÷ height", "", own["aspect"]),
        histograms.Panel("size of files", "kB", own["kilobytes"]),
        histograms.Panel("brightness", "grey level", own["brightness"]),
        histograms.Panel("contrast", "s.d. of grey levels", own["contrast"]),
    ]
    says = "Number of images by size, shape and grey levels."
    found = {"shapes": histograms.figure("shapes", panels, says, says)}
    if text["map"]:
        alt = f"{len(text['map']):,} images as points; near points have similar features."
        caption = (
            f"{alt} Distances between groups say little (t-SNE). Circles: label suspects; squares: outliers. A point"
            " under the pointer names its file."
        )
        found["map"] = data_map.figure(text["map"], text["classes"], caption, alt)
    return found


def _table(text: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is counted (of masks percent of the pixels) of each class and part."""
    counts = next((text[key] for key in text if key.startswith("class_")), None)
    if not counts or not text["classes"]:
        return None
    masks = "class_pixels" in text
    rows = []
    for i, name in enumerate(text["classes"]):
        own = [values[i] for values in counts.values()]
        cells = [100 * n / max(1, sum(v)) for n, v in zip(own, counts.values(), strict=True)] if masks else own
        rows.append({"name": name, "cells": cells, "total": None if masks else sum(own)})
    goal = TARGETS[text.get("column") or "label"]
    what = "percent of the pixels that are not ignored" if masks else goal.marks[1] if goal.marks else f"{goal.row}s"
    return {"parts": list(counts), "rows": rows, "masks": masks, "what": upper(what)}


def in_bytes(value: float) -> str:
    """ "1.3 MB"."""
    for unit, name in LARGE:
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return "0 bytes"


def short_name(file: str, root: str | None = None) -> str:
    """A file's path below the root, or its end."""
    if root and file.startswith(root.rstrip("/") + "/"):
        return file[len(root.rstrip("/")) + 1 :]
    return file if len(file) < 60 else "…" + file[-58:]
