"""`gssl compare --plan`: what there is to do, what is done, and what the rest will take on this machine.

Every arm that has no finished run takes a few steps in a directory that is removed; nothing is kept and no test image
is looked at. Times are of one run by itself: side by side they share the machine.
"""

import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.cli.output import table
from gssl.commands.transfer import unlabelled
from gssl.comparison.plan import Part, Planner
from gssl.config import registry
from gssl.config.menus import NO_NETWORK
from gssl.data import Splits
from gssl.engine.device import pick_device
from gssl.engine.files import read_json
from gssl.engine.progress import say
from gssl.experiment.probing import Prober, find, label_budgets
from gssl.report.cells import cells, gap
from gssl.report.collect import read_runs
from gssl.report.differences import ALPHA
from gssl.report.document import chosen_metric
from gssl.schemas.label_budgets import label_budget_keys
from gssl.schemas.ready_made import READY_MADE
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


def show(cfg: schemas.Compare, planner: Planner, parts: Sequence[Part], splits: Splits) -> dict[str, Any]:
    """Print the plan; returns it as `gssl.plan/1`."""
    costs = estimate(parts, splits)
    probe, label_budget = planner.primary()
    rows = [
        {
            "arm": part.arm,
            "seed": part.seed,
            "stage": part.stage,
            "method": part.method,
            "share": part.share,
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
    trials = cfg.search.trials * len(searched)
    pairs, labels = planner.pairs(), label_budget_keys(cfg.labels_per_class, cfg.fractions)
    text = {
        "schema": "gssl.plan/1",
        "primary": {"probe": probe, "labels": label_budget, "pairs": pairs},
        "seeds": cfg.seeds,
        "probes": list(cfg.probe.use),
        "labels": labels,
        "jobs": cfg.jobs,
        "parts": rows,
        "searches": {"trials": cfg.search.trials, "arms": searched, "budget": cfg.search.budget},
        "seconds_left": left / cfg.jobs,
        "resolution": (found := resolution(cfg, planner, parts)),
    }
    told = ", ".join(" vs ".join(two) for two in pairs) or "none"
    rule = "as given" if cfg.primary.pairs is not None else "by the rule over names"
    print(f"{cfg.seeds} seeds; probes: {', '.join(cfg.probe.use)}; labels per class or share: {', '.join(labels)}")
    print(f"the verdict: {probe} probe at {label_budget}, {told} ({rule})")
    lines = [_line(rows, arm, stage, method) for arm, stage, method in _groups(rows)]
    table(["arm", "stage", "done", "missing", "FLOPs each", "steps each", "minutes each", "minutes left"], lines)
    done = len([row for row in rows if row["state"] == "done"])
    unknown = len([row for row in rows if row["seconds"] is None and row["state"] == "missing"])
    about = "at least" if unknown else "about"
    print(f"{done} of {len(rows)} parts are done; {about} {left / cfg.jobs / 60:.0f} min left with jobs={cfg.jobs}")
    if unknown:
        print(f"not counted: {unknown} parts whose time is only known when one of them is done")
    for line in found:
        print(line["text"])
    if trials:
        print(f"before them: a search of {trials} trials, each with {cfg.search.budget:g} of the budget; not counted")
    return text


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
        told = f"{a} vs {b}: known to ±{100 * now:.1f} points now; ±{100 * margin:g} takes {takes}"
        out.append({"a": a, "b": b, "now": now, "margin": margin, "seeds": seeds, "items": items, "text": told})
    return out


def _groups(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    return list(dict.fromkeys((row["arm"], row["stage"], row["method"]) for row in rows))


def _line(rows: Sequence[dict[str, Any]], arm: str, stage: str, method: str | None) -> list[str]:
    mine = [row for row in rows if (row["arm"], row["stage"], row["method"]) == (arm, stage, method)]
    missing = [row for row in mine if row["state"] == "missing"]
    one = mine[0]
    each = one["seconds"]
    return [
        arm,
        stage if method in (None, arm) else f"{stage} {method}",
        str(len(mine) - len(missing)),
        str(len(missing)),
        f"{one['flops']:.3g}" if one["flops"] else "–",
        f"{one['steps']:,}" if one["steps"] else "–",
        f"{each / 60:.1f}" if each is not None else "–",
        f"{each * len(missing) / 60:.1f}" if each is not None else "–",
    ]


def estimate(parts: Sequence[Part], splits: Splits) -> dict[Path, Cost]:
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
            known[kind] = _measured(part, splits)
        out[part.path] = known[kind]
    return out


def _kind(part: Part) -> Any:
    """Parts with equal kinds cost the same."""
    if part.stage == "transfer":
        cfg = part.cfg
        plain = cfg.weights if cfg.weights in NO_NETWORK else "network"
        return part.stage, plain, tuple(cfg.probe.use), repr(cfg.probe), cfg.generated.run is not None
    return part.arm, part.stage, part.method, part.link


def _finished(part: Part) -> Cost | None:
    if not part.finished:
        return None
    spent = (read_json(part.path / "result.json") or {}).get("spent") or {}
    return Cost(spent.get("seconds"), spent.get("flops"), spent.get("steps"), "done")


def _measured(part: Part, splits: Splits) -> Cost:
    say(f"measuring: {part.arm}, {part.stage}")
    if part.stage == "pretrain":
        return training(part)
    if part.stage == "transfer" and not part.cfg.generated.run:
        return Cost(judging(part.cfg, splits), known="measured")
    return Cost(None)


def training(part: Part) -> Cost:
    """A few real steps of the method on the real data, then the budget divided by them."""
    cfg = part.cfg
    with tempfile.TemporaryDirectory(prefix="gssl-plan-") as folder:
        few = replace(
            cfg,
            # what a chain begins with is not there yet, and no dearer
            weights="random" if part.depends else cfg.weights,
            budget=replace(cfg.budget, steps=STEPS, epochs=None, images=None, seconds=None, flops=None),
            engine=replace(cfg.engine, log_every=1, checkpoint_every=10**9, resume="no", progress=False),
            eval=replace(cfg.eval, every=None, images=min(cfg.eval.images, 64), milestones=0),
        )
        if part.command == "train-gan":
            few = replace(few, evaluator="random")
        elif few.generated.run:
            few = replace(few, generated=replace(few.generated, run=None))
        with contextlib.redirect_stderr(io.StringIO()):
            registry.load(part.where)(few, Path(folder) / "run")
        spent = (read_json(Path(folder) / "run" / "result.json") or {})["spent"]
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    places = [row["seconds"] for row in map(json.loads, lines) if "loss" in row]
    # the first steps count FLOPs and warm up
    step = statistics.median(b - a for a, b in zip(places[-6:-1], places[-5:], strict=True))
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


def judging(cfg: schemas.Transfer, splits: Splits) -> float:
    """Seconds of the probes of one transfer run: one draw of each amount is fitted, fine-tuning for a few steps."""
    device = pick_device(cfg.engine.device)
    published = cfg.weights.partition(":")[0] in ("torchvision", "timm", *READY_MADE)
    weights = cfg.weights if published or cfg.weights in NO_NETWORK else "random"
    probes = replace(
        cfg.probe,
        finetune=replace(cfg.probe.finetune, steps=FEW, points=0),
        fixmatch=replace(cfg.probe.fixmatch, steps=FEW),
    )
    small = replace(cfg, weights=weights, draws=1, draws_one_shot=1, probe=probes)
    with contextlib.redirect_stderr(io.StringIO()):
        rest = (splits.labelled, splits.classes, device, unlabelled(splits))
        prober = Prober(small, find(weights), *rest, pretrain=splits.pretrain)
        start = time.perf_counter()
        frozen = any(registry.PROBE[name].reads != "network" for name in cfg.probe.use)
        if frozen:
            prober.features(splits.labelled)
        extracting = time.perf_counter() - start
        draws = {(name, (a.per_class, a.fraction)): a.draws for name in cfg.probe.use for a in label_budgets(cfg, name)}
        total, last = 0.0, time.perf_counter()
        for fitted in prober.fit():
            now = time.perf_counter()
            reads = registry.PROBE[fitted.probe].reads
            own = cfg.probe.finetune if reads == "menu" else getattr(cfg.probe, fitted.probe)
            # A menu costs what it fits and no other probe has fitted before.
            trains = reads == "network" or (reads == "menu" and "finetune" not in cfg.probe.use)
            times = own.steps / FEW if trains else 1.0
            took, last = now - last, now
            if frozen and total == 0.0:
                took = max(took - extracting, 0.0)  # which comes once, whatever the draws
            total += took * times * draws[fitted.probe, (fitted.label_budget.per_class, fitted.label_budget.fraction)]
    counts = splits.summary["counts"]
    share = 1 + counts["test"] / max(1, counts["train"] + counts["val"])
    return total + extracting * share
