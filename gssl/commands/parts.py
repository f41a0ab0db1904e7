"""The parts of a comparison: which runs it needs, what each is called, and the command that repeats it.

A part is named by a hash of what determines it: resolved configuration without paths and logging, data hash,
gssl version, number of threads. So a finished part is never run twice, whoever asks for it.
"""

import hashlib
import json
import re
import shlex
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import gssl
from gssl.commands.judge import from_scratch
from gssl.config import registry, schema
from gssl.config.check import determining
from gssl.config.composing import compose
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.report.judging import probes_of

CONTROLS = ("random", "pixels")
SCRATCH = "scratch"
PATHS = ("root", "pretrain", "train", "test", "labels")  # where the images lie


@dataclass(frozen=True)
class Part:
    """One run of a comparison."""

    arm: str
    seed: int
    stage: str  # pretrain | transfer
    command: str
    cfg: Any
    path: Path
    hash: str
    depends: Path | None
    shell: str  # the command line that does the same

    @property
    def name(self) -> str:
        return f"{self.arm} seed {self.seed} {self.stage}"

    @property
    def finished(self) -> bool:
        return (read_json(self.path / "status.json") or {}).get("state") == "finished"

    def record(self) -> dict[str, Any]:
        """part.json: for the report, which reads files only."""
        return {
            "schema": "gssl.part/1",
            "arm": self.arm,
            "seed": self.seed,
            "stage": self.stage,
            "command": self.shell,
            "hash": self.hash,
            "depends": [str(self.depends)] if self.depends else [],
        }


def plan(cfg: schema.Compare, data_hash: str, threads: int) -> list[Part]:
    """Every part of the comparison, in the order in which they can run: seed by seed, pretraining first."""
    parts: list[Part] = []
    for seed in range(cfg.seeds):
        for arm in cfg.arms:
            parts += _arm(cfg, arm, seed, data_hash, threads)
    return parts


def _arm(cfg: schema.Compare, arm: str, seed: int, data_hash: str, threads: int) -> list[Part]:
    extra = list(cfg.overrides.get(arm, []))
    trained = arm in registry.SSL or arm in registry.GAN
    if not trained:
        source = "random" if arm == SCRATCH else arm
        return [_transfer(cfg, arm, seed, source, None, extra, data_hash, threads)]
    command, group = ("train-gan", "gan") if arm in registry.GAN else ("pretrain-ssl", "ssl")
    # the method's YAML may bring a backbone of its own; a comparison has one for all
    choices = [f"{group}={arm}", *_shared(cfg)]
    if command == "train-gan":
        # who is compared is judged as it ended: to choose by a judge that knows labels would be an advantage
        choices.append("export=last")
    # overrides may concern either command: each takes those it knows
    mine = [text for text in extra if not text.startswith("probe.")]
    composed = compose(command, [*choices, *mine])
    own = compose(command, [f"{group}={arm}"]).backbone.norm if command == "train-gan" else None
    if own == "none" and cfg.backbone.norm == "batch":
        raise UsageError(
            f"arms: {arm} is made for a backbone without norm layers, and a comparison has one backbone for all;"
            " set backbone=convnet_plain (or backbone.norm=group), or leave this arm out"
        )
    reference = arm in registry.SSL and registry.reads_labels(arm)
    budget = _scaled(cfg.budget, cfg.supervised_budget) if reference else cfg.budget
    engine = replace(cfg.engine, resume="auto", progress=False, threads=threads)
    trained_cfg = replace(
        composed, seed=seed, data=cfg.data, backbone=cfg.backbone, budget=budget, engine=engine, eval=cfg.eval
    )
    first = _part(cfg, arm, seed, "pretrain", command, trained_cfg, choices, None, data_hash, threads)
    rest = [text for text in extra if text.startswith("probe.")]
    return [first, _transfer(cfg, arm, seed, str(first.path), first, rest, data_hash, threads)]


def _shared(cfg: schema.Compare) -> list[str]:
    """Overrides that every part starts from: one data set, one network."""
    paths = [(key, getattr(cfg.data, key)) for key in PATHS]
    given = [f"data.{key}={_quoted(value)}" for key, value in paths if value is not None]
    return [f"data={cfg.data.name}", *given, f"backbone={cfg.backbone.name}"]


def _transfer(
    cfg: schema.Compare,
    arm: str,
    seed: int,
    weights: str,
    first: Part | None,
    extra: list[str],
    data_hash: str,
    threads: int,
) -> Part:
    choices = [f"weights={_quoted(weights)}", *_shared(cfg)]
    composed = compose("transfer", [*choices, *extra])
    use = probes_of(arm, cfg.probe.use)
    probes = _changed(cfg.probe, compose("transfer", choices).probe, composed.probe)
    same = {key: getattr(cfg, key) for key in ("labels_per_class", "fractions", "draws", "draws_one_shot")}
    typed = replace(
        composed,
        seed=seed,
        weights=weights,
        data=cfg.data,
        backbone=cfg.backbone,
        probe=replace(from_scratch(probes) if arm == SCRATCH else probes, use=use),
        engine=replace(cfg.engine, resume="auto", progress=False, threads=threads),
        diagnose=schema.Diagnose(pictures=False, corruptions=False),  # the report has its own
        **same,
    )
    return _part(cfg, arm, seed, "transfer", "transfer", typed, choices, first, data_hash, threads)


def _part(
    cfg: schema.Compare,
    arm: str,
    seed: int,
    stage: str,
    command: str,
    typed: Any,
    choices: list[str],
    first: Part | None,
    data_hash: str,
    threads: int,
) -> Part:
    tree = determining(typed)
    if first:
        tree["weights"] = first.hash
    text = json.dumps([command, tree, data_hash, gssl.__version__, threads], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = Path(cfg.parts) / f"{arm}-s{seed}-{stage}-{digest}"
    shell = as_command(command, typed, choices)
    return Part(arm, seed, stage, command, typed, path, digest, first.path if first else None, shell)


def _changed(ours: Any, before: Any, after: Any) -> Any:
    """`ours` with what differs between `before` and `after`: the comparison's settings, then the arm's own."""
    values = {}
    for field in fields(ours):
        a, b, c = (getattr(tree, field.name) for tree in (ours, before, after))
        values[field.name] = _changed(a, b, c) if is_dataclass(a) else (a if b == c else c)
    return replace(ours, **values)


def _scaled(budget: schema.Budget, share: float) -> schema.Budget:
    values: dict[str, Any] = {}
    for f in fields(budget):
        value = getattr(budget, f.name)
        whole = f.name in ("steps", "images")
        values[f.name] = None if value is None else max(1, round(value * share)) if whole else value * share
    return schema.Budget(**values)


def _quoted(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(_quoted(item) for item in value) + "]"
    text = str(value)
    # Hydra's own quotes, where its grammar would stumble
    return text if re.fullmatch(r"[\w./:%-]+", text) else "'" + text.replace("'", "\\'") + "'"


def as_command(command: str, cfg: Any, choices: list[str]) -> str:
    """The shortest command line that composes `cfg`: the groups chosen and the keys that differ from them."""
    default = compose(command, choices)

    def differences(now: Any, before: Any, prefix: str) -> list[str]:
        found = []
        for field in fields(now):
            a, b, key = getattr(now, field.name), getattr(before, field.name), f"{prefix}{field.name}"
            if is_dataclass(a):
                found += differences(a, b, f"{key}.")
            elif a != b and key not in ("engine.resume", "engine.progress", "experiment"):
                found.append(f"{key}={_quoted(a)}")
        return found

    return shlex.join(["gssl", command, *choices, *differences(cfg, default, "")])
