"""`gssl compare`: contestants and controls, several seeds, one backbone, one budget, one report."""

import time
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.commands import COMMANDS
from gssl.comparison import estimate, outcome, recommended, refusals, time_plan
from gssl.comparison.executors import checks
from gssl.comparison.outcome import Outcome
from gssl.comparison.plan import Planner
from gssl.data import Splits, load_data, targets
from gssl.engine.device import prepare
from gssl.engine.files import write_json
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.errors import JobError
from gssl.experiment import told
from gssl.experiment.label_budgets import Labels, possible
from gssl.report.claims import check
from gssl.report.page import write

WHERE = {name: command.where for name, command in COMMANDS.items()}


def main(
    cfg: schemas.Compare, run_dir: Path, *, dry_run: bool = False, plan: bool = False
) -> float | dict[str, Any] | None:
    """Run what is missing, then write the report. With `cfg.runs` nothing is trained: the report is of finished runs.

    `plan`: return what there is to do and what it will take, and do nothing of it. Raises JobError, after the report is
    written, where a part failed or a claim in `cfg.check` does not hold.
    """
    if cfg.runs is not None:
        found = outcome.of_runs(cfg)  # what cannot be compared is said before a directory is made
        if plan or dry_run:
            print(f"{len(found.runs)} runs are read, nothing is trained")
            return {"schema": "gssl.plan/1", "runs": [str(run.path) for run in found.runs]} if plan else None
    else:
        checks.check(cfg.executor, {"parts": cfg.parts}, cfg.data)
        refusals.networks(cfg)
        prepare(checks.engine_here(cfg.executor, cfg.engine))
        splits = load_data(cfg.data, progress=cfg.engine.progress)
        told.found_and_warnings(splits.summary)
        folds = splits.summary.get("folds")
        cfg = possible(cfg, Labels.of_images(splits.labelled, folds), targets.of_columns(splits.columns))
        threads = checks.threads(cfg.executor, cfg.engine, cfg.jobs)

        def planner_of(cfg: schemas.Compare) -> Planner:
            return Planner(cfg, splits.hash, threads, folds)

        refusals.check(cfg, planner_of(cfg), splits)
        refusals.texts(cfg, splits)
        if cfg.minutes is not None:
            cfg, text = time_plan.fitted(cfg, planner_of, splits, WHERE)
            say(text)
        planner = planner_of(cfg)
        parts = planner.plan()  # what cannot be planned is said before anything runs
        if plan:
            return estimate.planned(cfg, planner, parts, splits, WHERE)
        if dry_run:
            for part in parts:
                print(f"{'done   ' if part.finished else 'missing'}  {part.name:32}  {part.shell}")
            return None
        expected: dict[str, float] = {}
        if cfg.minutes is not None:
            text, expected = estimate.announced(cfg, parts, splits, WHERE)
            say(text)
    with Run(run_dir, "compare", cfg) as run:
        for warning in run.begin():
            say(f"warning: {warning}")
        start = time.perf_counter()
        if cfg.runs is None:
            named = [{"name": part.name, "path": str(part.path)} for part in parts]
            write_json(run_dir / "parts.json", {"schema": "gssl.parts/1", "parts": named})  # for those who watch
            found = outcome.of_plan(cfg, planner, splits.summary["hashes"]["test"], WHERE, expected)
        _finish(cfg, run, found, start, None if cfg.runs is not None else splits)
    return None


def _finish(cfg: schemas.Compare, run: Run, found: Outcome, start: float, splits: Splits | None) -> None:
    """Write the report, the model and result.json. Raises JobError where a part failed or a claim does not hold."""
    page = write(found.report, run.path)
    model: dict[str, Any] = {"why": "runs= trains nothing" if splits is None else "made with model=false"}
    if cfg.model and splits is not None:
        model = recommended.make(cfg, found.report, found.done.parts, splits, run.path)
    claims = [check(claim, found.report, found.scores) for claim in cfg.check]
    broken = [line for holds, line in claims if not holds]
    for _, line in claims:
        if line not in broken[:1]:  # that one ends the command
            say(line)
    failed = found.done.failed
    run.finish(
        {
            "report": str(page),
            "verdict": found.report.verdict.headline,
            "checks": [{"claim": c, "holds": h, "text": t} for c, (h, t) in zip(cfg.check, claims, strict=True)],
            "failed": failed,
            "model": model,
            "spent": {"seconds": round(time.perf_counter() - start, 3)},
            "objective": {"name": "none", "value": None, "direction": "max"},
        }
    )
    if failed:
        first_name, why = next(iter(failed.items()))
        count = f"{len(failed)} of {len(found.done.parts)} parts failed"
        raise JobError(f"{count} ({first_name}: {why}); the report is at {page}")
    if model.get("failed"):
        raise JobError(f"no model could be made of {model['why']}; the report is at {page}")
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise JobError(broken[0] + more)
