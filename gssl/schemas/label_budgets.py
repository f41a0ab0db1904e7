"""How label budgets are written: after the @ of a claim, in `primary.labels`, in reports."""

from collections.abc import Sequence


def label_budget_key(labels_per_class: int | None, fraction: float | None) -> str:
    """ "10" (per class), "1%" or "all"."""
    if labels_per_class is not None:
        return str(int(labels_per_class))
    if fraction is None or fraction >= 1:
        return "all"
    return f"{100 * fraction:g}%"


def label_budget_keys(labels_per_class: Sequence[int], fractions: Sequence[float]) -> list[str]:
    """All amounts of a plan."""
    return [*(label_budget_key(n, None) for n in labels_per_class), *(label_budget_key(None, f) for f in fractions)]


def parse_label_budget(key: str) -> tuple[int | None, float | None]:
    """Labels per class or share of the labels, from how it is written: the inverse of `amount_key`."""
    if key.isdigit():
        return int(key), None
    return None, 1.0 if key == "all" else float(key.removesuffix("%")) / 100
