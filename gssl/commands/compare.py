"""`gssl compare`: contestants and controls, several seeds, one backbone, one budget, one report."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from gssl.commands import planning
from gssl.commands.execute import execute
from gssl.commands.parts import Part, Planner
from gssl.config import arms, schema
from gssl.config.amounts import amount_of
from gssl.config.comparing import pair
from gssl.data import load_data
from gssl.engine.device import cores, prepare
from gssl.engine.files import read_json
from gssl.engine.progress import say
from gssl.engine.run import Run, command_line
from gssl.errors import JobError, UsageError
from gssl.report.checks import check
from gssl.report.collect import read_runs
from gssl.report.document import build
from gssl.report.page import write


def main(
    cfg: schema.Compare, run_dir: Path, *, dry_run: bool = False, plan: bool = False
) -> float | dict[str, Any] | None:
    """Run what is missing, then write the report.

    `plan`: say what there is to do and what it will take, and do nothing of it. Raises JobError, after the report is
    written, where a part failed or a claim in `cfg.check` does not hold.
    """
    if cfg.runs is not None:
        planner = None
        runs = read_runs(finished_runs(cfg.runs))
        # what cannot be compared is said before a directory is made
        report = build(runs, facts(cfg, None, Done([], {}, [])))
    else:
        prepare(cfg.engine)
        splits = load_data(cfg.data, progress=cfg.engine.progress)
        for warning in splits.summary["warnings"]:
            say(f"warning: {warning}")
        threads = cfg.engine.threads or max(1, cores() // cfg.jobs)
        planner = Planner(cfg, splits.hash, threads)
        first = planner.plan()  # what cannot be planned is said before anything runs
        if plan:
            return planning.show(cfg, planner, first, splits)
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
            done = carry_out(cfg, planner)
            # the primary family was known before the first part ran; what failed and was searched is added
            report = build(read_runs([part.path for part in done.parts]), facts(cfg, planner, done))
        page = write(report, run_dir)
        claims = [check(claim, report) for claim in cfg.check]
        for _, line in claims:
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
        broken = [line for holds, line in claims if not holds]
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
    """What was run: the comparison's parts, {part's name: why} of the failed ones, and the searches before it."""

    parts: list[Part]
    failed: dict[str, str]
    searches: list[dict[str, Any]]


def carry_out(cfg: schema.Compare, planner: Planner) -> Done:
    """Search where that is asked for, then run every part."""
    searches = search(cfg, planner)
    parts = planner.plan({found["arm"]: found["chosen"] for found in searches})
    return Done(parts, execute(parts, cfg.jobs, cfg.engine), searches)


def search(cfg: schema.Compare, planner: Planner) -> list[dict[str, Any]]:
    """Per searched arm: every trial with what it scored on validation images, and the overrides of the best."""
    if not cfg.search.trials:
        return []
    searched = [arm for arm in arms.read(cfg.arms) if arm.name in cfg.search.space]
    trials = {arm.name: planner.trials(arm) for arm in searched}
    parts = {part.path: part for found in trials.values() for _, needed in found for part in needed}
    execute(list(parts.values()), cfg.jobs, cfg.engine)
    out = []
    for name, found in trials.items():
        rows: list[dict[str, Any]] = []
        for overrides, needed in found:
            result = read_json(needed[-1].path / "result.json") or {}
            value = (result.get("objective") or {}).get("value")
            spent = [trained(part) for part in needed[:-1]]
            state = "finished" if value is not None else "failed"
            rows.append({"overrides": overrides, "value": value, "state": state, "spent": spent})
        told = [row for row in rows if row["value"] is not None]
        best = max(told, key=lambda row: row["value"], default=None)
        if best is None:
            say(f"warning: every trial of {name} failed; it takes part with its recipe as it is")
        probe, amount = planner.primary()
        flops, seconds = (
            sum((s or {}).get(key, 0.0) for row in rows for s in row["spent"]) for key in ("flops", "seconds")
        )
        out.append(
            {
                "arm": name,
                "trials": len(rows),
                "chosen": best["overrides"] if best else [],
                "objective": f"accuracy of the {probe} probe on validation images ({amount})",
                "flops": flops,
                "seconds": seconds,
                "uncounted": sum(None in row["spent"] for row in rows),
                "rows": [{key: row[key] for key in ("overrides", "value", "state")} for row in rows],
            }
        )
    return out


def trained(part: Part) -> dict[str, Any] | None:
    """What a part's training spent, a failed one's too; {} where it never began, None where it died without a word."""
    found: dict[str, Any] | None
    for name in ("result.json", "status.json"):
        if found := (read_json(part.path / name) or {}).get("spent"):
            return found
    return None if (part.path / "status.json").is_file() else {}


def facts(cfg: schema.Compare, planner: Planner | None, done: Done) -> dict[str, Any]:
    """What the report has to know and the runs do not say; the primary family is fixed here, before any run."""
    known: dict[str, Any] = {"command": command_line()}
    if cfg.primary.pairs is not None:
        known |= {"pairs": [list(pair(text)) for text in cfg.primary.pairs]}
    by_hand = cfg.primary.pairs is not None or bool(cfg.primary.probe or cfg.primary.labels)
    if planner is None:
        known |= {"fixed_by": "reader" if by_hand else "rule"}
        known |= {"probe": cfg.primary.probe} if cfg.primary.probe else {}
        return known | (_amount(cfg.primary.labels) if cfg.primary.labels else {})
    probe, amount = planner.primary()
    known |= {"probe": probe, **_amount(amount), "pairs": planner.pairs()}
    known |= {"fixed_by": "plan" if by_hand else "rule"}
    lost = [
        {"arm": p.arm, "seed": p.seed, "stage": p.stage, "error": done.failed[p.name], "path": str(p.path)}
        for p in done.parts
        if p.name in done.failed
    ]
    return known | {
        "arms": [arm.name for arm in planner.arms()],
        "described": {arm.name: arms.described(arm, planner.overrides(arm)) for arm in planner.arms()},
        "seeds": cfg.seeds,
        "data": data_name(cfg.data),
        "failed": lost,
        "budget": budget(cfg.budget),
        "allow_norm_diff": cfg.allow_norm_diff,
        "searches": done.searches,
    }


def data_name(data: schema.Data) -> str:
    """A folder of images goes by the folder's name."""
    folder = data.root or data.train or data.pretrain
    return Path(folder).name if data.name == "imagefolder" and folder else data.name


def _amount(key: str) -> dict[str, Any]:
    return dict(zip(("labels_per_class", "fraction"), amount_of(key), strict=True))


def budget(cfg: schema.Budget) -> dict[str, Any] | None:
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
