"""One backbone under all probes: every choice is made here, and nothing here leads to the test images.

`Prober` is given the labelled training images and never a `Splits`; the test images come from outside, into `predict`
alone, when everything is fitted.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from gssl import schemas
from gssl.config import registry
from gssl.config.menus import CLASSICAL, CONTROLS, NO_NETWORK, UNTRAINED
from gssl.data import Draws, Images, division, originals
from gssl.data.clips import frames_of
from gssl.data.draws import digest
from gssl.data.preprocessing import Preprocessing
from gssl.data.targets import TARGETS
from gssl.data.transforms.spectrogram import views_of
from gssl.engine import trouble
from gssl.engine.device import Precision
from gssl.engine.fits import Fits
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.experiment import checkpoint_weights, sizes, weight_sources
from gssl.experiment.augmentation import SyntheticImages
from gssl.experiment.label_budgets import LabelBudget, label_budgets
from gssl.experiment.tasks import Fitted, check_probe, serving, task_of
from gssl.metrics.evaluator_base import weights_hash
from gssl.nets.backbone import Backbone, check_name, recompute
from gssl.nets.norms import recompute_batch_norm
from gssl.probe import classical, clips, dense, majority, sized
from gssl.probe.anomaly_gan import MethodSetting
from gssl.probe.feature_cache import FeatureCache
from gssl.probe.features import extract, pixels
from gssl.probe.folds import Labelled, choice_folds
from gssl.probe.multilayer import PooledStages
from gssl.probe.setting import Setting
from gssl.schemas.probes import Probes

BATCH = 256
LARGE, FEW = 128, 64  # side in pixels from which fewer images are computed at once, and how many
CLIPS = {entry.reads for entry in registry.PROBE.values() if entry.pooling}  # features of clips, pooled over time
FROZEN = ("pooled", "dense", *sorted(CLIPS))  # what probes read of a source without a network
POOLED = {"pooled", "stages", *CLIPS}  # features (n, d) that are computed once for all probes


def find_source(weights: str, backbone: schemas.Backbone | None = None) -> weight_sources.WeightSource:
    """A `weights=` value as `weight_sources.find_weights`, or features that need no network. Raises UsageError.

    backbone: the network where the weights do not say it, whose name is looked up.
    """
    found = weight_sources.WeightSource(weights) if weights in NO_NETWORK else weight_sources.find_weights(weights)
    if backbone is not None and found.backbone is None and weights not in NO_NETWORK:
        check_name(backbone)
    return found


def of_source(probes: Probes, source: str | None) -> Probes:
    """The probes as they evaluate a source. Of a network without pretraining (scratch) all is trained, whatever is
    frozen of the others. A control is never trained: its menus have what stays frozen."""
    if source in UNTRAINED:
        whole = {n: schemas.replace(getattr(probes, n), train="all", layer_decay=1.0) for n in _entries("from_scratch")}
        return schemas.replace(probes, **whole)
    if source in CONTROLS:
        return schemas.replace(probes, **{n: schemas.replace(getattr(probes, n), menu=_frozen(getattr(probes, n).menu))
                                  for n, entry in registry.PROBE.items() if entry.reads == "menu"})  # fmt: skip
    return probes


def _entries(fact: str) -> list[str]:
    """The probes of which the registry says `fact`."""
    return [name for name, entry in registry.PROBE.items() if getattr(entry, fact)]


def _frozen(menu: list[str]) -> list[str]:
    return [name for name in menu if registry.PROBE[name].reads != "network"]


def network_of(
    cfg: schemas.Probing, origin: weight_sources.WeightSource, images: Images, device: torch.device
) -> tuple[Backbone, dict[str, Any]]:
    """A fresh copy of a source's network on the device, and the load report.

    An exported backbone carries the batch statistics of its training images: a random one those of `images`.
    """
    network, report = weight_sources.build(origin, cfg.backbone, cfg.data.side, cfg.seed, cfg.allow_partial, cfg.input)
    weight_sources.check_column(origin, network, images)
    network.to(device).to(memory_format=torch.channels_last)
    if origin.kind == "random":
        recompute_batch_norm(network, weight_sources.centred(images, Draws(cfg.seed), cfg.data.side, device))
    return network, report


class Prober:
    """Holds the labelled training images, and unlabelled ones where probes learn from them.

    synthetic: a generator whose images stand beside the labelled ones in a second fit of every probe. pretrain: the
    images that a network's pretraining has, for what learns without a network. fits: how the engine fine-tunes; without
    it nothing is kept for a restart.
    """

    def __init__(
        self,
        cfg: schemas.Probing,
        origin: weight_sources.WeightSource,
        labelled: Images,
        classes: list[str],
        device: torch.device,
        unlabelled: Images | None = None,
        synthetic: SyntheticImages | None = None,
        pretrain: Images | None = None,
        fits: Fits | None = None,
    ) -> None:
        self.cfg, self.origin, self.device, self.synthetic = cfg, origin, device, synthetic
        self.images, self.classes, self.unlabelled = labelled, classes, unlabelled
        self.task = task_of(labelled.columns)
        self.draws = Draws(cfg.seed)
        self.report: dict[str, Any] = {"loaded": 0, "missing": [], "unexpected": []}
        self.described: dict[str, Any] | None = None
        self.network: Backbone | None = None
        self.method: tuple[Any, int] | None = None  # of the source's run, and the side of its images in pixels
        self.pretrain = pretrain
        self.fits = fits or Fits(cfg.engine, device, Precision("fp32", device))
        self.classical: classical.Learnt | None = None
        self.probes: dict[tuple[str, Preprocessing], Any] = {}
        # features of the labelled images and of generated ones, by what a probe reads
        self.known: dict[tuple[str, Preprocessing], np.ndarray] = {}
        self.generated: dict[tuple[str, Preprocessing, LabelBudget, int], Labelled] = {}
        self.caches: dict[tuple[str, Preprocessing], FeatureCache] = {}
        self.keeps_features = origin.published  # on disk; networks that one run has trained are not asked for again
        self.of_frames: dict[tuple[str, Preprocessing | None], np.ndarray] = {}
        self.content = ""  # hash of the network's weights, once it is asked for
        self.compared: dict[tuple[str, LabelBudget, int], sized.Sized] = {}  # the linear probe's choices of a size
        self.sizes = sizes.of_source(cfg.probe, origin, cfg.backbone, cfg.data.side, self.task.column)
        self.check()
        if origin.kind not in NO_NETWORK:
            self.prepare()

    def prepare(self) -> None:
        """Build the network once, for its description and for what it can be refused for."""
        self.build()
        assert self.network is not None
        cfg, origin = self.cfg, self.origin
        self.described = origin.described(cfg.backbone, cfg.data.side)
        if origin.kind in ("torchvision", "timm"):  # no file of ours: its content identifies what was published
            self.report["tensors"] = weights_hash(self.network)
        stages = len(self.network.dims)
        for name in {member for use in cfg.probe.use for member in self.members(use)} & set(_entries("from_scratch")):
            own = getattr(cfg.probe, name)
            if own.train == "last" and own.stages > stages:
                raise UsageError(f"probe.{name}.stages={own.stages}: the network has {stages}; use at most {stages}")
        sizes.check(self.sizes, self.network, origin.words, cfg.data.side)
        if origin.size is not None and origin.size not in {view.size for view in self.views}:
            say(f"warning: trained at {origin.size} px, evaluated at data.size={cfg.data.side}")

    def check(self) -> None:
        """Raises UsageError for what cannot be evaluated, before anything is computed."""
        cfg, kind, task = self.cfg, self.origin.kind, self.task
        trouble.check_batch(FEW, cfg.data.grid, f"data.size={cfg.data.size}")
        task.check(self.images, self.classes, cfg.data.name)
        classical.check(kind, cfg.classical, cfg.data.side)
        if kind in NO_NETWORK and kind not in task.bare:
            raise UsageError(
                f"weights={kind}: has no features for {task.name}; without a network use one of {', '.join(task.bare)}"
            )
        if self.synthetic and task.column != "label":
            raise UsageError(f"generated.run: images of a generator have no {task.column}; leave it out")
        for name in cfg.probe.use:
            check_probe(name, task, cfg.data.name)
            if not self.members(name):
                needs = "features" if registry.PROBE[name].reads in FROZEN else "a network"
                none = "has none"
                if methods := registry.PROBE[name].methods:
                    needs, none = f"a run of {' or '.join(methods)}", "is none"
                fit = [n for n in serving(task) if registry.PROBE[n].reads in FROZEN and self.members(n)]
                raise UsageError(
                    f"probe.use: {name} needs {needs}, weights={kind} {none}; use probe.use=[{','.join(fit)}]"
                )
            for label_budget in self.budgets(name):
                self.labels(label_budget, 0)
            if not registry.PROBE[name].labels and len(self.images) < len(self.classes):
                raise UsageError(
                    f"probe.use: {name} looks for {len(self.classes)} clusters among {len(self.images)} images; leave"
                    " it out, or give more images"
                )

    def budgets(self, name: str) -> list[LabelBudget]:
        """The label budgets of a probe for this task."""
        return label_budgets(self.cfg, name, TARGETS[self.task.column])

    def members(self, name: str) -> list[str]:
        """Probes that are fitted for `name`: itself, or what its menu has for this source; [] where nothing is."""
        names = getattr(self.cfg.probe, name).menu if registry.PROBE[name].reads == "menu" else [name]
        names = [member for member in names if self.task.name in registry.PROBE[member].tasks]
        names = [member for member in names if self._reads_method(member)]
        bare = self.origin.kind in NO_NETWORK
        names = [member for member in names if not bare or registry.PROBE[member].reads in FROZEN]
        return [member for member in names if self.origin.kind != majority.NAME or registry.PROBE[member].labels]

    def _reads_method(self, member: str) -> bool:
        """Whether the source is a run of a method that this probe reads; True of probes that read networks."""
        methods = registry.PROBE[member].methods
        return methods is None or (self.origin.kind == "run" and self.origin.method in methods)

    def build(self) -> Backbone:
        """A fresh copy of the source's network on the device."""
        if self.network is None:
            self.network, self.report = network_of(self.cfg, self.origin, self.images, self.device)
            if self.cfg.engine.checkpointing:
                recompute(self.network, self.origin.network(self.cfg.backbone, self.cfg.data.side)[0].name)
        return deepcopy(self.network)  # reading it costs time, and a random one has batch statistics to compute

    @property
    def views(self) -> list[Preprocessing]:
        """How images may be brought to the network: the sizes on the menu."""
        return self.sizes.views

    def pixels_at(self, images: Images, view: Preprocessing, stored: bool = False) -> Images:
        """The same images with as many pixels as `view` needs, if their files have them; stored: for many passes."""
        return originals.at(images, view.need, self.cfg.data.side, stored)

    def features(self, images: Images, reads: str = "pooled", view: Preprocessing | None = None) -> np.ndarray:
        """(n, d) float32 of images at a size: of the last stage, or of all `stages` side by side; of clips what a
        pooling makes of their frames. Without `view` it is the first of the menu."""
        if reads in CLIPS:
            frames = self._of_frames(images, view)
            return clips.pooled(frames, reads.partition(":")[2], images.contents())
        if self.origin.kind in CLASSICAL:
            found: np.ndarray = division.current.first(lambda: self.learn().features(images))
            return found
        if self.origin.kind == majority.NAME:
            return np.zeros((len(images), 1), dtype=np.float32)
        if self.network is None:
            return pixels(images, self.cfg.data.side, self.cfg.data.hop_ms)
        network = PooledStages(self.network) if reads == "stages" else self.network
        view = view or self.views[0]
        batch = BATCH if view.size <= LARGE else FEW

        def compute(some: Images) -> np.ndarray:
            return extract(network, some, view, batch, self.device)

        images = self.pixels_at(images, view)
        cache = self._cache(reads, view)
        return compute(images) if cache is None else cache.features(images, compute)

    def _of_frames(self, images: Images, view: Preprocessing | None) -> np.ndarray:
        """(n, T, d) float32: features of each frame of clips, once for all poolings."""
        key = (images.hash, view)
        if key not in self.of_frames:
            own = self.features(frames_of(images), "pooled", view)
            self.of_frames = dict(list(self.of_frames.items())[-1:])  # of two sets of clips
            self.of_frames[key] = own.reshape(len(images), -1, own.shape[1])
        return self.of_frames[key]

    def _cache(self, reads: str, view: Preprocessing) -> FeatureCache | None:
        """Where features are kept; None: nowhere."""
        if not self.keeps_features:
            return None
        if (reads, view) not in self.caches:
            assert self.network is not None
            self.content = self.content or weights_hash(self.network)
            network = (self.content, self.described, self.network.inputs.record())
            key = digest("features", 1, *network, reads, view.record(), self.device.type, torch.__version__).hex()
            self.caches[reads, view] = FeatureCache(key)
        return self.caches[reads, view]

    def learn(self) -> classical.Learnt:
        """What learns without a network, once it has learnt: when its features are asked for first."""
        if self.classical is None:
            assert self.pretrain is not None
            cfg, rest = self.cfg, (self.cfg.seed, self.device, self.cfg.data.hop_ms)
            self.classical = classical.learn(self.origin.kind, cfg.classical, self.pretrain, cfg.data.side, *rest)
        return self.classical

    def maps(self) -> dense.Maps:
        """Dense features of this source."""
        if self.network is None:
            return dense.RULES[self.origin.kind]
        return dense.NetworkMaps(self.network)

    def labels(self, label_budget: LabelBudget, draw: int) -> np.ndarray:
        """Sorted indices of the labelled images that draw `draw` may use: the same for every source."""
        return self.task.draw(self.images, label_budget, self.cfg.seed, draw)

    def fit(self) -> Iterator[Fitted]:
        """Every probe at every label budget and draw, all choices made on the labels it was given.

        With a generator each of them twice: on the real images, then on the same ones and generated images (but
        where no labels are read). What a menu has in common with another probe is fitted once.
        """
        cfg = self.cfg
        common = {m for name in cfg.probe.use if registry.PROBE[name].reads == "menu" for m in self.members(name)}
        kept: dict[tuple[str, LabelBudget, int], list[Fitted]] = {}

        def fits(name: str, label_budget: LabelBudget, draw: int) -> list[Fitted]:
            key = (name, replace(label_budget, draws=1), draw)
            made = kept.get(key) or self._fits(name, label_budget, draw)
            if name in common & set(cfg.probe.use):
                kept[key] = made
            return [replace(f, label_budget=label_budget) for f in made]

        for name in cfg.probe.use:
            for label_budget in self.budgets(name):
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
        comparable = self.task.comparable(self.images.subset(self.labels(label_budget, draw)), self.cfg.seed)
        members = [fits(member, label_budget, draw) for member in probe.needed(self.members(name), comparable)]
        for made in zip(*members, strict=True):
            model = probe.fit({f.probe: f.model for f in made}, self.task.value)
            yield replace(made[0], probe=name, label_budget=label_budget, model=model)

    def _fits(self, name: str, label_budget: LabelBudget, draw: int) -> list[Fitted]:
        """One probe on one draw of labels; a second time with generated images where there is a generator."""
        cfg, entry, count = self.cfg, registry.PROBE[name], len(self.classes)
        if not entry.labels:
            rule = self.sizes.rule
            probe, known = self._probe(name, rule), self._known(entry.reads, rule)
            model = division.current.first(lambda: probe.fit(known, count, cfg.seed))
            model = sized.alone(model, rule) if self.sizes.recorded else model
            return [Fitted(name, label_budget, draw, 0, 0, model)]
        index = self.labels(label_budget, draw)
        real = self.images.subset(index)
        subset = real.hash[:12]
        made = [Fitted(name, label_budget, draw, len(index), 0, None, subset)]
        more = self.synthetic.images(real, cfg.seed, draw) if self.synthetic else None
        if more is not None:
            made.append(replace(made[0], generated=len(more)))
        if entry.reads == "network":
            for f in made:
                f.model = self._train(name, real, label_budget, draw, more if f.generated else None)
        elif entry.reads == "method":
            for f in made:  # in all processes, alike: nothing in it is random, and a whole method does not travel
                f.model = self._probe(name, self.views[0]).fit(real, self._method())
        elif entry.reads == "dense":
            dense_probe, setting = self._probe(name, self.views[0]), self._dense(draw)
            for f in made:
                fit = partial(dense_probe.fit, real, setting)
                f.model = fit() if entry.by_steps else division.current.first(fit)
        else:
            for f in made:
                f.model = self._frozen(name, index, label_budget, draw, more if f.generated else None)
        return made

    def keeps_groups(self, name: str) -> bool:
        """Whether the folds on which a frozen probe chooses tear no group, such as one speaker's sounds."""
        return registry.PROBE[name].groups or TARGETS[self.task.column].whole

    def _frozen(self, name: str, index: np.ndarray, budget: LabelBudget, draw: int, more: Images | None) -> Any:
        """A probe on frozen features of the labelled images `index` and of generated ones; the size is chosen on folds
        of the former."""
        same = (name, replace(budget, draws=1, key=""), draw)
        if more is None and same in self.compared:
            return self.compared[same]
        reads, labels = registry.PROBE[name].reads, self.images.labels[index]
        groups = None if self.images.groups is None else self.images.groups[index]
        folds = choice_folds(labels, self.cfg.seed) if self.sizes.recorded else []
        fits: dict[Preprocessing, Any] = {}
        for view in self.views if folds or not self.sizes.recorded else [self.sizes.rule]:
            extra: list[Labelled] = []
            if more is not None:
                key = (reads, view, replace(budget, draws=1, key=""), draw)
                if key not in self.generated:  # one set for all frozen probes
                    self.generated[key] = Labelled(self.features(more, reads, view), more.labels)
                extra = [self.generated[key]]
            rest = (self._known(reads, view)[index], labels, len(self.classes), self.cfg.seed)
            named = self.keeps_groups(name) and groups is not None and self.origin.kind != majority.NAME
            own = {"groups": groups} if named else {}
            fits[view] = division.current.first(partial(self._probe(name, view).fit, *rest, *extra, **own))
        if not self.sizes.recorded:
            return fits[self.views[0]]
        found = sized.choose(fits, [labels[val] for _, val in folds])
        if more is None and name == sizes.CHOOSES:  # probes that train the network will ask
            self.compared[same] = found
        return found

    def _train(self, name: str, real: Images, budget: LabelBudget, draw: int, more: Images | None) -> Any:
        """A probe that trains the network, at the size of `probe.size_trained`."""
        view, chosen = self.sizes.trained, None
        if view is None:
            chosen = self._frozen(sizes.CHOOSES, self.labels(budget, draw), budget, draw, None)
            view = chosen.view
        extra = [] if more is None else [more]
        model = self._probe(name, view).fit(self.pixels_at(real, view, stored=True), self._setting(draw, view), *extra)
        if not self.sizes.recorded:
            return model
        found = sized.alone(model, view)
        return found if chosen is None else replace(found, validated=chosen.validated, n_val=chosen.n_val)

    def _probe(self, name: str, view: Preprocessing) -> Any:
        """The probe, once for all draws: it may have to read all training images, without their labels."""
        if self.origin.kind == majority.NAME:
            return self.task.majority(self.images, name)
        if (name, view) not in self.probes:
            entry = registry.PROBE[name]
            also = [getattr(self.cfg.probe, entry.also)] if entry.also else []
            where = (entry.by_task or {}).get(self.task.name, entry.where)
            made = registry.load(where)(getattr(self.cfg.probe, name), *also)
            if hasattr(made, "standardise"):
                made.standardise = self.origin.kind not in classical.SCALED
            if hasattr(made, "see"):
                made.see(self._known(entry.reads, view))
            self.probes[name, view] = made
        return self.probes[name, view]

    def _known(self, reads: str, view: Preprocessing) -> np.ndarray:
        """(n, d) features of the labelled images; where few of them are asked for, zeros for the others."""
        if (reads, view) not in self.known:
            self.known[reads, view] = self._asked(reads, view)
        return self.known[reads, view]

    def _asked(self, reads: str, view: Preprocessing) -> np.ndarray:
        asked: set[int] = set()
        choosing = self.sizes.trained is None and reads == registry.PROBE[sizes.CHOOSES].reads
        for name in self.cfg.probe.use:
            for entry in (registry.PROBE[member] for member in self.members(name)):
                if entry.reads != reads and not (choosing and entry.reads == "network"):
                    continue
                if not entry.labels or hasattr(registry.load(entry.where), "see"):
                    return self.features(self.images, reads, view)
                for label_budget in self.budgets(name):
                    for draw in range(label_budget.draws):
                        asked |= set(self.labels(label_budget, draw).tolist())
        if 2 * len(asked) > len(self.images):
            return self.features(self.images, reads, view)
        index = np.array(sorted(asked))
        some = self.features(self.images.subset(index), reads, view)
        known = np.zeros((len(self.images), some.shape[1]), dtype=some.dtype)
        known[index] = some
        return known

    def _setting(self, draw: int, view: Preprocessing) -> Setting:
        cfg = self.cfg
        views = views_of(cfg.data, self.images, view.size, self.draws)
        draws = Draws(cfg.seed * 1000 + draw)
        more = None if self.unlabelled is None else self.pixels_at(self.unlabelled, view)
        rest = (view.size, self.device, cfg.seed, draws, self.fits, more, view)
        return Setting(self.build, len(self.classes), views, cfg.data.views, *rest)

    def _dense(self, draw: int) -> dense.DenseSetting:
        seed, training = self.cfg.seed, self._setting(draw, self.views[0])
        return dense.DenseSetting(self.maps(), len(self.classes), self.device, seed, training.draws, training)

    def _method(self) -> MethodSetting:
        """The whole method of the source's run, read once."""
        if self.method is None:
            self.method = checkpoint_weights.method_of(self.origin, self.device)
        return MethodSetting(*self.method, len(self.classes), self.device)

    def rehearse(self) -> None:
        """Read a few labelled images as the first probe will, so that a failure comes before anything is computed."""
        name = self.cfg.probe.use[0]
        few = self.images.subset(self.labels(self.budgets(name)[0], 0)[:BATCH])
        made = [few, self.synthetic.images(few, self.cfg.seed, 0)] if self.synthetic else [few]
        if self.origin.kind in CLASSICAL:  # which would have to learn first
            return
        if not self.task.dense:
            for some in made:
                for view in self.views:
                    self.features(some, view=view)
        else:
            for x in dense.pictures(few, self.device):
                self.maps()(x)

    def predict(self, fitted: list[Fitted], test: Images) -> list[Any]:
        """What every fitted probe says of the test images, as the task's answers. No choice is made here."""
        asked = dict.fromkeys((f.reads, f.view or self.views[0]) for f in fitted if f.reads != "dense")
        read: dict[Any, Any] = {
            (reads, view): self.features(test, reads, view) if reads in POOLED else self.pixels_at(test, view)
            for reads, view in asked
        }
        own = {id(f.answering): f.answering for f in fitted if f.reads == "dense"}
        if own:  # all heads in one pass over the images
            models, setting = list(own.values()), self._dense(0)
            read_by = division.current.first(lambda: self.task.together(models, test, setting))
            by_model = dict(zip(own, read_by, strict=True))
        made: dict[int, Any] = {}  # a fit that a menu has chosen answers once
        for f in fitted:
            key = id(f.answering)
            if key not in made:
                given = by_model[key] if f.reads == "dense" else read[f.reads, f.view or self.views[0]]
                answers = partial(self.task.answers, f, given, test)
                made[key] = answers() if f.reads == "network" else division.current.first(answers)
        return [made[id(f.answering)] for f in fitted]
