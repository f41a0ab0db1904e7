"""What a configuration must fulfil that no single key can tell. No torch here."""

from collections.abc import Set
from typing import Any

from gssl import schemas
from gssl.config import arms, comparison_rules, registry
from gssl.data.sources import SOURCES
from gssl.errors import UsageError
from gssl.names import unknown

# Keys that one source reads and no other.
ONLY = {"imagefolder": ("pretrain", "train", "test", "labels"), "segmentation": ("crop", "masks", "groups")}
ALSO = {("hf", "labels"), ("hf", "groups")}
DIVIDED = ("folds", "split")  # values of data.test that are no folder: any source with labels can be divided so


def check(command: str, cfg: Any) -> None:
    """Raises UsageError for the first mistake in a typed configuration."""
    if cfg.data.name not in SOURCES:
        raise unknown("data.name: no source", cfg.data.name, SOURCES)
    _columns(cfg)
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
    if command == "compare":
        comparison_rules.check(cfg)


def label_budgets(cfg: Any, given: Set[str]) -> None:
    """Raises UsageError where the user gave label budgets for data of the other kind, which nobody would read.

    given: keys that the user wrote. Both keys together are for several data sets.
    """
    if getattr(cfg, "runs", None) or getattr(cfg, "to", None):
        return
    keys, counts = ("images_labelled", "labels_per_class"), ("labelled images", "labels per class")
    masks = "mask" in SOURCES[cfg.data.name].columns
    (right, wrong), unit = (keys, counts[0]) if masks else (keys[::-1], counts[1])
    if wrong in given and right not in given:
        values = ",".join(map(str, getattr(cfg, wrong)))
        raise UsageError(f"{wrong}: data={cfg.data.name} counts {unit}; use {right}=[{values}]")


def _columns(cfg: Any) -> None:
    """A method that reads a column which the data does not bring."""
    brought = SOURCES[cfg.data.name].columns
    for family, methods in registry.FAMILIES.items():
        name = getattr(getattr(cfg, family, None), "name", None)
        if name in methods and methods[name].labels and "label" not in brought:
            raise UsageError(
                f"{family}={name} reads the column label, and data={cfg.data.name} brings {' and '.join(brought)};"
                " choose a method without labels, or other data"
            )


def _source(command: str, data: schemas.Data) -> None:
    if data.name == "imagefolder":
        enough = data.root or data.train or (data.pretrain and command in ("pretrain-ssl", "train-gan"))
        if not enough:
            raise UsageError("data.root must be given: the folder of your images (or data.train, data.test …)")
    if data.root is not None and not SOURCES[data.name].root:
        raise UsageError(
            f"data.root: data={data.name} does not read it; for a folder of your own images write data=imagefolder"
            f" data.root={data.root}"
        )
    for name, keys in ONLY.items():
        for key in keys:
            divided = key == "test" and data.test in DIVIDED and "mask" not in SOURCES[data.name].columns
            if data.name != name and getattr(data, key) is not None and not divided and (data.name, key) not in ALSO:
                own = "brings its own split" if name == "imagefolder" else "has no masks"
                raise UsageError(f"data.{key} is for data={name}; {data.name} {own}")
    if isinstance(data.size, list) and "mask" not in SOURCES[data.name].columns:
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
    if not any(registry.PROBE[name].reads == "pooled" for name in probe.adapted.menu):
        raise UsageError("probe.adapted.menu: nothing for sources without a network; add linear")
    if probe.adapted.one_shot not in probe.adapted.menu:
        raise UsageError(
            f"probe.adapted.one_shot={probe.adapted.one_shot}: is not in the menu; expected one of"
            f" probe.adapted.menu={probe.adapted.menu}"
        )
    if not probe.use:
        raise UsageError(f"probe.use is empty; expected some of {', '.join(registry.PROBE)}")
    if not cfg.labels_per_class and not cfg.fractions:
        raise UsageError("labels_per_class and fractions are both empty; give at least one label budget")
    if probe.linear.l2_low > probe.linear.l2_high:
        raise UsageError("probe.linear.l2_low is above probe.linear.l2_high; exchange them")
