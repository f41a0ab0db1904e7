"""From a plan or from finished runs to the runs, their scores and the report."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison.execution import execute
from gssl.comparison.plan import Planner
from gssl.comparison.preregistration import register
from gssl.comparison.report_context import Done, facts_of_plan, facts_of_runs
from gssl.comparison.search import search
from gssl.comparison.standing import Standing
from gssl.config.comparison_rules import pair
from gssl.engine.documents import expected, find_yaml
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.report.claims import in_report
from gssl.report.collect import Run, read_runs
from gssl.report.consistency import one_name_each
from gssl.report.document import build
from gssl.report.scores import cells
from gssl.schemas.label_budgets import label_budget_of


@dataclass
class Outcome:
    """The runs of a comparison, their scores and the report."""

    runs: Sequence[Run]
    scores: Any
    report: Any
    done: Done


def of_runs(cfg: schemas.Compare) -> Outcome:
    """Of finished runs that `cfg.runs` names. Raises UsageError where they lack what `cfg` asks for."""
    assert cfg.runs is not None
    runs = read_runs(finished_runs(cfg.runs))
    for path, run in {run.path: run for run in runs if run.state == "damaged"}.items():
        say(f"warning: {path}: {run.error}; the run is left out, put back a whole copy or make it again")
    runs = one_name_each(runs, [pair(text) for text in cfg.primary.pairs or []])
    _check_primary(cfg, runs)
    with expected(Path(f"runs={cfg.runs}")):  # documents without a hash on record, of older versions
        found = cells(runs)
        report = build(runs, facts_of_runs(cfg, runs), found)
    for claim in cfg.check:
        in_report(claim, report)
    return Outcome(runs, found, report, Done())


def of_plan(
    cfg: schemas.Compare,
    planner: Planner,
    test: str,
    commands: Mapping[str, str],
    expected: Mapping[str, float] | None = None,
) -> Outcome:
    """Put the plan on record, search where that is asked for, run every part, read what came of it.

    test: hash of the test images. commands: `module:function` of whole commands. expected: seconds of parts, by name.
    """
    register(cfg, planner, test, None if cfg.search.trials else planner.plan())
    searches = search(cfg, planner, commands)
    parts = planner.plan({found["arm"]: found["chosen"] for found in searches})
    registered = register(cfg, planner, test, parts)  # what a search has found makes other parts
    show = cfg.engine.progress and cfg.engine.progress_format == "text"
    standing = Standing(parts, *planner.primary(), planner.task.metrics[0], show)
    failed = execute(parts, cfg.jobs, cfg.engine, commands, standing.told, expected, cfg.executor)
    done = Done(parts, failed, searches, registered)
    # the primary family was known before the first part ran; what failed and was searched is added
    runs = read_runs([part.path for part in parts])
    found = cells(runs)
    return Outcome(runs, found, build(runs, facts_of_plan(cfg, planner, done, runs), found), done)


def finished_runs(patterns: str | list[str]) -> list[Path]:
    """Run directories that match a glob, or each of several, with those that have lost their status. Raises UsageError
    where nothing matches one."""
    paths: list[Path] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found = sorted(glob(os.path.expanduser(pattern), recursive=True))
        runs = [Path(path) for path in found if _is_run(Path(path))]
        if not runs:
            raise UsageError(
                f"runs={pattern}: no run directory matches; give folders, or a pattern in quotes, such as"
                " runs='runs/transfer/*'"
            )
        paths += runs
    return list(dict.fromkeys(paths))


def _is_run(path: Path) -> bool:
    """Whether gssl has made a run here, with or without its status."""
    known = any((path / name).is_file() for name in ("status.json", "result.json"))
    return known or "engine" in find_yaml(path / "config.yaml")


def _check_primary(cfg: schemas.Compare, runs: Sequence[Run]) -> None:
    """Raises UsageError where `primary` names a probe or a label budget that none of the runs has."""
    scores = [score for run in runs for score in run.result.get("scores") or []]
    probes = list(dict.fromkeys(score["probe"] for score in scores))
    label_budgets = list(dict.fromkeys(label_budget_of(score) for score in scores))
    for key, value, there in (("probe", cfg.primary.probe, probes), ("labels", cfg.primary.labels, label_budgets)):
        if scores and value is not None and value not in there:
            raise UsageError(f"primary.{key}={value}: none of the runs has it; expected one of {', '.join(there)}")
