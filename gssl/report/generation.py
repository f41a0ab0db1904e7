"""The other game: how good the generators' images are, beside what real images get in their place."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gssl.metrics.instability import lifeless
from gssl.report.collect import Run
from gssl.report.replicated import difference, interval

# metric: what it is called, what is better
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


def rows(runs: Sequence[Run], arms: Sequence[str]) -> list[dict[str, Any]]:
    """One row per arm and metric: the mean over seeds, its interval over seeds and test images, and the floor that real
    images reach."""
    out = []
    for arm in arms:
        found = _evaluations(runs, arm)
        if not found:
            continue
        one = next(iter(found.values()))
        for metric, (label, better) in METRICS.items():
            values = {str(seed): value for seed, text in found.items() if (value := figure(text, metric)) is not None}
            if not values:
                continue
            texts = [found[int(seed)] for seed in values]
            floors = [floor for text in found.values() if (floor := _floor(text, metric)) is not None]
            out.append(
                {
                    "arm": arm,
                    "metric": metric,
                    "label": label,
                    "better": better,
                    "mean": sum(values.values()) / len(values),
                    "interval": interval(metric, list(values.values()), replicates(texts, metric), one["n"])
                    or _over_images(one, metric),
                    "per_seed": values,
                    "n_seeds": len(values),
                    "baseline": sum(floors) / len(floors) if floors else None,
                    "evaluator": one["evaluator"]["name"],
                    "split": one["split"],
                    "n": one["n"],
                }
            )
    return out


def replicates(texts: Sequence[Mapping[str, Any]], metric: str) -> np.ndarray | None:
    """(evaluations, B) replicates of a metric over the same images; None where one lacks them or has other images."""
    found = [(text.get("replicates") or {}).get(metric) for text in texts]
    same = {(text.get("images"), text.get("split")) for text in texts}
    if len(same) != 1 or any(values is None for values in found) or len({len(values or ()) for values in found}) != 1:
        return None
    return np.array(found, dtype=float)


def dead(text: Mapping[str, Any]) -> str | None:
    """Why the generator of an evaluation is dead, in words with its figures; None: it is not, or nothing can be said.

    By the figures that it holds, whatever the version that wrote it said.
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
    judges = {text["evaluator"].get("hash") for text in found.values()}
    return found if len(judges) == 1 else {}  # figures of different judges are not to be averaged


def figure(text: Mapping[str, Any], metric: str) -> float | None:
    """A metric of an evaluation (gssl.evaluation/2, and /1)."""
    if metric in ("gan_train", "gan_test"):
        found = (text.get("conditional") or {}).get(metric)
        return float(found["accuracy"]) if found else None
    value = text["figures"].get(metric)
    return None if value is None else float(value)


def _floor(text: Mapping[str, Any], metric: str) -> float | None:
    """What real training images get: GAN-train's is what real images teach."""
    if metric == "gan_train":
        found = (text.get("conditional") or {}).get("real")
        return float(found["accuracy"]) if found else None
    value = (text.get("baseline") or {}).get("train_real", {}).get(metric)
    return None if value is None else float(value)


def _over_images(text: Mapping[str, Any], metric: str) -> dict[str, Any] | None:
    """One seed: what other images would give, for this one generator."""
    if metric in ("gan_train", "gan_test"):
        found = text["conditional"][metric]
        low, high, kind, n = found["low"], found["high"], "wilson", text["n"]
    else:
        low, high = (text["figures"].get(f"{metric}_{end}") for end in ("low", "high"))
        kind, n = "bootstrap", text["n"]
    if low is None or high is None:
        return None
    return {"kind": kind, "over": "test images", "n": n, "level": 0.95, "low": low, "high": high}


def differences(
    found: Sequence[Mapping[str, Any]], ranked: Sequence[str], runs: Sequence[Run] = ()
) -> list[dict[str, Any]]:
    """Paired over seeds and test images, between arms with a generator, by the metrics of the whole distribution.

    `found`: from `rows`; `runs`: those that it was made from. Without them intervals are over seeds alone.
    """
    from gssl.statistics.paired import effect_size, sign_flip

    out = []
    texts = {arm: _evaluations(runs, arm) for arm in {row["arm"] for row in found}}
    for metric in COMPARED:
        mine = [row for row in found if row["metric"] == metric and row["arm"] in ranked]
        for i, one in enumerate(mine):
            for two in mine[i + 1 :]:
                shared = [seed for seed in one["per_seed"] if seed in two["per_seed"]]
                if not shared or one["evaluator"] != two["evaluator"]:
                    continue
                values = {seed: one["per_seed"][seed] - two["per_seed"][seed] for seed in shared}
                listed = list(values.values())
                sides = [texts[row["arm"]].get(int(seed), {}) for row in (one, two) for seed in shared]
                both = replicates(sides, metric)
                between = None if both is None else both[: len(shared)] - both[len(shared) :]
                told, parts = difference(metric, listed, between, min(one["n"], two["n"]))
                out.append(
                    {
                        "a": one["arm"],
                        "b": two["arm"],
                        "metric": metric,
                        "probe": None,
                        "probes": [],
                        "label_budget": "",
                        "mean": sum(listed) / len(listed),
                        "interval": told,
                        "per_seed": values,
                        "n_seeds": len(listed),
                        "fixed": parts is not None and parts.fixed,
                        "item_share": parts.item_share if parts else None,
                        "p": sign_flip(listed) if len(listed) > 1 else None,
                        "p_adjusted": None,
                        "simultaneous": None,
                        "effect_size": effect_size(listed),
                        "family": "exploratory",
                    }
                )
    return out
