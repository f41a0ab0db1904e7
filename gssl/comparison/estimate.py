"""What there is to do in a comparison, what is done, and what the rest will take on this machine (`timings`)."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison import recommended
from gssl.comparison.executors import checks
from gssl.comparison.parts import Part
from gssl.comparison.plan import Planner
from gssl.comparison.timings import Timings, seconds_of, steps_of
from gssl.config.comparison_rules import budget_keys
from gssl.data import Splits
from gssl.engine.files import find_json
from gssl.report.collect import read_runs
from gssl.report.document import chosen_metric
from gssl.report.scores import cells, gap
from gssl.statistics.families import ALPHA
from gssl.statistics.two_way import half_width, needed


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
    costs, once = estimate(cfg, parts, splits, commands)
    model = recommended.seconds(cfg, parts, costs)
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
        "jobs": side_by_side(cfg),
        "executor": checks.described(cfg.executor, cfg.jobs, sum(not part.finished for part in parts)),
        "parts": rows,
        "searches": {"trials": cfg.search.trials, "arms": searched, "budget": cfg.search.budget},
        "seconds_once": once,
        "seconds_model": model,
        "seconds_left": (left + once) / side_by_side(cfg) + model,
        "resolution": resolution(cfg, planner, parts),
    }


def side_by_side(cfg: schemas.Compare) -> int:
    """Parts at once, at most."""
    return cfg.jobs if isinstance(cfg.executor, schemas.Local) else int(cfg.executor.max_jobs)


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


def estimate(
    cfg: schemas.Compare, parts: Sequence[Part], splits: Splits, commands: Mapping[str, str]
) -> tuple[dict[Path, Cost], float]:
    """The cost of every part: of finished ones what they took, of the others what their kind took, else by a few steps
    now; and the seconds that all of them together spend once. Nothing is measured for parts that run elsewhere."""
    out = {part.path: cost for part in parts if (cost := _finished(part))}
    timings = Timings(parts, splits, commands)
    took: dict[str, list[float]] = {}
    for part in parts:
        if part.path in out and out[part.path].seconds is not None:
            took.setdefault(_name(part, timings), []).append(float(out[part.path].seconds or 0))
    once: dict[str, float] = {}
    for part in parts:
        if part.path in out:
            continue
        name = _name(part, timings)
        if not isinstance(cfg.executor, schemas.Local):
            same = took.get(name)
            out[part.path] = Cost(statistics.mean(same), known="a finished run") if same else Cost(None)
            continue
        timing = timings.of(part)
        steps = steps_of(part.cfg.budget, timing) if part.stage == "pretrain" else None
        flops = steps * timing.flops if steps else None
        if name in took:  # another seed, or fold
            out[part.path] = Cost(statistics.mean(took[name]), flops, steps, "a finished run")
            continue
        once[json.dumps(timings.kind(part), default=str)] = timing.once
        seconds = seconds_of(part, timing, splits, cfg.eval.milestones)
        out[part.path] = Cost(seconds, flops, steps, "measured")
    return out, sum(once.values())


def announced(
    cfg: schemas.Compare, parts: Sequence[Part], splits: Splits, commands: Mapping[str, str]
) -> tuple[str, dict[str, float]]:
    """A plan in a line, each arm with the minutes that its missing parts take; and seconds of parts, by name."""
    costs, _ = estimate(cfg, parts, splits, commands)
    missing = [part for part in parts if not part.finished]
    seconds = {part.name: float(costs[part.path].seconds or 0) for part in missing}
    arms = dict.fromkeys(part.arm for part in parts)
    each = {arm: sum(seconds[part.name] for part in missing if part.arm == arm) / 60 for arm in arms}
    text = ", ".join(f"{arm} {_minutes(minutes)}" for arm, minutes in each.items())
    return f"plan: {len(missing)} of {len(parts)} parts to run, in minutes of one worker: {text}", seconds


def _minutes(value: float) -> str:
    return f"{value:.0f}" if value >= 9.5 else f"{value:.1f}"


def _name(part: Part, timings: Timings) -> str:
    """Parts of one name take the same time: those of the other seeds and folds."""
    budget = repr(part.cfg.budget) if part.stage == "pretrain" else ""
    labels = repr(getattr(part.cfg, "labels_per_class", ""))
    return json.dumps(
        [part.arm, part.stage, part.method, part.stage_index, timings.kind(part), budget, labels], default=str
    )


def _finished(part: Part) -> Cost | None:
    if not part.finished:
        return None
    spent = (find_json(part.path / "result.json") or {}).get("spent") or {}
    return Cost(spent.get("seconds"), spent.get("flops"), spent.get("steps"), "done")
