"""The scores of a comparison: per arm, probe and label budget those of every seed and draw of labels, with what was
predicted of every test item. Rows of the table and paired differences are made of them. No torch here.

What a metric is, its intervals included, is in `gssl.statistics.metric.METRICS`: a mean over items is analysed item by
item, any other metric by bootstrap resamples of the items, which are the same for all arms and seeds.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from gssl.config.menus import trains
from gssl.config.registry import PROBE
from gssl.engine import recorded
from gssl.errors import Damaged
from gssl.report.collect import Run
from gssl.report.consistency import PREDICTIONS
from gssl.report.model import Report, Score
from gssl.report.model_records import Interval
from gssl.schemas.label_budgets import label_budget_of
from gssl.statistics import items, paired, resampled
from gssl.statistics.metric import METRICS, resample_counts
from gssl.statistics.two_way import (
    TwoWay,
    cross_validated,
    half_width,
    share_interval,
    two_way,
    two_way_interval,
)
from gssl.words import PROBES

Key = tuple[str, str, str]  # arm, probe, label budget
TASK = "classification"  # of entries of result.json that name none
UNBOUNDED = (-float("inf"), float("inf"))
OVER = {True: "test images", False: "seeds and test images"}


@dataclass(frozen=True)
class Predictions:
    """Of one run, from predictions.npz; row i belongs to entry i of result.json's `scores`, then of its
    `generated_scores`.

    labels int (n,) and right bool (fits, n), where the task has one label per item; stats (fits, n, k), where its
    metric is computed from such rows; groups int (n,): which items belong together, None where all are independent;
    items: a hash of the test items, where labels do not tell them apart.
    """

    labels: np.ndarray | None
    right: np.ndarray | None
    groups: np.ndarray | None = None
    stats: np.ndarray | None = None
    items: str = ""
    metrics: tuple[str, ...] = ()  # that are computed from stats

    def __len__(self) -> int:
        rows = self.right if self.stats is None else self.stats
        return 0 if rows is None else len(rows)

    def same_items(self, other: "Predictions") -> bool:
        """Whether both are of the same items in the same order, as far as labels, groups and hashes tell."""
        if self.items != other.items or (self.labels is None) != (other.labels is None):
            return False
        if self.labels is not None and not np.array_equal(self.labels, other.labels):  # type: ignore[arg-type]
            return False
        both = self.groups is not None and other.groups is not None
        return not both or np.array_equal(self.groups, other.groups)  # type: ignore[arg-type]


def read_predictions(run: Path) -> Predictions | None:
    """The predictions in a run directory; None where there are none, the file cannot be read, or it is not the one
    that the finished run has on record."""
    try:
        with np.load(BytesIO(recorded.verified(run, PREDICTIONS))) as found:
            groups = found["groups"] if "groups" in found.files else None
            if "stats" in found.files:
                metrics = tuple(np.atleast_1d(found["metric"]).tolist())
                return Predictions(None, None, groups, found["stats"], str(found["items"]), metrics)
            labels = found["labels"]
            return Predictions(labels, found["guess"] == labels, groups)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, Damaged):
        return None


def value_of(score: Mapping[str, Any], metric: str) -> float | None:
    """A metric of an entry of result.json."""
    found = (score.get("metrics") or {}).get(metric, score.get(metric))
    return None if found is None else float(found)


def metrics_of(score: Mapping[str, Any]) -> dict[str, float]:
    """All metrics of an entry of result.json."""
    return {name: value for name in METRICS if (value := value_of(score, name)) is not None}


@dataclass
class Cell:
    """One arm evaluated by one probe with one label budget.

    scores: seed → the entries of result.json, one per draw of labels. right: seed → float (n,), in which fraction of
    its draws each test item was right. stats: seed → (draws, n, k), for metrics that are no means over items. Both
    without the seeds whose predictions are not on disk. items: the test items, of the first seed.
    """

    scores: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    right: dict[int, np.ndarray] = field(default_factory=dict)
    items: Predictions | None = None
    stats: dict[int, np.ndarray] = field(default_factory=dict)
    resamples: dict[str, dict[int, np.ndarray]] = field(default_factory=dict, repr=False)

    def add(self, seed: int, found: Predictions, rows: Sequence[int]) -> None:
        """The predictions of a seed, at `rows` those of its draws; not taken where they are of other test items."""
        self.items = self.items or found
        if self.items.same_items(found):
            if found.stats is not None:
                self.stats[seed] = found.stats[list(rows)]
            elif found.right is not None:
                self.right[seed] = mean_over_draws(found.right[list(rows)])

    @property
    def task(self) -> str:
        return str(next(s.get("task") or TASK for draws in self.scores.values() for s in draws))

    @property
    def known(self) -> dict[int, np.ndarray]:
        """What is there of the items, by seed."""
        return self.stats or self.right

    def per_seed(self, metric: str) -> dict[int, float]:
        """Mean over draws: from the predictions, where they are there. Seeds without the metric are left out."""
        own = METRICS[metric]
        if self.items is not None and self.known and set(self.known) == set(self.scores):
            if own.per_item_mean and self.items.labels is not None:
                w = items.weights(self.items.labels, metric)
                return {seed: float(self.right[seed] @ w) for seed in sorted(self.scores)}
            if not own.per_item_mean and metric in self.items.metrics:
                return {s: float(np.mean([own.value(d) for d in self.stats[s]])) for s in sorted(self.scores)}
        found = {seed: [value_of(s, metric) for s in draws] for seed, draws in sorted(self.scores.items())}
        return {seed: float(np.mean([v for v in vs if v is not None])) for seed, vs in found.items() if None not in vs}

    @property
    def n_test(self) -> int:
        """Test items, the fewest of all seeds; 0 where no score says."""
        return min((int(s["n_test"]) for d in self.scores.values() for s in d if s.get("n_test")), default=0)

    @property
    def folds(self) -> int:
        """Of cross-validation; 0 where there are test images that nothing learnt from."""
        return max((int(s.get("folds") or 0) for d in self.scores.values() for s in d), default=0)

    def units(self, seeds: Sequence[int], metric: str) -> np.ndarray | None:
        """(seeds, units) as `items.units`; None where predictions are missing or the metric is no mean over items."""
        if self.items is None or self.items.labels is None or not METRICS[metric].per_item_mean:
            return None
        if not seeds or any(seed not in self.right for seed in seeds):
            return None
        return items.units([self.right[seed] for seed in seeds], self.items.labels, self.items.groups, metric)

    def replicates(self, seeds: Sequence[int], metric: str) -> np.ndarray | None:
        """(seeds, resamples): the metric of bootstrap resamples of the test items, mean over draws; None where
        predictions are missing or the metric is a mean over items."""
        own = METRICS[metric]
        if (
            self.items is None
            or metric not in self.items.metrics
            or not seeds
            or any(seed not in self.stats for seed in seeds)
        ):
            return None
        if metric not in self.resamples:
            units = {s: [own.units(d, self.items.groups) for d in self.stats[s]] for s in self.stats}
            n = next(iter(units.values()))[0][0]
            blocks = [
                {s: np.mean([values(counts) for _, values in draws], axis=0) for s, draws in units.items()}
                for counts in resample_counts(n)
            ]
            self.resamples[metric] = {s: np.concatenate([block[s] for block in blocks]) for s in units}
        return np.stack([self.resamples[metric][seed] for seed in seeds])


Cells = dict[Key, Cell]


def cells(runs: Sequence[Run]) -> Cells:
    """Every cell that the transfer runs hold."""
    out: Cells = defaultdict(Cell)
    for run in runs:
        if run.stage != "transfer":
            continue
        # an arm that has generated images beside the real ones is evaluated with them
        mixed = "-with-" in str((run.part.get("about") or {}).get("written"))
        alone = run.result.get("scores") or []
        chosen = run.result.get("generated_scores") or [] if mixed else alone
        first = len(alone) if mixed else 0
        found = (run.predictions or read_predictions(run.path)) if chosen else None
        rows: dict[Key, list[int]] = defaultdict(list)
        for place, s in enumerate(chosen, first):
            if metrics_of(s):
                key = (run.arm, str(s["probe"]), label_budget_of(s))
                out[key].scores[run.seed or 0].append(s)
                rows[key].append(s.get("row", place))
        for key, positions in rows.items():
            if found is None or max(positions) >= len(found):
                continue
            out[key].add(run.seed or 0, found, positions)
    return dict(out)


def mean_over_draws(right: np.ndarray) -> np.ndarray:
    """bool (draws, n) → float (n,)."""
    return np.asarray(right, dtype=float).mean(axis=0)


def doubts(found: Cells) -> list[str]:
    """Sentences about runs whose predictions are not there, or give other scores than their result.json."""
    out: dict[str, set[str]] = {"gone": set(), "other": set()}
    for (arm, _, _), cell in found.items():
        for seed, draws in cell.scores.items():
            if seed not in cell.known:
                out["gone"].add(f"{arm} seed {seed}")
            elif not _agrees(cell, seed, draws):
                out["other"].add(f"{arm} seed {seed}")
    sentences = []
    if out["other"]:
        who = ", ".join(sorted(out["other"]))
        sentences.append(f"{PREDICTIONS} of {who} gives other scores than result.json: {PREDICTIONS} counts.")
    if out["gone"]:
        who = ", ".join(sorted(out["gone"])[:6]) + (" and more" if len(out["gone"]) > 6 else "")
        sentences.append(
            f"The predictions of {who} for single test images are not there. Intervals with these arms take test images"
            " as independent, which makes them rather wide."
        )
    return sentences


def _agrees(cell: Cell, seed: int, draws: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the predictions of a seed give the values of result.json, as far as a metric can be computed again."""
    for name, metric in METRICS.items():
        stored = [value_of(s, name) for s in draws]
        if None in stored:
            continue
        if metric.per_item_mean and seed in cell.right and cell.items and cell.items.labels is not None:
            again = float(cell.right[seed] @ items.weights(cell.items.labels, name))
        elif cell.items and name in cell.items.metrics and seed in cell.stats:
            again = float(np.mean([metric.value(d) for d in cell.stats[seed]]))
        else:
            continue
        return abs(again - float(np.mean([v for v in stored if v is not None]))) <= 1e-6
    return True


# ── intervals ────────────────────────────────────────────────────────────────────────────────────


def written(found: paired.Interval, over: TwoWay, level: float) -> Interval:
    """As it stands in report.json."""
    alone = over.seeds < 2 or over.fixed
    return Interval(
        kind="two_way", over=OVER[alone], n=over.seeds, level=level, low=found.low, high=found.high, items=over.items,
        **({"grouped": True} if over.grouped else {}),
    )  # fmt: skip


def of_arm(cell: Cell, metric: str, level: float = 0.95) -> Interval | None:
    """The interval of one cell's mean over its seeds and test items, within what can be; None without test items."""
    per_seed = cell.per_seed(metric)
    spread = _spread(cell, list(per_seed), metric)
    if spread is None:
        return None
    of_fraction = METRICS[metric].percent
    ends = share_interval(spread, level) if of_fraction else two_way_interval(spread, level, UNBOUNDED)
    return written(ends, spread, level)


def _true(spread: TwoWay, sides: Sequence[Cell]) -> TwoWay:
    """What the predictions of test items gave, with what is known of them: whether they are in groups. Equal
    predictions of all seeds may be chance: nothing depends on the seed only where all labels are given and no network
    is trained."""
    spread = replace(spread, grouped=any(cell.items is not None and cell.items.groups is not None for cell in sides))
    flat = [s for cell in sides for draws in cell.scores.values() for s in draws]
    trained = any(trains(str(s.get("probe"))) or trains(str((s.get("chosen") or {}).get("probe"))) for s in flat)
    whole = all(s.get("fraction") is not None and s["fraction"] >= 1 for s in flat)
    return spread if whole and not trained else replace(spread, fixed=False)


def _spread(cell: Cell, seeds: Sequence[int], metric: str) -> TwoWay | None:
    """The parts of the variance of one cell's mean."""
    units, replicates = cell.units(seeds, metric), cell.replicates(seeds, metric)
    per_seed = cell.per_seed(metric)
    if units is not None:
        return _in_folds(_true(two_way(units, _width(cell, metric)), [cell]), cell)
    values = [v for seed, v in per_seed.items() if seed in seeds]
    if replicates is not None:
        return _in_folds(_true(resampled.spread(values, replicates, _count(cell)), [cell]), cell, replicates)
    found = _independent([(1.0, values, cell.n_test)], values)
    return None if found is None else _in_folds(found, cell)


def _in_folds(found: TwoWay, cell: Cell, replicates: np.ndarray | None = None) -> TwoWay:
    """Wider where the items are those of cross-validation."""
    if cell.folds < 2:
        return found
    alone = None if replicates is None else float(np.nanvar(replicates, axis=1, ddof=1).mean())
    return cross_validated(found, cell.folds, alone)


def _width(cell: Cell, metric: str) -> float:
    assert cell.items is not None
    assert cell.items.labels is not None
    return items.width(cell.items.labels, cell.items.groups, metric)


def _count(cell: Cell) -> int:
    """Independent test items: groups, where items belong together."""
    assert cell.items is not None
    groups = cell.items.groups
    return len(next(iter(cell.stats.values()))[0]) if groups is None else len(np.unique(groups))


def _independent(sides: Sequence[tuple[float, list[float], int]], values: Sequence[float]) -> TwoWay | None:
    """Without predictions: the sides' items count as independent, which two arms on the same images are not; so it
    is rather wide. `sides`: factor, values per seed and number of items; `values`: the value per seed. Where these
    coincide though a side's do not, which is chance, they scatter as the items let them."""
    if not values or any(n == 0 for _, _, n in sides):
        return None
    seeds, mean = len(values), float(np.mean(values))
    varies = paired.varies(values)
    own = float(np.var(values, ddof=1)) if varies else 0.0
    least = min(n for _, _, n in sides)
    from_items = 0.0
    for factor, side, n in sides:
        p = float(np.mean(side))
        from_items += factor**2 * max(p * (1 - p) / n, 1 / (n + 2) ** 2)
    fixed = seeds > 1 and not varies and not any(paired.varies(side) for _, side, _ in sides)
    own = from_items if seeds > 1 and not varies and not fixed else own
    return TwoWay(mean, seeds, least, own / seeds, from_items, own, from_items * least, 0.0, fixed)


@dataclass(frozen=True)
class Gap:
    """One cell minus `factor` times another, over the seeds that both have."""

    per_seed: dict[int, float]
    spread: TwoWay | None
    factor: float = 1.0
    top: float = 1.0  # the largest value of the metric

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.per_seed.values())))

    def interval(self, level: float = 0.95) -> Interval | None:
        """Over seeds and test items, within what can be."""
        if self.spread is None:
            return None
        half, mean = half_width(self.spread, level), self.mean
        cut = paired.Interval(mean, max(-self.factor * self.top, mean - half), min(self.top, mean + half))
        return written(cut, self.spread, level)


def gap(one: Cell, two: Cell, metric: str, factor: float = 1.0) -> Gap | None:
    """The paired difference: the same seeds, draws and test items on both sides; None where they have no seed in
    common."""
    first, second = one.per_seed(metric), two.per_seed(metric)
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    per_seed = {seed: first[seed] - factor * second[seed] for seed in seeds}
    spread = None
    if one.items is not None and two.items is not None and one.items.same_items(two.items):
        a, b = one.units(seeds, metric), two.units(seeds, metric)
        r, s = one.replicates(seeds, metric), two.replicates(seeds, metric)
        if a is not None and b is not None:
            spread = _in_folds(_true(two_way(a - factor * b, _width(one, metric)), [one, two]), one)
        elif r is not None and s is not None:
            width = 1.0 if METRICS[metric].percent else 0.0
            between = resampled.spread(list(per_seed.values()), r - factor * s, _count(one), width)
            spread = _in_folds(_true(between, [one, two]), one, r - factor * s)
    if spread is None:
        sides = [(1.0, [first[s] for s in seeds], one.n_test), (factor, [second[s] for s in seeds], two.n_test)]
        spread = _independent(sides, list(per_seed.values()))
        spread = None if spread is None else _in_folds(spread, one)
    return Gap(per_seed, spread, factor, top_of(metric))


def without_predictions(one: Score, two: Score, factor: float = 1.0) -> Gap | None:
    """The paired difference of two table rows alone, their items taken as independent; None without a common seed."""
    first, second = one.per_seed, two.per_seed
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    per_seed = {int(seed): first[seed] - factor * second[seed] for seed in seeds}
    sides = [(1.0, [first[s] for s in seeds], one.n_test), (factor, [second[s] for s in seeds], two.n_test)]
    return Gap(per_seed, _independent(sides, list(per_seed.values())), factor, top_of(one.metric))


def top_of(metric: str) -> float:
    """The largest value of a metric."""
    return 1.0 if METRICS[metric].percent else float("inf")


# ── tables of the report ─────────────────────────────────────────────────────────────────────────


# Ways of adapting: menus, then what may stand on one.
MENUS = [name for name, probe in PROBE.items() if probe.reads == "menu"]
WAYS = [*MENUS, *(name for name, probe in PROBE.items() if probe.chooses and probe.reads != "stages")]


def adapting(report: Report) -> dict[str, Any] | None:
    """What each way of adapting gives at the primary label budget, arm by arm; None where there was one way only.

    `by`: how often which way was chosen on an arm's own labels, in words.
    """
    label_budget = report.primary.label_budget
    at = {(r.arm, r.probe): r for r in report.table if r.label_budget == label_budget}
    ways = [way for way in WAYS if any(probe == way for _, probe in at)]
    if len(ways) < 2:
        return None
    rows = []
    for a in report.arms:
        cells = [at.get((a.name, way)) for way in ways]
        by = next((c.adapted_by for c in cells if c and c.adapted_by), None) or {}
        chosen = ", ".join(
            f"{PROBES.get(way, way)} in {n} of {sum(by.values())}"
            for way, n in sorted(by.items(), key=lambda way: -way[1])
        )
        if any(cells):
            rows.append({"arm": a.name, "cells": cells, "by": chosen or "–"})
    return {"ways": [PROBES[way] for way in ways], "rows": rows, "chosen": any(way in MENUS for way in ways)}


def components(report: Report) -> dict[str, Any] | None:
    """The primary metric class by class at the primary probe and label budget, a column per arm; None where it has no
    components or runs recorded none."""
    at = (report.primary.probe, report.primary.label_budget)
    found = {r.arm: r.components for r in report.table if (r.probe, r.label_budget) == at and r.components}
    if not found:
        return None
    arms = [a.name for a in report.arms if a.name in found]
    classes = list(dict.fromkeys(name for own in found.values() for name in own))
    rows = [{"name": name, "values": [found[arm].get(name) for arm in arms]} for name in classes]
    return {"called": METRICS[report.primary.metric].component, "arms": arms, "rows": rows}
