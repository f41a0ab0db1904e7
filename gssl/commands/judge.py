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

from gssl.commands.augmented import Fakes
from gssl.config import registry, schema
from gssl.config.probe import Probes
from gssl.data import Draws, Images, RandomViews, label_subset
from gssl.engine import source
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.metrics.accuracy import balanced_accuracy
from gssl.metrics.calibration import ece
from gssl.metrics.clustering import assignment, nmi
from gssl.metrics.judge import weights_hash
from gssl.nets.backbone import Backbone
from gssl.nets.norms import recompute_batch_norm
from gssl.probe import majority, plain
from gssl.probe.features import extract, pixels
from gssl.probe.folds import Labelled, choice_folds
from gssl.probe.multilayer import PooledStages
from gssl.probe.setting import Setting
from gssl.report.judging import CONTROLS, NO_NETWORK, PLAIN, UNTRAINED

BATCH = 256


@dataclass(frozen=True)
class Amount:
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
    amount: Amount
    draw: int
    n_train: int  # real images
    generated: int  # generated images beside them
    model: Any
    subset: str = ""  # hash of the real images

    @property
    def member(self) -> str:
        """The probe that answers: of a menu the one that was chosen."""
        return self.model.member if registry.PROBE[self.probe].sees == "menu" else self.probe

    @property
    def answering(self) -> Any:
        """The fit that answers."""
        return self.model.model if registry.PROBE[self.probe].sees == "menu" else self.model

    @property
    def sees(self) -> str:
        return registry.PROBE[self.member].sees


@dataclass(frozen=True)
class Answers:
    """What one fitted probe says of the test images: classes int64 (n,) and its confidence in each, or None."""

    guess: np.ndarray
    confidence: np.ndarray | None  # (n,) in [0, 1]


def amounts(cfg: schema.Judging, probe: str) -> list[Amount]:
    """Label amounts of a probe, in the order of the configuration; all labels need one draw only."""
    if not registry.PROBE[probe].labels:
        return [Amount(0, None, 1)]
    if probe == "fewshot":
        own = cfg.probe.fewshot
        return [Amount(k, None, own.draws, "probe.fewshot.shots") for k in own.shots]
    few = [Amount(k, None, cfg.draws_one_shot if k == 1 else cfg.draws) for k in cfg.labels_per_class]
    share = [Amount(None, f, 1 if f == 1 else cfg.draws) for f in cfg.fractions]
    found = few + share
    # What trains the network is slow and has draws of its own. A menu has those of fine-tuning, even where a source has
    # no network: all sources are compared on the same draws.
    members = [probe] if registry.PROBE[probe].sees != "menu" else [*cfg.probe.adapted.menu, "finetune"]
    most = [getattr(cfg.probe, name).draws for name in members if registry.PROBE[name].sees == "network"]
    return [Amount(a.per_class, a.fraction, min([a.draws, *most]), a.key) for a in found]


def find(weights: str) -> source.Source:
    """A `weights=` value as `source.find`, or features that need no network. Raises UsageError."""
    return source.Source(weights) if weights in NO_NETWORK else source.find(weights)


def of_source(probes: Probes, source: str | None) -> Probes:
    """The probes as they judge a source. Of `scratch` all is trained, whatever is frozen of the others: that is what it
    is called. A control is never trained: its menu has what stays frozen."""
    if source in UNTRAINED:
        return replace(probes, finetune=replace(probes.finetune, train="all", layer_decay=1.0))
    if source in CONTROLS:
        frozen = [name for name in probes.adapted.menu if registry.PROBE[name].sees != "network"]
        return replace(probes, adapted=replace(probes.adapted, menu=frozen))
    return probes


def network_of(
    cfg: schema.Judging, origin: source.Source, images: Images, device: torch.device
) -> tuple[Backbone, dict[str, Any]]:
    """A fresh copy of a source's network on the device, and the load report.

    An exported backbone carries the batch statistics of its training images: a random one those of `images`.
    """
    network, report = source.build(origin, cfg.backbone, cfg.data.size, cfg.seed, cfg.allow_partial, cfg.input)
    network.to(device).to(memory_format=torch.channels_last)
    if origin.kind == "random":
        recompute_batch_norm(network, source.centred(images, Draws(cfg.seed), cfg.data.size, device))
    return network, report


class Judge:
    """Holds the labelled training images, and unlabelled ones where probes learn from them.

    pretrain: the images that a network's pretraining sees, for what learns without a network.
    """

    def __init__(
        self,
        cfg: schema.Judging,
        origin: source.Source,
        labelled: Images,
        classes: list[str],
        device: torch.device,
        unlabelled: Images | None = None,
        fakes: Fakes | None = None,
        pretrain: Images | None = None,
    ) -> None:
        if len(classes) < 2:
            raise UsageError(f"data={cfg.data.name}: {len(classes)} class(es); transfer needs at least two")
        self.cfg, self.origin, self.device, self.fakes = cfg, origin, device, fakes
        self.images, self.classes, self.unlabelled = labelled, classes, unlabelled
        self.draws = Draws(cfg.seed)
        self.report: dict[str, Any] = {"loaded": 0, "missing": [], "unexpected": []}
        self.described: dict[str, Any] | None = None
        self.network: Backbone | None = None
        self.pretrain = pretrain
        self.plain: plain.Learnt | None = None
        self.probes: dict[str, Any] = {}
        self.known: dict[str, np.ndarray] = {}  # features of the labelled images, by what a probe sees
        self.generated: dict[tuple[str, Amount, int], Labelled] = {}  # features of generated images
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
        plain.check(self.origin.kind, self.cfg.plain, self.cfg.data.size)
        for name in self.cfg.probe.use:
            if not self.members(name):
                needs = "features" if registry.PROBE[name].sees == "features" else "a network"
                raise UsageError(
                    f"probe.use: {name} needs {needs}, weights={self.origin.kind} has none; use probe.use=[knn,linear]"
                )
            for amount in amounts(self.cfg, name):
                self.labels(amount, 0)
            if not registry.PROBE[name].labels and len(self.images) < len(self.classes):
                raise UsageError(
                    f"probe.use: {name} looks for {len(self.classes)} clusters among {len(self.images)} images; leave"
                    " it out, or give more images"
                )

    def members(self, name: str) -> list[str]:
        """Probes that are fitted for `name`: itself, or what its menu has for this source; [] where nothing is."""
        names = self.cfg.probe.adapted.menu if registry.PROBE[name].sees == "menu" else [name]
        bare = self.origin.kind in NO_NETWORK
        names = [member for member in names if not bare or registry.PROBE[member].sees == "features"]
        return [member for member in names if self.origin.kind != majority.NAME or registry.PROBE[member].labels]

    def build(self) -> Backbone:
        """A fresh copy of the source's network on the device."""
        if self.network is None:
            self.network, self.report = network_of(self.cfg, self.origin, self.images, self.device)
        return deepcopy(self.network)  # reading it costs time, and a random one has batch statistics to compute

    def features(self, images: Images, sees: str = "features") -> np.ndarray:
        """(n, d) float32 of centre-cropped images: of the last stage, or of all `stages` side by side."""
        if self.origin.kind in PLAIN:
            return self.learn().features(images)
        if self.origin.kind == majority.NAME:
            return np.zeros((len(images), 1), dtype=np.float32)
        if self.network is None:
            return pixels(images, self.cfg.data.size)
        network = PooledStages(self.network) if sees == "stages" else self.network
        return extract(network, images, self.cfg.data.size, BATCH, self.device)

    def learn(self) -> plain.Learnt:
        """What learns without a network, once it has learnt: when its features are asked for first."""
        if self.plain is None:
            assert self.pretrain is not None
            name, size = self.origin.kind, self.cfg.data.size
            self.plain = plain.learn(name, self.cfg.plain, self.pretrain, size, self.cfg.seed, self.device)
        return self.plain

    def labels(self, amount: Amount, draw: int) -> np.ndarray:
        """Sorted indices of the labelled images that draw `draw` may use: the same for every source."""
        if amount.per_class == 0:
            return np.arange(len(self.images))
        return label_subset(self.images.labels, amount.per_class, amount.fraction, self.cfg.seed, draw, amount.key)

    def fit(self) -> Iterator[Fitted]:
        """Every probe at every amount and draw, all choices made on the labels it was given.

        With a generator each of them twice: on the real images, then on the same ones and generated images (but
        where no labels are read). What a menu shares with another probe is fitted once.
        """
        cfg = self.cfg
        shared = {m for name in cfg.probe.use if registry.PROBE[name].sees == "menu" for m in self.members(name)}
        kept: dict[tuple[str, Amount, int], list[Fitted]] = {}

        def fits(name: str, amount: Amount, draw: int) -> list[Fitted]:
            key = (name, replace(amount, draws=1), draw)
            made = kept.get(key) or self._fits(name, amount, draw)
            if name in shared & set(cfg.probe.use):
                kept[key] = made
            return [replace(f, amount=amount) for f in made]

        for name in cfg.probe.use:
            for amount in amounts(cfg, name):
                for draw in range(amount.draws):
                    if registry.PROBE[name].sees == "menu":
                        yield from self._choose(name, amount, draw, fits)
                    else:
                        yield from fits(name, amount, draw)

    def _choose(
        self, name: str, amount: Amount, draw: int, fits: Callable[[str, Amount, int], list[Fitted]]
    ) -> Iterator[Fitted]:
        """The better of a menu, without and with generated images."""
        probe = registry.load(registry.PROBE[name].where)(getattr(self.cfg.probe, name))
        comparable = bool(choice_folds(self.images.labels[self.labels(amount, draw)], self.cfg.seed))
        members = [fits(member, amount, draw) for member in probe.needed(self.members(name), comparable)]
        for made in zip(*members, strict=True):
            model = probe.fit({f.probe: f.model for f in made})
            yield replace(made[0], probe=name, amount=amount, model=model)

    def _fits(self, name: str, amount: Amount, draw: int) -> list[Fitted]:
        """One probe on one draw of labels; a second time with generated images where there is a generator."""
        cfg, entry, count = self.cfg, registry.PROBE[name], len(self.classes)
        probe = self._probe(name)
        if not entry.labels:
            return [Fitted(name, amount, draw, 0, 0, probe.fit(self._known(entry.sees), count, cfg.seed))]
        index = self.labels(amount, draw)
        real = self.images.subset(index)
        subset = real.hash[:12]
        if entry.sees == "network":
            found = [Fitted(name, amount, draw, len(index), 0, probe.fit(real, self._setting(draw)), subset)]
            if self.fakes:
                fakes = self.fakes.images(real, cfg.seed, draw)
                model = probe.fit(real, self._setting(draw), fakes)
                found.append(Fitted(name, amount, draw, len(index), len(fakes), model, subset))
            return found
        rest = (self._known(entry.sees)[index], real.labels, count, cfg.seed)
        found = [Fitted(name, amount, draw, len(index), 0, probe.fit(*rest), subset)]
        if self.fakes:
            key = (entry.sees, Amount(amount.per_class, amount.fraction, 1), draw)
            if key not in self.generated:  # the frozen probes share them
                fakes = self.fakes.images(real, cfg.seed, draw)
                self.generated[key] = Labelled(self.features(fakes, entry.sees), fakes.labels)
            model = probe.fit(*rest, self.generated[key])
            found.append(Fitted(name, amount, draw, len(index), len(self.generated[key].y), model, subset))
        return found

    def _probe(self, name: str) -> Any:
        """The probe, once for all draws: it may have to see all training images, without their labels."""
        if self.origin.kind == majority.NAME:
            return majority.Majority(self.images.labels)
        if name not in self.probes:
            entry = registry.PROBE[name]
            self.probes[name] = registry.load(entry.where)(getattr(self.cfg.probe, name), *self._also(name))
            if hasattr(self.probes[name], "see"):
                self.probes[name].see(self._known(entry.sees))
        return self.probes[name]

    def _known(self, sees: str) -> np.ndarray:
        """(n, d) features of the labelled images; where few of them are asked for, zeros in the place of the others."""
        if sees not in self.known:
            self.known[sees] = self._asked(sees)
        return self.known[sees]

    def _asked(self, sees: str) -> np.ndarray:
        asked: set[int] = set()
        for name in self.cfg.probe.use:
            for entry in (registry.PROBE[member] for member in self.members(name)):
                if entry.sees != sees:
                    continue
                if not entry.labels or hasattr(registry.load(entry.where), "see"):
                    return self.features(self.images, sees)
                for amount in amounts(self.cfg, name):
                    for draw in range(amount.draws):
                        asked |= set(self.labels(amount, draw).tolist())
        if 2 * len(asked) > len(self.images):
            return self.features(self.images, sees)
        index = np.array(sorted(asked))
        some = self.features(self.images.subset(index), sees)
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
        rest = (cfg.data.size, self.device, cfg.seed, draws, self.unlabelled)
        return Setting(self.build, len(self.classes), views, cfg.data.views, *rest)

    def predict(self, fitted: list[Fitted], test: Images) -> list[Answers]:
        """What every fitted probe says of the test images. No choice is made here."""
        known = {sees: self.features(test, sees) for sees in {f.sees for f in fitted} - {"network"}}
        made: dict[int, Answers] = {}  # a fit that a menu has chosen answers once
        for f in fitted:
            if id(f.answering) not in made:
                made[id(f.answering)] = answers(f, test if f.sees == "network" else known[f.sees])
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
        "labels_per_class": f.amount.per_class,
        "fraction": f.amount.fraction,
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
    if registry.PROBE[f.probe].sees == "menu":
        entry |= {"validated": f.model.validated, "n_val": f.model.n_val}
    if found.confidence is not None:
        entry["ece"] = ece(found.confidence, found.guess == labels)
    if clusters is not None:
        entry["nmi"] = nmi(labels, clusters)
    return entry
