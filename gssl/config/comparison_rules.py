"""What a comparison's configuration must fulfil beyond types: arms, search, primary family. No torch."""

import re
from itertools import product
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.config import arms, label_use, registry
from gssl.data import targets
from gssl.errors import UsageError
from gssl.names import unknown
from gssl.schemas.executors import on_this_machine
from gssl.schemas.label_budgets import label_budget_keys

MOST_PAIRS = 6  # of the primary family


def check(cfg: schemas.Compare) -> None:
    """Raises UsageError for the first mistake in the arms, the search and the primary family."""
    if not cfg.arms and not cfg.runs:
        raise UsageError("arms is empty; expected some such as [simclr,dcgan,scratch,random]")
    found = arms.read(cfg.arms)
    for arm in found:
        for method in arm.trained if arm.start is None else ():  # else it has a network of its own
            arms.fits(method, cfg.backbone.name)
            arms.letters(method, cfg.data.tokenizer)
        if arm.read and not cfg.runs:
            matches = arm.paths()
            if not matches:
                raise UsageError(f"arms: {arm.source}: no such run directory or file of weights")
            if 1 < len(matches) < cfg.seeds:
                raise UsageError(f"arms: {arm.source}: {len(matches)} matches for seeds={cfg.seeds}; one, or one each")
            _copies(arm, matches)
    limits = [key for key in ("steps", "epochs", "images", "seconds", "flops") if getattr(cfg.budget, key) is not None]
    if cfg.minutes is not None and limits:
        raise UsageError(f"minutes: chooses budget.flops, and budget.{limits[0]} is given; leave one of them out")
    if cfg.minutes is not None and cfg.search.trials:
        raise UsageError("minutes: a search before the comparison is not counted; leave it out, or give budget.flops")
    names = [arm.name for arm in found]
    known = {*names, *arms.FIXED, *registry.SSL, *registry.GAN}
    for key, given in (("overrides", cfg.overrides), ("search.space", cfg.search.space)):
        for name in given:
            if name not in known:  # a known arm that does not take part is fine: presets bring overrides for several
                raise unknown(f"{key}: no arm", name, known)
    _search(cfg, found)
    if not cfg.runs:
        _primary(cfg, found)
        _executor(cfg)


def _search(cfg: schemas.Compare, found: list[arms.Arm]) -> None:
    trials = {name: choices(cfg.search.space[name]) for name in cfg.search.space}
    for arm in found:
        if arm.name in trials and not arm.stages:
            raise UsageError(f"search.space.{arm.name}: nothing of {arm.name} is trained, so nothing can be searched")
        if arm.name in trials and arm.generator:
            raise UsageError(f"search.space.{arm.name}: searched on real images only; search the arm without -with-")
        if arm.name in trials and len(trials[arm.name]) < cfg.search.trials:
            raise UsageError(
                f"search.space.{arm.name}: {len(trials[arm.name])} combinations for search.trials={cfg.search.trials};"
                " every arm that is searched gets the same number, so give it more values or lower search.trials"
            )
    if cfg.search.trials and not trials:
        raise UsageError(
            "search.trials is given and search.space is empty; give values, such as"
            " \"search.space={simclr: ['ssl.temperature=0.1,0.2,0.5']}\""
        )
    if trials and not cfg.search.trials:
        raise UsageError("search.space is given and search.trials is 0; say how many trials each arm gets")


def _executor(cfg: schemas.Compare) -> None:
    """Raises UsageError where a budget would be another one on each machine."""
    where = cfg.executor
    if isinstance(where, schemas.Local):
        return
    if cfg.minutes is not None:
        raise UsageError(
            f"minutes: is measured on this machine, and executor={where.name} runs the parts; give a budget, such as"
            " budget.epochs=50 or budget.flops=1e15, and minutes=null"
        )
    like_machines(cfg)


def like_machines(cfg: Any) -> None:
    """Raises UsageError for seconds as a budget of runs that are compared and may run on unlike machines."""
    where, budget = cfg.executor, getattr(cfg, "budget", None)
    if budget and budget.seconds is not None and not on_this_machine(where) and not where.homogeneous:
        raise UsageError(
            "budget.seconds: in a second unlike machines do unlike work; give budget.flops or budget.epochs, or"
            f" executor.homogeneous=true where all machines of executor={where.name} are of one kind"
        )


def check_gpus(executor: Any, engine: schemas.Engine) -> None:
    """Raises UsageError where a job would ask for GPUs that nothing in it uses: a process uses one."""
    asked = getattr(executor, "gpus", 0)  # executor=local has no such key
    if asked > engine.processes and asked > 1:
        idle = asked - engine.processes
        raise UsageError(
            f"executor.gpus={asked:g}: a process uses one GPU and a job has engine.processes={engine.processes}, so"
            f" {idle:g} would stay idle; give executor.gpus={engine.processes} (executor.max_jobs says how many jobs"
            " run at once)"
        )


def choices(space: list[str]) -> list[list[str]]:
    """Every combination of a search space: ['a=1,2', 'b=3'] → [['a=1', 'b=3'], ['a=2', 'b=3']]."""
    parts = []
    for text in space:
        key, equals, values = text.partition("=")
        if not equals or not values:
            raise UsageError(f"search.space: cannot read '{text}'; expected key=value,value")
        parts.append([f"{key}={value.strip()}" for value in re.split(r",(?![^\[]*\])", values)])
    return [list(combination) for combination in product(*parts)]


def _primary(cfg: schemas.Compare, found: list[arms.Arm]) -> None:
    own = cfg.primary
    if own.probe is not None and own.probe not in cfg.probe.use:
        raise UsageError(f"primary.probe={own.probe}: is not in use; expected one of probe.use={cfg.probe.use}")
    budgets = budget_keys(cfg)
    if own.labels is not None and own.labels not in budgets:
        raise UsageError(f"primary.labels={own.labels}: is no label budget here; expected one of {', '.join(budgets)}")
    from gssl.statistics.metric import metrics_of  # NumPy: not for other commands' errors

    offered = metrics_of(targets.column(cfg.data.name))
    if own.metric is not None and own.metric not in offered:
        raise UsageError(f"primary.metric={own.metric}: data={cfg.data.name} is scored by {', '.join(offered)}")
    if own.pairs is not None and len(own.pairs) > MOST_PAIRS:
        raise UsageError(
            f"primary.pairs: {len(own.pairs)} pairs; at most {MOST_PAIRS} can be tested with a handful of seeds, and"
            " everything else is reported as exploratory"
        )
    names = {arm.name: arm for arm in found}
    seen = [frozenset(pair(text)) for text in own.pairs or []]
    if twice := next((text for i, text in enumerate(own.pairs or []) if seen[i] in seen[:i]), None):
        raise UsageError(f"primary.pairs: '{twice}' stands there twice")
    for text in own.pairs or []:
        for name in pair(text):
            if name not in names:
                raise unknown("primary.pairs: no arm", name, names)
            if names[name].labels or has_read(names[name]):
                raise UsageError(f"primary.pairs: {name} reads all labels: a reference, which is never ranked")


def budget_keys(cfg: schemas.Compare) -> list[str]:
    """Keys of the label budgets of all arms, the smallest first; which of them apply depends on what is labelled."""
    per_class, images = sorted(cfg.labels_per_class), sorted(cfg.images_labelled)
    if targets.of_data(cfg.data.name).unit != "label":
        return label_budget_keys([], sorted(cfg.fractions), images)
    return label_budget_keys(per_class, sorted(cfg.fractions))


def has_read(arm: arms.Arm) -> bool:
    """Whether the weights that an arm takes from the disk have read the labels of training images."""
    return bool(label_use.of_files(arm))


def _copies(arm: arms.Arm, matches: list[str]) -> None:
    """Raises UsageError where two matches of a pattern, which would count as two seeds, are the same weights."""
    first: dict[str, str] = {}
    for path in matches:
        digest = label_use.recorded_hash(Path(path))
        if digest is not None and first.setdefault(digest, path) != path:
            raise UsageError(f"arms: {arm.source}: {path} and {first[digest]} hold the same weights: no two seeds")


def pair(text: str) -> tuple[str, str]:
    """'simclr vs dcgan' → its two names. Raises UsageError."""
    sides = [side.strip() for side in re.split(r"\s+vs\.?\s+", text.strip())]
    if len(sides) != 2 or sides[0] == sides[1] or not all(sides):
        raise UsageError(f"primary.pairs: cannot read '{text}'; expected two arms, such as 'simclr vs dcgan'")
    return sides[0], sides[1]
