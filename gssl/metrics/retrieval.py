"""Retrieval and zero-shot classification from similarities: ranks, recall at K, and what resampled groups would give.

Ties count against whoever made them: a text of unknown words is as similar to every image as to its own.
"""

from collections.abc import Mapping
from math import comb
from typing import Any

import numpy as np

RESAMPLES, KEY = 1000, 0x9A1B
RECALLS = (1, 5, 10)
LEVEL = (0.025, 0.975)

Row = dict[str, Any]  # {"name", figure: {"value", "low", "high"}, …}


def ranks(scores: np.ndarray, true: np.ndarray) -> np.ndarray:
    """int64 (Q,): 1 and the number of others whose score is not below the best true one's. scores: (Q, P).

    true: bool (Q, P), at least one of every row. A row of equal scores has the last rank.
    """
    best = np.where(true, scores, -np.inf).max(1, keepdims=True)
    found: np.ndarray = 1 + ((scores >= best) & ~true).sum(1)
    return found


def resampled(units: np.ndarray) -> np.ndarray:
    """(RESAMPLES, Q): how often each query is there where its unit, int (Q,), is drawn with others as often as there
    are units."""
    _, of = np.unique(units, return_inverse=True)
    count = int(of.max(initial=0)) + 1
    drawn = np.random.Generator(np.random.Philox(key=KEY)).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    found: np.ndarray = drawn[:, of].astype(np.float32)
    return found


def chance(count: np.ndarray, pool: int) -> Row:
    """What an order at random has. count: int (Q,), true ones of each query among `pool`."""
    own = {k: [1 - comb(pool - m, k) / comb(pool, k) if k < pool else 1.0 for m in count.tolist()] for k in RECALLS}
    return {
        "name": "chance",
        **{f"r{k}": {"value": float(np.mean(values))} for k, values in own.items()},
        "median": {"value": float(np.median((pool + 1) / (count + 1)))},
    }


def recalls(found: Mapping[str, np.ndarray], units: np.ndarray) -> list[Row]:
    """A row per name: recall at `RECALLS` and the median rank, each with its 95% interval over resampled units.

    found: ranks (Q,) by name, the first of them the one that is evaluated; rows of the others have `gain` too: what it
    has more than they at 1 and 10, resample by resample.
    """
    weights = resampled(units)
    total = weights.sum(1)
    rows: list[Row] = []
    first = next(iter(found.values()))
    for name, own in found.items():
        row: Row = {"name": name}
        for k in RECALLS:
            hits = (own <= k).astype(np.float32)
            row[f"r{k}"] = _figure(float(hits.mean()), weights @ hits / total)
        row["median"] = _figure(float(np.median(own)), _medians(own, weights))
        if rows:
            row["gain"] = {}
            for k in (1, 10):
                more = (first <= k).astype(np.float32) - (own <= k)
                row["gain"][f"r{k}"] = _figure(float(more.mean()), weights @ more / total)
        rows.append(row)
    return rows


def accuracies(right: Mapping[str, np.ndarray], labels: np.ndarray, units: np.ndarray) -> list[Row]:
    """A row per name: accuracy and balanced accuracy (the mean over classes that are there), with intervals as above.

    right: bool (Q,) by name, the first of them the one that is evaluated.
    """
    weights = resampled(units)
    total = weights.sum(1)
    classes = np.unique(labels)
    members = np.stack([(labels == c).astype(np.float32) for c in classes])
    sizes = weights @ members.T  # (RESAMPLES, classes), some of them without a member
    rows: list[Row] = []
    first = next(iter(right.values()))
    for name, own in right.items():
        hits = own.astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.nanmean(np.where(sizes > 0, weights @ (members * hits).T / sizes, np.nan), axis=1)
        balanced = float(np.mean([hits[labels == c].mean() for c in classes]))
        row: Row = {
            "name": name,
            "accuracy": _figure(float(hits.mean()), weights @ hits / total),
            "balanced": _figure(balanced, each),
        }
        if rows:
            more = first.astype(np.float32) - hits
            row["gain"] = {"accuracy": _figure(float(more.mean()), weights @ more / total)}
        rows.append(row)
    return rows


def _figure(value: float, replicates: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(replicates, LEVEL).tolist()
    return {"value": value, "low": low, "high": high}


def _medians(own: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each resample the least rank that half of its queries do not pass."""
    order = np.argsort(own, kind="stable")
    summed = weights[:, order].cumsum(1)
    found: np.ndarray = own[order][(summed >= summed[:, -1:] / 2).argmax(1)]
    return found
