"""Which probe speaks for which arm, at which amounts of labels: by names only, never by scores."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gssl.config.plain import NAMES as PLAIN
from gssl.config.registry import PROBE

CONTROLS = ("random", "pixels")
NO_NETWORK = ("pixels", *PLAIN)  # features of the images themselves; PLAIN ones learn them and are contestants
UNTRAINED = ("scratch",)  # contestants that bring no pretraining; judged by fine-tuning


def base(arm: str) -> str:
    """`simclr[ssl.temperature=0.2]` is a `simclr`, `scratch-with-acgan` a `scratch`."""
    return arm.split("[", 1)[0].split("-with-", 1)[0]


def trains(probe: str) -> bool:
    """Whether a probe trains the network; False for names of other versions."""
    return probe in PROBE and PROBE[probe].sees == "network"


def probe_for(arm: str, probe: str) -> str:
    """The probe that speaks for an arm: a network without pretraining is always trained."""
    return "finetune" if base(arm) in UNTRAINED and not trains(probe) else probe


def beside(report: dict[str, Any], probe: str) -> str:
    """ "; scratch by fine-tuning" where an arm of the report is judged by another probe than `probe`, else ""."""
    other = any(probe_for(arm["name"], probe) != probe for arm in report["arms"])
    return "; scratch by fine-tuning" if other else ""


def probes_of(arm: str, use: Sequence[str]) -> list[str]:
    """The probes of `use` that judge an arm: pixels, pca and kmeans have no network, scratch has nothing frozen.

    What stands beside the frozen probes is scratch fine-tuned, so that is judged whenever there is one of them.
    """
    if base(arm) in UNTRAINED:
        return list(dict.fromkeys(probe_for(arm, probe) for probe in use))
    return [probe for probe in use if base(arm) not in NO_NETWORK or PROBE[probe].sees == "features"]


def shared(rows: Iterable[tuple[str, str, str]], probe: str | None = None) -> tuple[str, str]:
    """The probe and amount at which arms are compared where no plan says so, from their (arm, probe, amount).

    linear where all arms have it, else the first probe that all have (`probe`, where given, is kept); then 10
    labels per class, else the fewest per class, else the smallest fraction. Where the arms share none, what
    most of them have.
    """
    rows = list(rows)
    if probe is None:
        had = [(arm, p) for arm, p, _ in rows if base(arm) not in UNTRAINED] or [(arm, p) for arm, p, _ in rows]
        first = list(dict.fromkeys(p for _, p in had))
        probe = _most(had, lambda p: (p != "linear", first.index(p))) or "linear"
    at = [(arm, amount) for arm, p, amount in rows if p == probe_for(arm, probe)]
    return probe, _most(at, _few_first) or "10"


def _few_first(amount: str) -> tuple[bool, bool, float]:
    share = amount == "all" or amount.endswith("%")
    return share, amount != "10", 100.0 if amount == "all" else float(amount.rstrip("%"))


def _most(pairs: Iterable[tuple[str, str]], rank: Callable[[str], Any]) -> str | None:
    """What most arms have; among several the first by `rank`."""
    arms: dict[str, set[str]] = {}
    for arm, value in pairs:
        arms.setdefault(value, set()).add(arm)
    return min(arms, key=lambda value: (-len(arms[value]), rank(value)), default=None)
