"""Which probes fit which arm, and which probe and label budget carry a verdict: by names only, never by scores."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from gssl.config.registry import PROBE
from gssl.schemas.classical import NAMES as CLASSICAL

CONTROLS = ("random", "pixels", "majority", "position")
NO_NETWORK = ("pixels", "majority", "position", *CLASSICAL)  # CLASSICAL ones learn features and are contestants
UNTRAINED = ("scratch",)  # contestants that bring no pretraining: a network that only the labels train
# Probes that carry a verdict where no plan names one: menus, then those that choose on frozen features.
PREFERRED = (
    *(name for name, entry in PROBE.items() if entry.reads == "menu"),
    *(name for name, entry in PROBE.items() if entry.reads in ("pooled", "dense") and entry.chooses),
)


def base(arm: str) -> str:
    """`simclr[ssl.temperature=0.2]` is a `simclr`, `scratch-with-acgan` a `scratch`."""
    return arm.split("[", 1)[0].split("-with-", 1)[0]


def trains(probe: str) -> bool:
    """Whether a probe trains the network; False for names of other versions."""
    return probe in PROBE and PROBE[probe].reads == "network"


def from_scratch(probe: str, task: str | None = None, members: Sequence[str] | None = None) -> str | None:
    """The probe that trains a network without pretraining where `probe` leaves networks as they are: `gssl curve`.
    None where no such probe serves the task. members: what a menu chooses among, where that is known."""
    if any(map(trains, members)) if members is not None else trains(probe) or PROBE[probe].reads == "menu":
        return probe
    serving = (name for name, e in PROBE.items() if e.from_scratch and (task is None or task in e.tasks))
    return next(serving, None)


def beside(probe: str, offered: Collection[str]) -> str | None:
    """Of the probes that evaluated a baseline the one that `probe` is compared with: one that trains a network without
    pretraining, else the same; None where there is neither."""
    order = [from_scratch(probe), *(name for name, entry in PROBE.items() if entry.from_scratch), probe]
    return next((name for name in order if name in offered), None)


def linear_head(probe: str) -> bool:
    """Whether scores are linear in the pooled features; False for names of other versions."""
    return probe in PROBE and PROBE[probe].linear_head


def probes_of(arm: str, use: Sequence[str]) -> list[str]:
    """The probes of `use` that evaluate an arm.

    Every network has the same menu. A control is never trained. What has no network (pixels, pca) is evaluated by its
    features.
    """
    name = base(arm)
    use = [probe for probe in use if PROBE[probe].methods is None or name in (PROBE[probe].methods or ())]
    if name in NO_NETWORK:
        fit = [probe for probe in use if PROBE[probe].bare or PROBE[probe].reads == "menu"]
        return [probe for probe in fit if name != "majority" or PROBE[probe].labels]
    if name in CONTROLS:
        return [probe for probe in use if not trains(probe)]
    return list(use)


def kind_of(source: str, family: str) -> str:
    """What a contestant is in the default family, one of statistics.KINDS; "" of a control."""
    if source in CONTROLS:
        return ""
    return {"file": "ready", "none": "scratch"}.get(family, family)


def primary_probe(use: Sequence[str]) -> str:
    """The probe that carries the verdict where no plan says so: adapted, else linear, else the first."""
    return next((probe for probe in PREFERRED if probe in use), use[0])


def shared(rows: Iterable[tuple[str, str, str]], probe: str | None = None) -> tuple[str, str]:
    """The probe and label budget at which arms are compared where no plan says so, from their (arm, probe, budget).

    The probe that most arms have, among several adapted, linear, then the first (`probe`, where given, is kept); then
    10 labels per class, else the fewest per class, else the smallest fraction, of what most of them have.
    """
    rows = list(rows)
    if probe is None:
        first = list(dict.fromkeys(p for _, p, _ in rows))
        order = [*(p for p in PREFERRED if p in first), *first]
        probe = _most([(arm, p) for arm, p, _ in rows], lambda p: order.index(p)) or next(
            p for p in PREFERRED if PROBE[p].reads != "menu"
        )
    at = [(arm, label_budget) for arm, p, label_budget in rows if p == probe]
    return probe, _most(at, _few_first) or "10"


def _few_first(label_budget: str) -> tuple[bool, bool, float]:
    fraction = label_budget == "all" or label_budget.endswith("%")
    return fraction, label_budget != "10", 100.0 if label_budget == "all" else float(label_budget.rstrip("%i"))


def _most(pairs: Iterable[tuple[str, str]], rank: Callable[[str], Any]) -> str | None:
    """What most arms have; among several the first by `rank`."""
    arms: dict[str, set[str]] = {}
    for arm, value in pairs:
        arms.setdefault(value, set()).add(arm)
    return min(arms, key=lambda value: (-len(arms[value]), rank(value)), default=None)
