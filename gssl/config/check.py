"""From a composed config to a typed one: every mistake becomes one line that names the key and the way out.

Neither Hydra nor torch is imported here, so that compare's workers and a config error stay quick.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gssl import schemas
from gssl.config import arms, comparing, registry
from gssl.data.sources import SOURCES
from gssl.errors import UsageError
from gssl.names import nearest, no_key, unique, unknown
from gssl.schemas import classical
from gssl.schemas.ready_made import READY_MADE

# What changes neither the weights nor the numbers: it may differ when a run goes on. Where images lie is among it:
# a run is tied to their content, as to that of the weights it starts from (`Run.bind`).
FREE = {
    "engine": (
        "resume",
        "progress",
        "tensorboard",
        "log_every",
        "checkpoint_every",
        "keep_checkpoints",
        "threads",
        "on_collapse",
    ),
    "data": ("root", "pretrain", "train", "test", "labels", "workers"),
    "diagnose": ("pictures", "map"),
}
# Other weights are paths.
NAMED_WEIGHTS = re.compile(
    rf"random|pixels|majority|position|{'|'.join([*classical.NAMES, *READY_MADE])}|torchvision|(torchvision|timm):.+"
)
# What may be written without its group on the command line.
SHORT = {
    "device": "engine.device",
    "precision": "engine.precision",
    "resume": "engine.resume",
    "on_collapse": "engine.on_collapse",
}
# What to give where a value is required and the type says too little.
HINTS = {
    "weights": "random, pixels, majority, position, pca, kmeans, torchvision[:NAME], timm:NAME, a run, a checkpoint, a file",
    "sources": "a list such as [runs/pretrain_ssl/RUN, scratch, random]",
    "data.root": "the folder of your images",
}
WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


@dataclass(frozen=True)
class Leaf:
    """One configuration key that holds a value: its type and what the schema's metadata demands."""

    hint: Any
    meta: Mapping[str, Any]

    @property
    def optional(self) -> bool:
        return NoneType in get_args(self.hint)

    @property
    def type(self) -> Any:
        """The type without its `| None`."""
        if get_origin(self.hint) in (Union, UnionType):
            return next(t for t in get_args(self.hint) if t is not NoneType)
        return self.hint

    @property
    def free(self) -> bool:
        """Whether keys of the user's own may stand below this one."""
        return get_origin(self.type) is dict

    def describe(self) -> str:
        """What may stand here, in words: 'an integer, at least 1, or null'."""
        if choices := self.meta.get("choices"):
            text = choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
        elif get_origin(self.type) is list:
            length = self.meta.get("length")
            what = {int: "integers", float: "numbers", str: "strings"}[get_args(self.type)[0]]
            text = f"a list of {length if length else ''} {what}".replace("  ", " ")
        elif get_origin(self.type) is dict:
            text = "a mapping such as {simclr: ['ssl.temperature=0.5']}"
        else:
            text = WORDS.get(self.type, "a value")
        words = {"above": "above", "min": "at least", "below": "below", "max": "at most"}
        for key, word in words.items():
            if self.meta.get(key) is not None:
                text += f", {word} {self.meta[key]}"
        if least := self.meta.get("least"):
            text += f", {least} or more of them"
        if self.meta.get("ascending"):
            text += ", the smaller first"
        return text + (", or null" if self.optional else "")

    def wrong(self, value: Any) -> bool:
        """Whether a value of the right type breaks a bound or is not among the choices."""
        if value is None:
            return False
        if isinstance(value, list):
            length = self.meta.get("length")
            if len(value) < (self.meta.get("least") or 0) or (length and len(value) != length):
                return True
            if self.meta.get("ascending") and value != sorted(value):
                return True
            return any(self.wrong(v) for v in value)
        if self.meta.get("choices"):
            return value not in self.meta["choices"]
        if isinstance(value, str | dict):
            return False
        low, high, above, below = (self.meta.get(k) for k in ("min", "max", "above", "below"))
        return (
            not math.isfinite(value)
            or (low is not None and value < low)
            or (high is not None and value > high)
            or (above is not None and value <= above)
            or (below is not None and value >= below)
        )


def leaves(root: Any, methods: Mapping[str, type | None] | None = None, prefix: str = "") -> dict[str, Leaf]:
    """Every key of a schema, dotted. `methods` gives the schema of `ssl` or `gan`; None leaves it out."""
    found: dict[str, Leaf] = {}
    hints = _hints(root)
    for f in fields(root):
        key, hint = prefix + f.name, hints[f.name]
        if hint is Any and not prefix and f.name in registry.FAMILIES:
            hint = (methods or {}).get(f.name)
            if hint is None:
                continue
        if is_dataclass(hint):
            found.update(leaves(hint, prefix=f"{key}."))
        else:
            found[key] = Leaf(hint, f.metadata)
    return found


@cache
def _hints(root: type) -> dict[str, Any]:
    return get_type_hints(root)


def dotted(tree: Any, prefix: str = "") -> list[str]:
    """The dotted names of everything in nested mappings, sections too."""
    out = []
    for name, value in tree.items() if isinstance(tree, dict) else ():
        out += [f"{prefix}{name}", *dotted(value, f"{prefix}{name}.")]
    return out


def families(root: Any) -> list[str]:
    """The families of methods ('ssl', 'gan') that a command's schema takes one of."""
    return [f.name for f in fields(root) if f.name in registry.FAMILIES]


def method_schemas(root: Any, cfg: Mapping[str, Any]) -> dict[str, type | None]:
    """The schema of the method that `cfg` names, per family of the command. Raises UsageError."""
    chosen: dict[str, type | None] = {}
    for family in families(root):
        names = registry.FAMILIES[family]
        node = cfg.get(family)
        if not isinstance(node, Mapping) or "name" not in node:
            raise UsageError(f"{family}: a method is needed, such as {family}={next(iter(names))}")
        if node["name"] not in names:
            raise unknown(f"{family}.name: no method", str(node["name"]), names)
        chosen[family] = names[node["name"]].schema
    return chosen


def validate(command: str, cfg: DictConfig) -> Any:
    """The typed config of `command` ('train-gan' …) from a composed one without its `hydra` node.

    Raises UsageError with one line.
    """
    root = registry.COMMAND[command].schema
    plain: Any
    try:
        plain = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as e:
        raise UsageError(first_line(e)) from e
    methods = method_schemas(root, plain)
    for family in methods:
        plain[family].pop("recipes", None)  # what `recipe=` may stand for, no values of this run
    known = leaves(root, methods)
    given = dict(_flatten(plain, known))
    for key, leaf in known.items():
        if key not in given or given[key] == "???":
            raise UsageError(f"{key} must be given: {HINTS.get(key) or leaf.describe()}")
    base = OmegaConf.structured(root)
    for family, method in methods.items():
        base[family] = OmegaConf.structured(method)
    try:
        typed = OmegaConf.to_object(OmegaConf.merge(base, plain))
    except OmegaConfBaseException as e:
        key = re.sub(r"\[\d+\]$", "", e.full_key or "")
        if key not in known:  # inside a free mapping
            key = next((k for k in known if key.startswith(f"{k}.")), key)
        if key not in known:
            raise UsageError(first_line(e)) from e
        raise _expected(key, known[key], given[key]) from e
    for key, leaf in known.items():
        value = _get(typed, key)
        if leaf.wrong(value):
            raise _expected(key, leaf, value)
    _cross(command, typed)
    return typed


def _flatten(plain: dict[Any, Any], known: dict[str, Leaf], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Keys and values at the depth of `known`. Raises UsageError for keys that are not known."""
    for name, value in plain.items():
        key = f"{prefix}{name}"
        if key in known:
            yield key, value
        elif any(k.startswith(f"{key}.") for k in known):
            if not isinstance(value, dict):
                inner = [k[len(key) + 1 :] for k in known if k.startswith(f"{key}.")]
                raise UsageError(f"{key}: expected a section with {', '.join(inner)}; got {value!r}")
            yield from _flatten(value, known, f"{key}.")
        elif key == "experiment":
            raise UsageError("experiment: the preset's file needs '# @package _global_' as its first line")
        else:
            raise no_key(key, known)


def _expected(key: str, leaf: Leaf, value: Any) -> UsageError:
    near = nearest(str(value), leaf.meta["choices"]) if leaf.meta.get("choices") else None
    hint = f"; did you mean '{near}'?" if near else ""
    shown = "null" if value is None else repr(value)
    return UsageError(f"{key}: expected {leaf.describe()}; got {shown}{hint}")


def _get(typed: Any, key: str) -> Any:
    for part in key.split("."):
        typed = getattr(typed, part)
    return typed


def first_line(error: BaseException) -> str:
    """An exception's message on one line, without OmegaConf's details."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    key = getattr(error, "full_key", None)
    return f"{key}: {lines[0]}" if key and key not in lines[0] else lines[0]


# ── what no single key can tell ──────────────────────────────────────────────────────────────────


def _cross(command: str, cfg: Any) -> None:
    if cfg.data.name not in SOURCES:
        raise unknown("data.name: no source", cfg.data.name, SOURCES)
    _columns(cfg)
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", cfg.engine.device):
        raise UsageError(f"engine.device: expected auto, cpu, cuda, cuda:N or mps; got '{cfg.engine.device}'")
    if cfg.backbone.name.startswith("vit") and cfg.data.side % cfg.backbone.patch:
        size, patch = cfg.data.side, cfg.backbone.patch
        raise UsageError(f"backbone.patch: {patch} does not divide data.size {size}; choose one that does")
    for family in families(type(cfg)):
        arms.fits(getattr(cfg, family).name, cfg.backbone.name)
    judging = command in ("transfer", "curve", "compare")
    if not (command == "compare" and cfg.runs) and not (judging and getattr(cfg, "to", [])):
        _source(command, cfg.data)
    if judging:
        _judging(cfg)
    if command == "curve":
        unique("sources", cfg.sources)
        if not cfg.sources:
            raise UsageError(f"sources is empty; expected {HINTS['sources']}")
    if command == "compare":
        comparing.check(cfg)


def _source(command: str, data: schemas.Data) -> None:
    if data.name == "imagefolder":
        enough = data.root or data.train or (data.pretrain and command in ("pretrain-ssl", "train-gan"))
        if not enough:
            raise UsageError(f"data.root must be given: {HINTS['data.root']} (or data.train, data.test …)")
        return
    for key in ("pretrain", "train", "test", "labels"):
        if getattr(data, key) is not None:
            raise UsageError(f"data.{key} is for data=imagefolder; {data.name} brings its own split")


def _judging(cfg: Any) -> None:
    for name in cfg.probe.use:
        if name not in registry.PROBE:
            raise unknown("probe.use: no probe", name, registry.PROBE)
    unique("probe.use", cfg.probe.use)
    unique("labels_per_class", cfg.labels_per_class)
    unique("fractions", cfg.fractions)
    unique("probe.fewshot.shots", cfg.probe.fewshot.shots)
    unique("to", getattr(cfg, "to", []))
    offers = [name for name, entry in registry.PROBE.items() if entry.chooses]
    for key, names in (("menu", cfg.probe.adapted.menu), ("one_shot", [cfg.probe.adapted.one_shot])):
        for name in names:
            if name not in offers:
                raise unknown(f"probe.adapted.{key}: no probe that chooses on folds", name, offers)
    unique("probe.adapted.menu", cfg.probe.adapted.menu)
    if not any(registry.PROBE[name].reads == "pooled" for name in cfg.probe.adapted.menu):
        raise UsageError("probe.adapted.menu: nothing for sources without a network; add linear")
    if cfg.probe.adapted.one_shot not in cfg.probe.adapted.menu:
        raise UsageError(
            f"probe.adapted.one_shot={cfg.probe.adapted.one_shot}: is not in the menu; expected one of"
            f" probe.adapted.menu={cfg.probe.adapted.menu}"
        )
    if not cfg.probe.use:
        raise UsageError(f"probe.use is empty; expected some of {', '.join(registry.PROBE)}")
    if not cfg.labels_per_class and not cfg.fractions:
        raise UsageError("labels_per_class and fractions are both empty; give at least one label budget")
    if cfg.probe.linear.l2_low > cfg.probe.linear.l2_high:
        raise UsageError("probe.linear.l2_low is above probe.linear.l2_high; exchange them")


def _columns(cfg: Any) -> None:
    """A method that reads a column which the data does not bring."""
    brought = SOURCES[cfg.data.name].columns
    for family, methods in registry.FAMILIES.items():
        name = getattr(getattr(cfg, family, None), "name", None)
        if name in methods and methods[name].labels and "label" not in brought:
            raise UsageError(
                f"{family}={name} reads the column label, and data={cfg.data.name} brings {' and '.join(brought)};"
                " choose a method without labels, or other data"
            )


def determining(cfg: Any) -> dict[str, Any]:
    """The part of a typed config that determines the result, as plain containers (see FREE)."""
    tree = asdict(cfg)
    tree.pop("experiment", None)  # its keys stand in their own places
    for group, keys in FREE.items():
        for key in keys:
            tree.get(group, {}).pop(key, None)
    learns = [str(tree.get("weights")), *(text.rpartition("@")[2] for text in tree.get("sources", []))]
    if not set(learns) & set(classical.NAMES):
        tree.pop("classical", None)  # nobody learns by it
    if not NAMED_WEIGHTS.fullmatch(tree.get("weights", "random")):
        tree["weights"] = "file"
    if tree.get("generated", {}).get("run", "") is None:
        tree.pop("generated")  # off: its other keys say nothing
    elif "generated" in tree:
        tree["generated"]["run"] = "directory"
    return tree


def config_hash(cfg: Any) -> str:
    """16 hex digits of what determines a run's result."""
    return hashlib.sha256(json.dumps(determining(cfg), sort_keys=True).encode()).hexdigest()[:16]
