"""Has a representation collapsed? Rules over the numbers that a run logs; how late each fires: docs/collapse.md."""

import math
from typing import Any

# Of unit-length projections: a proportion of what fills the sphere, and a cosine between different images
STD, COSINE = 0.1, 0.95
RANK = 0.05  # of min(n, d), below which features have too few directions
LINE, LINE_STEPS = 1.75, 100  # directions that projections must not stay below for so many steps
PATIENCE = 3  # records in a row: a projection may be narrow for a moment


class CollapseMonitor:
    """Feed it every logged entry, in order; it returns what is newly wrong, each reason once.

    Projections (`z_std`, `z_cosine`, `z_rank`, logged during training by methods that compare embeddings) have absolute
    limits. A norm at the end of a head keeps them from becoming one point; they then collapse to a line, which z_rank
    shows. SwAV's lie near a line for some sixty steps and leave it: hence the hundred.
    A backbone's features (`feature_std`, `feature_cosine`, `feature_rankme`, from evaluations) do not: after a ReLU
    they all point the same way, and those of a random ViT on digits lie within .074 of a point. So they must be
    below the limit *and* have lost half of what they had before training. `val_knn` must not fall to chance.
    """

    def __init__(self, chance: float, n: int) -> None:
        """`chance`: accuracy of the most frequent class, in [0, 1]; `n`: validation images."""
        self.level = chance + 2 * math.sqrt(chance * (1 - chance) / max(n, 1))
        self.first: dict[str, float] = {}
        self.rows: dict[str, int] = {}
        self.line: int | None = None  # step since which projections lie on one
        self.fired: set[str] = set()

    def __call__(self, entry: dict[str, Any]) -> list[str]:
        reasons = {}
        for key, value, bad, limit in (
            ("z_std", entry.get("z_std"), lambda v: v < STD, f"below {STD}; healthy is near 1"),
            ("z_cosine", entry.get("z_cosine"), lambda v: v > COSINE, f"above {COSINE}; healthy is near 0"),
        ):
            if value is None:
                continue
            self.rows[key] = self.rows.get(key, 0) + 1 if bad(value) else 0
            if self.rows[key] >= PATIENCE:
                reasons[key] = f"projections of different images have become alike ({key}={value:.3g}, {limit})"
        if "z_rank" in entry:
            if entry["z_rank"] >= LINE:
                self.line = None
            elif self.line is None:
                self.line = entry["step"]
            elif entry["step"] - self.line >= LINE_STEPS:
                reasons["z_rank"] = (
                    f"projections lie on a line (z_rank={entry['z_rank']:.3g}, below {LINE} since step {self.line})"
                )
        if "feature_rankme" in entry:
            reasons |= self._features(entry)
        new = {key: text for key, text in reasons.items() if key not in self.fired}
        self.fired |= set(new)
        return list(new.values())

    def _features(self, entry: dict[str, Any]) -> dict[str, str]:
        std, cosine, rank = entry["feature_std"], entry["feature_cosine"], entry["feature_rankme"]
        knn = entry.get("val_knn")
        if not self.first:
            self.first = {"std": std, "rank": rank, "rest": 1 - cosine, "knn": knn or 0.0}
            return {}
        reasons = {}
        if std < STD and std < self.first["std"] / 2:
            reasons["feature_std"] = f"features have become one point (feature_std={std:.3g}, below {STD})"
        if cosine > COSINE and 1 - cosine < self.first["rest"] / 2:
            reasons["feature_cosine"] = f"features have become alike (feature_cosine={cosine:.3g}, above {COSINE})"
        least = RANK * min(entry["feature_n"], entry["feature_d"])
        if rank < least and rank < self.first["rank"] / 2:
            reasons["feature_rankme"] = f"features span few directions (feature_rankme={rank:.3g}, below {least:.3g})"
        if knn is not None and knn <= self.level < self.first["knn"]:
            reasons["val_knn"] = f"neighbours tell nothing any more (val_knn={knn:.3g}, chance {self.level:.3g})"
        return reasons
