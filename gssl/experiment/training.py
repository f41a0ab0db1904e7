"""What train-gan and pretrain-ssl have in common: a training that is made ready, run, exported and recorded."""

from pathlib import Path
from typing import Any

import torch

from gssl import schemas
from gssl.config import arms, label_use, registry
from gssl.data import Batches, Draws, Images, Splits, load_data, pairs
from gssl.data.clips import frames_of
from gssl.data.columns import CaptionColumn, TextColumn
from gssl.engine import dist, trouble
from gssl.engine.beside import Beside
from gssl.engine.device import Precision
from gssl.engine.feed import Feed, reads_clips
from gssl.engine.follower import Follower
from gssl.engine.loop import Evaluator, Trainer
from gssl.engine.progress import say
from gssl.engine.run import Run
from gssl.errors import UsageError
from gssl.experiment import checkpoint_weights, continued, sound_pictures, synthetic, teacher, told, weight_sources
from gssl.experiment.method_pictures import inputs_of, save_views
from gssl.method import Context, MakeOptimizer
from gssl.nets.backbone import TIMM, Backbone, check_name, recompute
from gssl.nets.log_mel import SoundInputs
from gssl.ssl.patches import need_vit

Config = schemas.PretrainSSL | schemas.TrainGAN


def find_source(run: Run, cfg: Config) -> weight_sources.WeightSource:
    """What the training begins with; binds the run to it, and says so where the run is finished already."""
    source = weight_sources.find_weights(cfg.weights)
    continued.check(cfg.weights, source)
    run.bind(weights=source.sha256)
    if source.backbone is None:
        check_name(cfg.backbone)
    if isinstance(cfg, schemas.PretrainSSL):  # what cannot be had or does not fit is said at once
        teacher.find(cfg.ssl)
        if registry.SSL[cfg.ssl.name].vit and (source.backbone is not None or cfg.backbone.name.startswith(TIMM)):
            with torch.random.fork_rng(devices=[]):
                need_vit(source.blank(cfg.backbone, cfg.data.side), cfg.ssl.name, cfg.data.side)
    if run.finished:
        say(f"{run.path}: finished already")
        dist.release(patient=True)
    elif not dist.rank():
        dist.agree(patient=True)  # the others may begin
    return source


def follow(cfg: Config, family: str, run_dir: Path, device: torch.device, precision: Precision) -> None:
    """Take part in a training as any process but rank 0."""
    run: Any = Follower(run_dir)
    if not dist.agree().go:
        return
    training = Training(run, cfg, family, find_source(run, cfg), device, precision)
    training.trainer.follow(training.method, training.feed, training.draws)


class Training:
    """A method with its data, network and trainer, as the configuration of a run says.

    run · cfg · family (ssl or gan) · method_cfg · device · source · sampler (of generated images to learn from, or
    None) · splits · draws · images (to learn from) · real (the real ones among which `images` would be without a
    sampler) · method · needs (what the method reads of a batch) · beside (seconds spent beside the steps)
    """

    def __init__(
        self,
        run: Run,
        cfg: Config,
        family: str,
        source: weight_sources.WeightSource,
        device: torch.device,
        precision: Precision,
    ) -> None:
        self.run, self.cfg, self.family, self.device = run, cfg, family, device
        self.beside = Beside()
        self.method_cfg = getattr(cfg, family)
        arms.letters(self.method_cfg.name, cfg.data.tokenizer)  # arms compose without the keys of their data
        batch = self.method_cfg.batch_size
        trouble.check_batch(
            batch // cfg.engine.accumulate, cfg.data.grid, f"data.size={cfg.data.size}, {family}.batch_size={batch}"
        )
        self.teacher = teacher.find(self.method_cfg)
        self.splits = self._load_data(source)
        self.draws = Draws(cfg.seed, dist.rank(), dist.processes())
        run.bind(images=self.splits.hash)
        self.sampler = synthetic.find_maker(cfg.generated, device) if isinstance(cfg, schemas.PretrainSSL) else None
        if self.sampler:
            run.bind(generator=self.sampler.sha256)
        self.source = checkpoint_weights.resolve(source, device)
        backbone, self.load_report = weight_sources.build(self.source, cfg.backbone, cfg.data.side, cfg.seed)
        weight_sources.check_column(self.source, backbone, self.splits.pretrain)
        if cfg.engine.checkpointing:
            if family == "gan":
                raise UsageError("engine.checkpointing=true: is for pretrain-ssl and fine-tuning, not for GANs")
            recompute(backbone, self.source.network(cfg.backbone, cfg.data.side)[0].name)
        self.trainer = Trainer(run, cfg.engine, cfg.budget, device, precision)
        context = self._context(backbone)
        cls = _method_class(family, self.method_cfg)
        self.needs: tuple[str, ...] = cls.reads(self.method_cfg) if hasattr(cls, "reads") else cls.needs
        # a method that reads labels can only use the labelled part
        self.real = self.splits.train if self.reads_labels else self.splits.pretrain
        if not reads_clips(self.needs):  # every frame of a clip is an image
            self.real = frames_of(self.real)
        self.images = self._images()
        self.batches = self._batches()
        self.feed = Feed(self.batches, self.images, self.needs, cfg.data, self.draws)
        self.method = cls(self.method_cfg, backbone, context)
        self.method.to(memory_format=torch.channels_last)
        self.method.train()
        dist.globalise(self.method)
        if isinstance(cfg, schemas.PretrainSSL) and self.continues:
            continued.hold(self.method, cfg)
        self._note_labels()
        if hasattr(self.method, "check"):
            self.method.check(self.feed(0))

    @property
    def reads_labels(self) -> bool:
        return "label" in self.needs

    def _load_data(self, source: weight_sources.WeightSource) -> Splits:
        cfg = self.cfg
        splits = load_data(cfg.data, progress=cfg.engine.progress)
        told.found_and_warnings(splits.summary)
        told.other_range(cfg.weights, source.range, splits.summary)
        if splits.folds and splits.folds.fold is None and not splits.summary["folds"]["apart"]:
            say("note: labels are few, so no image is held back here: `gssl transfer` tests each in one of its folds;"
                " data.fold=0 leaves a fold out, data.test=split a test part")  # fmt: skip
        if source.backbone not in (None, cfg.backbone):
            say(f"note: the network is {source.backbone.name}, as weights={cfg.weights} says; backbone= is not used")
        return splits

    @property
    def continues(self) -> bool:
        """Whether training goes on from weights that were given."""
        return self.source.kind != "random"

    def _context(self, backbone: Backbone) -> Context:
        """What the method is given."""
        images, size = self.splits.pretrain, self.cfg.data.side
        optimizer: MakeOptimizer = self.trainer.optimizer
        extra: dict[str, Any] = {}
        if isinstance(backbone.inputs, SoundInputs):
            extra["shape"] = backbone.inputs.shape
            if self.family == "gan":
                extra["scale"] = sound_pictures.fitted(images, backbone.inputs)
        elif self.family == "gan" and (texts := images.column_of(TextColumn)) is not None:
            extra["letters"] = texts.alphabet(images.rows, size)
        elif self.family == "gan":
            extra["colour"] = weight_sources.colour(images, self.draws.shared, size, self.device)
        if self.family == "gan" and (inputs := pairs.given(images, self.cfg.data.pairs, self.cfg.data.factor)):
            extra |= {"given": inputs.channels, "changed": inputs.kind in pairs.MADE}
        if images.column_of(CaptionColumn) is not None:
            extra["vocab"] = int(images.store.meta["tokens"])
            extra["caption_tokens"] = self.cfg.data.caption_tokens
        if self.teacher:
            found = checkpoint_weights.resolve(self.teacher, self.device)
            extra["teacher"], digest = teacher.made(found, self.method_cfg, self.device)
            self.run.bind(teacher=digest)
        if isinstance(self.cfg, schemas.PretrainSSL) and self.continues:
            optimizer = continued.optimizers(optimizer, backbone, self.cfg.continued)
        return Context(
            draws=self.draws,
            device=self.device,
            size=size,
            channels=images.channels,
            classes=len(self.splits.classes),
            optimizer=optimizer,
            gather=dist.gather,
            mean=dist.mean,
            processes=dist.processes(),
            **extra,
        )

    def _images(self) -> Images:
        """The images to learn from: real, or generated."""
        if not self.sampler:
            return self.real
        if self.reads_labels:
            name = self.method_cfg.name
            raise UsageError(f"generated.run: {self.family}={name} reads labels, and these images have none")
        assert isinstance(self.cfg, schemas.PretrainSSL)
        return synthetic.images(self.sampler, self.cfg.generated, self.real, self.cfg.data.side, self.cfg.seed)

    def _batches(self) -> Batches:
        wanted, parts = self.method_cfg.batch_size, self.cfg.engine.accumulate
        if wanted % dist.processes():
            raise UsageError(
                f"{self.family}.batch_size={wanted}: expected a multiple of {dist.processes()}, because so many"
                " processes take equal parts of each batch"
            )
        count = len(self.images)
        if count < wanted and count % dist.processes():  # else it would be another training than by one process
            fit = count - count % dist.processes()
            raise UsageError(
                f"{self.family}.batch_size={wanted}: there are {count} training images, which {dist.processes()}"
                f" processes cannot share equally; set {self.family}.batch_size={fit}, or engine.processes=1"
            )
        batches = Batches(self.images, wanted, self.draws, self.device)
        if batches.whole < wanted:
            say(f"warning: {len(self.images)} training images: batches have {batches.whole}, not {wanted}")
        if batches.size // parts < 2:
            raise UsageError(
                f"engine.accumulate={parts}: a batch of {batches.size} images cannot be cut into so many parts of at"
                f" least two; use at most {max(1, batches.size // 2)}"
            )
        return batches

    def _note_labels(self) -> None:
        if self.reads_labels:
            method = f"{self.family}={self.method_cfg.name}"
            say(f"note: {method} reads the labels of all training images: a reference, no contestant")
        elif self.teacher and self.teacher.labels_used:
            say(f"note: the teacher {self.method_cfg.teacher} was trained with labels: no contestant")
        elif self.source.labels_used:
            say(f"note: weights={self.cfg.weights} was trained with labels, and so is what follows: no contestant")

    def dry(self, evaluator: Evaluator) -> str:
        """One update and one evaluation; writes views.png and no result."""
        batch = self.feed(0)
        with inputs_of(self.method.backbone) as inputs:
            self.trainer.dry(self.method, batch)
        evaluator.evaluate(0)
        if "image" not in self.batches(0):
            return "the configuration builds and one batch went through"
        picture = self.run.path / "views.png"
        columns = save_views(self.batches(0), batch, inputs, picture, self.cfg.data.side)
        return f"the configuration builds and one batch went through\nviews.png: {', '.join(columns)}"

    def fit(self, evaluator: Evaluator) -> dict[str, Any]:
        """Train until the budget is spent; see `Trainer.fit`."""
        return self.trainer.fit(
            self.method,
            self.feed,
            self.draws,
            evaluator,
            images=len(self.images),
            title=f"{self.method_cfg.name} seed {self.cfg.seed}",
            every=self.cfg.eval.every,
            milestones=self.cfg.eval.milestones,
        )

    def export(self, done: dict[str, Any]) -> dict[str, Any]:
        """Write the backbone; returns what result.json says of every training. `done`: of `fit`."""
        cfg, size = self.cfg, self.cfg.data.side
        learned = synthetic.record(self.sampler, self.images) if self.sampler else None
        of_images = learned["labels_used"] if learned else False
        of_teacher = self.teacher.labels_used if self.teacher else False
        labels_used = label_use.worst(self.reads_labels, of_images, self.source.labels_used, of_teacher)
        kind, seen_at = self.source.network(cfg.backbone, size)
        # batch statistics of real images, after generated ones too: the exported network is used on real ones
        centred = weight_sources.centred(self.real, self.draws.shared, size, self.device)
        name, path = self.method_cfg.name, Path(self.run.path)
        more = (labels_used, self.splits.summary.get("range"))
        read = weight_sources.exported(self.method).takes.column == "text"  # captions are for another tower
        tokenizer = self.real.store.meta.get("tokenizer") if read else None
        weights = weight_sources.export(self.method, centred, path, name, kind, seen_at, cfg.seed, *more, tokenizer)
        return {
            "method": name,
            "seed": cfg.seed,
            "source": self.source.record(),
            "load_report": self.load_report,
            "labels_used": labels_used,
            "reads_labels": self.reads_labels,
            **({"generated": learned} if learned else {}),
            **({"teacher": self.teacher.record()} if self.teacher else {}),
            "spent": done["spent"] | {"beside": self.beside.record()},
            "alarms": done["alarms"],
            "milestones": done["milestones"],
            "weights": {"backbone": weights},
            "data": self.splits.summary,
            "backbone": self.source.described(cfg.backbone, size),
        }


def _method_class(family: str, method_cfg: Any) -> Any:
    where = registry.FAMILIES[family][method_cfg.name].where
    cls = registry.load(where)
    if not isinstance(getattr(cls, "needs", None), tuple):
        raise TypeError(f'{where}: `needs` must be a tuple of names, such as ("view0",); see gssl/method.py')
    return cls
