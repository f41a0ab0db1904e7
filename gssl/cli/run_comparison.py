"""`gssl runs compare`, and what a sweep ends with: which keys differ, the objective per setting, the best. No torch."""

import json
import os
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gssl.cli import translation_table
from gssl.cli.output import number, say, table, tell
from gssl.engine import outputs
from gssl.engine.files import write_text
from gssl.errors import UsageError
from gssl.report import run_table

if TYPE_CHECKING:
    from gssl.config.job import Record

SUFFIXES = ("html", "csv", "json")


def found(patterns: Sequence[str]) -> list[Path]:
    """Run directories that patterns match, or that lie in directories which they match. Raises UsageError."""
    from gssl.cli.runs import run_directories

    paths: list[Path] = []
    for pattern in patterns:
        name = os.path.expanduser(pattern)  # of a folder first, for names have brackets
        matches = [name] if os.path.isdir(name) else sorted(glob(name, recursive=True))
        runs = [run for match in matches for run in run_directories(Path(match))]
        if not runs:
            raise UsageError(
                f"{pattern}: no run directory there; give folders, or patterns in quotes, such as 'runs/pretrain_ssl/*'"
            )
        paths += runs
    return list(dict.fromkeys(paths))


def compare(patterns: Sequence[str]) -> dict[str, Any]:
    """The document of the runs that patterns match. Raises UsageError where there are fewer than two."""
    from gssl.config.paths import held

    paths = found(patterns)
    if len(paths) < 2:
        raise UsageError(f"{paths[0]}: one run alone; give two or more, or `gssl runs show {paths[0]}`")
    runs = [run_table.read(path) for path in paths]
    living = {str(run.path) for run in runs if run.state == "running" and held(run.path)}
    killed = [run.state == "running" and str(run.path) not in living for run in runs]
    runs = [run_table.replace(run, state="killed") if dead else run for run, dead in zip(runs, killed, strict=True)]
    document = run_table.compare(runs, " ".join(patterns))
    own = translation_table.found(document)
    return document if own is None else document | {"translation": own}


def check(path: Path, force: bool) -> None:
    """Raises UsageError where a file cannot be written there, or gssl did not write the one that is there."""
    if path.suffix[1:] not in SUFFIXES:
        raise UsageError(f"-o {path}: the name must end in .{', .'.join(SUFFIXES)}")
    outputs.check(path, force=force)


def save(document: Mapping[str, Any], path: Path) -> None:
    """`write` what the user named, with a description beside a file that cannot say who wrote it."""
    try:
        write(document, path)
        if path.suffix != ".json":
            outputs.describe(path, {"schema": run_table.SCHEMA})
    except OSError as error:
        raise UsageError(f"-o {path}: cannot be written ({error.strerror or error}); choose another name") from error


def write(document: Mapping[str, Any], path: Path) -> None:
    """Write the document in the format that the name ends with."""
    if path.suffix == ".html":
        from gssl.report.run_page import render

        text = render(document)
    else:
        text = run_table.text_csv(document) if path.suffix == ".csv" else json.dumps(document, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def show(document: Mapping[str, Any], below: Path | None = None) -> None:
    """The table for people. `below`: the directory in which the runs lie, which is left out of their names."""
    keys, rows = document["keys"], []
    several = len(document["objectives"]) > 1
    for row in document["settings"]:
        spread = "" if row["sd"] is None else f" ± {row['sd']:.2g}"
        objective = "–" if row["mean"] is None else f"{row['mean']:.4g}{spread}"
        states = ", ".join(f"{count} {state}" for state, count in row["states"].items())
        runs = [_name(run["run"], below) for run in row["runs"]]
        shown = " ".join(runs if len(runs) <= 6 else [*runs[:5], f"and {len(runs) - 5} more"])
        values = [run_table.shown(row["values"][key]) for key in keys]
        seeds = " ".join(number(run["seed"]) for run in row["runs"])
        named = [row["objective"] or "–"] if several else []
        rows.append([*values, seeds, states, *named, objective, "best" if row["best"] else "", shown])
    one = document["objectives"][0] if document["objectives"] else {"name": "objective", "direction": None}
    arrow = {"max": " ↑", "min": " ↓"}.get(str(one["direction"]), "")
    heads = ["objective", "mean"] if several else [f"{one['name']}{arrow}"]
    table([*map(run_table.short, keys), "seeds", "state", *heads, "", "runs"], rows)
    for text in [*run_table.best_lines(document), *run_table.notes(document)]:
        tell(text)
    if "translation" in document:
        translation_table.show(document["translation"])


def _name(run: str, below: Path | None) -> str:
    return str(Path(run).relative_to(below)) if below and Path(run).is_relative_to(below) else run


# ── sweeps ───────────────────────────────────────────────────────────────────────────────────────


def sweep_of(records: Sequence["Record"]) -> Path:
    """The directory of a sweep: where its jobs.jsonl lies."""
    first = Path(records[0].dir)
    return next((p for p in first.parents if (p / "jobs.jsonl").is_file()), first.parent)


def end_of_sweep(records: Sequence["Record"]) -> tuple[dict[str, Any], Path]:
    """The document of a sweep's jobs and its directory; sweep.html, sweep.csv and sweep.json are written there."""
    folder = sweep_of(records)
    jobs = [(Path(r.dir), r.state, r.overrides) for r in records]
    document = run_table.compare(run_table.read_jobs(jobs), f"Sweep {folder}")
    tables = [folder / f"sweep.{suffix}" for suffix in SUFFIXES]
    theirs = [] if outputs.ours(folder / "sweep.json") else [path for path in tables if path.exists()]
    if theirs:
        say(f"warning: {theirs[0]} is not gssl's, so the table of the sweep is not written; choose another name for it")
        return document, folder
    for suffix in reversed(SUFFIXES):  # .json first, which says whose the others are
        try:
            write(document, folder / f"sweep.{suffix}")
        except OSError as error:
            say(f"warning: {folder}/sweep.{suffix} could not be written: {error.strerror or error}")
    return document, folder
