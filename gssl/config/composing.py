"""Composing with Hydra and checking what came out: every mistake becomes a UsageError of one line.

No directory is made here and torch is not imported.
"""

import contextlib
import functools
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import version as hydra_version
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from gssl.config import arms, check, comparing, registry
from gssl.config.paths import conf_dir, config_name
from gssl.errors import UsageError
from gssl.names import no_key, unknown

VERSION_BASE = "1.3"
METHOD = {"pretrain-ssl": "ssl", "train-gan": "gan"}
# What an arm's overrides cannot change.
SAME_DATA = ("data", "labels_per_class", "fractions", "images_labelled", "draws", "draws_one_shot")
FIXED = (*SAME_DATA, "seed", "weights", "backbone", "budget", "engine", "eval", "hydra")
MOST = 40  # choices of one sweep override that are checked beforehand


def compose(command: str, overrides: Sequence[str] = (), config_dir: str | None = None) -> Any:
    """The typed config of `command`; works inside a running job too. Raises UsageError."""
    with session(config_dir):
        return _validated(command, _remembered(command, tuple(_rewritten(command, overrides)), _place()))


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
    with session(config_dir):
        texts = _rewritten(command, overrides)
        choices = [_choices(o, multirun) for o in _parsed(texts)]
        first = [c[0] for c in choices]
        whole = _composed(command, first)
        typed = _validated(command, whole)
        if also:
            also(typed)
        for i, options in enumerate(choices):
            step = max(1, -(-len(options) // MOST))
            for option in {*options[1::step], options[-1]} - {first[i]}:
                other = _validated(command, _composed(command, [*first[:i], option, *first[i + 1 :]]))
                if also:
                    also(other)
        return typed, whole, texts


@contextlib.contextmanager
def session(config_dir: str | None) -> Iterator[None]:
    """Hydra's global state as `initialize_config_dir` makes it, with --config-dir as in `hydra.main`."""
    if GlobalHydra.instance().is_initialized():  # inside a running job: compose as that job did
        yield
        return
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UsageError(f"--config-dir: no directory {config_dir}")
    hydra_version.setbase(VERSION_BASE)
    path = create_config_search_path(str(conf_dir()))
    assert isinstance(path, ConfigSearchPathImpl)
    if config_dir is not None:
        mine = f"file://{Path(config_dir).absolute()}"
        path.prepend("command-line", mine, SearchPathQuery(provider="schema"))
    Hydra.create_main_hydra2("gssl", path)
    try:
        yield
    finally:
        GlobalHydra.instance().clear()


def _loader() -> Any:
    return GlobalHydra.instance().config_loader()


def _options(group: str) -> list[str]:
    names: list[str] = _loader().get_group_options(group)
    return names


def _rewritten(command: str, overrides: Sequence[str]) -> list[str]:
    """`experiment=smoke` means this command's smoke; `device=cpu` engine.device=cpu; `recipe=` its overrides."""
    mine = config_name(command)
    free = [key for key, leaf in check.leaves(registry.COMMAND[command].schema).items() if leaf.free]
    out = []
    for text in overrides:
        key, equals, value = text.partition("=")
        key = key.removeprefix(f"{mine}.")  # compare.jobs=2, as reports call it, is jobs=2
        if any(key == own or key.startswith(f"{own}.") for own in free):  # Hydra takes a mapping's new keys with a plus
            key = f"++{key}"
        if equals and key in check.SHORT:
            key = check.SHORT[key]
        if re.match(r"[+~]*(ssl|gan)\.recipes\b", key):
            raise UsageError(f"'{text}': recipes are written in the method's YAML; choose one by recipe=NAME")
        if equals and key.lstrip("+") == "experiment":
            own = _options(f"experiment/{mine}")
            names = [f"{mine}/{name}" if name in own else name for name in value.split(",")]
            bad = [n for n in names if n not in ("null", "") and not _exists("experiment", n)]
            if bad and not re.search(r"[()\[\]{}]", value):
                known = {*own, *_options("experiment")}
                raise unknown(f"experiment: {command} has no preset", bad[0], known)
            value = ",".join(names)
        out.append(f"{key}{equals}{value}")
    return _with_recipe(command, out)


def _with_recipe(command: str, texts: list[str]) -> list[str]:
    """`recipe=cifar` stands for the overrides in the method's YAML, before the others, so that those win."""
    wanted = [text.partition("=")[2] for text in texts if re.match(r"\+*recipe=", text)]
    rest = [text for text in texts if not re.match(r"\+*recipe=", text)]
    if not wanted:
        return texts
    if any(re.match(r"\+*experiment=", text) for text in rest):
        raise UsageError("recipe and experiment both bring overrides, of which neither should win: use one of them")
    family = next((name for name in check.families(registry.COMMAND[command].schema)), None)
    if family is None:
        raise UsageError(f"recipe: {command} has no method of its own; it goes with pretrain-ssl and train-gan")
    chosen = [text for text in rest if text.startswith(f"{family}=")]
    if "," in wanted[-1] or any("," in text for text in chosen):
        raise UsageError(f"recipe: one recipe of one method at a time; start a sweep for each {family}=")
    node = OmegaConf.select(_composed(command, chosen[-1:]), family)
    recipes = OmegaConf.to_container(node.get("recipes") or OmegaConf.create())
    assert isinstance(recipes, dict)
    if wanted[-1] == "short":  # what the YAML itself holds
        return rest
    if wanted[-1] not in recipes:
        raise unknown(f"recipe: {node.name} has no", wanted[-1], ["short", *map(str, recipes)])
    own = {text.partition("=")[0] for text in rest}
    if any(key.startswith("budget.") for key in own):  # a recipe's thousand epochs beside the user's ten minutes
        own |= {"budget.epochs"}
    return [text for text in recipes[wanted[-1]] if text.partition("=")[0] not in own] + rest


def _exists(group: str, name: str) -> bool:
    folder, _, last = f"{group}/{name}".rpartition("/")
    return last in _options(folder)


def _place() -> tuple[str, str]:
    """What else decides how a text composes: where configurations are looked for, and the working directory."""
    return str(_loader().get_search_path()), os.getcwd()


@functools.lru_cache(maxsize=128)
def _remembered(command: str, overrides: tuple[str, ...], place: tuple[str, str]) -> DictConfig:
    """`_composed`, once: Hydra takes a fifth of a second. Not to be changed by who gets it.

    Not for a run's own: its directory may come from the clock, which a DictConfig reads once.
    """
    return _composed(command, list(overrides))


def _composed(command: str, overrides: list[str]) -> DictConfig:
    try:
        return hydra_compose(config_name(command), overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as e:
        raise _explained(command, overrides, e) from e


@contextlib.contextmanager
def hydra_values(whole: DictConfig) -> Iterator[None]:
    """Inside, `${hydra:...}` resolves as it will in the job."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(whole)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def _validated(command: str, whole: DictConfig) -> Any:
    with hydra_values(whole):
        cfg = whole.copy()
        with read_write(cfg), open_dict(cfg):
            cfg.pop("hydra")
        typed = check.validate(command, cfg)
    if command == "compare":
        _check_arms(typed)
    return typed


def _check_arms(cfg: Any) -> None:
    """Each arm's overrides must compose and count: a comparison would find out only when it starts, or not at all."""
    known = {arm.name: arm for arm in arms.read(cfg.arms)}
    for name, texts in cfg.overrides.items():
        _check_overrides(f"overrides.{name}", known.get(name) or arms.parse(name), texts)
    for name, space in cfg.search.space.items():
        combinations = comparing.choices(space)
        for text in {text for combination in combinations for text in combination}:
            _check_overrides(f"search.space.{name}", known.get(name) or arms.parse(name), [text])


def _check_overrides(where: str, arm: arms.Arm, texts: list[str]) -> None:
    trained = {arms.command(method) for method in arm.trained}
    for text in texts:
        key = text.lstrip("+~").partition("=")[0].strip()
        if re.split(r"[./@:]", key)[0] in FIXED or key in ("probe.use", *check.SHORT):
            raise UsageError(f"{where}: {key} cannot be an arm's own; a comparison has one for all")
        if key == "recipe":
            why = "it brings a backbone and a budget, of which a comparison has one for all"
            raise UsageError(f"{where}: recipe= has no place here: {why}; write its values one by one")
        owner = arms.owner(text)
        if owner == "transfer":
            continue
        if not trained:
            why = f"{arm.name} is not trained and takes probe.* only; of the rest a comparison has one for all"
            raise UsageError(f"{where}: {key} has no place here: {why}")
        if owner not in trained:
            raise UsageError(f"{where}: {key} has no place here: nothing of {arm.name} is a {owner} run")
    try:
        for method in arm.trained:
            command = arms.command(method)
            mine = [text for text in texts if arms.owner(text) == command]
            _validated(command, _composed(command, [f"{METHOD[command]}={method}", *mine]))
        probe = [text for text in texts if arms.owner(text) == "transfer"]
        _validated("transfer", _composed("transfer", ["weights=random", *probe]))
    except UsageError as e:
        raise UsageError(f"{where}: {e}") from e


# ── overrides and what can be wrong with them ────────────────────────────────────────────────────


def _parsed(texts: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create(config_loader=_loader())
    out = []
    for text in texts:
        try:
            out += parser.parse_overrides([text])
        except (OverrideParseException, HydraException) as e:
            if "=" not in text and not text.startswith("~"):
                raise UsageError(f"cannot read '{text}': expected key=value, such as seed=1") from e
            form = _working(parser, text)
            hint = f"; write {form}" if form else "; values with special characters stand in quotes: \"key='a,b'\""
            raise UsageError(f"cannot read '{' '.join(text.split())}': {one_reason(e, text)}{hint}") from e
    return out


def one_reason(error: Exception, text: str) -> str:
    """The parser's reason without the override that it repeats and the mark below it."""
    lines = str(error).splitlines()
    for line, below in pairwise(lines):
        if text in line and below.strip() == "^":
            at = below.index("^") - line.index(text)
            if 0 <= at < len(text):
                return "a quote is not closed" if text[at] in "'\"" else f"{text[at]!r} must stand in quotes"
    if unquoted := re.match(r"(?:mismatched|extraneous) input (.+) expecting <EOF>", lines[0] if lines else ""):
        return f"{unquoted[1]} must stand in quotes"
    lines = [line.strip() for line in lines if line.strip(" ^") and text not in line]
    return lines[0] if lines else check.first_line(error)


def in_quotes(text: str) -> str:
    """A string as Hydra's grammar takes it: backslashes count only before a quote and at the end."""
    text = re.sub(r"(\\*)'", r"\1\1\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", text) + "'"


def _working(parser: OverridesParser, text: str) -> str | None:
    """What to type in a shell for the value that was meant, or None where that is not clear."""
    key, equals, value = text.partition("=")
    if not equals or value.startswith(("'", '"')) or not text.isprintable():
        return None
    meant: Any = value
    form = in_quotes(value)
    if value.startswith(("[", "{", "(")):
        if not re.fullmatch(r"\[[^][{}()'\"]+\]", value):
            return None
        meant = [item.strip() for item in value[1:-1].split(",")]
        form = "[" + ",".join(in_quotes(item) for item in meant) + "]"
    try:
        read = parser.parse_overrides([f"{key}={form}"])[0].value()
    except (OverrideParseException, HydraException):
        return None
    read = [str(v) for v in read] if isinstance(read, list) else str(read)
    if read != meant:
        return None
    shell = f"{key}={form}"
    if re.search("[!$`]", shell):  # a shell would read them inside double quotes
        return shlex.quote(shell)
    return '"' + re.sub(r'([\\"])', r"\\\1", shell) + '"'


def _choices(override: Override, multirun: bool) -> list[str]:
    """The plain overrides that a sweep override stands for; of an interval, its two ends."""
    if not override.is_sweep_override():
        return [override.input_line or ""]
    if not multirun:
        raise UsageError(f"'{override.input_line}' has several values: add -m to run each, or write [a,b] for a list")
    key = override.get_key_element()
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    choices = [f"{key}={v}" for v in override.sweep_string_iterator()]
    if not choices:
        raise UsageError(f"'{override.input_line}' matches nothing")
    return choices


def _explained(command: str, texts: list[str], error: Exception) -> UsageError:
    """Hydra's complaint as one line with the nearest valid name."""
    parsed = _parsed(texts)
    groups: dict[str, Any] = {o.key_or_group: o.value() for o in parsed if _is_group(o.key_or_group)}
    for o in parsed:
        key = o.key_or_group
        if key in groups:
            value = groups[key]
            for name in value if isinstance(value, list) else [value]:
                if name is not None and not _exists(key, str(name)):
                    return unknown(f"{key}: no choice", str(name), _options(key))
            if "/" not in key and key not in _groups_of(command):
                return unknown(f"{command} has no group", key, _groups_of(command))
            continue
        if key.startswith("hydra."):
            inside = OmegaConf.to_container(hydra_compose(config_name(command), return_hydra_config=True).hydra)
            names = check.dotted(inside, "hydra.")
            if key not in names:
                return unknown("no key", key, names, several=False)
            continue
        known = _keys(command, groups)
        if not any(k == key or k.startswith(f"{key}.") or _inside(key, k, known[k]) for k in known):
            return no_key(key, [*known, *_groups_of(command)])
        if o.is_add():
            return UsageError(f"'{o.input_line}': the key is there already; leave out the '+'")
    return UsageError(check.first_line(error))


def _inside(key: str, leaf: str, what: check.Leaf) -> bool:
    return key.startswith(f"{leaf}.") and what.free


def _is_group(key: str) -> bool:
    return bool(_loader().repository.group_exists(key))


def _groups_of(command: str) -> list[str]:
    root = registry.COMMAND[command].schema
    names = {f.name for f in fields(root) if _is_group(f.name)}
    return sorted({*names, "experiment"})


def _keys(command: str, groups: dict[str, Any]) -> dict[str, check.Leaf]:
    """The keys of `command` with the methods that `groups` choose, else with the default ones."""
    root = registry.COMMAND[command].schema
    chosen: dict[str, type | None] = {}
    for family in check.families(root):
        name = groups.get(family)
        if name is None:
            name = OmegaConf.select(hydra_compose(config_name(command)), f"{family}.name")
        entry = registry.FAMILIES[family].get(str(name))
        chosen[family] = entry.schema if entry else None
    return check.leaves(root, chosen)
