"""`gssl compare`: contestants and controls, several seeds, one backbone, one budget, one report."""

import os
import time
from glob import glob
from pathlib import Path
from typing import Any

from gssl.commands.parts import Part, plan
from gssl.config import registry, schema
from gssl.data import load_data
from gssl.engine.device import cores, prepare
from gssl.engine.files import write_json
from gssl.engine.loop import Signals
from gssl.engine.progress import PlanMeter, say
from gssl.engine.run import Run, command_line
from gssl.engine.worker import BUSY, OK, STOPPED, Job, Worker
from gssl.errors import Interrupted, JobError, UsageError
from gssl.report.checks import check
from gssl.report.collect import read_runs
from gssl.report.document import build
from gssl.report.page import write

RETRY = 2.0  # seconds until a part that another process works on is tried again


def main(cfg: schema.Compare, run_dir: Path, *, dry_run: bool = False) -> float | None:
    """Run what is missing, then write report.html, report.md and report.json.

    Raises JobError, after the report is written, where a part failed or a claim in `cfg.check` does not hold.
    """
    if cfg.runs is not None:
        found = sorted(glob(os.path.expanduser(cfg.runs), recursive=True))
        paths = [Path(path) for path in found if (Path(path) / "status.json").is_file()]
        if not paths:
            raise UsageError(f"runs={cfg.runs}: no run directory matches; give a glob such as runs=runs/transfer/*")
        parts: list[Part] = []
    else:
        prepare(cfg.engine)
        splits = load_data(cfg.data, progress=cfg.engine.progress)
        for warning in splits.summary["warnings"]:
            say(f"warning: {warning}")
        threads = cfg.engine.threads or max(1, cores() // cfg.jobs)
        parts = plan(cfg, splits.hash, threads)
        paths = [part.path for part in parts]
    if dry_run:
        for part in parts:
            print(f"{'done   ' if part.finished else 'missing'}  {part.name:32}  {part.shell}")
        return None
    with Run(run_dir, "compare", cfg) as run:
        for warning in run.begin():
            say(f"warning: {warning}")
        start = time.perf_counter()
        failed = execute(parts, cfg.jobs, cfg.engine) if parts else {}
        # facts are known before the first part runs, but for what failed
        report = build(read_runs(paths), facts(cfg, parts, failed))
        page = write(report, run_dir)
        claims = [check(claim, report) for claim in cfg.check]
        for _, line in claims:
            say(line)
        run.finish(
            {
                "report": str(page),
                "verdict": report["verdict"]["headline"],
                "checks": [{"claim": c, "holds": h, "text": t} for c, (h, t) in zip(cfg.check, claims, strict=True)],
                "failed": failed,
                "spent": {"seconds": round(time.perf_counter() - start, 3)},
                "objective": {"name": "none", "value": None, "direction": "max"},
            }
        )
        broken = [line for holds, line in claims if not holds]
        if failed:
            first, why = next(iter(failed.items()))
            raise JobError(f"{len(failed)} of {len(parts)} parts failed ({first}: {why}); the report is at {page}")
        if broken:
            raise JobError(broken[0])
        return None


def facts(cfg: schema.Compare, parts: list[Part], failed: dict[str, str]) -> dict[str, Any]:
    """What the report has to know and the runs do not say; the primary family is fixed here, before any run."""
    known: dict[str, Any] = {"command": command_line()}
    if cfg.runs is not None:
        return known
    known["probe"] = "linear" if "linear" in cfg.probe.use else cfg.probe.use[0]
    if cfg.labels_per_class:
        known["labels_per_class"] = 10 if 10 in cfg.labels_per_class else cfg.labels_per_class[0]
    else:
        known["fraction"] = cfg.fractions[0]
    lost = [
        {"arm": p.arm, "seed": p.seed, "stage": p.stage, "error": failed[p.name], "path": str(p.path)}
        for p in parts
        if p.name in failed
    ]
    return known | {"arms": list(cfg.arms), "seeds": cfg.seeds, "data": cfg.data.name, "failed": lost}


def execute(parts: list[Part], jobs: int, engine: schema.Engine) -> dict[str, str]:
    """Run what is not finished, `jobs` side by side. Returns {part's name: why} of the failed ones.

    Raises Interrupted on a signal, after the running parts have saved.
    """
    for part in parts:
        part.path.mkdir(parents=True, exist_ok=True)
        write_json(part.path / "part.json", part.record())
    waiting = [part for part in parts if not part.finished]
    failed: dict[str, str] = {}
    bad: set[Path] = set()
    later: dict[Path, float] = {}
    workers: dict[Worker, Part | None] = {Worker(parts[0].cfg.engine.threads): None for _ in range(jobs)}
    with Signals() as signals, PlanMeter(len(parts), len(parts) - len(waiting), engine.progress) as meter:
        try:
            while waiting or any(workers.values()):
                for worker, busy in workers.items():
                    if busy is None and waiting and not signals.code:
                        ready = _next(waiting, workers, bad, failed, later)
                        if ready and ready.finished:  # another comparison has made it meanwhile
                            waiting.remove(ready)
                            meter.done(ready.name, OK)
                            ready = None
                        if ready:
                            waiting.remove(ready)
                            workers[worker] = ready
                            worker.start(Job(registry.COMMAND[ready.command].where, ready.cfg, ready.path))
                    running = workers[worker]
                    answer = worker.poll(0.2) if running else None
                    if running and answer:
                        workers[worker] = None
                        state, why = answer
                        if state == BUSY:  # another comparison makes this very part: its result will do
                            waiting.insert(0, running)
                            later[running.path] = time.monotonic() + RETRY
                            continue
                        if state not in (OK, STOPPED):
                            failed[running.name] = why
                            bad.add(running.path)
                            say(f"failed: {running.name}: {why} ({running.path / 'log.txt'})")
                        meter.done(running.name, state)
                meter.show([part.name for part in workers.values() if part])
                if not any(workers.values()) and waiting:
                    time.sleep(0.2)
                if signals.code:
                    for worker, busy in workers.items():
                        if busy:
                            worker.interrupt()
                            worker.poll(60)
                    raise Interrupted(signals.code)
        finally:
            for worker in workers:
                worker.close()
    return failed


def _next(
    waiting: list[Part],
    workers: dict[Worker, Part | None],
    bad: set[Path],
    failed: dict[str, str],
    later: dict[Path, float],
) -> Part | None:
    """The first part whose weights are there; parts whose pretraining failed are marked as failed too."""
    running = {part.path for part in workers.values() if part}
    missing = {part.path for part in waiting}
    for part in list(waiting):
        if part.depends in bad:
            waiting.remove(part)
            failed[part.name] = "its pretraining failed"
        elif later.get(part.path, 0.0) > time.monotonic():
            continue
        elif part.depends is None or (part.depends not in running and part.depends not in missing):
            return part
    return None
