"""What `gssl compare --plan` prints: what carries the verdict, a row per arm and stage, and the time that is left."""

from collections.abc import Iterable, Sequence
from typing import Any

from gssl.cli.output import table, tell


def show(plan: dict[str, Any]) -> None:
    """Print a plan (`gssl.plan/1`)."""
    if "parts" not in plan:  # finished runs are read: the command has said so
        return
    primary, rows, jobs = plan["primary"], plan["parts"], plan["jobs"]
    pairs = ", ".join(" vs ".join(two) for two in primary["pairs"]) or "none"
    rule = "as given" if primary["fixed_by"] == "configuration" else "by the rule over names"
    tell(f"{plan['seeds']} seeds; probes: {', '.join(plan['probes'])}; label budgets: {', '.join(plan['labels'])}")
    tell(f"the verdict: {primary['probe']} probe at {primary['labels']}, {pairs} ({rule})")
    lines = [_line(rows, arm, stage, method) for arm, stage, method in _groups(rows)]
    table(["arm", "stage", "done", "missing", "FLOPs each", "steps each", "minutes each", "minutes left"], lines)
    done = len([row for row in rows if row["state"] == "done"])
    unknown = len([row for row in rows if row["seconds"] is None and row["state"] == "missing"])
    about = "at least" if unknown else "about"
    where = _where(plan)
    minutes = plan["seconds_left"] / 60
    model = " and the model on all labels" if plan.get("seconds_model") else ""
    tell(f"{done} of {len(rows)} parts are done; {about} {minutes:.0f} min left with {where or f'jobs={jobs}'}{model}")
    _submitted(plan)
    if unknown:
        tell(f"not counted: {unknown} parts whose time is only known when one of them is done")
    for found in plan["resolution"]:
        tell(found["text"])
    searches = plan["searches"]
    if trials := searches["trials"] * len(searches["arms"]):
        tell(f"before them: a search of {trials} trials, each with {searches['budget']:g} of the budget; not counted")


def _where(plan: dict[str, Any]) -> str:
    """What runs the parts where that is not this machine's workers."""
    executor = plan.get("executor", {"name": "local"})
    at_once = executor.get("at_once")
    return "" if executor["name"] == "local" else f"executor={executor['name']}, {at_once} at once at most"


def _submitted(plan: dict[str, Any]) -> None:
    """What would be submitted, where a scheduler takes jobs."""
    if _where(plan):
        executor = plan["executor"]
        tell(f"{executor['name']}: {executor['jobs']} jobs, each with {' '.join(executor['request'])}")


def _groups(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    return list(dict.fromkeys((row["arm"], row["stage"], row["method"]) for row in rows))


def _line(rows: Sequence[dict[str, Any]], arm: str, stage: str, method: str | None) -> list[str]:
    mine = [row for row in rows if (row["arm"], row["stage"], row["method"]) == (arm, stage, method)]
    missing = [row for row in mine if row["state"] == "missing"]
    one = mine[0]
    each = one["seconds"]
    return [
        arm,
        stage if method in (None, arm) else f"{stage} {method}",
        str(len(mine) - len(missing)),
        str(len(missing)),
        f"{one['flops']:.3g}" if one["flops"] else "–",
        f"{one['steps']:,}" if one["steps"] else "–",
        f"{each / 60:.1f}" if each is not None else "–",
        f"{each * len(missing) / 60:.1f}" if each is not None else "–",
    ]
