"""What kinds of parts take on this machine, measured once by a few steps and kept in `$GSSL_CACHE/timings.json`.

Nothing is kept of what is computed, and no test image is looked at. Times are of one run by itself: side by side they
are slower.
"""

import contextlib
import hashlib
import io
import json
import math
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gssl
from gssl import schemas
from gssl.comparison.parts import Part
from gssl.config import registry
from gssl.config.menus import CONTROLS, NO_NETWORK, UNTRAINED
from gssl.data import Splits, checksums, targets
from gssl.data.cache import BROKEN, cache_root
from gssl.engine.device import cores, pick_device
from gssl.engine.files import find_json
from gssl.engine.lines import entries_of
from gssl.engine.progress import say
from gssl.experiment.label_budgets import LabelBudget, label_budgets
from gssl.experiment.probing import CLIPS, POOLED, Prober, find_source
from gssl.metrics import classifier
from gssl.names import load
from gssl.schemas.determining import NAMED_WEIGHTS, determining

STEPS = 6  # of training
FEW = 2  # of fine-tuning
SOME = 32  # images whose features are computed
ABOUT_TEN = 20  # labels per class: the largest budget up to this is measured
SCHEMA = "gssl.timings/1"
FILE = "timings.json"  # whatever is changed in how they are measured changes RECIPE
RECIPE = 3
REST = ("knn", "fewshot", "cluster")  # probes whose settings cost nothing
PROBED = ("transfer", "fold")  # stages of parts with all probes of an arm
ASIDE = ("seed", "budget", "data", "engine", "weights", "generated", "eval", "diagnose", "draws", "draws_one_shot")


@dataclass(frozen=True)
class Timing:
    """Seconds of a kind of part. fixed: whatever the budget; per_step, flops, images, epochs: of a step of training;
    per_image: of frozen features; fits: of each probe at one draw of one label budget; once: for all parts together."""

    fixed: float = 0.0
    per_step: float = 0.0
    flops: float = 0.0
    images: float = 0.0
    epochs: float = 0.0
    per_image: float = 0.0
    once: float = 0.0
    fits: Mapping[str, float] | None = None


def kept(file: Path) -> dict[str, Timing]:
    """The timings that `file` has; what is not as it was written is measured again, and that is said."""
    try:
        return {key: _timing(value) for key, value in checksums.read_summed(file, "timings").items()}
    except FileNotFoundError:
        return {}
    except (*BROKEN, AttributeError) as error:
        say(f"cache: {file}: is not used ({checksums.reason(error)}); times are measured again")
        return {}


def keep(file: Path, known: Mapping[str, Timing]) -> None:
    """Write timings, with those that another process has written meanwhile. Raises OSError."""
    with contextlib.redirect_stderr(io.StringIO()):
        merged = {key: asdict(timing) for key, timing in {**kept(file), **known}.items()}
    document = {"schema": SCHEMA, "sha256": checksums.summed(merged), "timings": merged}
    checksums.put(file, json.dumps(document, indent=2, allow_nan=False).encode() + b"\n")


def _timing(found: Any) -> Timing:
    """Raises ValueError, TypeError or AttributeError where a timing is none."""
    fits = found.get("fits")
    numbers = [value for key, value in found.items() if key != "fits"] + list((fits or {}).values())
    if not all(isinstance(n, int | float) and math.isfinite(n) and n >= 0 for n in numbers):
        raise ValueError("a time is no number")
    return Timing(**found)


class Timings:
    """Measures what is not known yet."""

    def __init__(self, parts: Sequence[Part], splits: Splits, commands: Mapping[str, str]) -> None:
        self.parts = {part.path: part for part in parts}
        self.splits, self.commands = splits, commands
        self.file = cache_root() / FILE
        self.known = kept(self.file)
        self.measured = 0

    def network_of(self, part: Part) -> str:
        """What a part's weights began with: a published network's name, or random."""
        weights = str(part.cfg.weights)
        while (before := self.parts.get(Path(weights))) is not None:
            weights = str(before.cfg.weights)
        return weights if NAMED_WEIGHTS.fullmatch(weights) else "random"

    def of(self, part: Part) -> Timing:
        """The timing of a part's kind, from the cache or from a measurement."""
        part = self._largest(part)
        key = self._key(part)
        if key not in self.known:
            if not self.measured:
                say("measuring a few steps of each kind of part, once on this machine")
            self.measured += 1
            with contextlib.redirect_stderr(io.StringIO()):
                self.known[key] = self._measured(part)
            with contextlib.suppress(OSError):  # it is measured again
                self.file.parent.mkdir(parents=True, exist_ok=True)
                keep(self.file, self.known)
        return self.known[key]

    def kind(self, part: Part) -> list[Any]:
        """Parts with equal kinds take the same time."""
        if part.stage == "evaluate":
            return ["evaluate", part.cfg.evaluator]
        network = self.network_of(part)
        tree = {key: value for key, value in determining(part.cfg).items() if key not in ASIDE}
        if part.stage == "pretrain":
            return ["pretrain", part.command, network, tree]
        # how many labels and draws there are does not change what one fit takes, nor which network has been trained
        sections = {key: value for key, value in tree["probe"].items() if key not in ("use", *REST)}
        return ["probing", network, sections, None if network in NO_NETWORK else tree["backbone"]]

    def _largest(self, part: Part) -> Part:
        """The part whose probes are measured for all that read the same network: the one with most of them."""
        if part.stage in ("pretrain", "evaluate"):
            return part
        same = [p for p in self.parts.values() if p.stage in PROBED and self._of_one(p) == self._of_one(part)]
        return max(same, key=lambda p: (len(p.cfg.probe.use), not _control(p)), default=part)

    def _of_one(self, part: Part) -> tuple[str, str]:
        network = self.network_of(part)
        return network, "" if network in NO_NETWORK else repr(part.cfg.backbone)

    def _key(self, part: Part) -> str:
        size = self.splits.summary["size"], self.splits.summary["channels"]
        images = [round(math.log2(max(1, count)), 1) for count in self.splits.summary["counts"].values()]
        machine = [RECIPE, platform.node(), cores(), gssl.__version__, torch.__version__]
        engine = part.cfg.engine
        here = [str(pick_device(engine.device)), engine.threads, engine.precision, size, images]
        text = json.dumps([machine, here, self.kind(part)], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _measured(self, part: Part) -> Timing:
        if part.stage == "pretrain":
            return training(part, part.where(self.commands), self.network_of(part))
        if part.stage == "evaluate":
            return evaluating(part, self.splits)
        return probing(part.cfg, self.network_of(part), self.splits)


def _control(part: Part) -> bool:
    """Whether its probes are not those of all networks."""
    return (part.about or {}).get("source") in (*CONTROLS, *UNTRAINED)


def _clock(engine: schemas.Engine) -> Callable[[], float]:
    """Seconds. With one thread on a processor those that this process has had: what else runs now does not count."""
    alone = pick_device(engine.device).type == "cpu" and engine.threads == 1
    return time.process_time if alone else time.perf_counter


def training(part: Part, where: str, network: str) -> Timing:
    """A few real steps of the method on the real data."""
    cfg = part.cfg
    with tempfile.TemporaryDirectory(prefix="gssl-plan-") as folder:
        few = schemas.replace(
            cfg,
            weights=network,  # what a chain begins with is not there yet
            budget=schemas.replace(cfg.budget, steps=STEPS, epochs=None, images=None, seconds=None, flops=None),
            engine=schemas.replace(cfg.engine, log_every=1, checkpoint_every=10**9, resume="no", progress=False),
            eval=schemas.replace(cfg.eval, every=None, images=min(cfg.eval.images, 64), milestones=0),
        )
        if part.command == "train-gan":
            few = schemas.replace(few, evaluator="random")
        elif few.generated.run:
            few = schemas.replace(few, generated=schemas.replace(few.generated, run=None))
        clock = _clock(cfg.engine)
        start, wall = clock(), time.perf_counter()
        load(where)(few, Path(folder) / "run")
        whole, wall = clock() - start, time.perf_counter() - wall
        spent = (find_json(Path(folder) / "run" / "result.json") or {})["spent"]
        entries, _ = entries_of(Path(folder) / "run" / "metrics.jsonl")
    times = [row["seconds"] for _, row in entries if "loss" in row]
    # the first steps count FLOPs and warm up
    step = statistics.median(b - a for a, b in zip(times[-4:-1], times[-3:], strict=True))
    had = min(1.0, whole / wall)  # of the processor
    return Timing(
        fixed=max(0.0, whole - had * times[-1]),
        per_step=had * step,
        flops=spent["flops_per_step"],
        images=spent["images"] / spent["steps"],
        epochs=spent["epochs"] / spent["steps"],
    )


def probing(cfg: schemas.Transfer, network: str, splits: Splits) -> Timing:
    """Features of some images, and each probe on one draw of one label budget, fine-tuning for a few steps."""
    device, clock = pick_device(cfg.engine.device), _clock(cfg.engine)
    probes = schemas.replace(
        cfg.probe,
        finetune=schemas.replace(cfg.probe.finetune, steps=FEW, points=0),
        fixmatch=schemas.replace(cfg.probe.fixmatch, steps=FEW),
        # menus after what they fit; what reads a run's method has none here to be timed on
        use=sorted(
            (name for name in cfg.probe.use if registry.PROBE[name].methods is None),
            key=lambda name: registry.PROBE[name].reads == "menu",
        ),
    )
    few = [n for n in cfg.labels_per_class if n <= ABOUT_TEN] or cfg.labels_per_class[:1]
    images = cfg.images_labelled[:1]
    fractions = [] if few or images else [min(cfg.fractions)]
    small = schemas.replace(
        cfg, weights=network, draws=1, draws_one_shot=1, probe=probes, generated=_none(cfg.generated)
    )
    small = schemas.replace(small, labels_per_class=few[-1:], images_labelled=images, fractions=fractions)
    start = clock()
    rest = (splits.labelled, splits.classes, device, splits.unlabelled)
    prober = Prober(small, find_source(network), *rest, pretrain=splits.pretrain)
    prober.keeps_features = False  # what is on disk already would cost nothing
    built = clock() - start
    some = splits.labelled.subset(np.arange(min(SOME, len(splits.labelled))))
    reads = {registry.PROBE[member].reads for name in cfg.probe.use for member in prober.members(name)}
    pooled = sorted(reads & {*POOLED, *CLIPS})
    per_image = 0.0
    if pooled:  # else features are read batch by batch, in the fits
        start = clock()
        for view in prober.views:
            prober.features(some, pooled[0], view)
        per_image = (clock() - start) / len(some)
    fits: dict[str, float] = {}
    last = clock()
    extracted = pooled
    for fitted in prober.fit():
        took, last = clock() - last, clock()
        if extracted:  # the first fit has the features of all that are asked for
            took, extracted = max(0.0, took - per_image * fitted.n_train), []
        entry = registry.PROBE[fitted.probe]
        own = cfg.probe.finetune if entry.reads == "menu" else getattr(cfg.probe, fitted.probe)
        # A menu costs what it fits and no other probe has fitted before.
        done = any(registry.PROBE[name].reads == "network" for name in cfg.probe.use)
        trains = entry.reads == "network" or (entry.reads == "menu" and not done)
        fits[fitted.probe] = max(fits.get(fitted.probe, 0.0), took * (own.steps / FEW if trains else 1.0))
    once = 0.0
    if prober.origin.published:  # features are kept: all parts of all seeds compute them once
        counts = splits.summary["counts"]
        once, per_image = per_image * (counts["train"] + counts["val"] + counts["test"]), 0.0
    return Timing(fixed=built, per_image=per_image, once=once, fits=fits)


def _none(generated: schemas.Generated) -> schemas.Generated:
    return schemas.replace(generated, run=None)


def evaluating(part: Part, splits: Splits) -> Timing:
    """The small classifier that evaluates generated images where there are labels: it is trained once for all."""
    device, clock = pick_device(part.cfg.engine.device), _clock(part.cfg.engine)
    size = splits.summary["size"]
    size = size if isinstance(size, int) else min(size)
    images = torch.rand(classifier.BATCH, 3, size, size, device=device)
    labels = torch.zeros(classifier.BATCH, dtype=torch.int64, device=device)
    start = clock()
    classifier.train_classifier(lambda _: (images, labels), 2, size, 0, device, steps=2 * FEW)
    step = (clock() - start) / (2 * FEW)
    own = part.cfg.evaluator in ("auto", "classifier")
    # generated, real and training images pass through it, and are compared with each other
    return Timing(fixed=2.0, per_image=step / classifier.BATCH, once=step * classifier.STEPS if own else 0.0)


# ── what a part takes ────────────────────────────────────────────────────────────────────────────


def steps_of(budget: schemas.Budget, timing: Timing) -> int:
    """Steps until the first limit, from what one step takes."""
    pairs = [
        (budget.steps, 1.0),
        (budget.epochs, timing.epochs),
        (budget.images, timing.images),
        (budget.seconds, timing.per_step),
        (budget.flops, timing.flops),
    ]
    limits = [limit / each for limit, each in pairs if limit and each]
    return max(1, round(min(limits) if limits else budget.default_epochs / timing.epochs))


def seconds_of(part: Part, timing: Timing, splits: Splits, milestones: int) -> float:
    """Seconds of one part, by its kind's timing. milestones: checkpoints on the way."""
    cfg, counts = part.cfg, splits.summary["counts"]
    if part.stage == "pretrain":
        return timing.fixed + steps_of(cfg.budget, timing) * timing.per_step
    known = counts["train"] + counts["val"]
    if part.stage == "evaluate":
        return timing.fixed + timing.per_image * (2 * min(cfg.images, counts["test"]) + counts["pretrain"])
    folds = splits.summary.get("folds")
    tested = known if folds else counts["test"]
    fits, goal = timing.fits or {}, targets.of_data(cfg.data.name)
    draws = sum(_draws(cfg, name, goal, known) * fits.get(name, 0.0) for name in cfg.probe.use)
    if part.stage == "milestones":  # at each checkpoint, on validation images
        images = counts["val"] + min(known, _labels(label_budgets(cfg, cfg.probe.use[0], goal), known))
        return timing.fixed + (milestones + 1) * (draws + timing.per_image * images)
    return timing.fixed + draws + timing.per_image * (known + tested)


def _draws(cfg: schemas.Transfer, probe: str, goal: targets.Target, known: int) -> float:
    """How many fits a probe makes; those on many labels count for more where features are frozen."""
    entry = registry.PROBE[probe]
    found = label_budgets(cfg, probe, goal)
    if entry.reads in ("network", "menu"):
        return float(sum(budget.draws for budget in found))
    least = max(1.0, _labels(found[:1], known))
    return sum(budget.draws * max(1.0, _labels([budget], known) / least / 4) for budget in found)


def _labels(found: Sequence[LabelBudget], known: int) -> int:
    """At most so many labelled images are asked for."""
    classes = 10  # a guess that decides little
    sizes = [b.images or (b.per_class or 0) * classes or round((b.fraction or 0) * known) for b in found]
    return max(sizes, default=0)
