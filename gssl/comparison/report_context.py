"""What the report of a comparison has to know and its runs do not say: settings, the plan, failures, openings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gssl import schemas
from gssl.comparison.parts import Part
from gssl.comparison.plan import Planner
from gssl.comparison.preregistration import only_read
from gssl.config.comparison_rules import pair
from gssl.engine.progress import say
from gssl.engine.run import command_line
from gssl.experiment import ledger
from gssl.report.collect import Run
from gssl.schemas.label_budgets import KEYS, parse_label_budget
from gssl.words import data_name, listed, title

FAMILY = {"pairs", "probe", "labels", "metric", "margin"}  # changes of what carries the verdict


@dataclass
class Done:
    """What was run: the comparison's parts, {part's name: why} of the failed ones, and the searches before it.

    `registered`: what `preregistration.register` says of the plan.
    """

    parts: list[Part] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    searches: list[dict[str, Any]] = field(default_factory=list)
    registered: dict[str, Any] = field(default_factory=dict)


def facts_of_runs(cfg: schemas.Compare, runs: Sequence[Run]) -> dict[str, Any]:
    """Of a comparison that only reads finished runs."""
    own = cfg.primary
    by_hand = own.pairs is not None or bool(own.probe or own.labels)
    known = _of_both(cfg, runs)
    if own.pairs is not None:
        known |= {"pairs": [list(pair(text)) for text in own.pairs]}
    known |= {"fixed_by": "reader" if by_hand else "rule"}
    known |= {"preregistration": only_read(len({run.seed for run in runs if run.stage == "transfer"}))}
    known |= {"probe": own.probe} if own.probe else {}
    return known | (_label_budget(own.labels) if own.labels else {})


def facts_of_plan(cfg: schemas.Compare, planner: Planner, done: Done, runs: Sequence[Run]) -> dict[str, Any]:
    """Of a comparison that was carried out."""
    own, (probe, label_budget) = cfg.primary, planner.primary()
    by_hand = own.pairs is not None or bool(own.probe or own.labels)
    late = {change["kind"] for change in done.registered["changes"]} & FAMILY
    fixed = done.registered["state"] != "unknown" and not late
    lost = [
        {"arm": p.arm, "seed": p.seed, "stage": p.stage, "error": done.failed[p.name], "path": str(p.path)}
        for p in done.parts
        if p.name in done.failed
    ]
    return _of_both(cfg, runs) | {
        "probe": probe,
        **_label_budget(label_budget),
        "pairs": planner.pairs(),
        "fixed_by": ("plan" if fixed else "reader") if by_hand else "rule",
        "preregistration": done.registered,
        "arms": [arm.name for arm in planner.arms()],
        "described": {arm.name: planner.described(arm) for arm in planner.arms()},
        "seeds": cfg.seeds,
        "data": data_name(cfg.data.name, cfg.data.root, cfg.data.train, cfg.data.pretrain),
        "failed": lost,
        "budget": budget(cfg.budget),
        "allow_norm_diff": cfg.allow_norm_diff,
        "searches": done.searches,
    }


def _of_both(cfg: schemas.Compare, runs: Sequence[Run]) -> dict[str, Any]:
    known: dict[str, Any] = {"command": command_line(), "openings": openings(runs), "cautions": transductive(runs)}
    return known | {"metric": cfg.primary.metric, "margin": cfg.primary.margin / 100}


def openings(runs: Sequence[Run]) -> dict[str, Any] | None:
    """The ledger's figures for the test images of these runs and its sentence; None where they are not the same ones
    or not on record. What is wrong with the ledger is said."""
    data = [run.result.get("data") or {} for run in runs if run.stage == "transfer" and run.finished]
    hashes = {(one.get("hashes") or {}).get("test") for one in data}
    images = next(iter(hashes), None)
    if len(hashes) != 1 or images is None:
        return None
    found = ledger.summary(images)
    if found["damage"]:
        say(f"warning: {ledger.sentence(found)}")
    return found | {"text": ledger.sentence(found)} if found["runs"] or found["damage"] else None


def transductive(runs: Sequence[Run]) -> list[str]:
    """A sentence where networks were trained on images that they are tested on, without their labels."""
    arms = dict.fromkeys(run.arm for run in runs if (run.result.get("folds") or {}).get("transductive"))
    if not arms:
        return []
    return [
        f"Transductive: {listed([title(arm) for arm in arms])} had the images of all folds in pretraining, without"
        " labels. On images that it has not had, a network may do worse."
    ]


def _label_budget(key: str) -> dict[str, Any]:
    return dict(zip(KEYS, parse_label_budget(key), strict=True))


def budget(cfg: schemas.Budget) -> dict[str, Any] | None:
    """The limits of every trained arm, as the report words them; `unit` is the first of them."""
    units: Mapping[str, str] = {
        "flops": "{:.3g} FLOPs",
        "seconds": "{:g} s",
        "images": "{:,} images",
        "steps": "{:,} steps",
        "epochs": "{:g} epochs",
    }
    given = {unit: value for unit in units if (value := getattr(cfg, unit)) is not None}
    given = given or {"epochs": cfg.default_epochs}
    first = next(iter(given))
    text = " or ".join(units[unit].format(value) for unit, value in given.items())
    first_of = ", whichever comes first" if len(given) > 1 else ""
    return {"unit": first, "value": given[first], "text": f"{text} of training per run{first_of}"}
