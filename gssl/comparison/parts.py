"""One run of a comparison: its name, what it depends on, its record beside the run, the command that repeats it.

A part is named by a hash of what determines it: resolved configuration without paths and logging, data hash,
gssl version, number of threads. So a finished part is never run twice, whichever comparison needs it.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gssl
from gssl.config.arms import Arm
from gssl.engine import recorded
from gssl.engine.files import read_json
from gssl.experiment import weight_sources
from gssl.schemas.determining import determining

# what a comparison runs beside whole commands
STEPS = {
    "milestones": "gssl.experiment.milestones:main",
    "evaluate": "gssl.comparison.generator_part:main",
    "folds": "gssl.experiment.cross_validation:main",
}
SEARCHED = 1_000_000  # seed of a search's trials: none of the comparison's


@dataclass(frozen=True)
class Part:
    """One run of a comparison."""

    arm: str
    seed: int
    # pretrain | transfer | fold (a transfer run tested on one fold; that stage's other runs then merge these) |
    # milestones (checkpoints on validation images) | evaluate (generated images)
    stage: str
    command: str
    cfg: Any
    path: Path
    hash: str
    depends: tuple[Path, ...]
    shell: str  # the command line that does the same
    method: str | None = None  # of what is trained
    stage_index: int = 0  # in the arm's chain
    budget_fraction: float = 1.0
    about: Mapping[str, Any] | None = None  # the arm, for readers that have the run without the comparison
    fold: int | None = None  # of the labelled images: which one it does not see, None: no fold of its own

    @property
    def name(self) -> str:
        stage = "transfer" if self.stage == "fold" else self.stage
        stage += "" if self.method in (None, self.arm) else f" {self.method}"
        stage += f" {self.stage_index + 1}" if self.stage_index else ""
        which = f"trial {self.hash[:6]}" if self.seed == SEARCHED else f"seed {self.seed}"
        which += "" if self.fold is None else f" fold {self.fold}"
        return f"{self.arm} {which} {stage}"

    @property
    def finished(self) -> bool:
        """Whether its result and what that is read by are those that it wrote: what was lost is made again."""
        return recorded.finished(self.path)

    def where(self, commands: Mapping[str, str]) -> str:
        """`module:function` that runs it. commands: those of whole commands, by name."""
        return STEPS.get(self.command) or commands[self.command]

    def record(self) -> dict[str, Any]:
        """part.json: for the report, which reads files only."""
        return {
            "schema": "gssl.part/3",
            "arm": self.arm,
            "about": dict(self.about or {}),
            "seed": self.seed,
            **({"trial": True} if self.seed == SEARCHED else {}),
            **({} if self.fold is None else {"fold": self.fold}),
            "stage": self.stage,
            "method": self.method,
            "stage_index": self.stage_index,
            "budget_fraction": self.budget_fraction,
            "command": self.shell,
            "hash": self.hash,
            "depends": [str(path) for path in self.depends],
        }


@dataclass(frozen=True)
class Draft:
    """A run that a comparison needs, before it has a name.

    choices: the overrides with which its command line begins. given: what that line gives beside them, by key.
    weights, generated, run: the parts whose results the configuration names under that key. needs: every other part
    that must be finished first. folds: the parts that are merged.
    """

    arm: Arm
    seed: int
    stage: str
    command: str
    cfg: Any
    choices: list[str] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    weights: Part | None = None
    generated: Part | None = None
    run: Part | None = None
    needs: tuple[Part, ...] = ()
    folds: tuple[Part, ...] = ()
    method: str | None = None
    stage_index: int = 0
    budget_fraction: float = 1.0

    @property
    def fold(self) -> int | None:
        """See `Part.fold`."""
        data = getattr(self.cfg, "data", None)
        return getattr(data, "fold", None) if data is not None else self.run.fold if self.run else None

    @property
    def depends(self) -> tuple[Path, ...]:
        """Paths of all parts that must be finished first."""
        known = [part for part in (self.weights, self.generated, self.run) if part]
        return tuple(dict.fromkeys(part.path for part in [*known, *self.folds, *self.needs]))

    def hash(self, data_hash: str, threads: int) -> str:
        """12 hex digits of what determines the run's result; other runs count by their own hashes, files by theirs."""
        tree = determining(self.cfg)
        if self.folds:
            tree |= {"of": [part.hash for part in self.folds], "weights": None}
        elif self.weights:
            tree["weights"] = self.weights.hash
        elif tree.get("weights") == "file":
            tree["weights"] = weight_sources.find_weights(self.cfg.weights).sha256
        if tree.get("ssl", {}).get("teacher") == "file":
            tree["ssl"]["teacher"] = weight_sources.find_weights(self.cfg.ssl.teacher).sha256
        if self.generated:
            tree["generated"]["run"] = self.generated.hash
        if self.run:
            tree["run"] = self.run.hash
        elif self.command == "evaluate":
            tree["run"] = (read_json(Path(self.cfg.run) / "weights" / "generator.json") or {}).get("sha256")
        text = [self.command, tree, data_hash, gssl.__version__, threads]
        return hashlib.sha256(json.dumps(text, sort_keys=True, default=str).encode()).hexdigest()[:12]

    def folder(self, digest: str) -> str:
        """The name of the run's directory."""
        prefix = re.sub(r"[^\w.+-]", "-", self.method or self.arm.name)
        return f"{prefix}-s{self.seed}-{self.stage}-{digest}"

    def evaluate_command(self) -> str:
        """The command line of an evaluation of generated images, which Hydra does not configure."""
        cfg = self.cfg
        words = ["gssl", "evaluate", cfg.run, "--split", cfg.split, "--evaluator", cfg.evaluator]
        return shlex.join([*words, "-n", str(cfg.images), "--seed", str(cfg.seed)])
