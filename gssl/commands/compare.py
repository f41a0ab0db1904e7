"""`gssl compare`: contestants and controls, several seeds, one backbone, one budget, one report."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison import estimate
from gssl.comparison.execution import execute
from gssl.comparison.plan import Part, Planner
from gssl.comparison.preregistration import only_read, register
from gssl.comparison.search import search
from gssl.config.comparing import pair
from gssl.data import load_data
from gssl.engine.device import cores, prepare
from gssl.engine.progress import say
from gssl.engine.run import Run, command_line
from gssl.errors import JobError, UsageError
from gssl.experiment import ledger
from gssl.report.cells import cells
from gssl.report.checks import check, in_report
from gssl.report.collect import Run as Collected
from gssl.report.collect import read_runs
from gssl.report.copies import one_name_each
from gssl.report.document import build
from gssl.report.page import write
from gssl.schemas.label_budgets import KEYS, label_budget_key, parse_label_budget


def main(
    cfg: schemas.Compare, run_dir: Path, *, dry_run: bool = False, plan: bool = False
) -> float | dict[str, Any] | None:
    """Run what is missing, then write the report.

    `plan`: say what there is to do and what it will take, and do nothing of it. Raises JobError, after the report is
    written, where a part failed or a claim in `cfg.check` does not hold.
    """
    if cfg.runs is not None:
        planner = None
        runs = one_name_each(read_runs(finished_runs(cfg.runs)), [pair(text) for text in cfg.primary.pairs or []])
        # what cannot be compared is said before a directory is made
        known_to(cfg, runs)
        found = cells(runs)
        report = build(runs, facts(cfg, None, Done([], {}, []), runs), found)
        for claim in cfg.check:
            in_report(claim, report)
    else:
        prepare(cfg.engine)
        splits = load_data(cfg.data, progress=cfg.engine.progress)
        for warning in splits.summary["warnings"]:
            say(f"warning: {warning}")
        threads = cfg.engine.threads or max(1, cores() // cfg.jobs)
        planner = Planner(cfg, splits.hash, threads)
        first = planner.plan()  # what cannot be planned is said before anything runs
        if plan:
            return estimate.show(cfg, planner, first, splits)
        if dry_run:
            for part in first:
                print(f"{'done   ' if part.finished else 'missing'}  {part.name:32}  {part.shell}")
            return None
    if plan or dry_run:
        print(f"{len(runs)} runs are read, nothing is trained")
        return {"schema": "gssl.plan/1", "runs": [str(run.path) for run in runs]} if plan else None
    with Run(run_dir, "compare", cfg) as run:
        for warning in run.begin():
            say(f"warning: {warning}")
        start = time.perf_counter()
        done = Done([], {}, [])
        if planner:
            done = carry_out(cfg, planner, splits.summary["hashes"]["test"])
            # the primary family was known before the first part ran; what failed and was searched is added
            runs = read_runs([part.path for part in done.parts])
            found = cells(runs)
            report = build(runs, facts(cfg, planner, done, runs), found)
        page = write(report, run_dir)
        claims = [check(claim, report, found) for claim in cfg.check]
        broken = [line for holds, line in claims if not holds]
        for _, line in claims:
            if line not in broken[:1]:  # that one ends the command
                say(line)
        run.finish(
            {
                "report": str(page),
                "verdict": report["verdict"]["headline"],
                "checks": [{"claim": c, "holds": h, "text": t} for c, (h, t) in zip(cfg.check, claims, strict=True)],
                "failed": done.failed,
                "spent": {"seconds": round(time.perf_counter() - start, 3)},
                "objective": {"name": "none", "value": None, "direction": "max"},
            }
        )
        if done.failed:
            first_name, why = next(iter(done.failed.items()))
            count = f"{len(done.failed)} of {len(done.parts)} parts failed"
            raise JobError(f"{count} ({first_name}: {why}); the report is at {page}")
        if broken:
            more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
            raise JobError(broken[0] + more)
        return None


def finished_runs(pattern: str) -> list[Path]:
    """Run directories that match a glob. Raises UsageError where none does."""
    found = sorted(glob(os.path.expanduser(pattern), recursive=True))
    paths = [Path(path) for path in found if (Path(path) / "status.json").is_file()]
    if not paths:
        raise UsageError(f"runs={pattern}: no run directory matches; give a glob such as runs=runs/transfer/*")
    return paths


@dataclass
class Done:
    """What was run: the comparison's parts, {part's name: why} of the failed ones, and the searches before it.

    `registered`: what `preregistration.register` says of the plan.
    """

    parts: list[Part]
    failed: dict[str, str]
    searches: list[dict[str, Any]]
    registered: dict[str, Any] = field(default_factory=dict)


def carry_out(cfg: schemas.Compare, planner: Planner, test: str) -> Done:
    """Put the plan on record, search where that is asked for, then run every part. test: hash of the test images."""
    register(cfg, planner, test, None if cfg.search.trials else planner.plan())
    searches = search(cfg, planner)
    parts = planner.plan({found["arm"]: found["chosen"] for found in searches})
    registered = register(cfg, planner, test, parts)  # what a search has found makes other parts
    return Done(parts, execute(parts, cfg.jobs, cfg.engine), searches, registered)


def known_to(cfg: schemas.Compare, runs: Sequence[Collected]) -> None:
    """Raises UsageError where `primary` names a probe or an label budget that none of the runs has."""
    scores = [score for run in runs for score in run.result.get("scores") or []]
    probes = list(dict.fromkeys(score["probe"] for score in scores))
    label_budgets = list(dict.fromkeys(label_budget_key(s.get("labels_per_class"), s.get("fraction")) for s in scores))
    for key, value, there in (("probe", cfg.primary.probe, probes), ("labels", cfg.primary.labels, label_budgets)):
        if scores and value is not None and value not in there:
            raise UsageError(f"primary.{key}={value}: none of the runs has it; expected one of {', '.join(there)}")


FAMILY = {"pairs", "probe", "labels", "metric", "margin"}  # changes of what carries the verdict


def facts(cfg: schemas.Compare, planner: Planner | None, done: Done, runs: Sequence[Collected]) -> dict[str, Any]:
    """What the report has to know and the runs do not say."""
    known: dict[str, Any] = {"command": command_line(), "openings": openings(runs)}
    known |= {"metric": cfg.primary.metric, "margin": cfg.primary.margin / 100}
    if cfg.primary.pairs is not None:
        known |= {"pairs": [list(pair(text)) for text in cfg.primary.pairs]}
    by_hand = cfg.primary.pairs is not None or bool(cfg.primary.probe or cfg.primary.labels)
    if planner is None:
        known |= {"fixed_by": "reader" if by_hand else "rule"}
        known |= {"preregistration": only_read(len({run.seed for run in runs if run.stage == "transfer"}))}
        known |= {"probe": cfg.primary.probe} if cfg.primary.probe else {}
        return known | (_amount(cfg.primary.labels) if cfg.primary.labels else {})
    probe, label_budget = planner.primary()
    known |= {"probe": probe, **_amount(label_budget), "pairs": planner.pairs()}
    late = {change["kind"] for change in done.registered["changes"]} & FAMILY
    fixed = done.registered["state"] != "unknown" and not late
    known |= {"fixed_by": ("plan" if fixed else "reader") if by_hand else "rule"}
    known |= {"preregistration": done.registered}
    lost = [
        {"arm": p.arm, "seed": p.seed, "stage": p.stage, "error": done.failed[p.name], "path": str(p.path)}
        for p in done.parts
        if p.name in done.failed
    ]
    return known | {
        "arms": [arm.name for arm in planner.arms()],
        "described": {arm.name: planner.described(arm) for arm in planner.arms()},
        "seeds": cfg.seeds,
        "data": data_name(cfg.data),
        "failed": lost,
        "budget": budget(cfg.budget),
        "allow_norm_diff": cfg.allow_norm_diff,
        "searches": done.searches,
    }


def openings(runs: Sequence[Collected]) -> dict[str, Any] | None:
    """The ledger's figures for the test images of these runs and its sentence; None where they are not the same ones
    or not on record."""
    judged = [run.result.get("data") or {} for run in runs if run.stage == "transfer" and run.finished]
    hashes = {(data.get("hashes") or {}).get("test") for data in judged}
    images = next(iter(hashes), None)
    if len(hashes) != 1 or images is None:
        return None
    found = ledger.summary(images)
    return found | {"text": ledger.sentence(found)} if found["runs"] else None


def data_name(data: schemas.Data) -> str:
    """A folder of images goes by the folder's name."""
    folder = data.root or data.train or data.pretrain
    return Path(folder).name if data.name == "imagefolder" and folder else data.name


def _amount(key: str) -> dict[str, Any]:
    return dict(zip(KEYS, parse_label_budget(key), strict=True))


def budget(cfg: schemas.Budget) -> dict[str, Any] | None:
    """The limits of every trained arm, as the report words them; `unit` is the first of them."""
    units: Mapping[str, str] = {
        "flops": "{:.3g} FLOPs",
        "seconds": "{:g} s",
        "images": "{:,} images",
        "steps": "{:,} steps",
        "epochs": "{:g} epochs",
    }
    given = {unit: value for unit in units if (value := getattr(cfg, unit)) is not None}
    given = given or {"epochs": cfg.default_epochs}
    first = next(iter(given))
    text = " or ".join(units[unit].format(value) for unit, value in given.items())
    first_of = ", whichever comes first" if len(given) > 1 else ""
    return {"unit": first, "value": given[first], "text": f"{text} of training per run{first_of}"}
