"""Has a GAN collapsed, or does it copy? Rules over the numbers that a run logs; how late each fires: docs/collapse.md.

Losses say little (a healthy Wasserstein loss is in the hundreds, a dying one may be near its best), so the rules look
at samples and at held-out images.
"""

from collections.abc import Mapping
from typing import Any

WORSE = 3.0  # times the best distance so far, both by the ends of their intervals that are kind to the run
LOST = 0.5  # proportion of the best coverage that must be left
COVERED = 0.1  # coverage that was ever reached: below, there is nothing to lose
PAIRWISE, NEAREST = 0.35, 0.2  # distances between samples ÷ those between real images
COPIED = 0.2  # proportion of samples nearer to a training image than 95% of held-out images are: chance is .05
REAL = 0.5  # precision above which samples look like images: pale noise is near everything, and copies nothing
WINS, LONG = 0.995, 4  # held-out real images recognised among samples, for so many evaluations
OVERFIT = 0.25  # by how much surer the discriminator is of training images than of held-out ones
PATIENCE = 2  # evaluations in a row: one may be an accident
RISING = 1.1  # times the most so far: what grows by so much is young, not collapsed
OBVIOUS = 4  # times below a limit on distances: no accident, and some runs are looked at only once
DEAD = 0.05  # proportion of real images' coverage: below, samples cover nothing
FAR = 10.0  # times the high end of real images' distance
LATE = 0.9  # proportion of the budget: a generator that is nothing by then is not young


def lifeless(figures: Mapping[str, Any], real: Mapping[str, Any]) -> str | None:
    """Why a generator is dead by one evaluation alone, in words with figures, or None.

    `figures` and `real`, what real training images get in place of samples: as `gssl.metrics.generation.Figures`.
    Dead: hardly a real image has a sample near it **and** the distance is far from real images' by the end of its
    interval that is kind to the generator; or samples are all alike, or few that repeat. Where a figure is absent the
    rule is not looked at.
    """
    found = [f"{key} {figures[key]:.3g}" for key in ("precision", "recall") if figures.get(key) is not None]
    coverage, low = figures.get("coverage"), figures.get("kid_low")
    known = coverage is not None and low is not None and real.get("coverage") and real.get("kid_high") is not None
    if known and coverage < DEAD * real["coverage"] and low > FAR * max(real["kid_high"], 0.0):
        found += [f"coverage {coverage:.3g} (real images: {real['coverage']:.3g})"]
        found += [f"KID {figures['kid']:.3g} (real images: {real['kid']:.3g})"]
        return f"the generator is dead: samples are near no real image ({', '.join(found)})"
    for key, limit, says in (("pairwise", PAIRWISE, "are all alike"), ("nearest", NEAREST, "repeat")):
        value = figures.get(key)
        if value is not None and value < limit / OBVIOUS:
            found += [f"{DISTANCES[key]} {value:.3g} of real images'"]
            return f"the generator is dead: samples {says} ({', '.join(found)})"
    return None


DISTANCES = {"pairwise": "mean distance", "nearest": "distance to the nearest other sample"}


class InstabilityMonitor:
    """Feed it every logged entry, in order; it returns what is newly wrong, each reason once.

    Reads `val_kid` with its interval, `coverage`, `pairwise`, `nearest`, `copied_low` (`gssl.metrics.generation`) and
    `d_val`, `d_train`: the chance that the discriminator puts a held-out or a training image above a sample. What
    cannot be measured is absent from the entry and not looked at. The untrained generator is left out, and samples
    whose distances are small but grow are left to grow.

    `real`: the figures of real images in place of samples. With them a generator is dead by `lifeless` at a single
    evaluation once `progress`, the proportion of the budget that is spent, is LATE. Before that it may be young: it is
    dead only where its distance has not fallen below its best for PATIENCE evaluations in a row.
    """

    def __init__(self, real: Mapping[str, Any] | None = None) -> None:
        self.real = real
        self.lowest: float | None = None  # distance so far, of the untrained generator too
        self.kid: float | None = None  # the high end of the best distance's interval
        self.coverage = 0.0
        self.most: dict[str, float] = {}  # of the distances
        self.rows: dict[str, int] = {}
        self.fired: set[str] = set()

    def __call__(self, entry: dict[str, Any]) -> list[str]:
        if "val_kid" not in entry:
            return []
        rules = self._rules(entry)
        self.lowest = entry["val_kid"] if self.lowest is None else min(self.lowest, entry["val_kid"])
        for key in ("pairwise", "nearest"):
            self.most[key] = max(self.most.get(key, 0.0), entry.get(key) or 0.0)
        if entry["step"] == 0:
            return []
        reasons = {}
        for key, (bad, text) in rules.items():
            self.rows[key] = self.rows.get(key, 0) + bad if bad else 0
            if self.rows[key] >= (LONG if key == "wins" else PATIENCE):
                reasons[key] = text
        self.coverage = max(self.coverage, entry.get("coverage") or 0.0)
        high = entry.get("val_kid_high")
        if high is not None:
            self.kid = high if self.kid is None else min(self.kid, high)
        new = {key: text for key, text in reasons.items() if key not in self.fired}
        self.fired |= set(new)
        return list(new.values())

    def _rules(self, entry: dict[str, Any]) -> dict[str, tuple[int, str]]:
        """How bad each figure is, 0 for well, and what to say of it."""
        rules: dict[str, tuple[int, str]] = {}
        low = entry.get("val_kid_low")
        if low is not None and self.kid is not None:
            rules["kid"] = (
                low > WORSE * max(self.kid, 0.0),
                f"samples are far from their best (val_kid={entry['val_kid']:.3g}; the best was below {self.kid:.3g})",
            )
        coverage = entry.get("coverage")
        if coverage is not None:
            rules["coverage"] = (
                self.coverage >= COVERED and coverage < LOST * self.coverage,
                f"samples have lost kinds of images (coverage={coverage:.3g}, it was {self.coverage:.3g})",
            )
        pairwise, nearest = entry.get("pairwise"), entry.get("nearest")
        if pairwise is not None:
            rules["pairwise"] = (
                self._small("pairwise", pairwise, PAIRWISE),
                f"samples are alike (mean distance {pairwise:.3g} of real images'; healthy is near 1)",
            )
        if nearest is not None:
            rules["nearest"] = (
                self._small("nearest", nearest, NEAREST),
                f"samples repeat (distance to the nearest other one {nearest:.3g} of real images'; healthy is near 1)",
            )
        copied = entry.get("copied_low")
        if copied is not None:
            rules["copied"] = (
                copied > COPIED and (entry.get("precision") or 0.0) > REAL,
                f"samples are copies of training images ({entry['copied']:.0%} are nearer to one than 95% of held-out"
                " images are)",
            )
        dead = self._dead(entry)
        if dead:
            rules["dead"] = dead
        held, trained = entry.get("d_val"), entry.get("d_train")
        if held is not None:
            rules["wins"] = (
                held > WINS,
                f"the discriminator has won (it tells {held:.1%} of held-out images from samples)",
            )
        if held is not None and trained is not None:
            rules["overfit"] = (
                trained - held > OVERFIT,
                f"the discriminator knows the training images by heart (it puts {trained:.0%} of them above samples,"
                f" of held-out images {held:.0%})",
            )
        return rules

    def _dead(self, entry: dict[str, Any]) -> tuple[int, str] | None:
        figures = entry | {f"kid{end}": entry.get(f"val_kid{end}") for end in ("", "_low", "_high")}
        # distances between samples have rules of their own, which let young ones grow
        reason = lifeless(figures | dict.fromkeys(DISTANCES), self.real) if self.real else None
        if reason is None:
            return None
        late = entry.get("progress", 1.0) >= LATE
        improved = self.lowest is None or entry["val_kid"] < self.lowest
        return (PATIENCE if late else int(not improved)), reason

    def _small(self, key: str, value: float, limit: float) -> int:
        if value >= limit or value > RISING * self.most.get(key, value):
            return 0
        return PATIENCE if value < limit / OBVIOUS else 1
