"""The other game: how good the generators' images are, beside what real images get in their place."""

from collections.abc import Mapping, Sequence
from typing import Any

from gssl.report.collect import Run
from gssl.report.spent import over_seeds

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
    """One row per arm and metric: the mean over seeds, its interval, and the floor that real images reach."""
    out = []
    for arm in arms:
        found = _evaluations(runs, arm)
        if not found:
            continue
        for metric, (label, better) in METRICS.items():
            values = {seed: value for seed, text in found.items() if (value := figure(text, metric)) is not None}
            if not values:
                continue
            one = next(iter(found.values()))
            told = over_seeds({str(seed): value for seed, value in values.items()})
            if told["interval"] is None:
                told["interval"] = _over_images(one, metric)
            floors = [floor for text in found.values() if (floor := _floor(text, metric)) is not None]
            out.append(
                {
                    "arm": arm,
                    "metric": metric,
                    "label": label,
                    "better": better,
                    **told,
                    "floor": sum(floors) / len(floors) if floors else None,
                    "judge": one["judge"]["name"],
                    "split": one["split"],
                    "n": one["n"],
                }
            )
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
    judges = {text["judge"].get("hash") for text in found.values()}
    return found if len(judges) == 1 else {}  # figures of different judges are not to be averaged


def figure(text: Mapping[str, Any], metric: str) -> float | None:
    """A metric of an evaluation (gssl.evaluation/1)."""
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
    value = (text.get("floor") or {}).get("train_real", {}).get(metric)
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


def differences(found: Sequence[Mapping[str, Any]], ranked: Sequence[str]) -> list[dict[str, Any]]:
    """Paired over seeds, between arms with a generator, by the metrics that speak of the whole distribution."""
    from gssl.report.statistics import effect_size, sign_flip

    out = []
    for metric in COMPARED:
        mine = [row for row in found if row["metric"] == metric and row["arm"] in ranked]
        for i, one in enumerate(mine):
            for two in mine[i + 1 :]:
                shared = [seed for seed in one["per_seed"] if seed in two["per_seed"]]
                if not shared or one["judge"] != two["judge"]:
                    continue
                values = {seed: one["per_seed"][seed] - two["per_seed"][seed] for seed in shared}
                listed = list(values.values())
                out.append(
                    {
                        "a": one["arm"],
                        "b": two["arm"],
                        "metric": metric,
                        "probe": None,
                        "probes": [],
                        "amount": "",
                        **over_seeds(values),
                        "p": sign_flip(listed) if len(listed) > 1 else None,
                        "p_adjusted": None,
                        "simultaneous": None,
                        "effect_size": effect_size(listed),
                        "family": "exploratory",
                    }
                )
    return out
