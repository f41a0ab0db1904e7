"""What a configuration must fulfil that no single key can tell. No torch here."""

from collections.abc import Set
from typing import Any

from gssl import schemas
from gssl.config import arms, comparison_rules, registry
from gssl.data import targets
from gssl.data.sources import SOURCES
from gssl.engine import torchrun
from gssl.errors import UsageError
from gssl.names import unknown

# Keys that one source reads and no other.
ONLY = {
    "imagefolder": ("pretrain", "train", "test", "labels"),
    "segmentation": ("crop", "masks", "groups"),
    "video": ("frames", "stride", "fps", "clips_per_video"),
    "anomaly": ("good", "bad"),
    "fake": ("held_out",),
    "paired": ("direction",),
    "text": ("tokenizer", "vocab", "lowercase", "long", "encoding"),
    "audio": ("rate", "seconds", "hop_ms", "sound_views"),
    "imagetext": ("caption_tokens",),
}
LACKS = {
    "imagefolder": "brings its own split",
    "segmentation": "has no masks",
    "video": "has no films",
    "anomaly": "has no defects",
    "fake": "has no generators",
    "paired": "has no pairs",
    "text": "has no texts",
    "audio": "has no sounds",
    "imagetext": "has no captions",
}
# Some of them that others read, too.
ALSO: dict[str, tuple[str, ...]] = {
    "hf": ("labels", "groups"),
    "segmentation": ("pretrain",),
    "detection": ("pretrain", "crop", "groups"),
    "anomaly": ("pretrain", "crop", "masks"),
    "video": ("labels", "groups", "pretrain", "test"),
    "paired": ("masks", "groups"),
    "webdataset": ONLY["imagefolder"],
    "unpaired": ("direction",),
    "text": ("pretrain", "test"),
    "audio": ("labels", "groups", "pretrain", "test"),
    "imagetext": ("tokenizer", "vocab", "lowercase", "encoding"),
}
# column → what a method reads of it
READ = {
    "image": "images",
    "video": "clips",
    "paired": "pairs of images",
    "domain": "two domains of images",
    "text": "texts",
    "audio": "sounds",
    "caption": "images with captions",
}
BRINGS = {"caption": "imagetext", "domain": "unpaired"}  # column → data that bring it, where these are called otherwise
MADE = ("super_resolution", "colour")  # values of data.pairs that any images will do for (`gssl.data.pairs`)
# data of which an image is made from another → where images to test on go
TRANSLATED = {
    "paired": "give pairs to test on a folder test/",
    "unpaired": "give images to test on folders testA/ and testB/",
}
DIVIDED = ("folds", "split")  # values of data.test that are no folder: any source with labels can be divided so


def check(command: str, cfg: Any) -> None:
    """Raises UsageError for the first mistake in a typed configuration."""
    if cfg.data.name not in SOURCES:
        raise unknown("data.name: no source", cfg.data.name, SOURCES)
    if command in torchrun.TOGETHER:
        _one_gpu(cfg.engine)
        _mixed_sounds(cfg)
    _pairs(command, cfg.data)
    _columns(cfg)
    _backbone(cfg)
    if cfg.backbone.name.startswith("vit") and cfg.data.side % cfg.backbone.patch:
        size, patch = cfg.data.side, cfg.backbone.patch
        raise UsageError(f"backbone.patch: {patch} does not divide data.size {size}; choose one that does")
    for family in registry.FAMILIES:
        if hasattr(cfg, family):
            arms.fits(getattr(cfg, family).name, cfg.backbone.name)
    if not getattr(cfg, "runs", None) and not getattr(cfg, "to", None):
        _source(command, cfg.data)
    if hasattr(cfg, "probe"):
        _probes(cfg)
    if command == "curve" and not cfg.sources:
        raise UsageError(f"sources is empty; expected {type(cfg).model_fields['sources'].description}")
    if hasattr(cfg, "executor") and not getattr(cfg, "runs", None):
        comparison_rules.check_gpus(cfg.executor, cfg.engine)
    if command == "compare":
        comparison_rules.check(cfg)


def _one_gpu(engine: schemas.Engine) -> None:
    """Raises UsageError where several processes would all take the same GPU."""
    if not engine.device.startswith("cuda:"):
        return
    place = torchrun.found()
    if place or engine.processes > 1:
        asked = f"torchrun's {place.count} processes" if place else f"engine.processes={engine.processes}"
        raise UsageError(
            f"engine.device={engine.device}: {asked} would all take this one GPU; leave engine.device at auto or cuda,"
            " and each takes its own"
        )


def _mixed_sounds(cfg: Any) -> None:
    """Raises UsageError where several processes would each mix sounds of their own images alone: another training."""
    views = cfg.data.sound_views
    if views and views.mix and not hasattr(cfg, "gan") and (torchrun.found() or cfg.engine.processes > 1):
        raise UsageError(
            "data.sound_views.mix: several processes mix other sounds into each other than one does; give"
            " data.sound_views.mix=0, or engine.processes=1"
        )


def label_budgets(cfg: Any, given: Set[str]) -> None:
    """Raises UsageError where the user gave label budgets for data of the other kind, which nobody would read.

    given: keys that the user wrote. Both keys together are for several data sets.
    """
    if getattr(cfg, "runs", None) or getattr(cfg, "to", None):
        return
    goal, keys = targets.of_data(cfg.data.name), ("labels_per_class", "images_labelled")
    right, wrong = keys if goal.unit == "label" else keys[::-1]
    if wrong in given and right not in given:
        values = ",".join(map(str, getattr(cfg, wrong)))
        raise UsageError(f"{wrong}: data={cfg.data.name} counts {goal.words}; use {right}=[{values}]")


def _pairs(command: str, data: schemas.Data) -> None:
    """Keys of pairs that nobody would read."""
    if data.pairs is None:
        if data.factor is not None:
            raise UsageError("data.factor: is for data.pairs=super_resolution, which is not given")
        return
    if data.pairs not in MADE:
        if data.name != "paired":
            raise UsageError(f"data.pairs=files: is for data=paired; data={data.name} has no pairs of files")
        return
    if "image" not in SOURCES[data.name].columns or "video" in SOURCES[data.name].columns:
        raise UsageError(f"data.pairs={data.pairs}: is made from single images, and data={data.name} has none")
    if command != "train-gan":
        raise UsageError(f"data.pairs={data.pairs}: gssl {command} reads no pairs; use train-gan with gan=pix2pix")
    if data.pairs == "super_resolution" and data.factor is None:
        raise UsageError("data.pairs=super_resolution: how many times smaller is not given; set data.factor=2 or 4")


def _columns(cfg: Any) -> None:
    """A method that reads a column which the data does not bring."""
    brought = SOURCES[cfg.data.name].columns
    if cfg.data.pairs in MADE:
        brought = (*brought, "paired")
    for family, methods in registry.FAMILIES.items():
        name = getattr(getattr(cfg, family, None), "name", None)
        if name in methods and methods[name].labels and "label" not in brought:
            raise UsageError(
                f"{family}={name} reads the column label, and data={cfg.data.name} brings {' and '.join(brought)};"
                " choose a method without labels, or other data"
            )
        if name in methods and not _learns_from(methods[name], brought):
            column = methods[name].column
            # what has no images has texts or sounds; of captions pretrain-ssl alone has methods
            known = registry.FAMILIES if family == "gan" else {family: methods}
            fit = {of: [f"{of}={own}" for own, e in known[of].items() if _learns_from(e, brought)] for of in known}
            other = " or ".join(fit[family]) or f"pretrain-ssl with {' or '.join(fit['ssl'])}"
            use = other if column == "image" else f"data={BRINGS.get(column, column)}, or another method"
            raise UsageError(
                f"{family}={name} learns from {READ[column]}, and data={cfg.data.name} brings {' and '.join(brought)};"
                f" use {use}"
            )


def _learns_from(entry: registry.Entry, columns: tuple[str, ...]) -> bool:
    return entry.column in columns or (entry.sounds and "audio" in columns)


def _backbone(cfg: Any) -> None:
    """A network that reads another column than the data bring."""
    brought = SOURCES[cfg.data.name].columns
    of_texts = "text" in brought
    if getattr(cfg, "to", None):
        return
    if "audio" in brought and cfg.backbone.name.startswith("timm:"):
        raise UsageError(
            f"backbone={cfg.backbone.name}: reads images of three colours, and data=audio brings sounds; use"
            " backbone=convnet, resnet18 or vit_micro"
        )
    if cfg.backbone.name.startswith("text") == of_texts:
        return
    reads, brings = ("images", "texts") if of_texts else ("texts", "sounds" if "audio" in brought else "images")
    use = "backbone=text_small or text_base" if of_texts else "data=text, or another backbone"
    raise UsageError(
        f"backbone={cfg.backbone.name}: reads {reads}, and data={cfg.data.name} brings {brings}; use {use}"
    )


def reads(name: str, key: str) -> bool:
    """Whether a source reads a key of `data` that not all do."""
    return key in (*ONLY.get(name, ()), *ALSO.get(name, ()))


def _source(command: str, data: schemas.Data) -> None:
    if data.name in ("imagefolder", "webdataset"):
        enough = data.root or data.train or (data.pretrain and command in ("pretrain-ssl", "train-gan"))
        what = "images" if data.name == "imagefolder" else "tar archives"
        if not enough:
            raise UsageError(f"data.root must be given: the folder of your {what} (or data.train, data.test …)")
    if data.root is not None and not SOURCES[data.name].root:
        raise UsageError(
            f"data.root: data={data.name} does not read it; for a folder of your own images write data=imagefolder"
            f" data.root={data.root}"
        )
    goal = targets.of_data(data.name)
    if data.name in TRANSLATED and command not in ("train-gan", "pretrain-ssl"):
        raise UsageError(
            f"data={data.name}: has no labels, which gssl {command} evaluates by; give other data, or use train-gan"
        )
    if data.name in TRANSLATED and data.test in DIVIDED:
        raise UsageError(f"data.test={data.test}: is for images with labels; {TRANSLATED[data.name]}")
    if data.name in ("text", "imagetext") and data.test in DIVIDED:
        raise UsageError(
            f"data.test={data.test}: is for images; texts without a test part are split by data.test_fraction, before"
            " the tokenizer is trained"
        )
    for name, keys in ONLY.items():
        for key in keys:
            divided = key == "test" and data.test in DIVIDED and goal.folds
            if getattr(data, key) is not None and not divided and not reads(data.name, key):
                raise UsageError(f"data.{key} is for data={name}; {data.name} {LACKS[name]}")
    if isinstance(data.size, list) and not goal.rectangles:
        raise UsageError(f"data.size={data.size}: height and width are for data=segmentation; give one number")


def _probes(cfg: Any) -> None:
    probe = cfg.probe
    for name in probe.use:
        if name not in registry.PROBE:
            raise unknown("probe.use: no probe", name, registry.PROBE)
    offers = [name for name, entry in registry.PROBE.items() if entry.chooses]
    for key, names in (("menu", probe.adapted.menu), ("one_shot", [probe.adapted.one_shot])):
        for name in names:
            if name not in offers:
                raise unknown(f"probe.adapted.{key}: no probe that chooses on folds", name, offers)
    if not any(registry.PROBE[name].bare for name in probe.adapted.menu):
        raise UsageError("probe.adapted.menu: nothing for sources without a network; add linear")
    if probe.adapted.one_shot not in probe.adapted.menu:
        raise UsageError(
            f"probe.adapted.one_shot={probe.adapted.one_shot}: is not in the menu; expected one of"
            f" probe.adapted.menu={probe.adapted.menu}"
        )
    if not probe.use:
        raise UsageError(f"probe.use is empty; expected some of {', '.join(registry.PROBE)}")
    counted = "labels_per_class" if targets.of_data(cfg.data.name).unit == "label" else "images_labelled"
    several = getattr(cfg, "to", None)  # data of other kinds than cfg.data
    if not (getattr(cfg, counted) or cfg.fractions or (several and (cfg.labels_per_class or cfg.images_labelled))):
        raise UsageError(f"{counted} and fractions are both empty; give at least one label budget")
    if probe.linear.l2_low > probe.linear.l2_high:
        raise UsageError("probe.linear.l2_low is above probe.linear.l2_high; exchange them")
