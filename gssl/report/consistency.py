"""How runs go together: what rests on what, which are there twice, and in which they differ though they are compared.

Copies are found by hashes of weights and predictions and left out, for they would make the numbers wrong. Other
differences (budgets, networks, data, draws, versions) become a sentence each for the cautions of a report.
"""

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
from gssl.words import count, label_budget_text, listed, title, upper

if TYPE_CHECKING:
    from gssl.report.collect import Run

PREDICTIONS = "predictions.npz"
SETTING = ("probe", *KEYS, "draw")
SCORE = (*SETTING, "subset", "n_test", "correct", "metrics", *METRICS)
# of a transfer run: the configurations that made it what it is, without seeds and paths; and its ancestors' seeds
Settings = tuple[Any, Any]
Finding = dict[str, Any]
TOLERANCE = 1.02  # budgets that differ by a larger factor are mentioned
NETWORK = ("name", "norm", "width", "patch", "size")
BUDGETS = {"flops": "FLOPs", "steps": "steps", "seconds": "seconds"}  # of training: the first that is on record


class Trained:
    """Which training runs an evaluation rests on, however many arms use them."""

    def __init__(self, runs: Sequence["Run"]) -> None:
        self.by_path = {run.path.resolve(): run for run in runs}

    def ancestors(self, *runs: "Run") -> dict[Path, "Run | None"]:
        """All that `runs` rest on, each once, the nearest first; None for what is not among the known runs."""
        found: dict[Path, Run | None] = {}
        queue = [path for run in runs for path in run.depends]
        while queue:
            key = queue.pop(0).resolve()
            if key not in found:
                other = found[key] = self.by_path.get(key)
                queue += other.depends if other else ()
        return found

    def behind(self, run: "Run") -> list["Run"]:
        """Every training run that `run` rests on, each once."""
        return [other for other in self.ancestors(run).values() if other and other.stage == "pretrain"]

    def of_arm(self, runs: Iterable["Run"], arm: str) -> list["Run"]:
        """Its training runs, also those that another arm uses, too."""
        mine = [run for run in runs if run.arm == arm]
        found = {run.path: run for run in mine if run.stage == "pretrain"}
        for run in mine:
            found |= {other.path: other for other in self.behind(run)}
        return list(found.values())


# ── what is there twice ──────────────────────────────────────────────────────────────────────────


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
    needed = Trained(runs).ancestors(*(run for run in runs if run.arm not in again))
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


def data_hash(run: "Run") -> str | None:
    """Of the images that a run read; None where it is not on record. Over all folds these are the labelled images,
    however a seed divides them."""
    data = run.result.get("data") or {}
    folds = data.get("folds") or {}
    if folds and folds.get("fold") is None:
        return f"{folds['items']}-{folds['count']}"
    found = data.get("hash") or data.get("hashes")
    return str(found) if found else None


# ── in what they differ ──────────────────────────────────────────────────────────────────────────


Evaluated = Mapping[str, Sequence["Run"]]
Shown = Mapping[str, str]


def notes(runs: Sequence["Run"], titles: dict[str, str] | None = None) -> list[Finding]:
    """One sentence for each way in which seeds or arms are not what they seem, as [{kind, text, arms}].

    kind: copy | repeat | name | network_shared | budget_within | budget | network | data | subset | draws | version |
    labels.
    """
    evaluated: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.stage == "transfer" and run.finished:
            evaluated[run.arm].append(run)
    shown = {arm: title(arm, titles) for arm in evaluated}
    found = [
        *_copies(evaluated, shown),
        *_names(runs, shown),
        *_shared(evaluated, shown),
        *_budgets(runs, evaluated, shown),
        *_networks(evaluated, shown),
        *_between(evaluated, shown, "data", lambda run: {data_hash(run)}),
        *_subsets(evaluated, shown),
    ]
    trained = Trained(runs)

    def versions(run: "Run") -> set[str | None]:
        return {other.environment.get("gssl") for other in (run, *trained.behind(run))}

    found += [*_draws(evaluated, shown), *_between(evaluated, shown, "version", versions), *_unknown(evaluated, shown)]
    return found


def _finding(kind: str, text: str, *arms: str) -> Finding:
    return {"kind": kind, "text": text, "arms": list(dict.fromkeys(arms))}


def _copies(evaluated: Evaluated, shown: Shown) -> list[Finding]:
    out = []
    for arm, mine in evaluated.items():
        for kind, why in (("copy", "copied"), ("repeat", "evaluated again with the same settings")):
            found = [(run, path) for run in mine for k, path in run.copies if k == kind]
            if found:
                some = listed([f"{path} is {run.path}" if kind == "copy" else path for run, path in found[:2]])
                more = f", and {len(found) - 2} more" if len(found) > 2 else ""
                seeds = _seeds(run.seed for run, _ in found)
                verb = "were" if seeds.startswith("seeds") else "was"
                left = f"{count(len(found), 'run')} left out, no further seed"
                text = f"{upper(shown[arm])}: {seeds} {verb} {why} ({some}{more}); {left}."
                out.append(_finding(kind, text, arm))
    return out


def _names(runs: Sequence["Run"], shown: Shown) -> list[Finding]:
    again = second_names(runs)
    dropped = {name: run.arm for run in runs for kind, name in run.copies if kind == "name"}
    out = []
    for name, first in (again | dropped).items():
        left = f"; {name} is left out" if name in dropped else " and never compared with each other"
        text = f"{upper(shown.get(name, title(name)))} and {shown[first]} are one run under two names (the same weights"
        out.append(_finding("name", f"{text}, the same predictions){left}.", first, name))
    return out


def _shared(evaluated: Evaluated, shown: Shown) -> list[Finding]:
    """Seeds that rest on one network, where no plan has said so."""
    out = []
    for arm, mine in evaluated.items():
        by_hash: dict[str, set[int | None]] = defaultdict(set)
        for run in mine:
            if not str((run.part.get("about") or {}).get("note")).startswith("one network for all"):
                by_hash[str((run.result.get("source") or {}).get("sha256") or "")].add(run.seed)
        for digest, seeds in by_hash.items():
            if digest and len(seeds) > 1:
                text = (
                    f"{upper(_seeds(seeds))} of {shown[arm]} rest on one network: they vary the draws of labels only."
                )
                out.append(_finding("network_shared", text, arm))
    return out


def _budgets(runs: Sequence["Run"], evaluated: Evaluated, shown: Shown) -> list[Finding]:
    """Per seed: a mean hides that one had twice the budget and the other none."""
    trained = Trained(runs)
    spending: dict[str, dict[str, dict[int, float]]] = {unit: {} for unit in BUDGETS}
    readers = {arm for arm, mine in evaluated.items() if any(run.result.get("labels_used") for run in mine)}
    for arm, mine in evaluated.items():
        for run in mine:
            stages = [other.result.get("spent") or {} for other in trained.behind(run) if other.finished]
            for unit in BUDGETS:
                if stages and all(stage.get(unit) for stage in stages):
                    total = sum(float(stage[unit]) for stage in stages)
                    spending[unit].setdefault(arm, {})[run.seed or 0] = total
    out = []
    for arm in evaluated:
        units = [unit for unit in BUDGETS if arm in spending[unit]]
        own = spending[units[0]][arm] if units else {}
        if own and max(own.values()) > TOLERANCE * min(own.values()):
            least, most = (choose(own.items(), key=lambda entry: entry[1])[0] for choose in (min, max))
            times = f"{own[most] / own[least]:.2g} times the {BUDGETS[units[0]]}"
            text = f"Seeds of {shown[arm]} had unlike budgets: seed {most} spent {times} of seed {least} in training."
            out.append(_finding("budget_within", text, arm))
    for unit in ("flops", "seconds"):
        known = {arm: own for arm, own in spending[unit].items() if arm not in readers}
        if len(known) > 1:
            return out + _against(known, shown, BUDGETS[unit])
    return out


def _against(known: Mapping[str, Mapping[int, float]], shown: Shown, unit: str) -> list[Finding]:
    """Every arm against the one whose seeds are the most alike, seed by seed."""
    spread = {arm: max(own.values()) / min(own.values()) for arm, own in known.items()}
    base = min(known, key=lambda arm: (spread[arm] > TOLERANCE, list(known).index(arm)))
    texts, arms = [], [base]
    for arm, own in known.items():
        ratios = [own[seed] / known[base][seed] for seed in own if seed in known[base]]
        if arm == base or not ratios or (max(ratios) <= TOLERANCE and min(ratios) >= 1 / TOLERANCE):
            continue
        low, high = f"{min(ratios):.2g}", f"{max(ratios):.2g}"
        texts.append(f"seeds of {shown[arm]} spent {low if low == high else f'{low} to {high}'} times")
        arms.append(arm)
    if not texts:
        return []
    return [_finding("budget", f"Training compute is not equal: {listed(texts)} the {unit} of {shown[base]}.", *arms)]


def _networks(evaluated: Evaluated, shown: Shown) -> list[Finding]:
    """Networks that differ within an arm; between arms `cautions` does."""
    out = []
    for arm, mine in evaluated.items():
        nets = {run.seed: run.result["backbone"] for run in mine if run.result.get("backbone")}
        for key in NETWORK:
            groups: dict[str, list[int | None]] = defaultdict(list)
            for seed, net in nets.items():
                groups[str(net.get(key))].append(seed)
            if len(groups) > 1:
                values = listed([f"{value} ({_seeds(seeds)})" for value, seeds in groups.items()])
                text = f"The networks of {shown[arm]} differ between its seeds in {key}: {values}."
                out.append(_finding("network", text, arm))
    return out


HEADS = {
    "data": "The arms were not evaluated on the same data: their data hashes differ ({}).",
    "version": "The runs were made by more than one version of gssl ({}).",
}


def _between(evaluated: Evaluated, shown: Shown, kind: str, of: Callable[["Run"], set[str | None]]) -> list[Finding]:
    """What should be one value for all runs: which arms, and of an arm with several which seeds, have which."""
    values: dict[str, dict[str, list[int | None]]] = defaultdict(lambda: defaultdict(list))
    for arm, mine in evaluated.items():
        for run in mine:
            for value in sorted(filter(None, of(run))):
                values[value][arm].append(run.seed)
    if len(values) < 2:
        return []
    texts = []
    for value, arms in values.items():
        mixed = {arm for arm in arms if sum(arm in other for other in values.values()) > 1}
        who = [shown[arm] + (f" {_seeds(seeds)}" if arm in mixed else "") for arm, seeds in arms.items()]
        texts.append(f"{value[:12]}: {listed(who)}")
    return [_finding(kind, HEADS[kind].format("; ".join(texts)), *(arm for arms in values.values() for arm in arms))]


def _subsets(evaluated: Evaluated, shown: Shown) -> list[Finding]:
    """Labelled images that differ for the same seed, label budget and draw, though the data do not."""
    found: dict[tuple[Any, ...], dict[str, str]] = defaultdict(dict)
    for arm, mine in evaluated.items():
        for run in mine:
            for s in run.result.get("scores") or []:
                if s.get("subset"):
                    label_budget = label_budget_of(s)
                    found[data_hash(run), label_budget, run.seed, s.get("draw")][arm] = s["subset"]
    odd = {key: by_arm for key, by_arm in found.items() if len(set(by_arm.values())) > 1}
    if not odd:
        return []
    (_, label_budget, seed, draw), by_arm = next(iter(odd.items()))
    usual = max(by_arm.values(), key=list(by_arm.values()).count)
    other = [arm for arm, subset in by_arm.items() if subset != usual]
    rest = next(arm for arm, subset in by_arm.items() if subset == usual)
    where = f"{label_budget_text(label_budget)}, seed {seed}, draw {draw}"
    more = f", and {count(len(odd) - 1, 'more draw')}" if len(odd) > 1 else ""
    text = (
        f"{upper(listed([shown[arm] for arm in other]))} had other labelled images than {shown[rest]} ({where}{more})"
    )
    return [_finding("subset", f"{text}: their differences mix images and methods.", *other, rest)]


def _draws(evaluated: Evaluated, shown: Shown) -> list[Finding]:
    """Other numbers of draws by the same probe with the same label budget."""
    counts: dict[tuple[str, str], dict[int, dict[str, set[int | None]]]] = defaultdict(dict)
    for arm, mine in evaluated.items():
        for run in mine:
            own: dict[tuple[str, str], set[Any]] = defaultdict(set)
            for s in run.result.get("scores") or []:
                own[str(s["probe"]), label_budget_of(s)].add(s.get("draw"))
            for key, draws in own.items():
                counts[key].setdefault(len(draws), {}).setdefault(arm, set()).add(run.seed)
    odd = {key: by for key, by in counts.items() if len(by) > 1}
    if not odd:
        return []
    (probe, label_budget), by = next(iter(odd.items()))
    texts = []
    for n, arms in sorted(by.items(), reverse=True):
        mixed = {arm for arm in arms if sum(arm in other for other in by.values()) > 1}
        texts.append(f"{n} for {listed([shown[a] + (f' {_seeds(arms[a])}' if a in mixed else '') for a in arms])}")
    more = f"; {count(len(odd) - 1, 'more cell')} like it" if len(odd) > 1 else ""
    text = f"Numbers of draws of labels differ ({probe}, {label_budget_text(label_budget)}): {'; '.join(texts)}{more}."
    return [_finding("draws", text, *(arm for arms in by.values() for arm in arms))]


def _unknown(evaluated: Evaluated, shown: Shown) -> list[Finding]:
    """Weights of unknown origin; where a plan says so, it is in the arm's note."""
    arms = [
        arm
        for arm, mine in evaluated.items()
        if any("labels_used" in r.result and r.result["labels_used"] is None and not r.part.get("about") for r in mine)
    ]
    if not arms:
        return []
    names = upper(listed([shown[arm] for arm in arms]))
    return [_finding("labels", f"{names}: whether pretraining used labels is not on record.", *arms)]


def _seeds(seeds: Iterable[int | None]) -> str:
    """ "seed 3", "seeds 0 and 2", "seeds 0 to 5"."""
    found = sorted({seed for seed in seeds if seed is not None})
    if len(found) < 2:
        return f"seed {found[0]}" if found else "seed unknown"
    if len(found) > 2 and found[-1] - found[0] == len(found) - 1:
        return f"seeds {found[0]} to {found[-1]}"
    return f"seeds {listed(list(map(str, found)))}"
