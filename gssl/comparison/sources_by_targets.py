"""Several sources of weights on the same draws of labels, on one data set or on several: `gssl curve`, `transfer to=`.

Each source on each target is a transfer run of its own in `parts/`, so that what is finished is not run again when the
call is repeated. On one target all of them have the same seed, folds, draws of labels and test images; targets may be
of different tasks. From their files come a table, a figure of scores against labels, each cell's gain over training
from scratch, a matrix of these gains over sources and targets, how soon fine-tuning reaches what scratch reaches, how
similar the data sets are without any label, and how similarly the backbones see images (CKA).
"""

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison.execution import Task, drive, opened
from gssl.comparison.executors import checks
from gssl.comparison.repair import ends_here, make_room
from gssl.comparison.targets import Target, targets_of
from gssl.config.composing import compose
from gssl.config.menus import NO_NETWORK, from_scratch, probes_of
from gssl.config.registry import PROBE
from gssl.engine.device import prepare
from gssl.engine.files import write_json, write_text
from gssl.engine.progress import say
from gssl.engine.recorded import finished
from gssl.engine.run import Run
from gssl.engine.worker import Job as Work
from gssl.errors import JobError, UsageError
from gssl.experiment import similarity, told, weight_sources
from gssl.experiment.checkpoint_weights import resolve
from gssl.experiment.probing import find_source, of_source
from gssl.experiment.tasks import Task as Labelling
from gssl.report import curve as report
from gssl.report import curve_tables, matrix
from gssl.schemas import LOCAL
from gssl.words import listed

SCRATCH = "scratch"
NAMED = re.compile(r"([\w.-]+)@(.+)")
Job = tuple["PanelSource", str, schemas.Transfer, Path]  # source, name of the target, configuration, run directory


class PanelSource:
    """A source with the name that tables call it by."""

    def __init__(self, text: str) -> None:
        found = NAMED.fullmatch(text)
        self.name, self.weights = (found[1], found[2]) if found else ("", text)
        self.kind = "random" if self.weights == SCRATCH else self.weights
        self.origin = find_source(self.kind)
        if not self.name:
            self.name = self.origin.method or self.weights if self.trained else self.weights
            if self.origin.kind == "file":
                self.name = Path(self.weights).stem
        if self.name == SCRATCH and self.weights != SCRATCH:
            raise UsageError(f"sources: {text}: scratch is the name of a network without pretraining; take another")

    def probes(self, target: Target, cfg: schemas.Probing, others: list["PanelSource"]) -> list[str]:
        """The probes that evaluate it on a target: scratch is trained, pixels and others without a network are not, nor
        is random beside scratch. [] where nothing does."""
        own, task = target.probes(cfg), target.task
        if cfg.to and self.lacks(task):
            return []

        def members(probe: str) -> list[str]:
            if PROBE[probe].reads != "menu":
                return [probe]
            return [name for name in getattr(own, probe).menu if task.name in PROBE[name].tasks]

        if self.weights == SCRATCH:
            some = [from_scratch(probe, task.name, members(probe)) for probe in own.use]
            return list(dict.fromkeys(probe for probe in some if probe is not None))
        if self.weights == "random" and not any(other.weights == SCRATCH for other in others):
            return list(own.use)  # no control of a comparison: it may be trained
        kind = self.origin.method if self.trained and self.origin.method else self.kind
        return [probe for probe in probes_of(kind, own.use) if probes_of(kind, members(probe))]

    @property
    def trained(self) -> bool:
        """Whether it is a run's."""
        return self.origin.kind in ("run", "checkpoint")

    def lacks(self, task: Labelling) -> bool:
        """Whether it is no network and has no features for a task."""
        return self.kind in NO_NETWORK and self.kind not in task.bare


@told.each_once()
def run(
    cfg: Any,
    texts: Sequence[str],
    run_dir: Path,
    command: str,
    transfer: Callable[..., float | None],
    *,
    dry_run: bool = False,
    elsewhere: str = "",
) -> None:
    """Evaluate every source on every target by `transfer`; writes curve.png, table.md, curve.json and result.json, and
    matrix.png where there are several targets.

    elsewhere: `module:function` of `transfer`, for an executor that `cfg` asks for.
    """
    executor = cfg.executor
    here = checks.engine_here(executor, cfg.engine)
    checks.check(executor, {"hydra.run.dir": run_dir}, cfg.data)
    device, _ = prepare(here)
    with Run(run_dir, command, cfg) as run:
        sources = distinct([PanelSource(text) for text in texts])
        run.bind(**{f"weights/{s.name}": s.origin.sha256 for s in sources})
        if run.finished:
            say(f"{run_dir}: finished already")
            return
        targets = targets_of(cfg, {s.origin.size for s in sources if s.origin.size})
        jobs, left_out = jobs_of(cfg, sources, targets, run_dir)
        for _, to, child, path in jobs:  # whatever cannot be evaluated is found before anything is
            if run.resumed and (what := ends_here(path)):  # no reason to refuse the others, nor this one's new run
                if dry_run:
                    say(f"note: {path / 'status.json'} {what}; the part will be made again")
                    continue
                make_room(path.name, path)
            rehearsed = schemas.replace(child, engine=here) if executor != LOCAL else child
            if not (path / ("status.json" if executor != LOCAL else "result.json")).is_file():
                rehearse(transfer, rehearsed, path, to if len(targets) > 1 else "")
        if dry_run:
            if executor != LOCAL:
                plan = checks.described(executor, 1, sum(not finished(path) for *_, path in jobs))
                print(f"{plan['name']}: {plan['jobs']} jobs, each with {' '.join(plan['request'])}")
            return
        for warning in run.begin():
            say(f"warning: {warning}")
        start = time.perf_counter()
        failed = run_all(jobs, transfer) if executor == LOCAL else submit_all(cfg, jobs, elsewhere)
        ended = [(n.name, t, path) for n, t, _, path in jobs if f"{n.name} on {t}" not in failed]
        done = {(name, t): path for name, t, path in ended if (path / "result.json").is_file()}
        text = summary(cfg, sources, targets, done, {"left_out": left_out, "failed": failed}, device)
        write_json(run_dir / "curve.json", text)
        write_text(run_dir / "table.md", matrix.markdown(text) + curve_tables.markdown(text))
        curve_tables.draw(text, run_dir / "curve.png")
        picture = matrix.draw(text, run_dir / "matrix.png")
        if failed:  # not finished: the same call with resume=auto tries them again
            first, why = next(iter(failed.items()))
            raise JobError(f"{len(failed)} of {len(jobs)} parts failed ({first}: {why}); the rest is in {run_dir}")
        for line in curve_tables.summary(text):
            say(line)
        run.finish(
            {
                "seed": cfg.seed,
                "curve": text,
                "test_openings": {str(p.relative_to(run_dir)): report.openings(p) for p in done.values()},
                "spent": {"seconds": round(time.perf_counter() - start, 3)},
                "objective": {"name": "none", "value": None, "direction": "max"},
                "report": str(run_dir / ("matrix.png" if picture else "curve.png")),
            }
        )


def run_all(jobs: Sequence[Job], transfer: Callable[..., float | None]) -> dict[str, str]:
    """Run them one after another; what failed, and why."""
    failed: dict[str, str] = {}
    for i, (source, target, child, path) in enumerate(jobs, 1):
        say(f"{i} of {len(jobs)}: {source.name} on {target}")
        try:
            transfer(child, path)
        except (JobError, UsageError) as error:  # the others are not lost
            failed[f"{source.name} on {target}"] = str(error)
            say(f"failed: {source.name} on {target}: {error}")
    return failed


def submit_all(cfg: Any, jobs: Sequence[Job], where: str) -> dict[str, str]:
    """Run them by the executor of `cfg`; what failed, and why. where: `module:function` of transfer."""
    tasks = [Task(f"{source.name} on {to}", Work(where, child, path), kind=to) for source, to, child, path in jobs]
    for task in tasks:
        task.path.mkdir(parents=True, exist_ok=True)
    return drive(tasks, opened(cfg.executor, 1, 0), cfg.engine.progress)


def rehearse(transfer: Callable[..., float | None], child: schemas.Transfer, path: Path, target: str) -> None:
    """Raises UsageError for what cannot be evaluated, with the name of the target where there are several."""
    try:
        transfer(child, path, dry_run=True)
    except UsageError as error:
        raise UsageError(f"{target}: {error}" if target else str(error)) from error


def summary(
    cfg: Any,
    sources: list[PanelSource],
    targets: dict[str, Target],
    done: dict[tuple[str, str], Path],
    missing: dict[str, dict[str, str]],
    device: Any,
) -> dict[str, Any]:
    """curve.json. missing: what was left out and what has failed, each with the reason."""
    base = {name: baseline(sources, target, {n for n, to in done if to == name}) for name, target in targets.items()}
    cells = report.cells(done, base)
    data = {name: target.data for name, target in targets.items()}
    return {
        "schema": "gssl.curve/1",
        "sources": [{"name": s.name, "weights": s.weights, **s.origin.record()} for s in sources],
        "targets": {name: target.record() | {"baseline": base[name]} for name, target in targets.items()},
        "cells": cells,
        "matrix": matrix.columns(cells, base) if len(targets) > 1 else [],
        "reach": report.reach(done, base, cfg.reach),
        "similarity": similarity.datasets(sources, data, device),
        "cka": similarity.backbones(networks(sources, device), cfg, data, device),
        **missing,
    }


def baseline(sources: list[PanelSource], target: Target, evaluated: set[str]) -> str | None:
    """The source that gains on a target are over: scratch, whatever it is called here. Where a task has no probe that
    trains a network, it is the untrained network under the same probe."""
    task = target.task.name
    instead = "" if _from_scratch(task) else "random"
    names = {s.weights: s.name for s in sources if s.name in evaluated}
    return names.get(SCRATCH) or names.get(instead)


def _from_scratch(task: str) -> bool:
    """Whether a probe of the task trains a network."""
    return any(entry.from_scratch and task in entry.tasks for entry in PROBE.values())


def distinct(sources: list[PanelSource]) -> list[PanelSource]:
    """Two runs of one method take their directories' names."""
    names = [s.name for s in sources]
    for s in sources:
        if names.count(s.name) > 1:
            s.name = f"{s.name}[{Path(s.weights).name}]"
    names = [s.name for s in sources]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"sources: two are called {twice[0]}; give one a name, such as [one@{sources[0].weights}]")
    return sources


def networks(sources: list[PanelSource], device: Any) -> list[tuple[str, weight_sources.WeightSource]]:
    found = [s for s in sources if s.kind not in NO_NETWORK and s.weights != SCRATCH]
    return [(s.name, resolve(s.origin, device)) for s in found]


def jobs_of(
    cfg: Any, sources: list[PanelSource], targets: dict[str, Target], run_dir: Path
) -> tuple[list[Job], dict[str, str]]:
    """One transfer run per source and target, in the order in which they run; and what is left out, with the reason.

    Raises UsageError for a target on which no source can be evaluated.
    """
    base = compose("transfer", ["weights=random"])
    shared = {name: getattr(cfg, name) for name in schemas.Probing.model_fields}
    engine = schemas.replace(cfg.engine, resume="auto", progress=cfg.engine.progress)
    if (executor := cfg.executor) != LOCAL:
        engine = schemas.replace(engine, threads=checks.threads(executor, engine, 1))
    jobs: list[Job] = []
    left_out: dict[str, str] = {}
    for name, target in targets.items():
        probes, task = target.probes(cfg), target.task
        mine: dict[PanelSource, list[str]] = {}
        for named in sources:
            use = named.probes(target, cfg, sources)
            if use:
                mine[named] = use
                continue
            why = f"it has no features for {task.name}" if named.lacks(task) else "none of probe.use evaluates it"
            if named.weights == SCRATCH and not _from_scratch(task.name):
                why = f"no probe of {task.name} trains a network"
            left_out[f"{named.name} on {name}"] = why
            say(f"note: {named.name} on {name} is left out: {why}")
        if not mine or (cfg.to and mine.keys() != set(sources) and all(named.weights == SCRATCH for named in mine)):
            rest = listed([named.name for named in sources if named not in mine])
            without = f" (without a network only {listed(task.bare)} can)" if task.bare else ""
            what = f"{f'to: {name}' if cfg.to else 'sources'}: {task.name} by probe.use=[{','.join(probes.use)}]"
            raise UsageError(f"{what}: nothing of {rest} can be evaluated{without}; give another source or probe")
        for named, use in mine.items():
            probe = schemas.replace(of_source(probes, named.weights), use=use)
            own = (
                shared
                | target.own
                | {"to": [], "data": target.data, "engine": engine, "probe": probe, "executor": LOCAL}
            )
            child = schemas.replace(base, **own, weights=named.kind)
            jobs.append((named, name, child, run_dir / "parts" / f"{_file(named.name)}-{_file(name)}"))
    return jobs, left_out


def _file(name: str) -> str:
    return re.sub(r"[^\w.=-]+", "_", name)
