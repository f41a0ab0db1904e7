"""The parts of a comparison: which runs it needs, what each is called, and the command that repeats it.

A part is named by a hash of what determines it: resolved configuration without paths and logging, data hash,
gssl version, number of threads. So a finished part is never run twice, whoever asks for it.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import gssl
from gssl import schemas
from gssl.comparison import contestants
from gssl.config import arms, registry
from gssl.config.arms import Arm
from gssl.config.check import determining
from gssl.config.command_line import as_command, quoted
from gssl.config.comparing import choices
from gssl.config.composing import METHOD, compose
from gssl.config.menus import ADAPTED, primary_probe, probes_of
from gssl.engine.files import read_json
from gssl.errors import UsageError
from gssl.experiment import weight_sources
from gssl.experiment.probing import of_source
from gssl.schemas.label_budgets import label_budget_keys, parse_label_budget
from gssl.schemas.ready_made import READY_MADE, weights_file

SAME = ("labels_per_class", "fractions", "images_labelled", "draws", "draws_one_shot", "classical")  # for every arm
PATHS = ("root", "pretrain", "train", "test", "labels")  # where the images lie
# what a comparison runs beside the commands that Hydra configures
INNER = {"milestones": "gssl.experiment.milestones:main", "evaluate": "gssl.comparison.generator_part:main"}
SEARCHED = 1_000_000  # seed of a search's trials: none of the comparison's


@dataclass(frozen=True)
class Part:
    """One run of a comparison."""

    arm: str
    seed: int
    stage: str  # pretrain | transfer | milestones (checkpoints on validation images) | evaluate (generated images)
    command: str
    cfg: Any
    path: Path
    hash: str
    depends: tuple[Path, ...]
    shell: str  # the command line that does the same
    method: str | None = None  # of what is trained
    link: int = 0  # place in the arm's chain
    share: float = 1.0  # of the budget
    about: Mapping[str, Any] | None = None  # the arm, for who reads the run without the comparison

    @property
    def name(self) -> str:
        stage = self.stage if self.method in (None, self.arm) else f"{self.stage} {self.method}"
        stage += f" {self.link + 1}" if self.link else ""
        which = f"trial {self.hash[:6]}" if self.seed == SEARCHED else f"seed {self.seed}"
        return f"{self.arm} {which} {stage}"

    @property
    def where(self) -> str:
        """`module:function` that runs it."""
        return INNER.get(self.command) or registry.COMMAND[self.command].where

    @property
    def finished(self) -> bool:
        return (read_json(self.path / "status.json") or {}).get("state") == "finished"

    def record(self) -> dict[str, Any]:
        """part.json: for the report, which reads files only."""
        return {
            "schema": "gssl.part/2",
            "arm": self.arm,
            "about": dict(self.about or {}),
            "seed": self.seed,
            **({"trial": True} if self.seed == SEARCHED else {}),
            "stage": self.stage,
            "method": self.method,
            "link": self.link,
            "share": self.share,
            "command": self.shell,
            "hash": self.hash,
            "depends": [str(path) for path in self.depends],
        }


class Planner:
    """Makes the parts of a comparison. Two arms that need the same run share it."""

    def __init__(self, cfg: schemas.Compare, data_hash: str, threads: int) -> None:
        self.cfg, self.data_hash, self.threads = cfg, data_hash, threads
        self.made: dict[Path, Part] = {}
        self.composed: dict[tuple[str, ...], Any] = {}
        self.chosen: dict[str, list[str]] = {}  # overrides that a search has found, per arm

    # ── the comparison ───────────────────────────────────────────────────────────────────────────

    def plan(self, chosen: Mapping[str, list[str]] | None = None) -> list[Part]:
        """Every part, in the order in which they can run: seed by seed, training first.

        `chosen`: what a search has found, per arm.
        """
        self.pairs()  # a pair that cannot be ranked is refused before anything is trained
        self.chosen = dict(chosen or {})
        parts: dict[Path, Part] = {}
        for seed in range(self.cfg.seeds):
            for arm in self.arms():
                for part in self.parts_of(arm, seed):
                    parts.setdefault(part.path, part)
        return list(parts.values())

    def arms(self) -> list[Arm]:
        """Those of the configuration; where one has a network of its own, an untrained one of that kind beside it."""
        found = arms.read(self.cfg.arms)
        norms = {self._backbone(method, arms.command(method)).norm for arm in found for method in arm.trained}
        if any(arm.source == "random" for arm in found):
            others = sorted(norms - {self.cfg.backbone.norm})
            found += [Arm(f"random[norm={norm}]", source="random", norm=norm) for norm in others]
        return found

    def described(self, arm: Arm) -> dict[str, Any]:
        """For the report."""
        return contestants.described(self, arm)

    def overrides(self, arm: Arm) -> list[str]:
        """What was set for it by hand, its methods' first."""
        names = dict.fromkeys([*arm.trained, arm.name])
        return [text for name in names for text in self.cfg.overrides.get(name, [])]

    def trials(self, arm: Arm) -> list[tuple[list[str], list[Part]]]:
        """A search's (overrides, parts) for one arm: trained with another seed, judged on validation images."""
        found = []
        for overrides in spread(choices(self.cfg.search.space[arm.name]), self.cfg.search.trials):
            own = [*self.cfg.overrides.get(arm.name, []), *overrides]
            trained = self._trained(arm, SEARCHED, own, self.cfg.search.budget, milestones=0)
            found.append((overrides, [*trained, self._milestones(arm, SEARCHED, trained, own)]))
        return found

    def primary(self) -> tuple[str, str]:
        """Probe and amount that carry the verdict."""
        cfg, own = self.cfg, self.cfg.primary
        probe = own.probe or primary_probe(cfg.probe.use)
        label_budgets = label_budget_keys(sorted(cfg.labels_per_class), sorted(cfg.fractions))
        return probe, own.labels or ("10" if "10" in label_budgets else label_budgets[0])

    def pairs(self) -> list[list[str]]:
        """The primary family: as given, else by a rule over names. Known before anything runs. Raises UsageError."""
        return contestants.pairs(self)

    # ── one arm ──────────────────────────────────────────────────────────────────────────────────

    def parts_of(self, arm: Arm, seed: int) -> list[Part]:
        cfg = self.cfg
        extra = [*cfg.overrides.get(arm.name, []), *self.chosen.get(arm.name, [])]
        parts = self._trained(arm, seed, extra, 1.0, cfg.eval.milestones)
        made = list(parts)
        judged = parts[-1] if arm.stages else None
        parts.append(self._transfer(arm, seed, judged, made, extra))
        if judged and cfg.eval.milestones and not arm.generator:  # which its probes would have to see, too
            parts.append(self._milestones(arm, seed, made, extra))
        generator = judged.path if judged and arm.family == "gan" else self._generator_of(arm, seed)
        if generator and cfg.generation.images:
            parts.append(self._evaluate(arm, seed, generator, judged))
        return parts

    def _trained(self, arm: Arm, seed: int, extra: list[str], share: float, milestones: int) -> list[Part]:
        """The training runs of an arm, in their order; the last one's weights are judged."""
        parts: list[Part] = []
        for link, method in enumerate(arm.trained):
            first = parts[-1] if parts else None
            images = first if arm.images and link == 1 else None
            # a maker of images is no beginning: its weights do not go on
            weights = first if first and link > bool(arm.images or arm.generator) else None
            parts.append(self._train(arm, seed, method, link, extra, share * arm.share, weights, images, milestones))
        return parts

    def _train(
        self,
        arm: Arm,
        seed: int,
        method: str,
        link: int,
        extra: list[str],
        share: float,
        weights: Part | None,
        images: Part | None,
        milestones: int,
    ) -> Part:
        cfg, command = self.cfg, arms.command(method)
        # the method's YAML may bring a backbone of its own; a comparison has one for all
        choices = [f"{METHOD[command]}={method}", *self._shared()]
        if command == "train-gan":
            # who is compared is judged as it ended: to choose by a judge that knows labels would be an advantage
            choices.append("export=last")
        given = {"weights": str(weights.path)} if weights else {}
        if method != arm.name:  # what is set for a method holds wherever it is trained; the arm's own has the last word
            extra = [*cfg.overrides.get(method, []), *extra]
        composed = self.compose(command, [*choices, *(text for text in extra if arms.owner(text) == command)])
        if images:
            given["generated.run"] = str(images.path)
            composed = replace(composed, generated=replace(composed.generated, run=str(images.path)))
        typed = replace(
            composed,
            weights=given.get("weights", composed.weights),
            seed=seed,
            data=cfg.data,
            backbone=self._backbone(method, command),
            budget=scaled(cfg.budget, share),
            engine=self._engine(),
            eval=replace(cfg.eval, milestones=milestones),
        )
        depends = {"weights": weights, "generated": images}
        return self._part(arm, seed, "pretrain", command, typed, choices, given, depends, method, link, share)

    def _backbone(self, method: str, command: str) -> schemas.Backbone:
        """One for all; with `allow_norm_diff` a recipe that is made for a network without norm layers gets that."""
        cfg = self.cfg
        own = self.compose(command, [f"{METHOD[command]}={method}"]).backbone.norm if command == "train-gan" else None
        if own != "none" or cfg.backbone.norm != "batch":
            return cfg.backbone
        if not cfg.allow_norm_diff:
            raise UsageError(
                f"arms: {method} is made for a backbone without norm layers, and a comparison has one backbone for all;"
                " set backbone=convnet_plain (or backbone.norm=group), leave this arm out, or allow_norm_diff=true"
            )
        return replace(cfg.backbone, norm="none")

    def _transfer(self, arm: Arm, seed: int, judged: Part | None, made: list[Part], extra: list[str]) -> Part:
        typed, choices, given = self._judging(arm, seed, judged, extra)
        maker = next((part for part in made if part.method == arm.generator), None) if arm.generator else None
        if maker:
            given["generated.run"] = str(maker.path)
            typed = replace(typed, generated=replace(typed.generated, run=str(maker.path)))
        no_map = ("pixels", "majority", arms.SCRATCH, *arms.CLASSICAL)
        if seed == 0 and arm.source not in no_map:  # one map of each network is enough
            typed = replace(typed, diagnose=replace(typed.diagnose, map=True))
        depends = {"weights": judged, "generated": maker}
        return self._part(arm, seed, "transfer", "transfer", typed, choices, given, depends, also=made)

    def _judging(
        self, arm: Arm, seed: int, judged: Part | None, extra: list[str]
    ) -> tuple[schemas.Transfer, list[str], dict[str, str]]:
        """The configuration of a transfer run, what its command line chooses, and what it is given."""
        cfg, weights = self.cfg, str(judged.path) if judged else self._source(arm, seed)
        own = replace(cfg.backbone, norm=arm.norm) if arm.norm else cfg.backbone
        choices = ["weights=random", *self._shared()]
        theirs = [text for name in arm.trained if name != arm.name for text in cfg.overrides.get(name, [])]
        mine = [text for text in [*theirs, *extra] if arms.owner(text) == "transfer"]
        composed = self.compose("transfer", [*choices, *mine])
        probes = _changed(cfg.probe, self.compose("transfer", choices).probe, composed.probe)
        same = {key: getattr(cfg, key) for key in SAME}
        typed = replace(
            composed,
            seed=seed,
            weights=weights,
            data=cfg.data,
            backbone=judged.cfg.backbone if judged else own,
            probe=replace(of_source(probes, arm.source), use=probes_of(arms.kind(arm), cfg.probe.use)),
            engine=self._engine(),
            diagnose=schemas.Diagnose(pictures=False, map=False, corruptions=False),  # the report has its own
            **same,
        )
        return typed, choices, {"weights": weights}

    def _milestones(self, arm: Arm, seed: int, made: list[Part], extra: list[str]) -> Part:
        """The last run's checkpoints and its end, by the primary probe, on validation images."""
        judged = made[-1]
        typed, choices, given = self._judging(arm, seed, judged, extra)
        probe, label_budget = self.primary()
        probe = "linear" if probe == ADAPTED else probe  # on the way only frozen features are looked at
        per_class, share, images = parse_label_budget(label_budget)
        few, some = [per_class] if per_class else [], [share] if share else []
        typed = replace(typed, probe=replace(typed.probe, use=[probe]), labels_per_class=few, fractions=some)
        typed = replace(typed, images_labelled=[images] if images else [])
        return self._part(arm, seed, "milestones", "milestones", typed, choices, given, {"weights": judged})

    def _evaluate(self, arm: Arm, seed: int, run: Path, judged: Part | None) -> Part:
        own = self.cfg.generation
        typed = schemas.Evaluate(
            run=str(run), seed=seed, evaluator=own.evaluator, images=own.images, split="test", engine=self._engine()
        )
        return self._part(arm, seed, "evaluate", "evaluate", typed, [], {}, {"run": judged})

    # ── names ────────────────────────────────────────────────────────────────────────────────────

    def _part(
        self,
        arm: Arm,
        seed: int,
        stage: str,
        command: str,
        typed: Any,
        choices: list[str],
        given: dict[str, str],
        depends: Mapping[str, Part | None],
        method: str | None = None,
        link: int = 0,
        share: float = 1.0,
        also: Sequence[Part] = (),
    ) -> Part:
        tree = determining(typed)
        for key, part in depends.items():
            if part and key == "generated":
                tree["generated"]["run"] = part.hash
            elif part:
                tree[key] = part.hash
            elif key == "weights" and tree.get(key) == "file":
                tree[key] = weight_sources.find_weights(typed.weights).sha256
            elif key == "run":
                tree[key] = (read_json(Path(typed.run) / "weights" / "generator.json") or {}).get("sha256")
        text = json.dumps([command, tree, self.data_hash, gssl.__version__, self.threads], sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        prefix = re.sub(r"[^\w.+-]", "-", method or arm.name)
        path = Path(self.cfg.parts) / f"{prefix}-s{seed}-{stage}-{digest}"
        if path not in self.made:
            needed = tuple(dict.fromkeys(part.path for part in [*depends.values(), *also] if part))
            shell = self._shell(command, typed, choices, given)
            place = (method, link, share, self.described(arm))
            self.made[path] = Part(arm.name, seed, stage, command, typed, path, digest, needed, shell, *place)
        return self.made[path]

    def compose(self, command: str, texts: list[str]) -> Any:
        """Hydra takes a tenth of a second, and seeds differ in nothing that it sees."""
        key = (command, *texts)
        if key not in self.composed:
            self.composed[key] = compose(command, texts)
        return self.composed[key]

    def _shell(self, command: str, typed: Any, choices: list[str], given: dict[str, str]) -> str:
        if command == "evaluate":
            words = ["gssl", "evaluate", typed.run, "--split", typed.split, "--evaluator", typed.evaluator]
            return shlex.join([*words, "--images", str(typed.images), "--seed", str(typed.seed)])
        if command in INNER:  # of a comparison only
            return ""
        return as_command(command, typed, self.compose(command, choices), choices, given)

    def _engine(self) -> schemas.Engine:
        return replace(self.cfg.engine, resume="auto", progress=False, threads=self.threads)

    def _shared(self) -> list[str]:
        """Overrides that every part starts from: one data set, one network."""
        cfg = self.cfg
        paths = [(key, getattr(cfg.data, key)) for key in PATHS]
        given = [f"data.{key}={quoted(value)}" for key, value in paths if value is not None]
        return [f"data={cfg.data.name}", *given, f"backbone={cfg.backbone.name}"]

    @staticmethod
    def _source(arm: Arm, seed: int) -> str:
        if arm.source == arms.SCRATCH:
            return "random"
        if arm.source in READY_MADE:
            weights_file(arm.source)  # a package that is not there is said before anything runs
        matches = arm.paths() if arm.read else []
        if arm.read and not matches:
            raise UsageError(f"arms: {arm.source}: no such run directory or file of weights")
        return matches[min(seed, len(matches) - 1)] if matches else str(arm.source)

    def _generator_of(self, arm: Arm, seed: int) -> Path | None:
        """An existing run that has a generator."""
        if not arm.read:
            return None
        run = Path(self._source(arm, seed))
        return run if (run / "weights" / "generator.json").is_file() else None


def spread(combinations: list[list[str]], count: int) -> list[list[str]]:
    """`count` of them, evenly spaced over the grid: the same rule for every arm."""
    if count >= len(combinations):
        return combinations
    return [combinations[(i * len(combinations)) // count] for i in range(count)]


def plan(
    cfg: schemas.Compare, data_hash: str, threads: int, chosen: Mapping[str, list[str]] | None = None
) -> list[Part]:
    """Every part of the comparison."""
    return Planner(cfg, data_hash, threads).plan(chosen)


def _changed(ours: Any, before: Any, after: Any) -> Any:
    """`ours` with what differs between `before` and `after`: the comparison's settings, then the arm's own."""
    values = {}
    for field in fields(ours):
        a, b, c = (getattr(tree, field.name) for tree in (ours, before, after))
        values[field.name] = _changed(a, b, c) if is_dataclass(a) else (a if b == c else c)
    return replace(ours, **values)


def scaled(budget: schemas.Budget, share: float) -> schemas.Budget:
    """A share of a budget: what is counted in whole steps or images is rounded."""
    if share == 1:
        return budget
    values: dict[str, Any] = {}
    for f in fields(budget):
        value = getattr(budget, f.name)
        whole = f.name in ("steps", "images")
        values[f.name] = None if value is None else max(1, round(value * share)) if whole else value * share
    return schemas.Budget(**values)
