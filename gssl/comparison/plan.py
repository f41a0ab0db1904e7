"""Which runs a comparison needs: from arms and settings to parts, training before what needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gssl import schemas
from gssl.comparison import ranking
from gssl.comparison.parts import SEARCHED, STEPS, Draft, Part
from gssl.config import arms, image_size, label_use
from gssl.config.arms import METHOD, Arm
from gssl.config.command_line import as_command, data_words
from gssl.config.comparison_rules import budget_keys, choices
from gssl.config.composing import compose
from gssl.config.menus import NO_NETWORK, primary_probe, probes_of
from gssl.config.registry import PROBE
from gssl.data import targets
from gssl.data.sources import SOURCES
from gssl.errors import UsageError
from gssl.experiment.probing import FROZEN, of_source
from gssl.experiment.tasks import Task, task_of
from gssl.schemas.label_budgets import parse_label_budget
from gssl.schemas.ready_made import READY_MADE, weights_file

SAME = ("labels_per_class", "fractions", "images_labelled", "draws", "draws_one_shot", "classical")  # for every arm
LEAST_REAL = 50  # images of a fold from which generated ones are compared with them


class Planner:
    """Makes the parts of a comparison. Two arms that need the same run have it once."""

    def __init__(
        self, cfg: schemas.Compare, data_hash: str, threads: int, folds: Mapping[str, Any] | None = None
    ) -> None:
        """folds: of the splits' summary; None where the images have a test part."""
        self.cfg, self.data_hash, self.threads, self.divided = cfg, data_hash, threads, folds
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
            made: dict[str, list[Part]] = {}
            for fold in self.folds:
                for arm in self.arms():
                    own = self.parts_of(arm, seed, fold)
                    made.setdefault(arm.name, []).extend(own)
                    parts |= {part.path: part for part in own if part.path not in parts}
            for arm in self.arms() if self.divided else ():
                part = self._over_folds(arm, seed, made[arm.name])
                parts.setdefault(part.path, part)
        return list(parts.values())

    @property
    def folds(self) -> list[int | None]:
        """The folds of the labelled images, each of which has parts of its own; [None] where there are none."""
        return list(range(self.divided["count"])) if self.divided else [None]

    def _data(self, seed: int, fold: int | None) -> schemas.Data:
        """The images of a part. Every seed has folds of its own, so that how images are divided is drawn, too."""
        data = self.cfg.data
        if self.divided is None:
            return data
        return schemas.replace(data, test="folds", fold=fold, split_seed=data.split_seed + seed)

    def _unseen(self, fold: int | None, reads_labels: bool, before: Sequence[Part]) -> int | None:
        """The fold that a training run must not see: None where it has no labels and all folds can have one network,
        as its images are others than the labelled ones, or `transductive` allows it to see them."""
        if fold is None or reads_labels or any(part.fold is not None for part in before):
            return fold
        assert self.divided is not None
        return None if self.divided["apart"] or self.cfg.transductive else fold

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
        return ranking.described(self, arm)

    def overrides(self, arm: Arm) -> list[str]:
        """What was set for it by hand, its methods' first."""
        names = dict.fromkeys([*arm.trained, arm.name])
        return [text for name in names for text in self.cfg.overrides.get(name, [])]

    def trials(self, arm: Arm) -> list[tuple[list[str], list[Part]]]:
        """A search's (overrides, parts) for one arm: trained with another seed, scored on validation images."""
        if self.divided:
            raise UsageError(
                "search.trials: settings that all folds have would be chosen on images that each is tested on; set"
                " data.test=split, or search.trials=0"
            )
        if not targets.of_data(self.cfg.data.name).validates:
            raise UsageError(
                f"search.trials: validation images of data={self.cfg.data.name} have nothing to choose by, and nothing"
                " is chosen on test images; set search.trials=0"
            )
        found, data = [], self.cfg.data
        for overrides in spread(choices(self.cfg.search.space[arm.name]), self.cfg.search.trials):
            own = [*self.cfg.overrides.get(arm.name, []), *overrides]
            trained = self._trained(arm, SEARCHED, own, self.cfg.search.budget, 0, data)
            found.append((overrides, [*trained, self._milestones(arm, SEARCHED, trained[-1], own, data)]))
        return found

    def primary(self) -> tuple[str, str]:
        """Probe and label budget that carry the verdict."""
        cfg, own = self.cfg, self.cfg.primary
        probe = own.probe or primary_probe(cfg.probe.use)
        keys = budget_keys(cfg)
        return probe, own.labels or ("10" if "10" in keys else keys[0])

    @property
    def task(self) -> Task:
        """What the probes learn to predict, by the columns that the data can bring."""
        return task_of(SOURCES[self.cfg.data.name].columns)

    @property
    def milestones(self) -> int:
        """Checkpoints that are probed on the way, on validation images: none where these have nothing to tell apart."""
        return self.cfg.eval.milestones if targets.of_data(self.cfg.data.name).validates else 0

    def pairs(self) -> list[list[str]]:
        """The primary family: as given, else by a rule over names. Known before anything runs. Raises UsageError."""
        return ranking.pairs(self)

    # ── one arm ──────────────────────────────────────────────────────────────────────────────────

    def parts_of(self, arm: Arm, seed: int, fold: int | None = None) -> list[Part]:
        """Every run of an arm with one seed (and fold): training, probes, accuracy on the way, generated images."""
        cfg, data = self.cfg, self._data(seed, fold)
        extra = [*cfg.overrides.get(arm.name, []), *self.chosen.get(arm.name, [])]
        parts = self._trained(arm, seed, extra, 1.0, self.milestones, data)
        trained = list(parts)
        last = trained[-1] if arm.stages else None
        parts.append(self._transfer(arm, seed, trained, extra, data))
        if last and self.milestones and not arm.generator:  # its probes would need the generator's images, too
            parts.append(self._milestones(arm, seed, last, extra, data))
        elif arm.source == "random" and self.milestones and any(other.stages for other in self.arms()):
            parts.append(self._milestones(arm, seed, None, extra, data))  # what the others' are compared with
        generator = last.path if last and arm.family == "gan" else self._generator_of(arm, seed)
        images = cfg.generation.images and "text" not in SOURCES[cfg.data.name].columns  # texts: by the run itself
        if generator and images and self._held_back(last, fold):
            parts.append(self._evaluate(arm, seed, generator, last))
        return parts

    def _held_back(self, last: Part | None, fold: int | None) -> bool:
        """Whether there are real images to compare a generator's with, once per seed: all labelled ones where it saw
        none of them, else those of the first fold, if they are enough."""
        if self.divided is None:
            return True
        if last is None or fold != 0:
            return False
        if last.fold is None:
            return bool(self.divided["apart"])
        return bool(self.divided["images"] // self.divided["count"] >= LEAST_REAL)

    def _trained(
        self, arm: Arm, seed: int, extra: list[str], fraction: float, milestones: int, data: schemas.Data
    ) -> list[Part]:
        """The training runs of an arm, in their order; the weights of the last one are evaluated."""
        parts: list[Part] = []
        for method in arm.trained:
            own = fraction * arm.budget_fraction
            parts.append(self._train(arm, seed, method, parts, extra, own, milestones, data))
        return parts

    def _train(
        self,
        arm: Arm,
        seed: int,
        method: str,
        before: list[Part],
        extra: list[str],
        fraction: float,
        milestones: int,
        data: schemas.Data,
    ) -> Part:
        """The next training run of an arm. before: those that came earlier; fraction: of the comparison's budget."""
        cfg, command, index = self.cfg, arms.command(method), len(before)
        images = before[-1] if arm.images and index == 1 else None
        # a maker of images is no beginning: its weights do not go on
        weights = before[-1] if before and index > bool(arm.images or arm.generator) else None
        # the method's YAML may bring a backbone of its own; a comparison has one for all
        base = [f"{METHOD[command]}={method}", *self._common()]
        if arm.start and not before:
            base.insert(0, "experiment=continued")  # learning rates that do not undo what the network knows
        if command == "train-gan":
            # what is compared is evaluated as it ended: to choose by an evaluator that knows labels is an advantage
            base.append("export=last")
        if method != arm.name:  # what is set for a method holds wherever it is trained; the arm's own has the last word
            extra = [*cfg.overrides.get(method, []), *extra]
        typed = self.compose(command, [*base, *(text for text in extra if arms.owner(text) == command)])
        reads = label_use.of_method(METHOD[command], getattr(typed, METHOD[command])) is not False
        given = {}
        if weights:
            given["weights"] = str(weights.path)
        elif arm.start and method in arm.stages:
            given["weights"] = self._installed(arm.start)
        if images:
            given["generated.run"] = str(images.path)
            typed = schemas.replace(typed, generated=schemas.replace(typed.generated, run=str(images.path)))
        typed = schemas.replace(
            typed,
            weights=given.get("weights", typed.weights),
            seed=seed,
            data=schemas.replace(data, fold=self._unseen(data.fold, reads, before)),
            backbone=self._backbone(method, command),
            budget=scaled(cfg.budget, fraction),
            engine=self._engine(),
            eval=schemas.replace(cfg.eval, milestones=milestones),
        )
        draft = Draft(arm, seed, "pretrain", command, typed, base, given, weights=weights, generated=images)
        return self._part(replace(draft, method=method, stage_index=index, budget_fraction=fraction))

    def _backbone(self, method: str, command: str) -> schemas.Backbone:
        """One for all; with `allow_norm_diff` a recipe that is made for a network without norm layers gets that."""
        cfg = self.cfg
        own = self.method(method).backbone.norm if command == "train-gan" else None
        if own != "none" or cfg.backbone.norm != "batch":
            return cfg.backbone
        if not cfg.allow_norm_diff:
            raise UsageError(
                f"arms: {method} is made for a backbone without norm layers, and a comparison has one backbone for all;"
                " set backbone=convnet_plain (or backbone.norm=group), leave this arm out, or allow_norm_diff=true"
            )
        return schemas.replace(cfg.backbone, norm="none")

    def _transfer(self, arm: Arm, seed: int, trained: list[Part], extra: list[str], data: schemas.Data) -> Part:
        last = trained[-1] if arm.stages else None
        typed, base, given = self._probing(arm, seed, last, extra, data)
        maker = next((part for part in trained if part.method == arm.generator), None) if arm.generator else None
        if maker:
            given["generated.run"] = str(maker.path)
            typed = schemas.replace(typed, generated=schemas.replace(typed.generated, run=str(maker.path)))
        no_map = (*NO_NETWORK, arms.SCRATCH)
        if seed == 0 and not data.fold and arm.source not in no_map:  # one map of each network is enough
            typed = schemas.replace(typed, diagnose=schemas.replace(typed.diagnose, map=True))
        stage = "transfer" if data.fold is None else "fold"
        draft = Draft(arm, seed, stage, "transfer", typed, base, given, weights=last, generated=maker)
        return self._part(replace(draft, needs=tuple(trained)))

    def _over_folds(self, arm: Arm, seed: int, parts: Sequence[Part]) -> Part:
        """The scores of all folds as one, of an arm's parts with one seed. It rests on the first fold's training, for
        what is said of costs: the others' is as dear."""
        folds = tuple(part for part in parts if part.stage == "fold")
        first = folds[0]
        values = dict(first.cfg) | {"data": self._data(seed, None), "of": [str(part.path) for part in folds]}
        typed = schemas.OverFolds.model_construct(None, **values)
        before = tuple(part for part in parts if part.path in first.depends)
        return self._part(Draft(arm, seed, "transfer", "folds", typed, folds=folds, needs=before))

    def _probing(
        self, arm: Arm, seed: int, last: Part | None, extra: list[str], data: schemas.Data
    ) -> tuple[schemas.Transfer, list[str], dict[str, str]]:
        """The configuration of a transfer run, what its command line begins with, and what that gives beside it."""
        cfg, weights = self.cfg, str(last.path) if last else self._source(arm, seed)
        own = schemas.replace(cfg.backbone, norm=arm.norm) if arm.norm else cfg.backbone
        base = ["weights=random", *self._common()]
        theirs = [text for name in arm.trained if name != arm.name for text in cfg.overrides.get(name, [])]
        mine = [text for text in [*theirs, *extra] if arms.owner(text) == "transfer"]
        composed = self.compose("transfer", [*base, *mine])
        probes = cfg.probe
        if mine:
            probes = changed(probes, self.compose("transfer", base).probe, composed.probe)
        typed = schemas.replace(
            composed,
            seed=seed,
            weights=weights,
            data=data,
            backbone=last.cfg.backbone if last else own,
            probe=schemas.replace(of_source(probes, arm.source), use=probes_of(arms.kind(arm), cfg.probe.use)),
            engine=self._engine(),
            diagnose=schemas.Diagnose(pictures=False, map=False, corruptions=False),  # the report has its own
            **{key: getattr(cfg, key) for key in SAME},
        )
        return typed, base, {"weights": weights}

    def _milestones(self, arm: Arm, seed: int, last: Part | None, extra: list[str], data: schemas.Data) -> Part:
        """The last run's checkpoints and its end, by the primary probe, on validation images; an untrained network."""
        typed, base, given = self._probing(arm, seed, last, extra, data)
        probe, label_budget = self.primary()
        probe = self._frozen(probe)  # on the way only frozen features are looked at
        lists = [[] if value is None else [value] for value in parse_label_budget(label_budget)]
        budgets: dict[str, Any] = dict(zip(("labels_per_class", "fractions", "images_labelled"), lists, strict=True))
        # on the way, and at the end, at the size of the training
        probes = schemas.replace(typed.probe, use=[probe], sizes=["data"], size_one_shot="data")
        typed = schemas.replace(typed, probe=probes, **budgets)
        return self._part(Draft(arm, seed, "milestones", "milestones", typed, base, given, weights=last))

    def _frozen(self, probe: str) -> str:
        """Of a menu the first probe that leaves the network as it is and serves the task; any other probe itself."""
        if PROBE[probe].reads != "menu":
            return probe
        menu = [*getattr(self.cfg.probe, probe).menu, *PROBE]
        return next(name for name in menu if PROBE[name].reads in FROZEN and self.task.name in PROBE[name].tasks)

    def _evaluate(self, arm: Arm, seed: int, run: Path, last: Part | None) -> Part:
        own = self.cfg.generation
        typed = schemas.Evaluate(
            run=str(run), seed=seed, evaluator=own.evaluator, images=own.images, split="test", engine=self._engine()
        )
        return self._part(Draft(arm, seed, "evaluate", "evaluate", typed, run=last))

    # ── a part ───────────────────────────────────────────────────────────────────────────────────

    def _part(self, draft: Draft) -> Part:
        digest = draft.hash(self.data_hash, self.threads)
        path = Path(self.cfg.parts) / draft.folder(digest)
        if path not in self.made:
            self.made[path] = Part(
                arm=draft.arm.name,
                seed=draft.seed,
                stage=draft.stage,
                command=draft.command,
                cfg=draft.cfg,
                path=path,
                hash=digest,
                depends=draft.depends,
                shell=self._shell(draft),
                method=draft.method,
                stage_index=draft.stage_index,
                budget_fraction=draft.budget_fraction,
                about=self.described(draft.arm),
                fold=draft.fold,
            )
        return self.made[path]

    def compose(self, command: str, texts: list[str]) -> Any:
        """A command's typed configuration. Hydra takes a tenth of a second, and seeds make no other one."""
        key = (command, *texts)
        if key not in self.composed:
            with image_size.silent():  # the comparison's own size was said
                self.composed[key] = compose(command, texts)
        return self.composed[key]

    def _shell(self, draft: Draft) -> str:
        if draft.command == "evaluate":
            return draft.evaluate_command()
        if draft.command in STEPS:  # of a comparison only
            return ""
        base = self.compose(draft.command, draft.choices)
        return as_command(draft.command, draft.cfg, base, draft.choices, draft.given)

    def _engine(self) -> schemas.Engine:
        return schemas.replace(self.cfg.engine, resume="auto", progress=False, threads=self.threads)

    def method(self, name: str, overrides: Sequence[str] = ()) -> Any:
        """A method's configuration on these images with a network of its own, and with `overrides`."""
        command = arms.command(name)
        return self.compose(command, [f"{METHOD[command]}={name}", *data_words(self.cfg.data), *overrides])

    def _common(self) -> list[str]:
        """Overrides that every part starts from: one data set, one network."""
        return [*data_words(self.cfg.data), f"backbone={self.cfg.backbone.name}"]

    @staticmethod
    def _source(arm: Arm, seed: int) -> str:
        """The `weights=` value of an arm for which nothing is trained."""
        if arm.source == arms.SCRATCH:
            return "random"
        matches = arm.paths() if arm.read else []
        if arm.read and not matches:
            raise UsageError(f"arms: {arm.source}: no such run directory or file of weights")
        return matches[min(seed, len(matches) - 1)] if matches else Planner._installed(str(arm.source))

    @staticmethod
    def _installed(name: str) -> str:
        """The name of a published network. A package that is not there is said before anything runs."""
        if name in READY_MADE:
            weights_file(name)
        return name

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


def changed(ours: Any, before: Any, after: Any) -> Any:
    """`ours` with what differs between `before` and `after`: the comparison's settings, then the arm's own."""
    values = {}
    for name in type(ours).model_fields:
        a, b, c = (getattr(tree, name) for tree in (ours, before, after))
        values[name] = changed(a, b, c) if isinstance(a, schemas.Section) else (a if b == c else c)
    return schemas.replace(ours, **values)


def scaled(budget: schemas.Budget, fraction: float) -> schemas.Budget:
    """A fraction of a budget: what is counted in whole steps or images is rounded."""
    if fraction == 1:
        return budget
    values: dict[str, Any] = {}
    for name, value in budget:
        whole = name in ("steps", "images")
        values[name] = None if value is None else max(1, round(value * fraction)) if whole else value * fraction
    return schemas.Budget(**values)
