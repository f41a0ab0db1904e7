"""Overrides as they are typed: what stands for something else, and what to write where Hydra cannot read one."""

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from gssl.config import hydra_api, registry, sweeps
from gssl.config.command_line import in_quotes
from gssl.config.keys import SHORT, keys_of
from gssl.config.paths import config_name
from gssl.config.validate import families, first_line
from gssl.errors import UsageError
from gssl.names import unknown
from gssl.schemas.commands import COMMANDS
from gssl.schemas.ready_made import WITH_PREFIX

TIMM = "timm:"
LONGEST, LONGEST_KEY, DEEPEST = 100_000, 300, 30  # of an override: characters, those of its key, brackets


def rewritten(command: str, overrides: Sequence[str]) -> list[str]:
    """`experiment=smoke` means this command's smoke; `device=cpu` engine.device=cpu; `recipe=` its overrides."""
    mine = config_name(command)
    root = COMMANDS[command]
    executors = registry.CHOSEN["executor"].values() if "executor" in root.model_fields else [None]
    free = {name for own in executors for name, key in keys_of(root, {"executor": own}).items() if key.free}
    out = []
    for text in sweeps.search_space(overrides):
        key, equals, value = text.partition("=")
        key = key.removeprefix(f"{mine}.")  # compare.jobs=2, as reports call it, is jobs=2
        if any(key == own or key.startswith(f"{own}.") for own in free):  # Hydra takes a mapping's new keys with a plus
            key = f"++{key}"
        if equals and key in SHORT:
            key = SHORT[key]
        if re.match(r"[+~]*(ssl|gan)\.recipes\b", key):
            raise UsageError(f"'{text}': recipes are written in the method's YAML; choose one by recipe=NAME")
        if equals and key.lstrip("+") == "experiment":
            value = _preset(command, value)
        if equals and key == "backbone" and TIMM in value:
            value = _of_timm(value)
            out.append("backbone=timm")
            key = "backbone.name"
        out.append(f"{key}{equals}{value}")
    return _with_recipe(command, _with_prefix(out))


def _of_timm(value: str) -> str:
    """`backbone=timm:NAME` chooses conf/backbone/timm.yaml and sets its name; of a sweep all are timm's."""
    names = [name.strip().strip("'\"") for name in value.split(",")]
    if not all(name.startswith(TIMM) for name in names):
        raise UsageError(f"backbone={value}: networks of timm and others cannot stand in one sweep; start two")
    return ",".join(map(in_quotes, names))


def _with_prefix(texts: list[str]) -> list[str]:
    """`weights.prefix=net.` says where in the file of `weights=` the network is: it becomes a part of that value."""
    words = ("weights.prefix", "+weights.prefix", "++weights.prefix")
    wanted = [value for key, equals, value in (text.partition("=") for text in texts) if equals and key in words]
    if not wanted:
        return texts
    rest = [text for text in texts if text.partition("=")[0] not in words]
    at = max((i for i, text in enumerate(rest) if re.match(r"\+*weights=.", text)), default=None)
    prefix = wanted[-1].strip("'\"")
    if at is None or "," in prefix or "," in rest[at]:
        raise UsageError(f"weights.prefix={prefix}: one prefix, beside weights=FILE whose names begin with it")
    key, _, value = rest[at].partition("=")
    value = value[1:-1] if value[:1] in ("'", '"') and value[:1] == value[-1:] else value
    rest[at] = f"{key}={in_quotes(f'{value}{WITH_PREFIX}{prefix}')}"
    return rest


def _preset(command: str, value: str) -> str:
    mine = config_name(command)
    own = hydra_api.options(f"experiment/{mine}")
    names = [f"{mine}/{name}" if name in own else name for name in value.split(",")]
    bad = [name for name in names if name not in ("null", "") and not hydra_api.exists("experiment", name)]
    if bad and not re.search(r"[()\[\]{}]", value):
        raise unknown(f"experiment: {command} has no preset", bad[0], {*own, *hydra_api.options("experiment")})
    return ",".join(names)


def _with_recipe(command: str, texts: list[str]) -> list[str]:
    """`recipe=cifar` stands for the overrides in the method's YAML, before the others, so that those win."""
    wanted = [text.partition("=")[2] for text in texts if re.match(r"\+*recipe=", text)]
    rest = [text for text in texts if not re.match(r"\+*recipe=", text)]
    if not wanted:
        return texts
    if any(re.match(r"\+*experiment=", text) for text in rest):
        raise UsageError("recipe and experiment both bring overrides, of which neither should win: use one of them")
    family = next(iter(families(COMMANDS[command])), None)
    if family is None:
        raise UsageError(f"recipe: {command} has no method of its own; it goes with pretrain-ssl and train-gan")
    chosen = [text for text in rest if text.startswith(f"{family}=")]
    if "," in wanted[-1] or any("," in text for text in chosen):
        raise UsageError(f"recipe: one recipe of one method at a time; start a sweep for each {family}=")
    node = OmegaConf.select(hydra_api.composed(command, chosen[-1:]), family)
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


# ── reading them ─────────────────────────────────────────────────────────────────────────────────


def parsed(texts: Sequence[str]) -> list[Override]:
    """The overrides as Hydra reads them. Raises UsageError with the form that works, where that is clear."""
    out = []
    for text in texts:
        _bounded(text)
        try:
            out.append(hydra_api.parsed(text))
            _group_value(out[-1])
        except hydra_api.ERRORS as e:
            if "=" not in text and not text.startswith("~"):
                raise UsageError(f"cannot read '{text}': expected key=value, such as seed=1") from e
            form = _working(text)
            hint = f"; write {form}" if form else "; values with special characters stand in quotes: \"key='a,b'\""
            raise UsageError(f"cannot read '{' '.join(text.split())}': {_reason(e, text)}{hint}") from e
    return out


def _bounded(text: str) -> None:
    """Raises UsageError for an override of a form that none has: reading some of those takes no end."""
    key = text.partition("=")[0]
    if not key.strip("+~ ") or "\0" in text:
        raise UsageError(f"cannot read '{text[:60]}': expected key=value, such as seed=1")
    if len(key) > LONGEST_KEY or len(text) > LONGEST:
        raise UsageError(
            f"cannot read '{text[:60]}…': {len(text):,} characters; a key has {LONGEST_KEY} at most, an override"
            f" {LONGEST:,}; put long lists into a file of --config-dir"
        )
    depth = deepest = 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        raise UsageError(f"cannot read '{text[:60]}…': nested deeper than {DEEPEST} brackets; write it flatter")


def _group_value(override: Override) -> None:
    """Raises UsageError where a group of files is given what names none, such as a number."""
    group, value = override.key_or_group, override.value()
    if override.is_delete() or override.is_sweep_override() or "." in group:  # groups have no dots
        return
    if all(isinstance(name, str) for name in (value if isinstance(value, list) else [value])):
        return
    if hydra_api.is_group(group):  # asked last: all files of all folders are looked at
        if hydra_api.options(group):
            raise unknown(f"{group}: no choice", override.input_line.partition("=")[2], hydra_api.options(group))  # type: ignore[union-attr]
        raise UsageError(
            f"cannot read '{override.input_line}': {group} is a section; give its keys, as in {group}.KEY=VALUE"
        )


def _reason(error: Exception, text: str) -> str:
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
    return lines[0] if lines else first_line(error)


def _working(text: str) -> str | None:
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
    read = hydra_api.value_of(f"{key}={form}")
    if ([str(v) for v in read] if isinstance(read, list) else str(read)) != meant:
        return None
    shell = f"{key}={form}"
    if re.search("[!$`]", shell):  # a shell would read them inside double quotes
        return shlex.quote(shell)
    return '"' + re.sub(r'([\\"])', r"\\\1", shell) + '"'
