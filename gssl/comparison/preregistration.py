"""What a comparison was going to do before it could see a score, and what became of that.

`preregistration.jsonl`, beside the parts, holds the plan of every comparison that was started: all that choosing
afterwards could change. A line is on the disk before anything of its plan runs, names the parts that had been scored by
then, and carries the hash of the line before it, so that a line that is taken out shows. The plan that counts is the
last one before the first of its parts was scored. It guards against choosing by scores unawares, not against forgers.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gssl
from gssl import schemas
from gssl.comparison import ranking
from gssl.comparison.changes import changes, level_of_look
from gssl.comparison.parts import Part
from gssl.comparison.plan import Planner
from gssl.config import arms
from gssl.config.arms import Arm
from gssl.config.menus import CONTROLS
from gssl.config.registry import PROBE
from gssl.engine.documents import expected
from gssl.engine.files import find_json
from gssl.engine.lines import growing
from gssl.engine.run import now
from gssl.engine.shapes import LIST, NUMBER, TABLE, TEXT, WHOLE, mismatch
from gssl.errors import Damaged, UsageError
from gssl.experiment import weight_sources
from gssl.schemas.determining import determining, flat
from gssl.statistics.paired import attainable

RECORD = "preregistration.jsonl"
SCHEMA = "gssl.preregistration/2"
# of a line: what is no part of the plan
ABOUT = ("schema", "time", "parts", "scored", "previous")
# of the parts' configurations: what is the same for all arms, and what changes no score of the primary probe
SHARED = ("budget", "backbone", "data", "engine", "draws", "draws_one_shot", "allow_norm_diff")
ASIDE = ("seed", "eval", "diagnose", "labels_per_class", "fractions", "classical", "export")

# what a line of this schema holds, and what of it is never null
ARM = {"name": TEXT, "written": TEXT, "overrides": [TEXT], "search": [TEXT], "weights": LIST, "ranked": bool}
ARM |= {"control": bool, "settings": TEXT}
PLAN = {"time": TEXT, "gssl": TEXT, "threads": WHOLE, "data": TEXT, "test": TEXT, "arms": [ARM], "pairs": [[TEXT]]}
PLAN |= {"probe": TEXT, "labels": TEXT, "metric": TEXT, "margin": NUMBER, "seeds": WHOLE, "settings": TABLE}
PLAN |= {"parts": {"*": [TEXT]}, "scored": [TEXT]}
NEVER_NULL = {*PLAN, *ARM} - {"gssl", "threads", "labels", "metric", "margin", "data", "test"}

Row = dict[str, Any]


def register(cfg: schemas.Compare, planner: Planner, test: str, parts: Sequence[Part] | None) -> dict[str, Any]:
    """Put the plan on record unless it stands there last, and say what the record shows: `gssl.report` gets this.

    test: hash of the test images. parts: all of the comparison's; None before a search, which decides on them.
    Returns state ("planned" | "changed" | "unknown"), text (of the state), changes ([{kind, text}]), looks,
    seeds_at_look, alpha (level of the test at this look), attainable (the largest p up to it), exploratory (no p can
    reach it), first (time of the plan that counts), recorded (of this one), when_scored (time of the first score, or
    None), record (path),
    hash (of the line). Raises UsageError where the record cannot be written.
    """
    path = Path(cfg.parts) / RECORD
    plan = json.loads(json.dumps(plan_of(cfg, planner, test), default=str))
    named = None if parts is None else _named(planner, parts)
    try:
        with growing(path, _usable) as (lines, append), expected(path):
            found = list(lines.found)
            row = {"time": now(), **plan, "parts": named or {}}
            before = [old for _, old in found if _concerns(old, row)]
            known = before[-1] if before else None
            current = known or row
            if known is None or _plan(known) != plan or (named is not None and known["parts"] != named):
                everything = {name for old in [*before, row] for name in _parts(old)}
                row["scored"] = sorted(name for name in everything if _scored(path.parent / name))
                row["previous"] = lines.last
                current = {"schema": SCHEMA, **row}
                found.append((append(current), current))
    except OSError as error:
        raise UsageError(f"parts={cfg.parts}: {path.name} cannot be written there ({error.strerror})") from error
    except Damaged as error:
        advice = "take it out of there to begin a record anew, or choose other parts"
        raise UsageError(f"parts={cfg.parts}: {path.name} {error.why}; {advice}") from error
    whole = not lines.damage and all("previous" in old for _, old in lines.found)
    with expected(path):
        return standing(found, current, path, whole)


def only_read(seeds: int) -> dict[str, Any]:
    """What stands in the place of a record where finished runs are read: nothing shows when they were chosen."""
    return _told("unknown", ONLY_READ, [], [seeds] if seeds else []) | {
        "first": None,
        "recorded": None,
        "when_scored": None,
        "record": None,
        "hash": None,
    }


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────


def plan_of(cfg: schemas.Compare, planner: Planner, test: str) -> dict[str, Any]:
    """All that choosing afterwards could change, the arms in their order; nothing that a search on validation images
    finds."""
    own = cfg.primary
    probe, label_budget = planner.primary()[:2]
    every = planner.arms()
    fresh = Planner(cfg, planner.data_hash, planner.threads, planner.divided)
    fresh.composed = planner.composed  # Hydra takes its time
    parts = fresh.plan()  # as it is before a search
    return {
        "gssl": gssl.__version__,
        "threads": planner.threads,
        "data": planner.data_hash,
        "test": test,
        "arms": [_arm(arm, planner, parts, probe) for arm in every],
        "pairs": [list(two) for two in planner.pairs()],
        "probe": probe,
        "labels": label_budget,
        "metric": getattr(own, "metric", None),
        "margin": getattr(own, "margin", None),
        "seeds": cfg.seeds,
        "settings": _common(cfg, probe, every, planner.task.name) | _folds(planner),
    }


def _folds(planner: Planner) -> dict[str, Any]:
    """How many folds, and what pretraining sees of them; nothing where there is one test part."""
    if planner.divided is None:
        return {}
    return {"data.folds": planner.divided["count"], "transductive": planner.cfg.transductive}


def _arm(arm: Arm, planner: Planner, parts: Sequence[Part], probe: str) -> dict[str, Any]:
    """What an arm is made of. ranked: whether it can stand in the primary family as a contestant."""
    probed = next((p for p in parts if (p.arm, p.seed, p.stage) == (arm.name, 0, "transfer")), None)
    trees = []
    for part in parts:
        if probed and (part is probed or (part.path in probed.depends and part.stage == "pretrain")):
            tree = {key: value for key, value in determining(part.cfg).items() if key not in (*SHARED, *ASIDE, "of")}
            if "probe" in tree:
                tree["probe"] = _sections(tree["probe"], probe, [arm], planner.task.name)
            trees.append([part.command, part.method, part.budget_fraction, tree])
    text = {
        "name": arm.name,
        "written": arms.written(arm),
        "overrides": planner.overrides(arm),
        "search": planner.cfg.search.space.get(arm.name, []),
        "weights": [weight_sources.find_weights(path).sha256 for path in arm.paths()] if arm.read else [],
    }
    ranked = arm.source not in CONTROLS and not ranking.reads_labels(planner, arm)
    settings = {key: value for key, value in text.items() if key != "name"} | {"trees": trees}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return text | {"control": arm.source in CONTROLS, "ranked": ranked, "settings": digest}


def _common(cfg: schemas.Compare, probe: str, every: Sequence[Arm], task: str) -> dict[str, Any]:
    """Settings that hold for all arms and can move the primary scores, as {key: value}."""
    tree = {key: value for key, value in determining(cfg).items() if key in SHARED}
    tree["search"] = {"trials": cfg.search.trials, "budget": cfg.search.budget if cfg.search.trials else None}
    tree["probe"] = _sections(cfg.probe.model_dump(), probe, every, task)
    if any(arm.source in arms.CLASSICAL for arm in every):
        tree["classical"] = cfg.classical.model_dump()
    return flat(tree)


def _sections(probes: dict[str, Any], probe: str, every: Sequence[Arm], task: str) -> dict[str, Any]:
    """The settings that the primary probe depends on: a probe that is only added to the table changes nothing."""
    serving = {name: entry for name, entry in PROBE.items() if task in entry.tasks}
    wanted = {probe}
    if PROBE[probe].reads == "menu" or any(arm.source == arms.SCRATCH for arm in every):
        wanted |= {name for name, entry in serving.items() if entry.from_scratch}
    wanted |= set(probes[probe].get("menu") or []) & set(serving)
    return {key: value for key, value in probes.items() if key in wanted}


def _named(planner: Planner, parts: Sequence[Part]) -> dict[str, list[str]]:
    """{arm: its scored parts, seed by seed}, without the controls where there are others: they choose nothing."""
    every = planner.arms()
    own = [arm.name for arm in every if arm.source not in CONTROLS] or [arm.name for arm in every]
    stage = "fold" if planner.divided else "transfer"
    mine = [part for part in parts if part.stage == stage]
    return {name: [part.path.name for part in mine if part.arm == name] for name in own}


# ── the record ───────────────────────────────────────────────────────────────────────────────────


def _usable(row: Row) -> bool:
    """Whether a line holds what is read of it: all of a plan, of one of an earlier version its parts alone."""
    shape = PLAN if row.get("schema") == SCHEMA else {key: PLAN[key] for key in ("parts", "scored")}
    tables = [row, *row["arms"]] if shape is PLAN and isinstance(row.get("arms"), list) else [row]
    if mismatch(row, shape) or any(table.get(key, 0) is None for table in tables for key in NEVER_NULL):
        return False
    if shape is PLAN and not (set(PLAN) <= set(row) and all(set(ARM) <= set(arm) for arm in row["arms"])):
        return False
    return None not in row.get("parts", {}).values() and None not in row.get("pairs", [])


def _plan(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ABOUT}


def _hash(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()


def _parts(row: Row) -> list[str]:
    return [name for names in row.get("parts", {}).values() for name in names]


def _scored(path: Path) -> bool:
    """Whether a part has opened the test images, also where it died before it could say what it saw; where its status
    is damaged, whether a result lies beside it."""
    status = find_json(path / "status.json")
    if status is None and (path / "status.json").exists():
        return (path / "result.json").exists()
    status = status or {}
    return status.get("state") == "finished" or bool(status.get("test_openings"))


def _concerns(old: Row, row: Row) -> bool:
    """Whether who has seen the scores of `old` may choose by them in `row`: the same test images, and an arm that both
    have under one name or with one make-up. Controls do not count beside others: they stand in every comparison."""
    if old.get("schema") != SCHEMA or old.get("test") != row["test"]:
        return False
    one, two = ([arm for arm in r["arms"] if arm["ranked"]] or r["arms"] for r in (old, row))
    same = {arm[key] for arm in one for key in ("name", "settings")} & {a[k] for a in two for k in ("name", "settings")}
    return bool(same) or bool(set(_parts(old)) & set(_parts(row)))


def standing(found: Sequence[tuple[str, Row]], row: Row, path: Path, whole: bool) -> dict[str, Any]:
    """What the lines of a record say of its plan `row`: see `register`. whole: none is damaged, changed or gone."""
    known = [old for _, old in found if _concerns(old, row)]
    concerned = {name for old in known for name in _parts(old)}
    announced: set[str] = set()
    unannounced: list[str] = []
    for _, old in found:
        if old in known:
            unannounced += [name for name in _parts(old) if name in old["scored"] and name not in announced]
        announced |= set(_parts(old))
    before = [old for old in known if not concerned & set(old["scored"])]
    base = before[-1] if before else known[0]
    after = known[known.index(base) :]
    if not whole:
        state, text = "unknown", f"{path.name} is not whole: a line was changed or taken out, so nothing shows {WHAT}."
    elif unannounced or not before:
        count = len(set(unannounced)) or len(concerned & set(base["scored"]))
        runs = "1 run was" if count == 1 else f"{count} runs were"
        state, text = "unknown", f"{runs} scored before any plan stood in {path.name}, so nothing shows {WHAT}."
    else:
        state = "changed" if changes(after, row) else "planned"
        text = CHANGED if state == "changed" else PLANNED
    facts = _told(state, text, changes(after, row), _looks(after, row, unannounced))
    times = [_time(path.parent / name) for name in sorted(concerned)]
    line = next(line for line, old in found if old is row or old == row)
    return facts | {
        "first": base["time"],
        "recorded": row["time"],
        "when_scored": min((time for time in times if time), default=None),
        "record": str(path),
        "hash": _hash(line),
    }


WHAT = "that arms, pairs and seeds were fixed before the scores"
ONLY_READ = f"Finished runs are read, so nothing shows {WHAT}."
PLANNED = "The plan was on record before any of its runs was scored, and stands as it was."
CHANGED = "The plan was changed after some of its runs were scored."


def _told(state: str, text: str, found: list[dict[str, str]], seeds: list[int]) -> dict[str, Any]:
    level = level_of_look(seeds)
    reach = attainable(seeds[-1], level) if seeds else 0.0
    return {
        "state": state,
        "text": text,
        "changes": found,
        "looks": len(seeds),
        "seeds_at_look": seeds,
        "level": level,
        "alpha": level,
        "attainable": reach,
        "exploratory": len(seeds) > 1 and not reach,
    }


def _looks(after: Sequence[Row], row: Row, unannounced: Sequence[str]) -> list[int]:
    """How many seeds there were each time the scores could be seen, this plan's own last.

    after: the plan that counts and those that followed it, `row` the last. A look counts where it was at runs that this
    comparison takes in as well. Back to the number of seeds that was planned is no further look.
    """
    first = max((_seeds(row, {arm}, set(unannounced)) for arm in row["parts"]), default=0)
    looks = [first] if first and first != row["seeds"] else []
    if not looks and after[0]["seeds"] == row["seeds"]:
        return [row["seeds"]]
    for old, following in zip(after, after[1:], strict=False):
        shared = {arm for arm, names in old["parts"].items() if set(names) & set(_parts(row))}
        seen = _seeds(old, shared, set(following["scored"]))
        if seen and seen not in looks:
            looks.append(seen)
    return looks[: looks.index(row["seeds"]) + 1] if row["seeds"] in looks else [*looks, row["seeds"]]


def _seeds(row: Row, which: set[str], scored: set[str]) -> int:
    """How many seeds of some arms were scored, of the arm with most of them."""
    return max((sum(name in scored for name in row["parts"].get(arm, [])) for arm in which), default=0)


def _time(path: Path) -> str | None:
    status = find_json(path / "status.json") or {}
    return (status.get("ended") or status.get("started")) if _scored(path) else None
