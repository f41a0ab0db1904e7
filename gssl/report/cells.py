"""The judged cells of a comparison: per arm, probe and label budget the scores of every seed and draw of labels, and
which test items were right. Rows of the table and paired differences are made of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gssl.config.menus import trains
from gssl.report import answers
from gssl.report.answers import Answers
from gssl.report.collect import Run
from gssl.schemas.label_budgets import label_budget_key
from gssl.statistics import paired
from gssl.statistics.paired import Interval
from gssl.statistics.two_way import TwoWay, half_width, share_interval, two_way

Key = tuple[str, str, str]  # arm, probe, label budget
Ends = dict[str, Any]  # an interval as report.json has it
OVER = {True: "test images", False: "seeds and test images"}


@dataclass
class Cell:
    """One arm judged by one probe with one label budget.

    scores: seed → the entries of result.json, one per draw. right: seed → float (n,), in which share of its draws each
    test item was right; without the seeds whose answers are not on disk. items: the test items, of the first seed.
    """

    scores: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    right: dict[int, np.ndarray] = field(default_factory=dict)
    items: Answers | None = None

    def per_seed(self, metric: str) -> dict[int, float]:
        """Mean over draws, in [0, 1]: from the answers, where they are there. Seeds without the metric are left out."""
        if self.items is not None and self.right and set(self.right) == set(self.scores):
            w = answers.weights(self.items.labels, metric)
            return {seed: float(self.right[seed] @ w) for seed in sorted(self.scores)}
        found = {seed: [s[metric] for s in d if s.get(metric) is not None] for seed, d in sorted(self.scores.items())}
        return {seed: float(np.mean(v)) for seed, v in found.items() if len(v) == len(self.scores[seed])}

    @property
    def n_test(self) -> int:
        """Test items, the fewest of all seeds; 0 where no score says."""
        return min((int(s["n_test"]) for d in self.scores.values() for s in d if s.get("n_test")), default=0)

    def units(self, seeds: Sequence[int], metric: str) -> np.ndarray | None:
        """(seeds, units) as `answers.units`; None where an answer is missing."""
        if self.items is None or not seeds or any(seed not in self.right for seed in seeds):
            return None
        return answers.units([self.right[seed] for seed in seeds], self.items, metric)


Cells = dict[Key, Cell]


def cells(runs: Sequence[Run]) -> Cells:
    """Every cell that the transfer runs hold."""
    out: Cells = defaultdict(Cell)
    for run in runs:
        if run.stage != "transfer":
            continue
        # an arm that has generated images beside the real ones is judged with them
        mixed = "-with-" in str((run.part.get("about") or {}).get("written"))
        alone = run.result.get("scores") or []
        chosen = run.result.get("generated_scores") or [] if mixed else alone
        first = len(alone) if mixed else 0
        found = (run.answers or answers.read(run.path)) if chosen else None
        rows: dict[Key, list[int]] = defaultdict(list)
        for place, s in enumerate(chosen, first):
            if s.get("accuracy") is not None:
                key = (run.arm, str(s["probe"]), label_budget_key(s.get("labels_per_class"), s.get("fraction")))
                out[key].scores[run.seed or 0].append(s)
                rows[key].append(s.get("row", place))
        for key, places in rows.items():
            if found is None or max(places) >= len(found.right):
                continue
            cell = out[key]
            if cell.items is None:
                cell.items = found
            if cell.items.same_items(found):
                cell.right[run.seed or 0] = answers.mean_over_draws(found.right[places])
    return dict(out)


def doubts(found: Cells) -> list[str]:
    """Sentences about runs whose answers are not there, or say other scores than their result.json."""
    out: dict[str, set[str]] = {"gone": set(), "other": set()}
    for (arm, _, _), cell in found.items():
        for seed, draws in cell.scores.items():
            right = cell.right.get(seed)
            if right is None:
                out["gone"].add(f"{arm} seed {seed}")
            elif abs(float(right.mean()) - float(np.mean([s["accuracy"] for s in draws]))) > 1e-6:
                out["other"].add(f"{arm} seed {seed}")
    told = []
    if out["other"]:
        who = ", ".join(sorted(out["other"]))
        told.append(f"predictions.npz of {who} says other scores than result.json: the answers count.")
    if out["gone"]:
        who = ", ".join(sorted(out["gone"])[:6]) + (" and more" if len(out["gone"]) > 6 else "")
        told.append(
            f"The single answers of {who} are not there: intervals with these arms take test images as independent, and"
            " are rather wide."
        )
    return told


# ── intervals ────────────────────────────────────────────────────────────────────────────────────


def written(found: Interval, over: TwoWay, level: float, kind: str = "two_way") -> Ends:
    """As it stands in report.json."""
    items = over.seeds < 2 or over.fixed
    ends = {"low": found.low, "high": found.high}
    return {"kind": kind, "over": OVER[items], "n": over.seeds, "items": over.items, "level": level, **ends}


def of_arm(cell: Cell, metric: str, level: float = 0.95) -> Ends | None:
    """The interval of one cell's mean over its seeds and test items, within [0, 1]; None without test items."""
    per_seed = cell.per_seed(metric)
    spread = _spread(cell, list(per_seed), metric)
    return None if spread is None else written(share_interval(spread, level), spread, level)


def _true(spread: TwoWay, sides: Sequence[Cell]) -> TwoWay:
    """Equal answers of all seeds may be chance: nothing depends on the seed only where all labels are given and no
    network is trained."""
    flat = [s for cell in sides for draws in cell.scores.values() for s in draws]
    trained = any(trains(str(s.get("probe"))) or trains(str((s.get("chosen") or {}).get("probe"))) for s in flat)
    whole = all(s.get("fraction") is not None and s["fraction"] >= 1 for s in flat)
    return spread if whole and not trained else replace(spread, fixed=False)


def _spread(cell: Cell, seeds: Sequence[int], metric: str) -> TwoWay | None:
    """The parts of the variance of one cell's mean."""
    units = cell.units(seeds, metric)
    if units is not None:
        assert cell.items is not None
        return _true(two_way(units, answers.width(cell.items, metric)), [cell])
    values = [v for seed, v in cell.per_seed(metric).items() if seed in seeds]
    return _independent([(1.0, values, cell.n_test)], values)


def _independent(sides: Sequence[tuple[float, list[float], int]], values: Sequence[float]) -> TwoWay | None:
    """Without single answers: the sides' items count as independent, which two arms on the same images are not; so it
    is rather wide. `sides`: factor, values per seed and number of items; `values`: the value per seed."""
    if not values or any(n == 0 for _, _, n in sides):
        return None
    seeds, mean = len(values), float(np.mean(values))
    varies = paired.varies(values)
    own = float(np.var(values, ddof=1)) if varies else 0.0
    items = min(n for _, _, n in sides)
    from_items = 0.0
    for factor, side, n in sides:
        share = float(np.mean(side))
        from_items += factor**2 * max(share * (1 - share) / n, 1 / (n + 2) ** 2)
    fixed = seeds > 1 and not varies
    return TwoWay(mean, seeds, items, own / seeds, from_items, own, from_items * items, 0.0, fixed)


@dataclass(frozen=True)
class Gap:
    """One cell minus `factor` times another, over the seeds that both have."""

    per_seed: dict[int, float]
    spread: TwoWay | None
    factor: float = 1.0

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.per_seed.values())))

    def interval(self, level: float = 0.95) -> Ends | None:
        """Over seeds and test items, within what can be."""
        if self.spread is None:
            return None
        half, mean = half_width(self.spread, level), self.mean
        cut = Interval(mean, max(-self.factor, mean - half), min(1.0, mean + half))
        return written(cut, self.spread, level)


def gap(one: Cell, two: Cell, metric: str, factor: float = 1.0) -> Gap | None:
    """The paired difference: the same seeds, draws and test items on both sides; None where they share no seed."""
    first, second = one.per_seed(metric), two.per_seed(metric)
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    per_seed = {seed: first[seed] - factor * second[seed] for seed in seeds}
    spread = None
    if one.items is not None and two.items is not None and one.items.same_items(two.items):
        a, b = one.units(seeds, metric), two.units(seeds, metric)
        if a is not None and b is not None:
            spread = _true(two_way(a - factor * b, answers.width(one.items, metric)), [one, two])
    if spread is None:
        sides = [(1.0, [first[s] for s in seeds], one.n_test), (factor, [second[s] for s in seeds], two.n_test)]
        spread = _independent(sides, list(per_seed.values()))
    return Gap(per_seed, spread, factor)


def without_answers(one: Mapping[str, Any], two: Mapping[str, Any], factor: float = 1.0) -> Gap | None:
    """The paired difference of two table rows alone, their items taken as independent; None without a shared seed."""
    first, second = ({str(k): v for k, v in row["per_seed"].items()} for row in (one, two))
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    per_seed = {int(seed): first[seed] - factor * second[seed] for seed in seeds}
    sides = [(1.0, [first[s] for s in seeds], one["n_test"]), (factor, [second[s] for s in seeds], two["n_test"])]
    return Gap(per_seed, _independent(sides, list(per_seed.values())), factor)
