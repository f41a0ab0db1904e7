"""Who of a comparison's arms may be ranked, and against whom: known when it is planned, before anything is trained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gssl.config import arms, label_use
from gssl.config.arms import METHOD, Arm
from gssl.config.comparison_rules import MOST_PAIRS, choices, pair
from gssl.config.menus import CONTROLS, kind_of, probes_of
from gssl.errors import UsageError
from gssl.schemas.ready_made import READY_MADE
from gssl.statistics.paired import default_pairs

if TYPE_CHECKING:
    from gssl.comparison.plan import Planner


def reads_labels(planner: "Planner", arm: Arm) -> bool | None:
    """Whether `arm` learns from the labels of all training images, by its methods, its overrides, what a search may
    choose for it and the files that it begins with; None where that is not on record."""

    def composed(method: str, overrides: Sequence[str]) -> Any:
        return getattr(planner.method(method, overrides), METHOD[arms.command(method)])

    given = planner.cfg.overrides
    space = planner.cfg.search.space.get(arm.name)
    settings = []
    for chosen in choices(space) if space else [[]]:
        own = [*given.get(arm.name, []), *chosen]
        settings.append(lambda method, own=own: [*(given.get(method, []) if method != arm.name else []), *own])
    return label_use.of_arm(arm, composed, settings)


def described(planner: "Planner", arm: Arm) -> dict[str, Any]:
    """For the report: what an arm is made of, and whether it has read labels."""
    found = arms.described(arm, planner.overrides(arm), reads_labels(planner, arm))
    for method in arm.trained:
        command, own = arms.command(method), planner.overrides(arm)
        mine = [text for text in own if arms.owner(text) == command]
        cfg = getattr(planner.method(method, mine), METHOD[command])
        if name := getattr(cfg, "teacher", None):
            made = READY_MADE[name].learned_from if name in READY_MADE else ""
            by = f", published weights, made with {made}, none of this data's" if made else ""
            found["note"] = "; ".join(filter(None, [found["note"], f"learns from the features of {name}{by}"]))
    return found


def second_names(planner: "Planner") -> dict[str, str]:
    """{name: the arm before it that is the very same}: the same runs with the same probes, under another name.

    An arm whose settings are searched is none: nobody knows yet what it will be.
    """
    first: dict[tuple[str, ...], str] = {}
    found = {}
    for arm in planner.arms():
        if arm.name in planner.cfg.search.space:
            continue
        key = tuple(part.hash for part in planner.parts_of(arm, 0) if part.stage == "transfer")
        if key in first:
            found[arm.name] = first[key]
        first.setdefault(key, arm.name)
    return found


def pairs(planner: "Planner") -> list[list[str]]:
    """The primary family: as given, else by a rule over names, with neither who reads labels nor the second name of
    another arm. Raises UsageError for a given pair that cannot be ranked."""
    if planner.cfg.primary.pairs is not None:
        return _given(planner)
    again = second_names(planner)
    found = [arm for arm in planner.arms() if not reads_labels(planner, arm) and arm.name not in again]
    kinds = {arm.name: kind_of(arms.kind(arm), arm.family) for arm in found if arm.source not in CONTROLS}
    names = [arm.name for arm in found]
    probe, _ = planner.primary()
    # what always answers the same is no measure of pretraining
    controls = [c for c in CONTROLS if c in names and c != "majority" and probes_of(c, [probe])]
    return default_pairs(kinds, controls[:1], MOST_PAIRS)


def _given(planner: "Planner") -> list[list[str]]:
    found = [list(pair(text)) for text in planner.cfg.primary.pairs or []]
    known = {arm.name: arm for arm in planner.arms()}
    again = second_names(planner) if found else {}
    for two in found:
        for name in two:
            if name in known and reads_labels(planner, known[name]):
                raise UsageError(
                    f"primary.pairs: {name} reads the labels of all training images ({_why(planner, known[name])}): a"
                    " reference, which is never ranked; leave it out"
                )
        same = [again.get(name, name) for name in two]
        if same[0] == same[1]:
            raise UsageError(f"primary.pairs: {two[0]} and {two[1]} are one and the same run under two names")
    return found


def _why(planner: "Planner", arm: Arm) -> str:
    """What of an arm reads labels."""
    if arm.labels:
        return arms.written(arm)
    if label_use.of_files(arm):
        return f"{arm.source} has read them"
    return ", ".join(planner.overrides(arm) or planner.cfg.search.space.get(arm.name, []))
