"""Does the report's verdict keep its error rates? Many comparisons of arms whose true accuracies are known.

    python scripts/simulate_compare.py [--comparisons 400] [--json FILE] [--quick]
    python scripts/simulate_compare.py --population 'runs/compare/*/transfer' --json FILE

The tables in docs/results/statistics_simulation.md come from here. What is drawn, correctness on single test images by
a model or from real predictions, is in `scripts/simulated_answers.py`. It goes through `gssl.report.scores`,
`document.differences` and `verdict`, as the report's does; tests hold that `document.build` comes to the same outcome.
No statistic is computed here but those of the old rule, which covered seeds only: from six seeds on a 95% t interval
over seeds and max-T, below that the t interval at 1 − .05/3.

--json: one line per cell and block of comparisons, with a hash of the code. Finished lines are not run again.
--population: an .npz with `labels` (n,) and per arm an array (seeds, n) of correctness in [0, 1], or a pattern of run
directories. Test images are drawn from it with weights under which all arms are equally good (exponential tilting),
seeds without replacement.
"""

import argparse
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from simulated_answers import (
    DRAWS,
    SETTINGS,
    STOP,
    STREAMS,
    Condition,
    Drawn,
    Population,
    conditions,
    draw,
    equal_weights,
    population,
    subsample,
)

from gssl.comparison.changes import level_of_look
from gssl.report import document, scores
from gssl.report.collect import Run
from gssl.report.model import Difference, Primary
from gssl.report.scores import Cell, Cells
from gssl.report.verdict import decisive, outcome, size
from gssl.statistics import families, items, paired, two_way

PROBE, LABEL_BUDGET = "linear", "10"
ALPHA, MARGIN = 0.05, 0.005
METRICS = ("accuracy", "balanced_accuracy")
BLOCK = 100  # comparisons of a line of --json

# ── the rules ────────────────────────────────────────────────────────────────────────────────────


def weights_of(d: Drawn) -> dict[str, np.ndarray]:
    """Of each metric the weights (n,) of the items."""
    assert d.items.labels is not None
    return {m: items.weights(d.items.labels, m) for m in METRICS}


def as_cells(d: Drawn) -> Cells:
    """The cells that `scores.cells` would make of the runs."""
    weights = weights_of(d)
    out: Cells = {}
    for arm, rows in d.right.items():
        value = {s: {m: float(row @ w) for m, w in weights.items()} for s, row in rows.items()}
        entries = {s: [values | {"n_test": len(rows[s])}] for s, values in value.items()}
        out[arm, PROBE, LABEL_BUDGET] = Cell(entries, rows, d.items)
    return out


def as_runs(d: Drawn) -> list[Run]:
    """Finished transfer runs, as `collect.read_runs` finds them: one linear probe, 10 labels per class, five draws."""
    out, n = [], len(next(iter(d.right[next(iter(d.right))].values())))
    turn = np.arange(n)
    weights = weights_of(d)
    for arm, rows in d.right.items():
        for seed, row in rows.items():
            right = (np.arange(DRAWS)[:, None] + turn) % DRAWS < np.rint(DRAWS * row)
            entry = {"probe": PROBE, "labels_per_class": 10, "fraction": None, "n_test": len(row), "n_train": 100}
            fits = [entry | {"draw": k} | {m: float(r @ w) for m, w in weights.items()} for k, r in enumerate(right)]
            result = {"command": "transfer", "seed": seed, "scores": fits}
            own = replace(d.items, right=right)
            named = (Path(f"{arm}-{seed}"), arm, seed, "transfer", "finished", None, "gssl")
            out.append(Run(*named, result, {}, {}, {}, {}, predictions=own))
    return out


def family(d: Drawn, alpha: float = ALPHA) -> list[Difference]:
    """The primary family's differences, as in the report."""
    pairs = [list(pair) for pair in combinations(d.right, 2)]
    primary = Primary(
        probe=PROBE,
        label_budget=LABEL_BUDGET,
        pairs=pairs,
        fixed_by="rule",
        task="classification",
        metric=d.metric,
        margin=MARGIN,
        alpha=alpha,
    )
    return document.differences(as_cells(d), dict.fromkeys(d.right, "contestant"), primary)


def reported(d: Drawn) -> list[Difference]:
    """The same through runs and the whole report."""
    made = document.build(as_runs(d), {"arms": list(d.right), "seeds": max(map(len, d.right.values()))})
    return [found for found in made.differences if found.family == "primary"]


def winner(d: Difference, alpha: float = ALPHA) -> int:
    """1: the first arm of the pair, −1: the second, 0: nobody."""
    return int(np.sign(d.mean or 0.0)) if outcome(d, alpha) in ("beats", "ahead") else 0


def old_rule(d: Drawn, alpha: float = ALPHA) -> tuple[list[int], list[tuple[float, float]]]:
    """Winners and 95% t intervals over seeds, of accuracy."""
    scores = {arm: {s: float(row.mean()) for s, row in rows.items()} for arm, rows in d.right.items()}
    seeds, need = sorted({s for rows in scores.values() for s in rows}), paired.seeds_needed(alpha)
    pairs = [[scores[a].get(s, np.nan) - scores[b].get(s, np.nan) for s in seeds] for a, b in combinations(scores, 2)]
    rows = [[x for x in row if x == x] for row in pairs]
    enough = [k for k, row in enumerate(rows) if len(row) >= need]
    p = dict(zip(enough, paired.max_t([pairs[k] for k in enough]), strict=True)) if enough else {}
    left = alpha - max((paired.attainable(len(rows[k]), alpha) for k in enough), default=0.0)
    winners, ends = [], []
    for k, row in enumerate(rows):
        at_95 = paired.t_interval(row)
        wide = at_95 if k in p else paired.t_interval(row, 1 - left / (len(rows) - len(p)))
        assert at_95 and wide
        shown = paired.varies(row) and (wide.low > 0 or wide.high < 0) and p.get(k, 0.0) <= alpha
        winners.append(int(np.sign(at_95.mean)) if shown else 0)
        ends.append((at_95.low, at_95.high))
    return winners, ends


# ── what is counted ──────────────────────────────────────────────────────────────────────────────

Counted = dict[str, float]  # of one comparison: fractions of its pairs or arms, or 0 and 1


def _false(winners: Sequence[int], gaps: Sequence[float]) -> float:
    """Whether a pair without a true difference has a winner, or the wrong arm is one."""
    return float(any(w and (abs(gap) < 1e-9 or w * gap < 0) for w, gap in zip(winners, gaps, strict=True)))


def _holds(ends: Sequence[tuple[float, float]], truths: Sequence[float]) -> float:
    return float(np.mean([low <= t <= high for (low, high), t in zip(ends, truths, strict=True)]))


def _gaps(d: Drawn) -> list[float]:
    return [d.truth[a] - d.truth[b] for a, b in combinations(d.right, 2)]


def counted(d: Drawn) -> Counted:
    """False winners, coverage of the pairs' population differences and of the arms' population values, by both rules;
    `alike`: pairs that the new rule calls equivalent."""
    gaps, new, (old, old_ends) = _gaps(d), family(d), old_rule(d)
    arms = [scores.of_arm(cell, d.metric) for cell in as_cells(d).values()]
    seeds = [paired.t_interval([float(row.mean()) for row in rows.values()]) for rows in d.right.values()]
    return {
        "false": _false([winner(x) for x in new], gaps),
        "false_old": _false(old, gaps),
        "covered": _holds([(x.interval.low, x.interval.high) for x in new if x.interval], gaps),
        "covered_old": _holds(old_ends, gaps),
        "arm": _holds([(i.low, i.high) for i in arms if i], list(d.truth.values())),
        "arm_old": _holds([(i.low, i.high) for i in seeds if i], list(d.truth.values())),
        "alike": float(np.mean([size(x, MARGIN) == "equivalent" for x in new])),
    }


def counted_looks(d: Drawn, start: int) -> Counted:
    """Seeds are added until there is a winner: .05 at every look, or the level that `level_of_look` leaves."""
    gaps, looks = _gaps(d), range(start, STOP + 1)
    new = old = 0.0
    for n in looks:
        seen, alpha = d.first(n), level_of_look(range(start, n + 1))
        new = new or _false([winner(x, alpha) for x in family(seen, alpha)], gaps)
        old = old or _false(old_rule(seen)[0], gaps)
    return {"false": new, "false_old": old}


def comparison(c: Condition, rng: np.random.Generator) -> Counted:
    """All figures of one comparison of a condition."""
    equal, other = draw(c, rng)
    if c.setting == "stopping":
        return counted_looks(equal, c.seeds)
    if SETTINGS[c.setting].majority:
        return counted(equal)
    # pairs: the first arm and the third differ by LARGE, the second and the third by SMALL
    _, large, small = family(other)
    better = np.sign(_gaps(other)[1])
    power = {"power": float(winner(large) == better), "power_old": float(old_rule(other)[0][1] == better)}
    return counted(equal) | power | {"same": float(size(small, MARGIN) == "equivalent")}


# ── the run ──────────────────────────────────────────────────────────────────────────────────────


Figures = dict[str, tuple[float, float]]  # mean and standard error


def simulate(c: Condition, comparisons: int, of: Population | None = None, first: int = 0) -> Figures:
    """Of comparisons first, first + 1, …; each is the same whenever it is drawn."""
    weights = equal_weights(of) if of else None
    found = []
    stream = json.dumps(asdict(c) | {"setting": STREAMS.get(c.setting, c.setting)})
    for k in range(first, first + comparisons):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([k, *map(ord, stream)])))
        if of is None or weights is None:
            found.append(comparison(c, rng))
        else:
            found.append(counted(subsample(of, weights, c, rng)))
    return {key: _mean([row[key] for row in found]) for key in found[0]}


def _mean(x: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(x)), float(np.std(x) / len(x) ** 0.5)


def pooled(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Lines of one cell as one line."""
    n = np.array([line["comparisons"] for line in blocks])
    figures = {}
    for key in blocks[0]["figures"]:
        mean, error = np.array([line["figures"][key] for line in blocks]).T
        whole = float(n @ mean / n.sum())
        variance = float(n @ (n * error**2 + mean**2) / n.sum()) - whole**2
        figures[key] = (whole, max(variance, 0.0) ** 0.5 / float(n.sum()) ** 0.5)
    return {"condition": blocks[0]["condition"], "comparisons": int(n.sum()), "figures": figures}


def code(of: Population | None = None) -> str:
    """A hash of what the figures depend on; figures of other code are not read again."""
    parts: list[Any] = [two_way, paired, families, items, scores.Cell, scores.gap, scores.Gap, scores.of_arm]
    parts += [document.differences, document.difference, document.numbers, outcome, size, decisive, level_of_look]
    parts += [draw, subsample, as_cells, family, winner, old_rule, counted, counted_looks, comparison, _false, _holds]
    text = "".join(map(inspect.getsource, parts)) + repr(SETTINGS)
    data = [of.labels, *of.right.values()] if of else []
    return hashlib.sha256(text.encode() + b"".join(array.tobytes() for array in data)).hexdigest()[:12]


SHOWN = {
    "false_old": "false winner: old rule",
    "false": "new",
    "covered_old": "difference covered: old",
    "covered": "new",
    "arm_old": "arm covered: old",
    "arm": "new",
    "power_old": "5 points found: old",
    "power": "new",
    "same": "1 point called equivalent",
    "alike": "equal called equivalent",
}


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, percentages ± standard error."""
    out = ["| setting | n_test | seeds | comparisons | " + " | ".join(SHOWN.values()) + " |"]
    out.append("|---" * (4 + len(SHOWN)) + "|")
    for line in lines:
        c, f = line["condition"], line["figures"]
        values = [f"{100 * f[key][0]:.1f} ± {100 * f[key][1]:.1f}" if key in f else "–" for key in SHOWN]
        seeds = f"{c['seeds']}, one arm {c['seeds'] - c['lost']}" if c["lost"] else str(c["seeds"])
        out.append(f"| {c['setting']} | {c['n_test']:,} | {seeds} | {line['comparisons']} | {' | '.join(values)} |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--comparisons", type=int, default=400, help="per cell; a quarter of it at 10,000 test images")
    parser.add_argument("--json", type=Path, help="figures, a line per cell and block; finished ones are not run again")
    parser.add_argument("--quick", action="store_true", help="20 comparisons per cell")
    parser.add_argument("--population", help="an .npz of correctness, or a pattern of run directories")
    parser.add_argument("--arms", nargs="+", help="of the population; else its first three")
    given = parser.parse_args()
    of, todo = None, list(conditions())
    if given.population:
        of = population(given.population, given.arms)
        most = min(map(len, of.right.values()))
        todo = [Condition(given.population, n, s) for n in (100, 300, 1_000) for s in (3, 6, 10) if s <= most]
    there = given.json.read_text(encoding="utf-8").splitlines() if given.json and given.json.exists() else []
    now, block = code(of), 20 if given.quick else BLOCK
    done = [line for line in map(json.loads, there) if line["code"] == now]
    for first in range(0, 20 if given.quick else given.comparisons, block):
        for c in todo:
            few = block // (4 if c.n_test >= 10_000 else 1)
            about = {"condition": asdict(c), "code": now, "first": first, "comparisons": few}
            if any(line | about == line for line in done):
                continue
            done.append(about | {"figures": simulate(c, few, of, first)})
            if given.json:
                with given.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(done[-1]) + "\n")
            print(table([done[-1]]).splitlines()[-1], flush=True)
    cells_ = [[line for line in done if line["condition"] == asdict(c)] for c in todo]
    print("\n" + table([pooled(lines) for lines in cells_]))


if __name__ == "__main__":
    main()
