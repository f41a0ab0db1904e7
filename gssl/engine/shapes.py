"""What documents of a run hold, as types of their keys. No torch here.

A shape is a type or a tuple of types, a dict (of the keys that are named; `*`: of all others), or a list of one shape.
A key may be absent: older versions wrote fewer. None is a value wherever a type stands: it is what NaN is written as.
"""

from typing import Any

WHOLE, NUMBER, TEXT, LIST, TABLE = int, (int, float), str, list, dict

OBJECTIVE = {"name": TEXT, "value": NUMBER, "direction": TEXT}
SCORE = {
    "probe": TEXT,
    "labels_per_class": WHOLE,
    "images_labelled": WHOLE,
    "fraction": NUMBER,
    "draw": WHOLE,
    "n_test": WHOLE,
    "metrics": {"*": NUMBER},
    "accuracy": NUMBER,
    "balanced_accuracy": NUMBER,
}
SOURCE = {"kind": TEXT, "path": TEXT, "method": TEXT, "sha256": TEXT, "step": WHOLE}
EXTENSION = {"step": WHOLE, "config_hash_before": TEXT, "budget": TABLE, "budget_before": TABLE}

STATUS = {
    "schema": TEXT,
    "command": TEXT,
    "config_hash": TEXT,
    "state": TEXT,
    "step": WHOLE,
    "started": TEXT,
    "ended": TEXT,
    "error": TEXT,
    "pid": WHOLE,
    "inputs": {"*": TEXT},
    "test_openings": WHOLE,
    "spent": TABLE,
    "extensions": [EXTENSION],
    "result_sha256": TEXT,
    "metrics_sha256": TEXT,
    "files": {"*": {"bytes": WHOLE, "sha256": TEXT}},
}
RESULT = {
    "schema": TEXT,
    "command": TEXT,
    "method": TEXT,
    "seed": WHOLE,
    "objective": OBJECTIVE,
    "scores": [SCORE],
    "generated_scores": [SCORE],
    "generated_gain": [TABLE],
    "generated": TABLE,
    "source": SOURCE,
    "backbone": TABLE,
    "classes": [TEXT],
    "learning_curves": [TABLE],
    "spent": {"steps": NUMBER, "images": NUMBER, "epochs": NUMBER, "seconds": NUMBER, "flops": NUMBER, "beside": TABLE},
    "model": {"file": TEXT, "folder": TEXT, "probe": TEXT},
    "weights": TABLE,
    "folds": TABLE,
    "curve": TABLE,
    "evaluator": TABLE,
    "evaluation": TABLE,
    "best": TABLE,
    "last": TABLE,
    "exported": TABLE,
    "kid_baseline": TABLE,
    "quality": TABLE,
    "data": TABLE,
    "extensions": [EXTENSION],
    "test_openings": (int, dict),
}
PROGRESS = {
    "progress": NUMBER,
    "whole": bool,
    "step": WHOLE,
    "total": WHOLE,
    "eta": NUMBER,
    "images_per_second": NUMBER,
    "loss": NUMBER,
    "title": TEXT,
}
DESCRIPTION = {
    "schema": TEXT,
    "sha256": TEXT,
    "input": TABLE,
    "inside": bool,
    "classes": [TEXT],
    "preprocessing": (dict, list),
    "calibration": TABLE,
    "unknown": TABLE,
    "n_train": WHOLE,
}
NETWORK = {"name": TEXT, "norm": TEXT, "width": WHOLE, "patch": WHOLE, "size": WHOLE}
BACKBONE = DESCRIPTION | {"backbone": NETWORK, "seed": WHOLE}
GENERATOR = {
    "method": {"name": TEXT, "truncation": NUMBER, "classes": [TEXT], "pairs": bool},
    "shape": {
        "kind": TEXT,
        "latent": WHOLE,
        "width": WHOLE,
        "size": WHOLE,
        "channels": WHOLE,
        "norm": TEXT,
        "attention": bool,
        "classes": WHOLE,
    },
}
BY_NAME: dict[str, Any] = {
    "status.json": STATUS,
    "result.json": RESULT,
    "progress.json": PROGRESS,
    "environment.json": {"schema": TEXT, "threads": WHOLE, "processes": WHOLE, "gssl": TEXT, "precision": TEXT},
    "part.json": {
        "schema": TEXT,
        "arm": TEXT,
        "about": TABLE,
        "seed": WHOLE,
        "stage": TEXT,
        "method": TEXT,
        "depends": [TEXT],
        "hash": TEXT,
        "fold": WHOLE,
        "stage_index": WHOLE,
        "budget_fraction": NUMBER,
        "trial": bool,
    },
    "parts.json": {"parts": [{"path": TEXT}]},
    "report.json": {
        "schema": TEXT,
        "provenance": {"runs": [{"path": TEXT}]},
        "advice": {"sentences": [TEXT]},
        "table": [TABLE],
        "arms": [TABLE],
        "primary": TABLE,
        "label_budgets": [TABLE],
    },
    "state.json": {"schema": TEXT, "step": WHOLE, "seconds": NUMBER, "milestone": bool, "optim": LIST},
    "manifest.json": {"*": {"sha256": TEXT, "bytes": WHOLE}},
    "backbone.json": BACKBONE,
    "finetuned.json": BACKBONE,
    "head.json": BACKBONE,
    "predict.json": BACKBONE,
    "discriminator.json": DESCRIPTION | {"heads": TABLE, "backbone": NETWORK, "trunk_size": WHOLE},
    "generator.json": DESCRIPTION | GENERATOR,
}
# what every version has written: without it the document is damaged
NEEDED = {
    "backbone.json": ("schema", "sha256", "backbone"),
    "finetuned.json": ("schema", "sha256", "backbone"),
    "head.json": ("schema", "sha256", "backbone"),
    "predict.json": ("schema", "sha256"),
    "generator.json": ("schema", "sha256"),
    "discriminator.json": ("schema", "sha256"),
}
NAMES = {int: "a whole number", float: "a number", str: "text", dict: "a table", list: "a list", bool: "true or false"}


def mismatch(value: Any, shape: Any, at: str = "") -> str | None:
    """Where `value` is not of `shape` and what was expected there; None where all of it is."""
    if value is None:
        return None
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return _expected(at, dict)
        for key, item in value.items():
            inner = shape.get(key, shape.get("*"))
            if inner is not None and (found := mismatch(item, inner, f"{at}.{key}" if at else key)):
                return found
        return None
    if isinstance(shape, list):
        if not isinstance(value, list):
            return _expected(at, list)
        for i, item in enumerate(value):
            place = f"{at}[{i}]"
            if wrong := f"{place}: is null" if item is None else mismatch(item, shape[0], place):
                return wrong
        return None
    kinds = shape if isinstance(shape, tuple) else (shape,)
    right = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    return None if right else _expected(at, *kinds)


def _expected(at: str, *kinds: type) -> str:
    words = [NAMES[kind] for kind in kinds if kind is not int or float not in kinds]
    return f"{at or 'the whole'}: expected {' or '.join(words)}"
