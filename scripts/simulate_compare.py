"""Does the report's verdict keep its word? Comparisons of arms whose true differences are known, many times over.

    python scripts/simulate_compare.py [--comparisons 1000] [--json OUT]

Each simulated comparison is a list of `gssl.report.collect.Run` records in memory, as finished transfer runs of three
arms leave them; `gssl.report.document.build` makes the report of it, with the default rule for the primary family
(SimCLR against random features, DCGAN against random features, SimCLR against DCGAN), and what is counted is read from
that report: `differences`, `table` and the verdict's headline. No statistic is computed here.

An arm's score of one seed is its true accuracy + .01·(√rho · shared noise of the seed + √(1 − rho) · noise of its own),
rounded to whole images of 10,000. Noise has mean 0 and variance 1:

- normal: normal everywhere.
- t3: Student's t with 3 degrees of freedom, heavy tails on both sides.
- exponential: exponential - 1, skewed, the same for all arms; so the paired differences are heavy-tailed, not skewed.
- lopsided: SimCLR's noise is exponential - 1, the others' normal with a fifth of its deviation; so the differences that
  SimCLR takes part in are skewed nearly as an exponential, which is what no test of few seeds is made for.

σ is the true standard deviation over seeds of the paired difference SimCLR - random features, of one seed. A true
difference of 3 σ is SimCLR 3 σ above the two others, which are equal.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gssl.report.collect import Run
from gssl.report.document import build
from gssl.report.statistics import seeds_needed
from gssl.report.verdict import ALPHA, outcome

ARMS = ("simclr", "dcgan", "random")
PAIRS = (("simclr", "random"), ("dcgan", "random"), ("simclr", "dcgan"))
SCALE, MIDDLE, N_TEST = 0.01, 0.5, 10_000
# noise: values of rho; what arms share cancels in their differences, so that two of them are enough to show it
NOISES = {"normal": (0.0, 0.5), "exponential": (0.0, 0.5), "t3": (0.0,), "lopsided": (0.0,)}
SEEDS, POWERS = (2, 3, 6, 10), (1, 2, 3, 5)
LOST = ((6, 2), (6, 3), (6, 4), (10, 6))  # a family of pairs that are tested and pairs that have too few seeds for that
QUIET = 0.2  # deviation of the other arms where the noise is lopsided


@dataclass(frozen=True)
class Condition:
    """What is simulated: `delta`, the true difference in σ; `lost`, how many of its seeds DCGAN lost to failures."""

    noise: str
    rho: float
    seeds: int
    delta: float = 0.0
    lost: int = 0


@dataclass
class Found:
    """Shares of the comparisons; each has the standard error √(p·(1 − p) / comparisons)."""

    comparisons: int
    covered: float  # paired 95% t intervals that hold the true difference, over the three pairs
    covered_worst: float  # the same of the pair that is worst off
    covered_arm: float  # an arm's own 95% t interval over seeds, worst of the three arms
    single: float  # p ≤ .05 of SimCLR against random features, not adjusted
    adjusted: float  # p_adjusted ≤ .05 of a pair without a true difference
    named: float  # the verdict's headline names a winner of a pair without a true difference, or the wrong winner
    power: float  # the verdict names SimCLR the winner against random features


def deviations(noise: str) -> np.ndarray:
    """True standard deviation of each arm's own noise, before SCALE."""
    return np.array([1.0, QUIET, QUIET]) if noise == "lopsided" else np.ones(3)


def sigma(noise: str, rho: float) -> float:
    """σ: s.d. over seeds of the paired difference of the first arm and the last; what they share cancels."""
    own = deviations(noise)
    return SCALE * float(np.sqrt((1 - rho) * (own[0] ** 2 + own[2] ** 2)))


def draw(noise: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Mean 0, variance 1."""
    if noise == "normal":
        return rng.standard_normal(shape)
    if noise == "t3":
        return rng.standard_t(3, shape) / np.sqrt(3)
    return rng.standard_exponential(shape) - 1


def truths(condition: Condition) -> np.ndarray:
    """True accuracies of the arms."""
    return MIDDLE + np.array([condition.delta * sigma(condition.noise, condition.rho), 0.0, 0.0])


def scores(condition: Condition, rng: np.random.Generator) -> np.ndarray:
    """Right answers among N_TEST, int (arms, seeds)."""
    shared = rng.standard_normal(condition.seeds)
    if condition.noise == "lopsided":
        own = np.stack([draw("exponential", (condition.seeds,), rng), *rng.standard_normal((2, condition.seeds))])
        own *= deviations("lopsided")[:, None]
    else:
        shared = draw(condition.noise, (condition.seeds,), rng)
        own = draw(condition.noise, (len(ARMS), condition.seeds), rng)
    noise = np.sqrt(condition.rho) * shared + np.sqrt(1 - condition.rho) * own
    shares = np.clip(truths(condition)[:, None] + SCALE * noise, 0, 1)
    return np.rint(N_TEST * shares).astype(int)


def runs(correct: np.ndarray, lost: int = 0) -> list[Run]:
    """Finished transfer runs as `collect.read_runs` finds them: one linear probe at 10 labels per class."""
    out = []
    for arm, row in zip(ARMS, correct, strict=True):
        for seed, right in enumerate(row.tolist()):
            if arm == "dcgan" and seed >= len(row) - lost:
                continue
            score = {"probe": "linear", "labels_per_class": 10, "fraction": None, "draw": 0, "n_train": 100}
            score |= {"n_test": N_TEST, "correct": right, "accuracy": right / N_TEST, "val_accuracy": None}
            result: dict[str, Any] = {"command": "transfer", "seed": seed, "scores": [score]}
            path = Path(f"{arm}-{seed}")
            empty: dict[str, Any] = {}
            out.append(
                Run(path, arm, seed, "transfer", "finished", None, "gssl transfer", result, empty, empty, empty, empty)
            )
    return out


def report(condition: Condition, rng: np.random.Generator) -> dict[str, Any]:
    """The report of one simulated comparison."""
    return build(runs(scores(condition, rng), condition.lost), {"arms": list(ARMS), "seeds": condition.seeds})


def tally(condition: Condition, made: dict[str, Any]) -> np.ndarray:
    """One report: whether each of Found's shares counts it, pairs and arms apart (see `simulate`)."""
    true = dict(zip(ARMS, truths(condition), strict=True))
    primary = {(d["a"], d["b"]): d for d in made["differences"] if d["family"] == "primary"}
    assert set(primary) == set(PAIRS), f"the default rule's family has become {sorted(primary)}"
    family = [primary[pair] for pair in PAIRS]
    gaps = [true[d["a"]] - true[d["b"]] for d in family]
    covered = [_holds(d["interval"], gap) for d, gap in zip(family, gaps, strict=True)]
    rows = {row["arm"]: row for row in made["table"]}
    arms = [_holds(rows[arm]["interval"], true[arm]) for arm in ARMS]
    winners = [outcome(d) in ("beats", "ahead") for d in family]
    headline = made["verdict"]["headline"]
    assert any(winners) == (" beats " in headline or " is ahead of " in headline), headline
    null = [abs(gap) < 1e-12 for gap in gaps]
    wrong = [
        won and (same or d["mean"] * gap < 0) for won, same, d, gap in zip(winners, null, family, gaps, strict=True)
    ]
    enough = condition.seeds >= seeds_needed(ALPHA)
    rejected = any(same and _at_most(d["p_adjusted"]) for d, same in zip(family, null, strict=True))
    power = winners[0] and family[0]["mean"] > 0 and (outcome(family[0]) == "beats" or not enough)
    return np.array([*covered, *arms, _at_most(family[0]["p"]), rejected, any(wrong), power], dtype=float)


def _at_most(p: float | None) -> bool:
    return p is not None and p <= ALPHA


def _holds(interval: dict[str, Any], truth: float) -> bool:
    # two seeds may agree to the image: then the interval is over test images
    assert interval["kind"] in ("t", "wilson", "newcombe")
    # scores are whole images: half of one either way is no miss
    return bool(interval["low"] - 0.5 / N_TEST <= truth <= interval["high"] + 0.5 / N_TEST)


def simulate(condition: Condition, comparisons: int, seed: int = 0) -> Found:
    """`comparisons` reports; the same arguments give the same figures."""
    drawn = json.dumps({key: value for key, value in asdict(condition).items() if key != "lost"})
    rng = np.random.default_rng([seed, *map(ord, drawn)])  # who loses seeds loses them of the same comparisons
    share = np.mean([tally(condition, report(condition, rng)) for _ in range(comparisons)], axis=0).tolist()
    single, adjusted, named, power = share[6:]
    pairs = share[:3]
    return Found(comparisons, sum(pairs) / 3, min(pairs), min(share[3:6]), single, adjusted, named, power)


def conditions() -> Iterator[Condition]:
    """All that docs/statistics.md tells: without a difference at every number of seeds, with one at the fewest."""
    for noise, rhos in NOISES.items():
        for rho in rhos:
            yield from (Condition(noise, rho, n) for n in SEEDS)
    yield from (Condition("normal", 0.0, n, lost=lost) for n, lost in LOST)
    for noise, rhos in NOISES.items():
        for rho in rhos:
            yield from (Condition(noise, rho, seeds_needed(ALPHA), delta) for delta in POWERS)


def percent(share: float, comparisons: int) -> str:
    """ "4.9 ± 0.3", the standard error behind it."""
    return f"{100 * share:.1f} ± {100 * (share * (1 - share) / comparisons) ** 0.5:.1f}"


def tables(found: Iterable[tuple[Condition, Found]]) -> str:
    """Markdown: without a difference, then power."""
    found = list(found)
    none = [
        "| noise | rho | seeds | difference covered | worst pair | arm covered | one pair p ≤ .05 | adjusted p ≤ .05 |"
        " a winner is named |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    some = ["| noise | rho | " + " | ".join(f"{d} σ" for d in POWERS) + " |", "|---|---|" + "---|" * len(POWERS)]
    for c, f in found:
        if c.delta == 0:
            told = (f.covered, f.covered_worst, f.covered_arm, f.single, f.adjusted, f.named)
            cells = [percent(share, f.comparisons) for share in told]
            seeds = f"{c.seeds}, DCGAN {c.seeds - c.lost}" if c.lost else str(c.seeds)
            none.append(f"| {c.noise} | {c.rho:g} | {seeds} | {' | '.join(cells)} |")
    for noise, rhos in NOISES.items():
        for rho in rhos:
            cells = [percent(f.power, f.comparisons) for c, f in found if (c.noise, c.rho) == (noise, rho) and c.delta]
            if cells:
                some.append(f"| {noise} | {rho:g} | {' | '.join(cells)} |")
    return "\n".join([*none, "", *some])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--comparisons", type=int, default=1000, help="per condition")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    given = parser.parse_args()
    start, found = time.perf_counter(), []
    for condition in conditions():
        found.append((condition, simulate(condition, given.comparisons)))
        print(f"{time.perf_counter() - start:6.0f} s  {condition}  {found[-1][1]}", flush=True)
    print(tables(found))
    if given.json:
        given.json.write_text(json.dumps([asdict(c) | asdict(f) for c, f in found], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
