"""What of a configuration determines a run's result, and its hash. Pure functions of a typed configuration."""

import hashlib
import json
import re
from typing import Any

from gssl.schemas.classical import NAMES as CLASSICAL
from gssl.schemas.ready_made import READY_MADE, SHORT
from gssl.schemas.section import Section

# What changes neither the weights nor the numbers: it may differ when a run goes on. Where images lie is among it:
# a run is tied to their content, as to that of the weights it starts from (`Run.bind`).
FREE = {
    "engine": (
        "resume",
        "progress",
        "progress_format",
        "loggers",
        "log_every",
        "checkpoint_every",
        "keep_checkpoints",
        "threads",
        "processes",
        "on_collapse",
        "benchmark",
        "compile",
    ),
    "data": ("root", "pretrain", "train", "test", "labels", "workers"),
    "diagnose": ("pictures", "map"),
}
# Other weights are paths.
NAMED_WEIGHTS = re.compile(
    rf"random|pixels|majority|position|{'|'.join([*CLASSICAL, *READY_MADE])}|torchvision|(torchvision|timm|hf):.+"
    rf"|({'|'.join(SHORT)})(@.+)?"
)


def determining(cfg: Section) -> dict[str, Any]:
    """The part of a typed configuration that determines the result, as dicts and lists (see FREE)."""
    tree = cfg.model_dump()
    tree.pop("executor", None)  # where parts run
    for group, keys in FREE.items():
        for key in keys:
            tree.get(group, {}).pop(key, None)
    if tree.get("engine", {}).get("tf32"):
        tree["engine"].pop("tf32")  # as before there was any
    if not tree.get("engine", {}).get("checkpointing") or (tree.get("budget") or {}).get("flops") is None:
        tree.get("engine", {}).pop("checkpointing", None)  # the same gradients, but more operations
    data = tree.get("data", {})
    for known in ("folds", "range", "store"):  # the images' own hash knows
        data.pop(known, None)
    if data.get("fold") is None:  # as before there were any
        data.pop("fold", None)
    learns = [str(tree.get("weights")), *(text.rpartition("@")[2] for text in tree.get("sources", []))]
    if not set(learns) & set(CLASSICAL):
        tree.pop("classical", None)  # nothing is learnt by it
    if not NAMED_WEIGHTS.fullmatch(tree.get("weights", "random")):
        tree["weights"] = "file"
    if tree.get("weights") == "random":
        tree.pop("continued", None)  # nothing is
    method = tree.get("ssl")
    if isinstance(method, dict) and not NAMED_WEIGHTS.fullmatch(method.get("teacher", "random")):
        method["teacher"] = "file"
    if tree.get("generated", {}).get("run", "") is None:
        tree.pop("generated")  # off: its other keys have no effect
    elif "generated" in tree:
        tree["generated"]["run"] = "directory"
    return tree


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"ssl": {"temperature": .2}} as {"ssl.temperature": .2}; lists stay whole, empty dicts are left out."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {k: v for key, item in tree.items() for k, v in flat(item, f"{prefix}.{key}".lstrip(".")).items()}


def config_hash(cfg: Section) -> str:
    """16 hex digits of what determines a run's result."""
    return hashlib.sha256(json.dumps(determining(cfg), sort_keys=True).encode()).hexdigest()[:16]
