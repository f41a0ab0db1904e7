"""`minutes`: how many seeds fit into a given time, and how many seconds of training each run gets.

What is chosen is kept beside the parts: a second call makes the same plan, and so finds what the first has finished.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gssl
from gssl import schemas
from gssl.comparison.parts import Part
from gssl.comparison.plan import Planner
from gssl.comparison.timings import Timings, seconds_of
from gssl.data import Splits
from gssl.engine.files import read_json, write_json
from gssl.errors import UsageError
from gssl.schemas.determining import determining

FILE = "minutes.json"
LEAST = 10.0  # seconds of training: what a run gets at least
ENOUGH = 30.0  # below, seeds are given up for longer training, down to FEW
FEW = 3
NICE = (10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1200, 1800, 2700, 3600)
SPARE = 0.85  # of the time: parts side by side slow each other down, and a report is written
TRIED = 1000.0  # seconds of training in the plan whose other parts are added up


@dataclass(frozen=True)
class Chosen:
    """seeds; seconds of training per run; minutes that the plan takes."""

    seeds: int
    seconds: float
    minutes: float


def fitted(
    cfg: schemas.Compare,
    planner: Callable[[schemas.Compare], Planner],
    splits: Splits,
    commands: Mapping[str, str],
) -> tuple[schemas.Compare, str]:
    """`cfg` with the seeds and the seconds per run that fit into cfg.minutes, and a line that says so.

    planner: of a configuration. Raises UsageError where not even one seed fits.
    """
    assert cfg.minutes is not None
    file, key = Path(cfg.parts) / FILE, _key(cfg, splits)
    known: dict[str, Any] = read_json(file) or {}
    if key not in known:
        chosen = choose(*costs(_with(cfg, cfg.seeds, TRIED), planner, splits, commands), cfg)
        known[key] = {"seeds": chosen.seeds, "seconds": chosen.seconds, "minutes": chosen.minutes}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, known)
    chosen = Chosen(**known[key])
    return _with(cfg, chosen.seeds, chosen.seconds), _said(cfg, chosen)


def costs(
    cfg: schemas.Compare,
    planner: Callable[[schemas.Compare], Planner],
    splits: Splits,
    commands: Mapping[str, str],
) -> tuple[list[tuple[float, float]], float]:
    """Per seed (how many parts train, in units of a whole budget; seconds of everything else), and seconds spent once.

    Parts that several seeds have in common count for the first.
    """
    made = planner(cfg)
    parts = made.plan()
    timings = Timings(parts, splits, commands)
    rows: dict[int, list[Part]] = {}
    for part in parts:
        rows.setdefault(part.seed, []).append(part)
    once = sum({json.dumps(timings.kind(part), default=str): timings.of(part).once for part in parts}.values())
    found = []
    for own in rows.values():
        trained = sum(part.budget_fraction for part in own if part.stage == "pretrain")
        rest = 0.0
        for part in own:
            timing = timings.of(part)
            whole = seconds_of(part, timing, splits, made.task.unit, cfg.eval.milestones)
            rest += timing.fixed if part.stage == "pretrain" else whole
        found.append((trained, rest))
    return found, once


def choose(rows: Sequence[tuple[float, float]], once: float, cfg: schemas.Compare) -> Chosen:
    """The most seeds with which every run trains for ENOUGH seconds; fewer than FEW only where LEAST do not fit."""
    assert cfg.minutes is not None
    whole = cfg.minutes * 60 * cfg.jobs * SPARE - once

    def seconds(seeds: int) -> float:
        trained = sum(row[0] for row in rows[:seeds])
        left = whole - sum(row[1] for row in rows[:seeds])
        return left / trained if trained else (float("inf") if left >= 0 else -1.0)

    for least, fewest in ((ENOUGH, min(FEW, len(rows))), (LEAST, 1)):
        for seeds in range(len(rows), fewest - 1, -1):
            if seconds(seeds) >= least:
                each = max(nice for nice in NICE if nice <= max(seconds(seeds), NICE[0]))
                trained, rest = (sum(row[i] for row in rows[:seeds]) for i in (0, 1))
                taken = (once + trained * each + rest) / cfg.jobs / 60
                return Chosen(seeds, float(each), round(taken, 1))
    needed = (once + rows[0][1] + LEAST * rows[0][0]) / (60 * cfg.jobs * SPARE)
    raise UsageError(
        f"minutes={cfg.minutes:g}: one seed with {LEAST:g} s of training per run takes about {needed:.0f} minutes here;"
        " give more minutes, fewer arms, or fewer label budgets"
    )


def _with(cfg: schemas.Compare, seeds: int, seconds: float) -> schemas.Compare:
    return schemas.replace(cfg, seeds=seeds, budget=schemas.replace(cfg.budget, seconds=seconds))


def _said(cfg: schemas.Compare, chosen: Chosen) -> str:
    seeds = f"{chosen.seeds} seed" + "s" * (chosen.seeds > 1)
    fewer = f" (of {cfg.seeds}; more minutes make room for the others)" if chosen.seeds < cfg.seeds else ""
    return (
        f"minutes={cfg.minutes:g}: {seeds}{fewer}, {chosen.seconds:g} s of training per run, about"
        f" {max(1, round(chosen.minutes))} min with jobs={cfg.jobs}; seeds= and budget.seconds= set them by hand"
    )


def _key(cfg: schemas.Compare, splits: Splits) -> str:
    """What the choice depends on, what was measured aside: it differs from call to call."""
    text = json.dumps([determining(cfg), splits.hash, gssl.__version__], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
