"""Composing a configuration and checking what came out: every mistake becomes a UsageError of one line.

No directory is made here and torch is not imported.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gssl.config import arm_overrides, hydra_api, image_size, registry, rules, run_data
from gssl.config.keys import Key, dotted, key_error, keys_of
from gssl.config.overrides import parsed, rewritten
from gssl.config.validate import chosen as chosen_sections
from gssl.config.validate import first_line, validate
from gssl.errors import UsageError
from gssl.names import unknown
from gssl.schemas.commands import COMMANDS
from gssl.schemas.section import Section

# Choices of Hydra's groups that a package brings: what installs it, and how the choice is called.
PLUGINS = {
    "hydra/launcher": {
        "joblib": ("gssl[joblib]", "joblib"),
        "slurm": ("gssl[slurm]", "submitit_slurm"),
        "submitit": ("gssl[slurm]", "submitit_slurm"),
        "submitit_slurm": ("gssl[slurm]", "submitit_slurm"),
        "submitit_local": ("gssl[slurm]", "submitit_local"),
        "ray": ("hydra-ray-launcher", "ray"),
        "ray_aws": ("hydra-ray-launcher", "ray_aws"),
    },
    "hydra/sweeper": {"optuna": ("gssl[optuna]", "optuna")},
}
FREE = ("hydra.job.env_set", "hydra.callbacks")  # of Hydra's keys: those with any names below
MOST = 40  # choices of one sweep override that are checked beforehand


def compose(command: str, overrides: Sequence[str] = (), config_dir: str | None = None) -> Any:
    """The typed config of `command`; works inside a running job too. Raises UsageError."""
    with hydra_api.session(config_dir):
        place = hydra_api.search_path(), os.getcwd()
        return _validated(command, _remembered(command, tuple(_rewritten(command, overrides)), place))


def check_all(
    command: str,
    overrides: Sequence[str],
    multirun: bool,
    config_dir: str | None = None,
    also: Callable[[Any], None] | None = None,
) -> tuple[Any, DictConfig, list[str]]:
    """Validate a command line; of a sweep, every choice of every override with the others at their first.

    `also` is called with each typed config and may raise UsageError too. Returns the first combination,
    typed and as Hydra composed it (`hydra` included), and the rewritten overrides.
    """
    with hydra_api.session(config_dir):
        texts = _rewritten(command, overrides)
        choices = [_choices(o, multirun) for o in parsed(texts)]
        first = [c[0] for c in choices]
        whole = _composed(command, first)
        keys = [o.key_or_group for o in parsed(texts)]
        swept = [
            option.partition("=")[2]
            for key, own in zip(keys, choices, strict=True)
            if key == "weights"
            for option in own
        ]
        if theirs := run_data.overrides(whole, keys, swept):
            texts = [*theirs, *texts]
            choices = [*([text] for text in theirs), *choices]
            first = [c[0] for c in choices]
            whole = _composed(command, first)
        typed = _validated(command, whole)
        sweep = multirun or whole.hydra.mode == RunMode.MULTIRUN
        hydra_api.selected(whole, "hydra.sweep.dir" if sweep else "hydra.run.dir")
        given = _given(texts)
        rules.label_budgets(typed, given)
        if also:
            also(typed)
        for i, options in enumerate(choices):
            step = max(1, -(-len(options) // MOST))
            for option in {*options[1::step], options[-1]} - {first[i]}:
                other = _validated(command, _composed(command, [*first[:i], option, *first[i + 1 :]]))
                rules.label_budgets(other, given)
                if also:
                    also(other)
        return typed, whole, texts


def _given(texts: Sequence[str]) -> set[str]:
    """Keys with a value that the user wrote, on the command line or in a preset outside gssl's own directory."""
    found: set[str] = set()
    for override in parsed(texts):
        value = override.value()
        if override.key_or_group == "experiment":
            for name in value if isinstance(value, list) else [value]:
                found |= hydra_api.own_preset(str(name))
        elif value not in (None, []):
            found.add(override.key_or_group)
    return found


def _choices(override: Override, multirun: bool) -> list[str]:
    """The single overrides that a sweep override stands for."""
    if not override.is_sweep_override():
        return [override.input_line or ""]
    if not multirun:
        raise UsageError(f"'{override.input_line}' has several values: add -m to run each, or write [a,b] for a list")
    found = hydra_api.choices(override)
    if not found:
        raise UsageError(f"'{override.input_line}' matches nothing")
    return found


def _rewritten(command: str, overrides: Sequence[str]) -> list[str]:
    try:
        return rewritten(command, overrides)
    except hydra_api.ERRORS as e:  # a recipe's method is looked up
        raise _explained(command, [text for text in overrides if "recipe=" not in text], e) from e


def _composed(command: str, overrides: list[str]) -> DictConfig:
    try:
        return hydra_api.composed(command, overrides)
    except hydra_api.ERRORS as e:
        raise _explained(command, overrides, e) from e


@functools.lru_cache(maxsize=128)
def _remembered(command: str, overrides: tuple[str, ...], place: tuple[str, str]) -> DictConfig:
    """`_composed`, once: Hydra takes a fifth of a second. Not to be changed by its user.

    place: the search path and the working directory, on which it depends too. Not for a run's own configuration: its
    directory may come from the clock, which a DictConfig reads once.
    """
    return _composed(command, list(overrides))


def _validated(command: str, whole: DictConfig) -> Any:
    with hydra_api.hydra_values(whole):
        typed = validate(command, OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"]))
    if command == "compare":
        with image_size.silent():  # the comparison's own size is said
            arm_overrides.check(typed, lambda name, texts: _validated(name, _composed(name, texts)))
    return typed


# ── what was wrong ───────────────────────────────────────────────────────────────────────────────


def _explained(command: str, texts: list[str], error: Exception) -> UsageError:
    """Hydra's complaint as one line with the nearest valid name."""
    overrides = parsed(texts)
    groups: dict[str, Any] = {o.key_or_group: o.value() for o in overrides if hydra_api.is_group(o.key_or_group)}
    for o in overrides:
        key = o.key_or_group
        if key in groups:
            value = groups[key]
            for name in value if isinstance(value, list) else [value]:
                if name is not None and not hydra_api.exists(key, str(name)):
                    if missing := _of_a_package(key, str(name)):
                        return missing
                    return unknown(f"{key}: no choice", str(name), hydra_api.options(key))
            if "/" not in key and key not in _groups_of(command):
                return unknown(f"{command} has no group", key, _groups_of(command))
            continue
        if key.startswith("hydra."):
            names = dotted(OmegaConf.to_container(hydra_api.composed(command, []).hydra), "hydra.")
            below = any(key.startswith(f"{free}.") for free in FREE)
            if (below or (key in FREE and isinstance(o.value(), dict))) and not (o.is_add() or o.is_delete()):
                return UsageError(f"'{o.input_line}': new names come with a '+'; write '+{o.input_line}'")
            if key not in names and not below:
                return unknown("no key", key, names, several=False)
            continue
        known = _keys(command, groups)
        if (section := key.partition(".")[0]) == "executor" and key not in known:
            for name, schema in registry.CHOSEN[section].items():
                if key.partition(".")[2] in schema.model_fields:
                    return UsageError(f"{key}: is a key of executor={name}; write executor={name} before it")
        if not any(k == key or k.startswith(f"{key}.") or _inside(key, k, known[k]) for k in known):
            return key_error(key, [*known, *_groups_of(command)])
        if o.is_add():
            return UsageError(f"'{o.input_line}': the key is there already; leave out the '+'")
    cause = error.__cause__  # where it is there, it says what was expected
    return UsageError(first_line(cause if isinstance(cause, hydra_api.ERRORS) else error))


def _of_a_package(group: str, name: str) -> UsageError | None:
    """The error for a launcher or a sweeper whose package is not installed, or that is called otherwise."""
    if name not in PLUGINS.get(group, {}):
        return None
    package, choice = PLUGINS[group][name]
    if hydra_api.exists(group, choice):
        return UsageError(f"{group}={name}: is called {choice}; write {group}={choice}")
    called = "" if choice == name else f" and write {group}={choice}"
    return UsageError(f"{group}={name}: needs a package that is not installed; pip install '{package}'{called}")


def _inside(key: str, name: str, what: Key) -> bool:
    return key.startswith(f"{name}.") and what.free


def _groups_of(command: str) -> list[str]:
    return sorted({*filter(hydra_api.is_group, COMMANDS[command].model_fields), "experiment"})


def _keys(command: str, groups: dict[str, Any]) -> dict[str, Key]:
    """The keys of `command` with the methods that `groups` choose, else with the default ones."""
    chosen: dict[str, type[Section] | None] = {}
    for family in chosen_sections(COMMANDS[command]):
        name = groups.get(family)
        if name is None:
            name = OmegaConf.select(hydra_api.composed(command, []), f"{family}.name")
        chosen[family] = registry.CHOSEN[family].get(str(name))
    return keys_of(COMMANDS[command], chosen)
