"""How label budgets are written: after the @ of a claim, in `primary.labels`, in reports."""

from collections.abc import Mapping, Sequence
from typing import Any

# Keys of a score that hold its label budget; one of them has a value.
KEYS = ("labels_per_class", "fraction", "images_labelled")


def label_budget_key(labels_per_class: int | None, fraction: float | None, images: int | None = None) -> str:
    """ "10" (per class), "5i" (labelled images), "1%" or "all"."""
    if labels_per_class is not None:
        return str(int(labels_per_class))
    if images is not None:
        return f"{int(images)}i"
    if fraction is None or fraction >= 1:
        return "all"
    return f"{100 * fraction:g}%"


def label_budget_of(score: Mapping[str, Any]) -> str:
    """The key of a score of result.json."""
    return label_budget_key(*(score.get(key) for key in KEYS))


def label_budget_keys(
    labels_per_class: Sequence[int], fractions: Sequence[float], images: Sequence[int] = ()
) -> list[str]:
    """All label budgets of a plan."""
    return [
        *(label_budget_key(n, None) for n in labels_per_class),
        *(label_budget_key(None, None, n) for n in images),
        *(label_budget_key(None, f) for f in fractions),
    ]


def parse_label_budget(key: str) -> tuple[int | None, float | None, int | None]:
    """Labels per class, fraction of the labels, labelled images: the inverse of `label_budget_key`."""
    if key.isdigit():
        return int(key), None, None
    if key.endswith("i"):
        return None, None, int(key.removesuffix("i"))
    return None, 1.0 if key == "all" else float(key.removesuffix("%")) / 100, None
