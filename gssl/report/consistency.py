"""In which runs differ though they are compared: copies, budgets, networks, data, draws, versions.

A sentence each, for the cautions of a report; what would make its numbers wrong is left out before, by `duplicates`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gssl.report.collect import Run, Trained
from gssl.report.duplicates import data_hash, second_names
from gssl.schemas.label_budgets import label_budget_of
from gssl.words import count, label_budget_text, listed, title, upper

Finding = dict[str, Any]
TOLERANCE = 1.02  # budgets that differ by a larger factor are mentioned
NETWORK = ("name", "norm", "width", "patch", "size")
BUDGETS = {"flops": "FLOPs", "steps": "steps", "seconds": "seconds"}  # of training: the first that is on record


def notes(runs: Sequence[Run], titles: dict[str, str] | None = None) -> list[Finding]:
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

    def versions(run: Run) -> set[str | None]:
        return {other.environment.get("gssl") for other in (run, *trained.behind(run))}

    found += [*_draws(evaluated, shown), *_between(evaluated, shown, "version", versions), *_unknown(evaluated, shown)]
    return found


Evaluated = Mapping[str, Sequence[Run]]
Shown = Mapping[str, str]


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


def _names(runs: Sequence[Run], shown: Shown) -> list[Finding]:
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


def _budgets(runs: Sequence[Run], evaluated: Evaluated, shown: Shown) -> list[Finding]:
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


def _between(evaluated: Evaluated, shown: Shown, kind: str, of: Callable[[Run], set[str | None]]) -> list[Finding]:
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
