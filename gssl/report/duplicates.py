"""Runs that are there twice, under another path, seed or name: found by hashes of weights and predictions."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gssl.errors import UsageError
from gssl.schemas.label_budgets import KEYS, label_budget_of
from gssl.statistics.metric import METRICS

if TYPE_CHECKING:
    from gssl.report.collect import Run

PREDICTIONS = "predictions.npz"
SETTING = ("probe", *KEYS, "draw")
SCORE = (*SETTING, "subset", "n_test", "correct", "metrics", *METRICS)
# of a transfer run: the configurations that made it what it is, without seeds and paths; and its ancestors' seeds
Settings = tuple[Any, Any]


def kept(runs: Sequence["Run"], settings: Callable[["Run"], Settings]) -> list["Run"]:
    """`runs` without those that are there twice, which would count as several seeds or as an arm of their own; the one
    that stays has them in `copies`.

    A copy has the same weights and predictions, under the same seed or, under another, on the same draws of
    labels, which no two seeds have. A repeat has the same seed and settings and other predictions: another machine.
    """
    first: list[Run] = []
    gone: dict[Path, Run] = {}
    evaluated = [run for run in runs if run.stage == "transfer" and run.finished and run.result.get("scores")]
    configured = {run.path: settings(run) for run in evaluated}
    copies: dict[Path, list[tuple[str, str]]] = defaultdict(list)
    for run in sorted(evaluated, key=_age):
        for other in first:
            if other.arm != run.arm or configured[other.path][0] != configured[run.path][0]:
                continue
            if kind := _again(other, run, configured[other.path][1] == configured[run.path][1]):
                gone[run.path] = run
                copies[other.path].append((kind, str(run.path)))
                break
        else:
            first.append(run)
    out = [run for run in runs if run.path not in gone and not _only_for(run, runs, gone)]
    return [replace(run, copies=tuple(copies[run.path])) if run.path in copies else run for run in out]


def _age(run: "Run") -> tuple[str, int, str]:
    """The oldest first; of copies that keep the time, the one with the lowest seed."""
    return str(run.status.get("ended") or ""), run.seed or 0, str(run.path)


def _again(first: "Run", run: "Run", trained_alike: bool) -> str | None:
    """What `run` is to a run of the same arm and settings: copy | repeat, or None."""
    if data_hash(first) != data_hash(run):
        return None
    if same_predictions(first, run) and (first.seed == run.seed or _drawn(run)):
        return "copy"
    mine, other = ({tuple(s.get(key) for key in SETTING) for s in r.result["scores"]} for r in (run, first))
    return "repeat" if trained_alike and first.seed == run.seed and mine & other else None


def _only_for(run: "Run", runs: Sequence["Run"], gone: Mapping[Path, "Run"]) -> bool:
    """Whether a run is there for dropped ones alone: their training, or other evaluations of their weights."""
    key = run.path.resolve()
    users = [other for other in runs if key in {p.resolve() for p in other.depends} and other.stage == "transfer"]
    if run.stage == "pretrain":
        later = [o for o in runs if key in {p.resolve() for p in o.depends} and o.stage == "pretrain"]
        return (
            bool(users or later) and all(u.path in gone for u in users) and all(_only_for(o, runs, gone) for o in later)
        )
    if run.stage in ("milestones", "evaluate") and run.depends:
        parents = [o for o in runs if o.path.resolve() in {p.resolve() for p in run.depends}]
        return bool(parents) and all(_only_for(o, runs, gone) for o in parents)
    return False


def _drawn(run: "Run") -> bool:
    """Whether labels were drawn by the seed: then no other seed has the same."""
    data = run.result.get("data") or {}
    whole = (data.get("counts") or data).get("train") or 0
    few = [s for s in run.result["scores"] if s.get("subset") and s.get("fraction") != 1]
    subsets: dict[Any, set[str]] = defaultdict(set)
    for s in few:
        subsets[label_budget_of(s)].add(s["subset"])
    return any(len(found) > 1 for found in subsets.values()) or any(2 * s["n_train"] < whole for s in few)


def same_predictions(one: "Run", two: "Run") -> bool:
    """Whether two transfer runs evaluated the same weights and predicted the same for every test image."""
    if not one.result.get("scores") or _weights(one) != _weights(two) or _scores(one) != _scores(two):
        return False
    answers = [_predictions(run) for run in (one, two)]
    return None in answers or answers[0] == answers[1]


def _weights(run: "Run") -> tuple[Any, ...]:
    source = run.result.get("source") or {}
    return (source["sha256"],) if source.get("sha256") else (source.get("kind"), source.get("name"))


def _scores(run: "Run") -> str:
    return json.dumps([[s.get(key) for key in SCORE] for s in run.result["scores"]])


def _predictions(run: "Run") -> str | None:
    """A hash of what predictions.npz holds, which its bytes may write otherwise; None where there is none."""
    digest = hashlib.sha256()
    try:
        with np.load(run.path / PREDICTIONS) as found:
            for key in ("stats",) if "stats" in found.files else ("labels", "guess"):
                digest.update(np.ascontiguousarray(found[key]).tobytes())
    except Exception:  # whatever a damaged archive raises
        return None
    return digest.hexdigest()


def second_names(runs: Sequence["Run"]) -> dict[str, str]:
    """{arm: the arm before it that is the very same}: wherever both have a seed, the same weights and predictions."""
    by_arm: dict[str, dict[int | None, Run]] = defaultdict(dict)
    for run in runs:
        if run.stage == "transfer" and run.finished:
            by_arm[run.arm].setdefault(run.seed, run)
    names = list(by_arm)
    found: dict[str, str] = {}
    for i, name in enumerate(names):
        for other in names[:i]:
            common = [seed for seed in by_arm[name] if seed in by_arm[other]]
            same = all(same_predictions(by_arm[other][seed], by_arm[name][seed]) for seed in common)
            if common and same and other not in found:
                found[name] = other
                break
    return found


def one_name_each(runs: Sequence["Run"], pairs: Iterable[Sequence[str]] = ()) -> list["Run"]:
    """`runs` without arms that are another one under a second name; those that stay have them in `copies`.

    `pairs`: the primary family, where it is given. Raises UsageError where one of them names such an arm.
    """
    again = second_names(runs)
    if wrong := next((name for two in pairs for name in two if name in again), None):
        raise UsageError(
            f"primary.pairs: {wrong} and {again[wrong]} are one and the same run under two names; keep {again[wrong]}"
        )
    needed = _behind(runs, [run for run in runs if run.arm not in again])
    out, named = [], set[str]()
    for run in runs:
        if run.arm in again:
            if run.path.resolve() in needed:  # the training that both rest on goes by the name that stays
                out.append(replace(run, arm=again[run.arm]))
            continue
        mine = [name for name, first in again.items() if first == run.arm and name not in named]
        if mine and run.stage == "transfer":
            named |= {*mine}
            run = replace(run, copies=(*run.copies, *(("name", name) for name in mine)))
        out.append(run)
    return out


def _behind(runs: Sequence["Run"], some: Sequence["Run"]) -> set[Path]:
    """The paths of all that `some` of the runs rest on."""
    by_path = {run.path.resolve(): run for run in runs}
    found: set[Path] = set()
    queue = [path.resolve() for run in some for path in run.depends]
    while queue:
        path = queue.pop()
        if path in by_path and path not in found:
            found.add(path)
            queue += [other.resolve() for other in by_path[path].depends]
    return found


def data_hash(run: "Run") -> str | None:
    """Of the images that a run read; None where it is not on record."""
    data = run.result.get("data") or {}
    found = data.get("hash") or data.get("hashes")
    return str(found) if found else None
