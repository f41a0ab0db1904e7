"""One backbone under all probes: every choice is made here, and nothing here leads to the test images.

`Judge` is given the labelled training images and never a `Splits`; the test images come from outside, into
`predict` alone, when everything is fitted.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gssl import schemas
from gssl.config import registry
from gssl.config.menus import CLASSICAL, CONTROLS, NO_NETWORK, UNTRAINED
from gssl.data import Draws, Images, RandomViews, label_subset
from gssl.engine.device import Precision
from gssl.engine.fits import Fits
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment import weight_sources
from gssl.experiment.augmentation import SyntheticImages
from gssl.metrics.accuracy import balanced_accuracy
from gssl.metrics.calibration import ece
from gssl.metrics.clustering import assignment, nmi
from gssl.metrics.evaluator import weights_hash
from gssl.nets.backbone import Backbone
from gssl.nets.norms import recompute_batch_norm
from gssl.probe import classical, majority
from gssl.probe.features import extract, pixels
from gssl.probe.folds import Labelled, choice_folds
from gssl.probe.multilayer import PooledStages
from gssl.probe.setting import Setting
from gssl.schemas.probes import Probes

BATCH = 256


@dataclass(frozen=True)
class LabelBudget:
    """How many labels: so many per class (0: none), or a share of all. `key` is what asked for it."""

    per_class: int | None
    fraction: float | None
    draws: int
    key: str = "labels_per_class"

    @property
    def words(self) -> str:
        if self.per_class is not None:
            return f"{self.per_class} per class" if self.per_class else "no labels"
        return "all labels" if self.fraction == 1 else f"{self.fraction:.3%} of the labels"


@dataclass
class Fitted:
    """A probe that has made its choices, waiting for the test set."""

    probe: str
    label_budget: LabelBudget
    draw: int
    n_train: int  # real images
    generated: int  # generated images beside them
    model: Any
    subset: str = ""  # hash of the real images

    @property
    def member(self) -> str:
        """The probe that answers: of a menu the one that was chosen."""
        return self.model.member if registry.PROBE[self.probe].reads == "menu" else self.probe

    @property
    def answering(self) -> Any:
        """The fit that answers."""
        return self.model.model if registry.PROBE[self.probe].reads == "menu" else self.model

    @property
    def reads(self) -> str:
        return registry.PROBE[self.member].reads


@dataclass(frozen=True)
class Answers:
    """What one fitted probe says of the test images: classes int64 (n,) and its confidence in each, or None."""

    guess: np.ndarray
    confidence: np.ndarray | None  # (n,) in [0, 1]


def label_budgets(cfg: schemas.Probing, probe: str) -> list[LabelBudget]:
    """Label budgets of a probe, in the order of the configuration; all labels need one draw only."""
    if not registry.PROBE[probe].labels:
        return [LabelBudget(0, None, 1)]
    if probe == "fewshot":
        own = cfg.probe.fewshot
        return [LabelBudget(k, None, own.draws, "probe.fewshot.shots") for k in own.shots]
    few = [LabelBudget(k, None, cfg.draws_one_shot if k == 1 else cfg.draws) for k in cfg.labels_per_class]
    share = [LabelBudget(None, f, 1 if f == 1 else cfg.draws) for f in cfg.fractions]
    found = few + share
    # What trains the network is slow and has draws of its own. A menu has those of fine-tuning, even where a source has
    # no network: all sources are compared on the same draws.
    members = [probe] if registry.PROBE[probe].reads != "menu" else [*cfg.probe.adapted.menu, "finetune"]
    most = [getattr(cfg.probe, name).draws for name in members if registry.PROBE[name].reads == "network"]
    return [LabelBudget(a.per_class, a.fraction, min([a.draws, *most]), a.key) for a in found]


def find(weights: str) -> weight_sources.WeightSource:
    """A `weights=` value as `weight_sources.find_weights`, or features that need no network. Raises UsageError."""
    return weight_sources.WeightSource(weights) if weights in NO_NETWORK else weight_sources.find_weights(weights)


def of_source(probes: Probes, source: str | None) -> Probes:
    """The probes as they judge a source. Of `scratch` all is trained, whatever is frozen of the others: that is what it
    is called. A control is never trained: its menu has what stays frozen."""
    if source in UNTRAINED:
        return replace(probes, finetune=replace(probes.finetune, train="all", layer_decay=1.0))
    if source in CONTROLS:
        frozen = [name for name in probes.adapted.menu if registry.PROBE[name].reads != "network"]
        return replace(probes, adapted=replace(probes.adapted, menu=frozen))
    return probes


def network_of(
    cfg: schemas.Probing, origin: weight_sources.WeightSource, images: Images, device: torch.device
) -> tuple[Backbone, dict[str, Any]]:
    """A fresh copy of a source's network on the device, and the load report.

    An exported backbone carries the batch statistics of its training images: a random one those of `images`.
    """
    network, report = weight_sources.build(origin, cfg.backbone, cfg.data.size, cfg.seed, cfg.allow_partial, cfg.input)
    network.to(device).to(memory_format=torch.channels_last)
    if origin.kind == "random":
        recompute_batch_norm(network, weight_sources.centred(images, Draws(cfg.seed), cfg.data.size, device))
    return network, report


class Prober:
    """Holds the labelled training images, and unlabelled ones where probes learn from them.

    pretrain: the images that a network's pretraining sees, for what learns without a network.
    """

    def __init__(
        self,
        cfg: schemas.Probing,
        origin: weight_sources.WeightSource,
        labelled: Images,
        classes: list[str],
        device: torch.device,
        unlabelled: Images | None = None,
        fakes: SyntheticImages | None = None,
        pretrain: Images | None = None,
        fits: Fits | None = None,
    ) -> None:
        if len(classes) < 2:
            raise UsageError(f"data={cfg.data.name}: {len(classes)} class(es); transfer needs at least two")
        self.cfg, self.origin, self.device, self.fakes = cfg, origin, device, fakes
        self.fits = fits or Fits(cfg.engine, device, Precision(cfg.engine.precision, device))
        self.images, self.classes, self.unlabelled = labelled, classes, unlabelled
        self.draws = Draws(cfg.seed)
        self.report: dict[str, Any] = {"loaded": 0, "missing": [], "unexpected": []}
        self.described: dict[str, Any] | None = None
        self.network: Backbone | None = None
        self.pretrain = pretrain
        self.classical: classical.Learnt | None = None
        self.probes: dict[str, Any] = {}
        self.known: dict[str, np.ndarray] = {}  # features of the labelled images, by what a probe sees
        self.generated: dict[tuple[str, LabelBudget, int], Labelled] = {}  # features of generated images
        self.check()
        if origin.kind not in NO_NETWORK:
            self.build()
            assert self.network is not None
            self.described = origin.described(cfg.backbone, cfg.data.size)
            if origin.kind in ("torchvision", "timm"):  # no file of ours: what was published is told by its content
                self.report["tensors"] = weights_hash(self.network)
            stages, wanted = len(self.network.dims), cfg.probe.finetune
            tuned = "finetune" in {member for name in cfg.probe.use for member in self.members(name)}
            if tuned and wanted.train == "last" and wanted.stages > stages:
                raise UsageError(
                    f"probe.finetune.stages={wanted.stages}: the network has {stages}; use at most {stages}"
                )
            if origin.size not in (None, cfg.data.size):
                say(f"warning: trained at {origin.size} px, judged at data.size={cfg.data.size}")

    def check(self) -> None:
        """Raises UsageError for what cannot be judged, before anything is computed."""
        classical.check(self.origin.kind, self.cfg.classical, self.cfg.data.size)
        for name in self.cfg.probe.use:
            if not self.members(name):
                needs = "features" if registry.PROBE[name].reads == "pooled" else "a network"
                raise UsageError(
                    f"probe.use: {name} needs {needs}, weights={self.origin.kind} has none; use probe.use=[knn,linear]"
                )
            for label_budget in label_budgets(self.cfg, name):
                self.labels(label_budget, 0)
            if not registry.PROBE[name].labels and len(self.images) < len(self.classes):
                raise UsageError(
                    f"probe.use: {name} looks for {len(self.classes)} clusters among {len(self.images)} images; leave"
                    " it out, or give more images"
                )

    def members(self, name: str) -> list[str]:
        """Probes that are fitted for `name`: itself, or what its menu has for this source; [] where nothing is."""
        names = self.cfg.probe.adapted.menu if registry.PROBE[name].reads == "menu" else [name]
        bare = self.origin.kind in NO_NETWORK
        names = [member for member in names if not bare or registry.PROBE[member].reads == "pooled"]
        return [member for member in names if self.origin.kind != majority.NAME or registry.PROBE[member].labels]

    def build(self) -> Backbone:
        """A fresh copy of the source's network on the device."""
        if self.network is None:
            self.network, self.report = network_of(self.cfg, self.origin, self.images, self.device)
        return deepcopy(self.network)  # reading it costs time, and a random one has batch statistics to compute

    def features(self, images: Images, reads: str = "pooled") -> np.ndarray:
        """(n, d) float32 of centre-cropped images: of the last stage, or of all `stages` side by side."""
        if self.origin.kind in CLASSICAL:
            return self.learn().features(images)
        if self.origin.kind == majority.NAME:
            return np.zeros((len(images), 1), dtype=np.float32)
        if self.network is None:
            return pixels(images, self.cfg.data.size)
        network = PooledStages(self.network) if reads == "stages" else self.network
        return extract(network, images, self.cfg.data.size, BATCH, self.device)

    def learn(self) -> classical.Learnt:
        """What learns without a network, once it has learnt: when its features are asked for first."""
        if self.classical is None:
            assert self.pretrain is not None
            name, size = self.origin.kind, self.cfg.data.size
            self.classical = classical.learn(name, self.cfg.classical, self.pretrain, size, self.cfg.seed, self.device)
        return self.classical

    def labels(self, label_budget: LabelBudget, draw: int) -> np.ndarray:
        """Sorted indices of the labelled images that draw `draw` may use: the same for every source."""
        if label_budget.per_class == 0:
            return np.arange(len(self.images))
        return label_subset(
            self.images.labels, label_budget.per_class, label_budget.fraction, self.cfg.seed, draw, label_budget.key
        )

    def fit(self) -> Iterator[Fitted]:
        """Every probe at every amount and draw, all choices made on the labels it was given.

        With a generator each of them twice: on the real images, then on the same ones and generated images (but
        where no labels are read). What a menu shares with another probe is fitted once.
        """
        cfg = self.cfg
        shared = {m for name in cfg.probe.use if registry.PROBE[name].reads == "menu" for m in self.members(name)}
        kept: dict[tuple[str, LabelBudget, int], list[Fitted]] = {}

        def fits(name: str, label_budget: LabelBudget, draw: int) -> list[Fitted]:
            key = (name, replace(label_budget, draws=1), draw)
            made = kept.get(key) or self._fits(name, label_budget, draw)
            if name in shared & set(cfg.probe.use):
                kept[key] = made
            return [replace(f, label_budget=label_budget) for f in made]

        for name in cfg.probe.use:
            for label_budget in label_budgets(cfg, name):
                for draw in range(label_budget.draws):
                    if registry.PROBE[name].reads == "menu":
                        yield from self._choose(name, label_budget, draw, fits)
                    else:
                        yield from fits(name, label_budget, draw)

    def _choose(
        self, name: str, label_budget: LabelBudget, draw: int, fits: Callable[[str, LabelBudget, int], list[Fitted]]
    ) -> Iterator[Fitted]:
        """The better of a menu, without and with generated images."""
        probe = registry.load(registry.PROBE[name].where)(getattr(self.cfg.probe, name))
        comparable = bool(choice_folds(self.images.labels[self.labels(label_budget, draw)], self.cfg.seed))
        members = [fits(member, label_budget, draw) for member in probe.needed(self.members(name), comparable)]
        for made in zip(*members, strict=True):
            model = probe.fit({f.probe: f.model for f in made})
            yield replace(made[0], probe=name, label_budget=label_budget, model=model)

    def _fits(self, name: str, label_budget: LabelBudget, draw: int) -> list[Fitted]:
        """One probe on one draw of labels; a second time with generated images where there is a generator."""
        cfg, entry, count = self.cfg, registry.PROBE[name], len(self.classes)
        probe = self._probe(name)
        if not entry.labels:
            return [Fitted(name, label_budget, draw, 0, 0, probe.fit(self._known(entry.reads), count, cfg.seed))]
        index = self.labels(label_budget, draw)
        real = self.images.subset(index)
        subset = real.hash[:12]
        if entry.reads == "network":
            found = [Fitted(name, label_budget, draw, len(index), 0, probe.fit(real, self._setting(draw)), subset)]
            if self.fakes:
                fakes = self.fakes.images(real, cfg.seed, draw)
                model = probe.fit(real, self._setting(draw), fakes)
                found.append(Fitted(name, label_budget, draw, len(index), len(fakes), model, subset))
            return found
        rest = (self._known(entry.reads)[index], real.labels, count, cfg.seed)
        found = [Fitted(name, label_budget, draw, len(index), 0, probe.fit(*rest), subset)]
        if self.fakes:
            key = (entry.reads, LabelBudget(label_budget.per_class, label_budget.fraction, 1), draw)
            if key not in self.generated:  # the frozen probes share them
                fakes = self.fakes.images(real, cfg.seed, draw)
                self.generated[key] = Labelled(self.features(fakes, entry.reads), fakes.labels)
            model = probe.fit(*rest, self.generated[key])
            found.append(Fitted(name, label_budget, draw, len(index), len(self.generated[key].y), model, subset))
        return found

    def _probe(self, name: str) -> Any:
        """The probe, once for all draws: it may have to see all training images, without their labels."""
        if self.origin.kind == majority.NAME:
            return majority.Majority(self.images.labels)
        if name not in self.probes:
            entry = registry.PROBE[name]
            self.probes[name] = registry.load(entry.where)(getattr(self.cfg.probe, name), *self._also(name))
            if hasattr(self.probes[name], "see"):
                self.probes[name].see(self._known(entry.reads))
        return self.probes[name]

    def _known(self, reads: str) -> np.ndarray:
        """(n, d) features of the labelled images; where few of them are asked for, zeros in the place of the others."""
        if reads not in self.known:
            self.known[reads] = self._asked(reads)
        return self.known[reads]

    def _asked(self, reads: str) -> np.ndarray:
        asked: set[int] = set()
        for name in self.cfg.probe.use:
            for entry in (registry.PROBE[member] for member in self.members(name)):
                if entry.reads != reads:
                    continue
                if not entry.labels or hasattr(registry.load(entry.where), "see"):
                    return self.features(self.images, reads)
                for label_budget in label_budgets(self.cfg, name):
                    for draw in range(label_budget.draws):
                        asked |= set(self.labels(label_budget, draw).tolist())
        if 2 * len(asked) > len(self.images):
            return self.features(self.images, reads)
        index = np.array(sorted(asked))
        some = self.features(self.images.subset(index), reads)
        known = np.zeros((len(self.images), some.shape[1]), dtype=some.dtype)
        known[index] = some
        return known

    def _also(self, name: str) -> list[Any]:
        """What a probe's configuration shares with another's: λ of both linear probes."""
        return [self.cfg.probe.linear] if name == "linear_multilayer" else []

    def _setting(self, draw: int) -> Setting:
        cfg = self.cfg
        views = RandomViews(cfg.data.views, cfg.data.size, self.draws)
        draws = Draws(cfg.seed * 1000 + draw)
        rest = (cfg.data.size, self.device, cfg.seed, draws, self.fits, self.unlabelled)
        return Setting(self.build, len(self.classes), views, cfg.data.views, *rest)

    def predict(self, fitted: list[Fitted], test: Images) -> list[Answers]:
        """What every fitted probe says of the test images. No choice is made here."""
        known = {reads: self.features(test, reads) for reads in {f.reads for f in fitted} - {"network"}}
        made: dict[int, Answers] = {}  # a fit that a menu has chosen answers once
        for f in fitted:
            if id(f.answering) not in made:
                made[id(f.answering)] = answers(f, test if f.reads == "network" else known[f.reads])
        return [made[id(f.answering)] for f in fitted]


def answers(f: Fitted, seen: Any) -> Answers:
    """Of images or features, as `f.sees`."""
    guess = f.model.predict(seen)
    if not registry.PROBE[f.probe].labels:
        return Answers(guess, None)
    sure = f.model.probabilities(seen)
    return Answers(guess, sure[np.arange(len(guess)), guess])


def named(f: Fitted, found: Answers, labels: np.ndarray, n_classes: int) -> Answers:
    """Clusters get the names of classes by the best one-to-one naming, which is their measure; others stay."""
    if registry.PROBE[f.probe].labels:
        return found
    return Answers(assignment(labels, found.guess, n_classes)[found.guess], None)


def score(f: Fitted, found: Answers, labels: np.ndarray, clusters: np.ndarray | None = None) -> dict[str, Any]:
    """One entry of result.json's scores for a probe's answers (n,) to the test images."""
    correct = int((found.guess == labels).sum())
    entry = {
        "probe": f.probe,
        "labels_per_class": f.label_budget.per_class,
        "fraction": f.label_budget.fraction,
        "draw": f.draw,
        "n_train": f.n_train,
        "subset": f.subset,
        **({"generated": f.generated} if f.generated else {}),
        "n_test": len(labels),
        "correct": correct,
        "accuracy": correct / len(labels),
        "balanced_accuracy": float(balanced_accuracy(labels, found.guess)),
        "val_accuracy": f.model.val_accuracy,
        "chosen": f.model.chosen,
    }
    if registry.PROBE[f.probe].reads == "menu":
        entry |= {"validated": f.model.validated, "n_val": f.model.n_val}
    if found.confidence is not None:
        entry["ece"] = ece(found.confidence, found.guess == labels)
    if clusters is not None:
        entry["nmi"] = nmi(labels, clusters)
    return entry
