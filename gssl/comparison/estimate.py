"""What there is to do in a comparison, what is done, and what the rest will take on this machine.

Every arm that has no finished run takes a few steps in a directory that is removed; nothing is kept and no test image
is looked at. Times are of one run by itself: side by side they are slower.
"""

import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison.parts import Part
from gssl.comparison.plan import Planner
from gssl.config import registry
from gssl.config.comparison_rules import budget_keys
from gssl.config.menus import NO_NETWORK
from gssl.data import Splits
from gssl.engine.device import pick_device
from gssl.engine.files import read_json
from gssl.engine.progress import say
from gssl.experiment.label_budgets import label_budgets
from gssl.experiment.probing import Prober, find_source
from gssl.names import load
from gssl.report.collect import read_runs
from gssl.report.document import chosen_metric
from gssl.report.scores import cells, gap
from gssl.schemas.ready_made import READY_MADE
from gssl.statistics.families import ALPHA
from gssl.statistics.two_way import half_width, needed

STEPS = 10  # of training: more than a period of every recipe here
FEW = 3  # of fine-tuning


@dataclass(frozen=True)
class Cost:
    """Of one part: None where it is not known."""

    seconds: float | None
    flops: float | None = None
    steps: int | None = None
    known: str = ""  # how it is known: "measured" | "a finished run" | ""


def planned(
    cfg: schemas.Compare, planner: Planner, parts: Sequence[Part], splits: Splits, commands: Mapping[str, str]
) -> dict[str, Any]:
    """The plan as `gssl.plan/1`; commands: `module:function` of whole commands, by name."""
    costs = estimate(parts, splits, commands)
    probe, label_budget = planner.primary()
    rows = [
        {
            "arm": part.arm,
            "seed": part.seed,
            "fold": part.fold,
            "stage": part.stage,
            "method": part.method,
            "budget_fraction": part.budget_fraction,
            "state": "done" if part.finished else "missing",
            "flops": costs[part.path].flops,
            "steps": costs[part.path].steps,
            "seconds": costs[part.path].seconds,
            "known": costs[part.path].known,
            "path": str(part.path),
            "command": part.shell,
        }
        for part in parts
    ]
    left: float = sum(float(row["seconds"] or 0) for row in rows if row["state"] == "missing")
    searched = [arm.name for arm in planner.arms() if arm.name in cfg.search.space]
    fixed_by = "configuration" if cfg.primary.pairs is not None else "rule"
    return {
        "schema": "gssl.plan/1",
        "primary": {"probe": probe, "labels": label_budget, "pairs": planner.pairs(), "fixed_by": fixed_by},
        "seeds": cfg.seeds,
        "probes": list(cfg.probe.use),
        "labels": budget_keys(cfg),
        "jobs": cfg.jobs,
        "parts": rows,
        "searches": {"trials": cfg.search.trials, "arms": searched, "budget": cfg.search.budget},
        "seconds_left": left / cfg.jobs,
        "resolution": resolution(cfg, planner, parts),
    }


def resolution(cfg: schemas.Compare, planner: Planner, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """How finely finished parts tell each primary pair apart, and how many seeds or test images bring the family's
    interval to ± the margin: from variance components alone, no score is looked at. Empty below two finished seeds."""
    done = [part.path for part in parts if part.stage == "transfer" and part.finished]
    if not done:
        return []
    runs = read_runs(done)
    found = cells(runs)
    probe, label_budget = planner.primary()
    pairs, margin, out = planner.pairs(), cfg.primary.margin / 100, []
    metric = cfg.primary.metric or chosen_metric(runs, found)
    for a, b in pairs:
        one, two = found.get((a, probe, label_budget)), found.get((b, probe, label_budget))
        between = gap(one, two, metric) if one and two else None
        if between is None or between.spread is None or between.spread.seeds < 2 or margin <= 0:
            continue
        level = 1 - ALPHA / len(pairs)
        now = half_width(between.spread, level)
        seeds, items = needed(between.spread, margin, level)
        ways = [f"{seeds:,} seeds" if seeds else "", f"{items:,} test images" if items else ""]
        takes = " or ".join(filter(None, ways)) or "more of both"
        text = f"{a} vs {b}: known to ±{100 * now:.1f} points now; ±{100 * margin:g} takes {takes}"
        out.append({"a": a, "b": b, "now": now, "margin": margin, "seeds": seeds, "items": items, "text": text})
    return out


def estimate(parts: Sequence[Part], splits: Splits, commands: Mapping[str, str]) -> dict[Path, Cost]:
    """The cost of every part: of finished ones what they took, of the others as their arm's other seeds, else as
    measured now."""
    out = {part.path: cost for part in parts if (cost := _finished(part))}
    known: dict[Any, Cost] = {
        _kind(part): replace(out[part.path], known="a finished run") for part in parts if part.path in out
    }
    for part in parts:
        if part.path in out:
            continue
        kind = _kind(part)
        if kind not in known:
            known[kind] = _measured(part, splits, commands)
        out[part.path] = known[kind]
    return out


def _kind(part: Part) -> Any:
    """Parts with equal kinds cost the same."""
    if part.stage == "transfer":
        cfg = part.cfg
        source = cfg.weights if cfg.weights in NO_NETWORK else "network"
        return part.stage, source, tuple(cfg.probe.use), repr(cfg.probe), cfg.generated.run is not None
    return part.arm, part.stage, part.method, part.stage_index


def _finished(part: Part) -> Cost | None:
    if not part.finished:
        return None
    spent = (read_json(part.path / "result.json") or {}).get("spent") or {}
    return Cost(spent.get("seconds"), spent.get("flops"), spent.get("steps"), "done")


def _measured(part: Part, splits: Splits, commands: Mapping[str, str]) -> Cost:
    say(f"measuring: {part.arm}, {part.stage}")
    if part.stage == "pretrain":
        return training(part, part.where(commands))
    if part.stage == "transfer" and not part.cfg.generated.run:
        return Cost(probing(part.cfg, splits), known="measured")
    return Cost(None)


def training(part: Part, where: str) -> Cost:
    """A few real steps of the method on the real data, then the budget divided by them."""
    cfg = part.cfg
    with tempfile.TemporaryDirectory(prefix="gssl-plan-") as folder:
        few = schemas.replace(
            cfg,
            # what a chain begins with is not there yet, and no dearer
            weights="random" if part.depends else cfg.weights,
            budget=schemas.replace(cfg.budget, steps=STEPS, epochs=None, images=None, seconds=None, flops=None),
            engine=schemas.replace(cfg.engine, log_every=1, checkpoint_every=10**9, resume="no", progress=False),
            eval=schemas.replace(cfg.eval, every=None, images=min(cfg.eval.images, 64), milestones=0),
        )
        if part.command == "train-gan":
            few = schemas.replace(few, evaluator="random")
        elif few.generated.run:
            few = schemas.replace(few, generated=schemas.replace(few.generated, run=None))
        with contextlib.redirect_stderr(io.StringIO()):
            load(where)(few, Path(folder) / "run")
        spent = (read_json(Path(folder) / "run" / "result.json") or {})["spent"]
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    times = [row["seconds"] for row in map(json.loads, lines) if "loss" in row]
    # the first steps count FLOPs and warm up
    step = statistics.median(b - a for a, b in zip(times[-6:-1], times[-5:], strict=True))
    steps = _steps(
        cfg.budget, spent["flops_per_step"], step, spent["images"] / spent["steps"], spent["epochs"] / spent["steps"]
    )
    return Cost(steps * step, steps * spent["flops_per_step"], steps, "measured")


def _steps(budget: schemas.Budget, flops: float, seconds: float, images: float, epochs: float) -> int:
    """Steps until the first limit, from what one step takes."""
    pairs = [
        (budget.steps, 1.0),
        (budget.epochs, epochs),
        (budget.images, images),
        (budget.seconds, seconds),
        (budget.flops, flops),
    ]
    limits = [limit / each for limit, each in pairs if limit and each]
    return max(1, round(min(limits) if limits else budget.default_epochs / epochs))


def probing(cfg: schemas.Transfer, splits: Splits) -> float:
    """Seconds of the probes of one transfer run: one draw of each label budget, fine-tuning for a few steps."""
    device = pick_device(cfg.engine.device)
    published = cfg.weights.partition(":")[0] in ("torchvision", "timm", *READY_MADE)
    weights = cfg.weights if published or cfg.weights in NO_NETWORK else "random"
    probes = schemas.replace(
        cfg.probe,
        finetune=schemas.replace(cfg.probe.finetune, steps=FEW, points=0),
        fixmatch=schemas.replace(cfg.probe.fixmatch, steps=FEW),
    )
    small = schemas.replace(cfg, weights=weights, draws=1, draws_one_shot=1, probe=probes)
    with contextlib.redirect_stderr(io.StringIO()):
        rest = (splits.labelled, splits.classes, device, splits.unlabelled)
        prober = Prober(small, find_source(weights), *rest, pretrain=splits.pretrain)
        start = time.perf_counter()
        pooled = prober.task.column == "label"  # else features are read batch by batch, in the fits
        frozen = pooled and any(registry.PROBE[name].reads != "network" for name in cfg.probe.use)
        if frozen:
            prober.features(splits.labelled)
        extracting = time.perf_counter() - start
        full = [(n, b) for n in cfg.probe.use for b in label_budgets(cfg, n, prober.task.unit)]
        draws = {(name, replace(budget, draws=1)): budget.draws for name, budget in full}
        total, last = 0.0, time.perf_counter()
        for fitted in prober.fit():
            now = time.perf_counter()
            reads = registry.PROBE[fitted.probe].reads
            own = cfg.probe.finetune if reads == "menu" else getattr(cfg.probe, fitted.probe)
            # A menu costs what it fits and no other probe has fitted before.
            trained = [name for name in cfg.probe.use if registry.PROBE[name].reads == "network"]
            trains = reads == "network" or (reads == "menu" and not trained)
            times = own.steps / FEW if trains else 1.0
            took, last = now - last, now
            if frozen and total == 0.0:
                took = max(took - extracting, 0.0)  # which comes once, whatever the draws
            total += took * times * draws[fitted.probe, replace(fitted.label_budget, draws=1)]
    counts = splits.summary["counts"]
    images = 1 + counts["test"] / max(1, counts["train"] + counts["val"])
    return total + extracting * images
