"""From a composed configuration to a typed one: pydantic checks it, and its first complaint becomes one line.

Neither Hydra nor torch is imported here, so that compare's workers and a configuration error stay quick.
"""

from collections.abc import Mapping
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from gssl import schemas, vocabulary
from gssl.config import image_size, registry, rules
from gssl.config.keys import WHOLE, Key, key_error, keys_of
from gssl.errors import UsageError
from gssl.names import nearest, unknown
from gssl.schemas.commands import COMMANDS

# A key that is not known is named first, then a section that is none, then a value that is missing.
FIRST = {"extra_forbidden": 0, "model_type": 0, "missing": 1}


def families(root: type[schemas.Section]) -> list[str]:
    """The families of methods ('ssl', 'gan') that a command's schema takes one of."""
    return [name for name in root.model_fields if name in registry.FAMILIES]


def chosen(root: type[schemas.Section]) -> list[str]:
    """The sections of a command's schema that hold one of several ('ssl', 'gan', 'executor')."""
    return [name for name in root.model_fields if name in registry.CHOSEN]


def method_schemas(root: type[schemas.Section], values: Mapping[str, Any]) -> dict[str, type[schemas.Section] | None]:
    """The schema of the method that a configuration names, per family of the command, and of its executor. Raises
    UsageError."""
    found: dict[str, type[schemas.Section] | None] = {}
    for family in chosen(root):
        names = registry.CHOSEN[family]
        what = "method" if family in registry.FAMILIES else "executor"
        node = values.get(family)
        if not isinstance(node, Mapping) or "name" not in node:
            article = "an" if what == "executor" else "a"
            raise UsageError(f"{family}: {article} {what} is needed, such as {family}={next(iter(names))}")
        if not isinstance(node["name"], str) or node["name"] not in names:
            raise unknown(f"{family}.name: no {what}", str(node["name"]), names)
        found[family] = names[node["name"]]
    return found


def validate(command: str, cfg: DictConfig) -> Any:
    """The typed configuration of `command` ('train-gan' …) from a composed one without its `hydra` node.

    Raises UsageError with one line.
    """
    root = COMMANDS[command]
    try:
        values: Any = _resolved(cfg)
    except OmegaConfBaseException as e:
        raise UsageError(first_line(e)) from e
    methods = method_schemas(root, values)
    values = _given(values)
    if isinstance(values.get("data"), dict) and "size" in values["data"]:
        values["data"]["size"] = image_size.resolve(values)
    if (vocab := vocabulary.resolve(values)) is not None:
        values["backbone"]["vocab"] = vocab
    if isinstance(values.get("backbone"), dict) and (hop := (values.get("data") or {}).get("hop_ms")) is not None:
        values["backbone"]["hop_ms"] = hop
    errors: list[Any] = []
    typed = dict(values)
    for family, method in methods.items():
        values[family].pop("recipes", None)  # what `recipe=` may stand for, no values of this run
        assert method
        try:
            typed[family] = method.model_validate(values[family])
        except ValidationError as e:
            errors += [error | {"loc": (family, *error["loc"])} for error in e.errors()]
    found: Any = None
    try:
        found = root.model_validate(typed)
    except ValidationError as e:
        errors += e.errors()
    if errors:
        raise _message(min(errors, key=lambda e: FIRST.get(e["type"], 2)), keys_of(root, methods), values)
    rules.check(command, found)
    return found


def section(schema: type[schemas.Section], values: Mapping[str, Any]) -> Any:
    """A section that a file of an earlier run holds. Raises UsageError with one line."""
    try:
        return schema.model_validate(values)
    except ValidationError as e:
        raise _message(min(e.errors(), key=lambda e: FIRST.get(e["type"], 2)), keys_of(schema), values) from e


def _resolved(cfg: Any) -> Any:
    """Plain containers. What an interpolation gives as text is read as YAML: ${oc.env:STEPS} may stand for a number."""
    if not OmegaConf.is_config(cfg):
        return cfg
    keys = range(len(cfg)) if OmegaConf.is_list(cfg) else list(cfg)
    found: dict[Any, Any] = {}
    for key in keys:
        missing = OmegaConf.is_missing(cfg, key)
        value = "???" if missing else _resolved(cfg[key])
        if isinstance(value, str) and not missing and OmegaConf.is_interpolation(cfg, key):
            number = yaml.safe_load(value)
            value = number if isinstance(number, int | float) else value
        found[key] = value
    return list(found.values()) if OmegaConf.is_list(cfg) else found


def _given(tree: Any) -> Any:
    """Without what is still to be given, which OmegaConf writes ???."""
    if not isinstance(tree, dict):
        return tree
    return {key: _given(value) for key, value in tree.items() if value != "???"}


def _message(error: Any, known: Mapping[str, Key], values: Mapping[str, Any]) -> UsageError:
    """pydantic's complaint as one line that names the key, what may stand there and what stood there."""
    key = ".".join(map(str, error["loc"]))
    inner = ", ".join(name.removeprefix(f"{key}.") for name in known if name.startswith(f"{key}."))
    if error["type"] == "extra_forbidden":
        if key == "experiment":
            return UsageError("experiment: the preset's file needs '# @package _global_' as its first line")
        return key_error(key, known)
    if error["type"] == "missing":
        return must_be_given(key, known) if key in known else UsageError(f"{key} must be given: a section with {inner}")
    if inner:
        return UsageError(f"{key}: expected a section with {inner}; got {error['input']!r}")
    while key not in known:  # of one element of a list, or below a free mapping
        key = key.rpartition(".")[0]
    if error["type"] == "value_error":
        return UsageError(f"{key}: {error['ctx']['error']}")
    value: Any = values
    for part in key.split("."):
        value = value[part]
    near = nearest(str(value), known[key].choices) if known[key].types[0].get("enum") else None
    hint = f"; did you mean '{near}'?" if near else ""
    if error["type"] == "less_than_equal" and error["ctx"]["le"] == WHOLE:
        hint = f", which is above {WHOLE}"
    return UsageError(f"{key}: expected {known[key].describe()}; got {_shown(value, known[key])}{hint}")


def must_be_given(key: str, known: Mapping[str, Key]) -> UsageError:
    """The error for a value that is missing: what it means, where the type alone says too little."""
    said = known[key].types[0].get("type") in ("string", "array") and known[key].meaning
    return UsageError(f"{key} must be given: {said or known[key].describe()}")


def _shown(value: Any, key: Key) -> str:
    if value is None:
        return "null"
    whole = key.number and isinstance(value, int) and not isinstance(value, bool)
    return repr(float(value) if whole else value)


def first_line(error: BaseException) -> str:
    """An exception's message on one line, without OmegaConf's details."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    key = getattr(error, "full_key", None)
    return f"{key}: {lines[0]}" if key and key not in lines[0] else lines[0]
