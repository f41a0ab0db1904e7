"""`minutes`: how many seeds fit into a given time, and how many FLOPs of training each run gets.

What is chosen is kept beside the parts: a second call makes the same plan, and so finds what the first has finished.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gssl
from gssl import schemas
from gssl.comparison.parts import Part
from gssl.comparison.plan import Planner
from gssl.comparison.timings import RECIPE, Timings, seconds_of
from gssl.data import Splits
from gssl.engine.files import find_json, write_json
from gssl.errors import UsageError
from gssl.schemas.determining import determining

FILE = "minutes.json"
LEAST = 10.0  # seconds of training that a run gets at least, the mean over runs
ENOUGH = 30.0  # below, seeds are given up for longer training, down to FEW
FEW = 3
SPARE = 0.85  # of the time: parts side by side slow each other down, and a report is written
TRIED = 1e12  # FLOPs in the plan whose other parts are added up
DIGITS = 2  # of the FLOPs


@dataclass(frozen=True)
class Seed:
    """What one seed costs. runs: of training, in whole budgets; per_flop: seconds that a FLOP takes in all of them
    together; rest: seconds of everything else. Parts that several seeds have in common count for the first."""

    runs: float
    per_flop: float
    rest: float


@dataclass(frozen=True)
class Chosen:
    """seeds; FLOPs of training per run, which take so many seconds (the mean over runs); minutes of the plan."""

    seeds: int
    flops: float
    seconds: float
    minutes: float


def fitted(
    cfg: schemas.Compare,
    planner: Callable[[schemas.Compare], Planner],
    splits: Splits,
    commands: Mapping[str, str],
) -> tuple[schemas.Compare, str]:
    """`cfg` with the seeds and the FLOPs per run that fit into cfg.minutes, and a line that says so.

    planner: of a configuration. Raises UsageError where not even one seed fits.
    """
    assert cfg.minutes is not None
    file, key = Path(cfg.parts) / FILE, _key(cfg, splits)
    known: dict[str, Any] = find_json(file) or {}
    if key not in known:
        known[key] = asdict(choose(*costs(_with(cfg, cfg.seeds, TRIED), planner, splits, commands), cfg))
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, known)
    chosen = Chosen(**known[key])
    return _with(cfg, chosen.seeds, chosen.flops), _said(cfg, chosen)


def costs(
    cfg: schemas.Compare,
    planner: Callable[[schemas.Compare], Planner],
    splits: Splits,
    commands: Mapping[str, str],
) -> tuple[list[Seed], float]:
    """Of every seed, and the seconds that all of them together spend once."""
    made = planner(cfg)
    parts = made.plan()
    timings = Timings(parts, splits, commands)
    rows: dict[int, list[Part]] = {}
    for part in parts:
        rows.setdefault(part.seed, []).append(part)
    once = sum({json.dumps(timings.kind(part), default=str): timings.of(part).once for part in parts}.values())
    found = []
    for own in rows.values():
        trained = [(part.budget_fraction, timings.of(part)) for part in own if part.stage == "pretrain"]
        per_flop = sum(part_of * timing.per_step / max(timing.flops, 1.0) for part_of, timing in trained)
        rest = 0.0
        for part in own:
            timing = timings.of(part)
            whole = seconds_of(part, timing, splits, cfg.eval.milestones)
            rest += timing.fixed if part.stage == "pretrain" else whole
        found.append(Seed(sum(part_of for part_of, _ in trained), per_flop, rest))
    return found, once


def choose(rows: Sequence[Seed], once: float, cfg: schemas.Compare) -> Chosen:
    """The most seeds with which a run trains for ENOUGH seconds; fewer than FEW only where that does not fit."""
    assert cfg.minutes is not None
    whole = cfg.minutes * 60 * cfg.jobs * SPARE - once

    def flops(seeds: int) -> float:
        left = whole - sum(row.rest for row in rows[:seeds])
        per_flop = sum(row.per_flop for row in rows[:seeds])
        return left / per_flop if per_flop else (1.0 if left >= 0 else -1.0)

    def seconds(seeds: int, of: float) -> float:
        runs = sum(row.runs for row in rows[:seeds])
        return of * sum(row.per_flop for row in rows[:seeds]) / runs if runs else (ENOUGH if of > 0 else -1.0)

    for least, fewest in ((ENOUGH, min(FEW, len(rows))), (LEAST, 1)):
        for seeds in range(len(rows), fewest - 1, -1):
            if seconds(seeds, flops(seeds)) >= least:
                each = _rounded(flops(seeds))
                taken = once + sum(row.per_flop * each + row.rest for row in rows[:seeds])
                return Chosen(seeds, each, round(seconds(seeds, each), 1), round(taken / cfg.jobs / 60, 1))
    needed = (once + rows[0].rest + LEAST * rows[0].runs) / (60 * cfg.jobs * SPARE)
    raise UsageError(
        f"minutes={cfg.minutes:g}: one seed with {LEAST:g} s of training per run takes about {math.ceil(needed)}"
        " minutes here; give more minutes, fewer arms, or fewer label budgets"
    )


def _rounded(flops: float) -> float:
    """Down to two digits."""
    unit: float = 10.0 ** (math.floor(math.log10(max(flops, 1.0))) - DIGITS + 1)
    return float(f"{math.floor(flops / unit * (1 + 1e-9)) * unit:.6g}")


def _with(cfg: schemas.Compare, seeds: int, flops: float) -> schemas.Compare:
    return schemas.replace(cfg, seeds=seeds, budget=schemas.replace(cfg.budget, flops=flops))


def _said(cfg: schemas.Compare, chosen: Chosen) -> str:
    seeds = f"{chosen.seeds} seed" + "s" * (chosen.seeds > 1)
    fewer = f" (of {cfg.seeds}; more minutes make room for the others)" if chosen.seeds < cfg.seeds else ""
    return (
        f"minutes={cfg.minutes:g}: {seeds}{fewer}, {chosen.flops:.2g} FLOPs of training per run (about"
        f" {chosen.seconds:.0f} s), about {max(1, round(chosen.minutes))} min in all with jobs={cfg.jobs}; seeds= and"
        " budget.flops= set them by hand"
    )


def _key(cfg: schemas.Compare, splits: Splits) -> str:
    """What the choice depends on, what was measured aside: it differs from call to call."""
    text = json.dumps([RECIPE, determining(cfg), splits.hash, gssl.__version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
