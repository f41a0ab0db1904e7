"""Several sources of weights on the same draws of labels, on one data set or on several: `gssl curve`, `transfer to=`.

Each source on each target is a transfer run of its own in `parts/`, so that what is finished is not run again when the
call is repeated. All of them have the same seed, folds, draws of labels and test images. From their files come a table,
a figure of accuracy against labels, each cell's gain over training from scratch, how soon fine-tuning reaches what
scratch reaches, how similar the data sets are without any label, and how similarly the backbones see images (CKA).
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.config import image_size
from gssl.config.composing import compose
from gssl.config.menus import NO_NETWORK, probes_of
from gssl.config.menus import from_scratch as trained
from gssl.config.overrides import in_quotes
from gssl.data.sources import SOURCES
from gssl.engine.device import prepare
from gssl.engine.files import write_json, write_text
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.errors import JobError, UsageError
from gssl.experiment import similarity, weight_sources
from gssl.experiment.checkpoint_weights import resolve
from gssl.experiment.probing import find_source, of_source
from gssl.report import curve as report
from gssl.words import data_name

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
            known = self.origin.kind in ("run", "checkpoint")
            self.name = self.origin.method or self.weights if known else self.weights
            if self.origin.kind == "file":
                self.name = Path(self.weights).stem
        if self.name == SCRATCH and self.weights != SCRATCH:
            raise UsageError(f"sources: {text}: scratch is the name of a network without pretraining; take another")

    def uses(self, cfg: schemas.Probing, others: list["PanelSource"]) -> list[str]:
        """The probes that evaluate it: scratch is trained, pixels and others without a network are not, nor is random
        beside scratch."""
        if self.weights == SCRATCH:
            return list(dict.fromkeys(trained(probe) for probe in cfg.probe.use))
        if self.weights == "random" and not any(other.weights == SCRATCH for other in others):
            return list(cfg.probe.use)  # no control of a comparison: it may be trained
        return probes_of(self.kind, cfg.probe.use)


def run(
    cfg: Any,
    texts: Sequence[str],
    run_dir: Path,
    command: str,
    transfer: Callable[..., float | None],
    *,
    dry_run: bool = False,
) -> None:
    """Evaluate every source on every target by `transfer`; writes curve.png, table.md, curve.json and result.json."""
    device, _ = prepare(cfg.engine)
    with Run(run_dir, command, cfg) as run:
        sources = distinct([PanelSource(text) for text in texts])
        run.bind(**{f"weights/{s.name}": s.origin.sha256 for s in sources})
        if run.finished:
            say(f"{run_dir}: finished already")
            return
        targets = targets_of(cfg, sources)
        jobs = list(jobs_of(cfg, sources, targets, run_dir))
        for _, _, child, path in jobs:  # whatever cannot be evaluated is found before anything is
            if not (path / "result.json").is_file():
                transfer(child, path, dry_run=True)
        if dry_run:
            return
        for warning in run.begin():
            say(f"warning: {warning}")
        start = time.perf_counter()
        failed = run_all(jobs, transfer)
        done = {(n.name, t): path for n, t, _, path in jobs if (path / "result.json").is_file()}
        text = summary(cfg, sources, targets, done, failed, device)
        write_json(run_dir / "curve.json", text)
        write_text(run_dir / "table.md", report.markdown(text))
        report.draw(text, run_dir / "curve.png")
        if failed:  # not finished: the same call with resume=auto tries them again
            first, why = next(iter(failed.items()))
            raise JobError(f"{len(failed)} of {len(jobs)} parts failed ({first}: {why}); the rest is in {run_dir}")
        for line in report.summary(text):
            say(line)
        run.finish(
            {
                "seed": cfg.seed,
                "curve": text,
                "test_openings": {str(p.relative_to(run_dir)): report.openings(p) for p in done.values()},
                "spent": {"seconds": round(time.perf_counter() - start, 3)},
                "objective": {"name": "none", "value": None, "direction": "max"},
                "report": str(run_dir / "curve.png"),
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


def summary(
    cfg: Any,
    sources: list[PanelSource],
    targets: dict[str, schemas.Data],
    done: dict[tuple[str, str], Path],
    failed: dict[str, str],
    device: Any,
) -> dict[str, Any]:
    """curve.json."""
    # gains are over scratch, whatever it is called here
    base = next((s.name for s in sources if s.weights == SCRATCH), SCRATCH)
    return {
        "schema": "gssl.curve/1",
        "sources": [{"name": s.name, "weights": s.weights, **s.origin.record()} for s in sources],
        "targets": {name: {"name": d.name, "root": d.root, "size": d.size} for name, d in targets.items()},
        "cells": report.cells(done, base),
        "reach": report.reach(done, base, cfg.reach),
        "similarity": similarity.datasets(sources, targets, device),
        "cka": similarity.backbones(networks(sources, device), cfg, targets, device),
        "failed": failed,
    }


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


def targets_of(cfg: Any, sources: list[PanelSource]) -> dict[str, schemas.Data]:
    """Each data set to evaluate on by its name. Its images have the size that the sources were made for, if it is one,
    else data.size where the user chose it, else the data set's own."""
    sizes = {s.origin.size for s in sources if s.origin.size}
    if not cfg.to:
        return {data_name(cfg.data.name, cfg.data.root, cfg.data.train): cfg.data}
    if len(sizes) > 1:
        say(f"note: the sources were made for images of unlike sizes; all are evaluated at data.size={cfg.data.size}")
    kept = ("val_fraction", "test_fraction", "split_seed", "limit", "on_error", "workers")
    same: dict[str, Any] = {key: getattr(cfg.data, key) for key in kept}
    if len(sizes) == 1:
        same["size"] = sizes.pop()
    elif len(sizes) > 1 or _size_is_chosen(cfg.data, cfg.engine.device):
        same["size"] = cfg.data.size
    found: dict[str, schemas.Data] = {}
    for text in cfg.to:
        path = Path(text).expanduser()
        folder = text != cfg.data.name and ("/" in text or path.is_dir())
        name = path.resolve().name if folder else text
        if name in found:  # two folders of one name
            name = "/".join(path.resolve().parts[-2:])
        if name in found:
            raise UsageError(f"to: two data sets are called {name}; rename a folder")
        if text == cfg.data.name:
            found[name] = cfg.data
            continue
        words = ["data=imagefolder", f"data.root={in_quotes(text)}"] if folder else [f"data={text}"]
        if size := same.get("size"):
            words.append(f"data.size={size}")  # none is looked for among the images
        try:
            other = compose("transfer", ["weights=random", f"engine.device={cfg.engine.device}", *words]).data
        except UsageError as error:
            raise UsageError(
                f"to: {text}: expected the name of a data set (conf/data) or a folder of images ({error})"
            ) from error
        # torchvision's files of several data sets lie in one folder; a folder of images is one data set's own
        root = {} if folder or cfg.data.name == "imagefolder" else {"root": cfg.data.root}
        found[name] = schemas.replace(other, **same, **root)
    return found


def _size_is_chosen(data: schemas.Data, device: str) -> bool:
    """Whether data.size is not what these data have by themselves."""
    if SOURCES[data.name].folder:
        return data.size != image_size.chosen(data.model_dump(), device)
    own: int = compose("transfer", ["weights=random", f"data={data.name}"]).data.size
    return data.size != own


def jobs_of(cfg: Any, sources: list[PanelSource], targets: dict[str, schemas.Data], run_dir: Path) -> Iterator[Job]:
    """One transfer run per source and target, in the order in which they run."""
    base = compose("transfer", ["weights=random"])
    shared = {name: getattr(cfg, name) for name in schemas.Probing.model_fields}
    engine = schemas.replace(cfg.engine, resume="auto", progress=cfg.engine.progress)
    for name, data in targets.items():
        for named in sources:
            use = named.uses(cfg, sources)
            if not use:
                say(f"note: {named.name} is evaluated by none of probe.use; left out")
                continue
            probes = schemas.replace(of_source(cfg.probe, named.weights), use=use)
            mine = shared | {"to": [], "data": data, "engine": engine, "probe": probes}
            child = schemas.replace(base, **mine, weights=named.kind)
            yield named, name, child, run_dir / "parts" / f"{_file(named.name)}-{_file(name)}"


def _file(name: str) -> str:
    return re.sub(r"[^\w.=-]+", "_", name)
