"""How good the generators' images are, beside what real images get in their place: rows and paired differences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gssl.metrics.grading import CONTROLS, averaged, graded
from gssl.metrics.instability import lifeless
from gssl.report.collect import Run
from gssl.report.model import Difference
from gssl.report.model_records import GenerationQuality, GenerationRow, Interval
from gssl.statistics import paired, resampled
from gssl.statistics.two_way import TwoWay, two_way_interval

# metric: its title, what is better
METRICS: dict[str, tuple[str, str]] = {
    "kid": ("KID", "low"),
    "fd": ("Fréchet distance", "low"),
    "precision": ("precision", "high"),
    "recall": ("recall", "high"),
    "density": ("density", "one"),
    "coverage": ("coverage", "high"),
    "copied": ("near-copies of training images", "low"),
    "gan_train": ("GAN-train accuracy", "high"),
    "gan_test": ("GAN-test accuracy", "high"),
}
COMPARED = ("kid", "coverage", "gan_train")  # between arms
FRACTIONS = ("precision", "recall", "coverage", "copied", "gan_train", "gan_test")
PERCENT = ("gan_train", "gan_test")  # shown in percent
POSITIVE = ("density", "fd")


def rows(runs: Sequence[Run], arms: Sequence[str]) -> list[GenerationRow]:
    """One row per arm and metric: the mean over seeds, its interval over seeds and test images, and the real-vs-real
    baseline."""
    out = []
    for arm in arms:
        found = _evaluations(runs, arm)
        if not found:
            continue
        one = next(iter(found.values()))
        for metric, (label, better) in METRICS.items():
            values = {str(seed): v for seed, text in found.items() if (v := value_of(text, metric)) is not None}
            if not values:
                continue
            texts = [found[int(seed)] for seed in values]
            baselines = [v for text in found.values() if (v := _baseline(text, metric)) is not None]
            over = interval(metric, list(values.values()), replicates(texts, metric), one["n"])
            row: dict[str, Any] = {
                "arm": arm,
                "metric": metric,
                "label": label,
                "better": better,
                "mean": sum(values.values()) / len(values),
                "interval": over or _over_images(one, metric),
                "per_seed": values,
                "n_seeds": len(values),
                "baseline": sum(baselines) / len(baselines) if baselines else None,
                "evaluator": one["evaluator"]["name"],
                "split": one["split"],
                "n": one["n"],
            }
            out.append(GenerationRow.model_validate(row))
    return out


def qualities(runs: Sequence[Run], found: Sequence[GenerationRow]) -> list[GenerationQuality]:
    """A sentence per arm whose evaluations measured controls; `found`: from `rows`."""
    out = []
    for arm in dict.fromkeys(row.arm for row in found):
        texts = [text for text in _evaluations(runs, arm).values() if text.get("controls")]
        if not texts:
            continue
        figures = averaged([text["figures"] for text in texts])  # of these generators, whatever other seeds would give
        real = averaged([text["baseline"]["train_real"] for text in texts])
        names = [name for name in CONTROLS if all(name in text["controls"] for text in texts)]
        controls = {name: averaged([text["controls"][name] for text in texts]) for name in names}
        if quality := graded(figures, real, controls, texts[0]["split"]):
            out.append(GenerationQuality.model_validate({"arm": arm, **quality}))
    return out


def replicates(texts: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray | None:
    """(evaluations, B) replicates of a metric over the same images; None where one lacks them or has other images."""
    found = [(text.get("replicates") or {}).get(metric) for text in texts]
    same = {(text.get("images"), text.get("split")) for text in texts}
    if len(same) != 1 or any(values is None for values in found) or len({len(values or ()) for values in found}) != 1:
        return None
    return np.array(found, dtype=float)


def dead(text: Mapping[str, Any]) -> str | None:
    """Why the generator of an evaluation is dead, in words with its metrics; None: it is not, or nothing can be said.

    By the metrics that it holds, whatever the version that wrote it said.
    """
    real = (text.get("baseline") or {}).get("train_real")
    return lifeless(text["figures"], real) if real else None


def deaths(runs: Sequence[Run]) -> list[tuple[Run, str, Path]]:
    """Evaluations on test images that show a dead generator: the run that holds it, why, the run that trained it."""
    out = []
    for run in runs:
        if run.stage == "evaluate" and run.finished:
            text = run.result["evaluation"]
            trained = run.depends[0] if run.depends else Path(str(text.get("run")))
        elif run.stage == "pretrain" and run.evaluations:
            text, trained = run.evaluations[-1], run.path
        else:
            continue
        if reason := dead(text):
            out.append((run, reason, trained.resolve()))
    return out


def _evaluations(runs: Sequence[Run], arm: str) -> dict[int, dict[str, Any]]:
    """seed → its evaluation: the comparison's own part, else the newest on test images that lies in the GAN's run."""
    own = {r.seed or 0: r.result["evaluation"] for r in runs if r.arm == arm and r.stage == "evaluate" and r.finished}
    if own:
        return own
    found = {}
    for run in runs:
        if run.arm == arm and run.stage == "pretrain" and run.evaluations:
            found[run.seed or 0] = run.evaluations[-1]
    evaluators = {text["evaluator"].get("hash") for text in found.values()}
    return found if len(evaluators) == 1 else {}  # values by different evaluators are not to be averaged


def value_of(text: Mapping[str, Any], metric: str) -> float | None:
    """A metric of an evaluation (gssl.evaluation/3, and older ones)."""
    if metric in ("gan_train", "gan_test"):
        found = (text.get("conditional") or {}).get(metric)
        return float(found["accuracy"]) if found else None
    value = text["figures"].get(metric)
    return None if value is None else float(value)


def _baseline(text: Mapping[str, Any], metric: str) -> float | None:
    """What real training images get: GAN-train's is what real images teach."""
    if metric == "gan_train":
        found = (text.get("conditional") or {}).get("real")
        return float(found["accuracy"]) if found else None
    value = (text.get("baseline") or {}).get("train_real", {}).get(metric)
    return None if value is None else float(value)


def _over_images(text: Mapping[str, Any], metric: str) -> Interval | None:
    """One seed: what other images would give, for this one generator."""
    if metric in ("gan_train", "gan_test"):
        found = text["conditional"][metric]
        low, high, kind = found["low"], found["high"], "wilson"
    else:
        low, high = (text["figures"].get(f"{metric}_{end}") for end in ("low", "high"))
        kind = "bootstrap"
    if low is None or high is None:
        return None
    return Interval.model_validate(
        {"kind": kind, "over": "test images", "n": text["n"], "level": 0.95, "low": low, "high": high}
    )


# ── intervals and differences ────────────────────────────────────────────────────────────────────


def interval(
    metric: str, values: Sequence[float], replicates: np.ndarray | None, items: int, level: float = 0.95
) -> Interval | None:
    """Of the mean of one arm's `values` (n,), one per seed; `replicates` (n, B). None where neither shows any spread.

    KID: its estimate may be negative but the distance is not, so the lower end is cut at the smaller of 0 and the mean.
    Without replicates (evaluations of an older version, the Fréchet distance): Student's t over seeds.
    """
    ends, over = resampled.interval(values, replicates, items, bounds(metric, float(np.mean(values))), level)
    return _written(ends, over, len(values), level)


def bounds(metric: str, mean: float) -> tuple[float, float]:
    """What a metric whose estimate is `mean` can be."""
    if metric in FRACTIONS:
        return 0.0, 1.0
    return (0.0 if metric in POSITIVE else min(0.0, mean)), float("inf")


def difference(
    metric: str, values: Sequence[float], replicates: np.ndarray | None, items: int, level: float = 0.95
) -> tuple[Interval | None, TwoWay | None]:
    """The interval of paired differences (n,), from the differences of their replicates (n, B); and its parts."""
    top = 1.0 if metric in FRACTIONS else float("inf")
    if replicates is None:
        found = paired.t_interval(list(values), level)
        return _written(resampled.cut(found, (-top, top)) if found else None, None, len(values), level), None
    over = resampled.spread(values, replicates, items)
    return _written(two_way_interval(over, level, (-top, top)), over, len(values), level), over


def _written(ends: paired.Interval | None, over: TwoWay | None, n: int, level: float) -> Interval | None:
    if ends is None:
        return None
    if over is None:
        return Interval(kind="t", over="seeds", n=n, level=level, low=ends.low, high=ends.high)
    images = over.seeds < 2 or over.fixed
    return Interval(
        kind="bootstrap" if images else "two_way",
        over="test images" if images else "seeds and test images",
        n=n,
        level=level,
        low=ends.low,
        high=ends.high,
        items=over.items,
    )


def differences(found: Sequence[GenerationRow], ranked: Sequence[str], runs: Sequence[Run] = ()) -> list[Difference]:
    """Paired over seeds and test images, between arms with a generator, by the metrics of the whole distribution.

    `found`: from `rows`; `runs`: those that it was made from. Without them intervals are over seeds alone.
    """
    out = []
    texts = {arm: _evaluations(runs, arm) for arm in {row.arm for row in found}}
    for metric in COMPARED:
        mine = [row for row in found if row.metric == metric and row.arm in ranked]
        for i, one in enumerate(mine):
            for two in mine[i + 1 :]:
                seeds = [seed for seed in one.per_seed if seed in two.per_seed]
                if seeds and one.evaluator == two.evaluator:
                    out.append(_paired(one, two, seeds, texts))
    return out


def _paired(
    one: GenerationRow, two: GenerationRow, seeds: Sequence[str], texts: Mapping[str, Mapping[int, Mapping[str, Any]]]
) -> Difference:
    values = {seed: one.per_seed[seed] - two.per_seed[seed] for seed in seeds}
    listed = list(values.values())
    sides = [texts[row.arm].get(int(seed), {}) for row in (one, two) for seed in seeds]
    both = replicates(sides, one.metric)
    between = None if both is None else both[: len(seeds)] - both[len(seeds) :]
    ends, parts = difference(one.metric, listed, between, min(one.n or 0, two.n or 0))
    return Difference(
        a=one.arm,
        b=two.arm,
        probe=None,
        probes=[],
        label_budget="",
        metric=one.metric,
        mean=sum(listed) / len(listed),
        interval=ends,
        p=paired.sign_flip(listed) if len(listed) > 1 else None,
        p_adjusted=None,
        simultaneous=None,
        effect_size=paired.effect_size(listed),
        n_seeds=len(listed),
        per_seed=values,
        family="exploratory",
        fixed=parts is not None and parts.fixed,
        item_share=parts.item_share if parts else None,
    )
