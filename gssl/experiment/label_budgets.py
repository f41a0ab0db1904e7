"""Label budgets: how many labels a probe learns from, and on how many draws of them."""

from dataclasses import dataclass
from typing import Any

from gssl import schemas
from gssl.config import registry


@dataclass(frozen=True)
class LabelBudget:
    """So many labels per class (0: none), a fraction of all, or so many labelled images. `key` is what asked for it."""

    per_class: int | None
    fraction: float | None
    draws: int
    key: str = "labels_per_class"
    images: int | None = None

    @property
    def words(self) -> str:
        if self.per_class is not None:
            return f"{self.per_class} per class" if self.per_class else "no labels"
        if self.images is not None:
            return f"{self.images} labelled image" + "s" * (self.images > 1)
        return "all labels" if self.fraction == 1 else f"{self.fraction:.3%} of the labels"

    def record(self) -> dict[str, Any]:
        """Its keys in result.json."""
        found = {"labels_per_class": self.per_class, "fraction": self.fraction}
        return found if self.images is None else found | {"images_labelled": self.images}


def label_budgets(cfg: schemas.Probing, probe: str, unit: str = "label") -> list[LabelBudget]:
    """Label budgets of a probe, in the order of the configuration; all labels need one draw only.

    unit: what is labelled one by one, "label" (few labels are counted per class) or "image" (counted as they are).
    """
    entry = registry.PROBE[probe]
    if not entry.labels:
        return [LabelBudget(0, None, 1)]
    if entry.own_budgets:
        own, key = getattr(cfg.probe, probe), f"probe.{probe}.{entry.own_budgets}"
        return [LabelBudget(k, None, own.draws, key) for k in getattr(own, entry.own_budgets)]
    if unit == "image":
        few = [LabelBudget(None, None, _draws(cfg, k), "images_labelled", k) for k in cfg.images_labelled]
    else:
        few = [LabelBudget(k, None, _draws(cfg, k)) for k in cfg.labels_per_class]
    found = few + [LabelBudget(None, f, 1 if f == 1 else cfg.draws) for f in cfg.fractions]
    most = [getattr(cfg.probe, name).draws for name in trained(cfg, probe)]
    return [LabelBudget(b.per_class, b.fraction, min([b.draws, *most]), b.key, b.images) for b in found]


def _draws(cfg: schemas.Probing, labels: int) -> int:
    return cfg.draws_one_shot if labels == 1 else cfg.draws


def trained(cfg: schemas.Probing, probe: str) -> list[str]:
    """The probes behind `probe` that train the network: slow, with draws of their own.

    A menu has those that train from scratch too, even where a source has no network, so that all sources are compared
    on the same draws.
    """
    names = [probe]
    if registry.PROBE[probe].reads == "menu":
        scratch = [name for name, entry in registry.PROBE.items() if entry.from_scratch]
        names = [*getattr(cfg.probe, probe).menu, *scratch]
    return [name for name in names if registry.PROBE[name].reads == "network"]
