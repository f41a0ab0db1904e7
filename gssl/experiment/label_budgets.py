"""Label budgets: how many labels a probe learns from, and on how many draws of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from gssl import schemas
from gssl.config import registry
from gssl.data import Images, targets
from gssl.data.targets import TARGETS, Target
from gssl.engine.progress import say
from gssl.errors import UsageError
from gssl.schemas.label_budgets import label_budget_keys
from gssl.words import count

Asking = TypeVar("Asking", schemas.Transfer, schemas.Curve, schemas.Compare)
_said: set[str] = set()


@dataclass(frozen=True)
class LabelBudget:
    """So many labels per class (0: none), a fraction of all, or so many labelled images. `key` is what asked for it;
    labelled: what a labelled image is called."""

    per_class: int | None
    fraction: float | None
    draws: int
    key: str = "labels_per_class"
    images: int | None = None
    labelled: str = "labelled image"

    @property
    def words(self) -> str:
        if self.per_class is not None:
            return f"{self.per_class} per class" if self.per_class else "no labels"
        if self.images is not None:
            return count(self.images, self.labelled)
        return "all labels" if self.fraction == 1 else f"{self.fraction:.3%} of the labels"

    def record(self) -> dict[str, Any]:
        """Its keys in result.json."""
        found = {"labels_per_class": self.per_class, "fraction": self.fraction}
        return found if self.images is None else found | {"images_labelled": self.images}


def label_budgets(cfg: schemas.Probing, probe: str, goal: Target = TARGETS["label"]) -> list[LabelBudget]:
    """Label budgets of a probe, in the order of the configuration; all labels need one draw only.

    goal: what is predicted: of its unit "label" few are counted per class, of everything else as they are.
    """
    entry = registry.PROBE[probe]
    if not entry.labels:
        return [LabelBudget(0, None, 1)]
    if entry.own_budgets:
        own, key = getattr(cfg.probe, probe), f"probe.{probe}.{entry.own_budgets}"
        return [LabelBudget(k, None, own.draws, key) for k in getattr(own, entry.own_budgets)]
    if goal.unit != "label":
        few = [
            LabelBudget(None, None, _draws(cfg, k), "images_labelled", k, goal.labelled) for k in cfg.images_labelled
        ]
    else:
        few = [LabelBudget(k, None, _draws(cfg, k)) for k in cfg.labels_per_class]
    found = few + [LabelBudget(None, f, 1 if f == 1 else cfg.draws) for f in cfg.fractions]
    most = [getattr(cfg.probe, name).draws for name in trained(cfg, probe)]
    return [replace(b, draws=min([b.draws, *most])) for b in found]


def _draws(cfg: schemas.Probing, labels: int) -> int:
    return cfg.draws_one_shot if labels == 1 else cfg.draws


def trained(cfg: schemas.Probing, probe: str) -> list[str]:
    """The probes behind `probe` that train the network: slow, with draws of their own.

    A menu has those that train from scratch too, even where a source has no network, so that all sources are compared
    on the same draws.
    """
    names = [probe]
    if registry.PROBE[probe].reads == "menu":
        menu = getattr(cfg.probe, probe).menu
        tasks = {task for name in menu for task in registry.PROBE[name].tasks}
        scratch = [name for name, e in registry.PROBE.items() if e.from_scratch and tasks & set(e.tasks)]
        names = [*menu, *scratch]
    return [name for name in names if registry.PROBE[name].reads == "network"]


# ── what the data cannot give ────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Labels:
    """The labels that every probe can be given. fewest: of the smallest class; total: images, or the groups of them
    that a budget counts; classes: how many."""

    fewest: int
    total: int
    classes: int
    words: str = ""  # why these are fewer than the user may think
    groups: bool = False

    @classmethod
    def of_images(cls, images: Images, folds: Mapping[str, Any] | None = None) -> "Labels":
        """Of labelled images; folds: as in `of`."""
        groups = images.group_codes() if targets.of_columns(images.columns).grouped else None
        if groups is None:
            return cls.of(images.labels, folds)
        return cls(0, int(groups.max(initial=-1)) + 1, len(images.classes), groups=True)

    @classmethod
    def of(cls, labels: np.ndarray, folds: Mapping[str, Any] | None = None) -> "Labels":
        """Of labelled images (N,), -1 where unknown. folds: of the splits' summary, where none is held back yet."""
        counts = np.unique(labels[labels >= 0], return_counts=True)[1]
        fewest, total = int(counts.min(initial=len(labels))), int(counts.sum()) or len(labels)
        if folds and folds["fold"] is None:
            kept, parts = -(-total // folds["count"]), folds["count"]
            least = folds["least_per_class"] if len(counts) else total - kept
            return cls(least, total - kept, len(counts), f" once a fold of {parts} is held back")
        return cls(fewest, total, len(counts))


def possible(cfg: Asking, labels: Labels, goal: Target) -> Asking:
    """`cfg` without the label budgets that the data cannot give; says once what is left out.

    goal: as in `label_budgets`. Raises UsageError where a key asks for impossible ones only.
    """
    changes: dict[str, Any] = {}
    if goal.unit != "label":
        what = "groups of labelled training images" if labels.groups else "labelled training images"
        why = goal.said(f"there are {labels.total} {what}{labels.words}")
        changes["images_labelled"] = _kept("images_labelled", cfg.images_labelled, labels.total, why)
    else:
        why = f"the smallest class has {labels.fewest} labelled training images{labels.words}"
        changes["labels_per_class"] = _kept("labels_per_class", cfg.labels_per_class, labels.fewest, why)
        probes: Any = cfg.probe
        for name in probes.use:
            if (key := registry.PROBE[name].own_budgets) and registry.PROBE[name].labels:
                own = getattr(probes, name)
                kept = _kept(f"probe.{name}.{key}", getattr(own, key), labels.fewest, why)
                probes = schemas.replace(probes, **{name: schemas.replace(own, **{key: kept})})
        changes["probe"] = probes
        least = labels.classes / labels.total
        fits = [f for f in cfg.fractions if round(f * labels.total) >= labels.classes]
        if cfg.fractions and not fits:
            raise UsageError(
                f"fractions: {max(cfg.fractions):g} of {labels.total} labelled training images are fewer labels than"
                f" the {labels.classes} classes; use at least {least:.2g}"
            )
        if gone := [f"{f:g}" for f in cfg.fractions if f not in fits]:
            _left_out("fractions", gone, f"so few of {labels.total} labels are less than one per class")
        changes["fractions"] = fits
    found = schemas.replace(cfg, **changes)
    if isinstance(found, schemas.Compare):
        _check_primary(found, goal)
    return found


def _kept(key: str, asked: list[int], most: int, why: str) -> list[int]:
    kept = [count for count in asked if count <= most]
    if asked and not kept:
        raise UsageError(f"{key}: {min(asked)} asked for, but {why}; use at most {most}")
    if gone := [str(count) for count in asked if count > most]:
        _left_out(key, gone, why)
    return kept


def _left_out(key: str, gone: list[str], why: str) -> None:
    text = f"note: {key}: {', '.join(gone)} left out: {why}"
    if text not in _said:
        _said.add(text)
        say(text)


def _check_primary(cfg: schemas.Compare, goal: Target) -> None:
    own = cfg.primary.labels
    per_class, images = (cfg.labels_per_class, []) if goal.unit == "label" else ([], cfg.images_labelled)
    keys = label_budget_keys(per_class, cfg.fractions, images)
    if own is not None and own not in keys:
        raise UsageError(f"primary.labels={own}: the data cannot give so many; expected one of {', '.join(keys)}")


def at_most(cfg: schemas.Transfer, labels: Labels, goal: Target) -> schemas.Transfer:
    """`cfg` with counts of labels that are too large brought down to what there is: for looks on the way."""
    if goal.unit != "label":
        return schemas.replace(cfg, images_labelled=[min(n, labels.total) for n in cfg.images_labelled])
    return schemas.replace(cfg, labels_per_class=[min(n, labels.fewest) for n in cfg.labels_per_class])
