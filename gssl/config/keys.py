"""Every key of a configuration with what may stand there, read from the JSON schemas of its sections."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from gssl.errors import UsageError
from gssl.names import no_key
from gssl.schemas.section import Section

WORDS = {"integer": "an integer", "number": "a number", "boolean": "true or false", "string": "a string"}
# What may be written without its group on the command line.
SHORT = {
    "device": "engine.device",
    "precision": "engine.precision",
    "resume": "engine.resume",
    "on_collapse": "engine.on_collapse",
}
# Keys and sections of earlier versions → what they are called now.
RENAMED = {"judge": "evaluator", "generation.judge": "generation.evaluator", "plain": "classical"}
RENAMED |= {"engine.tensorboard": "engine.loggers=[tensorboard]"}
WHOLE = 2**63 - 1  # the largest integer that a file of ours holds: said where it was exceeded only
BOUNDS = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}


@dataclass(frozen=True)
class Key:
    """A key that holds a value. types: the JSON schemas of what may stand there, null aside."""

    types: tuple[Mapping[str, Any], ...]
    optional: bool
    meaning: str

    @property
    def choices(self) -> list[str]:
        """The values there are, or some that may be written where others are possible."""
        found = [str(value) for kind in self.types for value in _enum(kind) or kind.get("examples", [])]
        return ["false", "true"] if self.types[0].get("type") == "boolean" else found

    @property
    def free(self) -> bool:
        """Whether keys of the user's own may stand below this one."""
        return self.types[0].get("type") == "object"

    @property
    def number(self) -> bool:
        """Whether it holds a number with a fraction, or several."""
        return any(kind.get("items", kind).get("type") == "number" for kind in self.types)

    def describe(self) -> str:
        """What may stand here: 'an integer, at least 1, or null'."""
        return " or ".join(map(_in_words, self.types)) + (", or null" if self.optional else "")


def _enum(kind: Mapping[str, Any]) -> list[Any]:
    return kind.get("enum") or ([kind["const"]] if "const" in kind else [])


def _in_words(kind: Mapping[str, Any]) -> str:
    name, items = kind.get("type"), kind.get("items", kind)
    if values := list(map(str, _enum(kind))):
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if "pattern" in kind:
        return ", ".join(kind["examples"][:-1]) + f" or {kind['examples'][-1]}"
    if name == "object":
        return "a mapping such as {simclr: ['ssl.temperature=0.5']}"
    text = WORDS.get(str(name), "a value")
    least = kind.get("minItems", 0)
    exact = least if least == kind.get("maxItems") else 0
    if name == "array":
        named = f"names among {', '.join(map(str, _enum(items)))}" if _enum(items) else f"{items.get('type', 'value')}s"
        text = f"a list of {f'{exact} ' if exact else ''}{named}"
    for key, word in BOUNDS.items():
        if key in items and items[key] != WHOLE:
            text += f", {word} {items[key]}"
    if least and not exact:
        text += f", {least} or more of them"
    return text + (", the smaller first" if kind.get("ascending") else "")


@cache
def _schema(section: type[Section]) -> dict[str, Any]:
    return section.model_json_schema()


def keys_of(root: type[Section], methods: Mapping[str, type[Section] | None] | None = None) -> dict[str, Key]:
    """Every key of a command's schema, dotted. methods: the schema of its `ssl` or `gan`, which is left out else."""
    whole = _schema(root)
    found: dict[str, Key] = {}
    for name, node in whole["properties"].items():
        if node.keys() <= {"title", "description"}:  # any method's section
            method = (methods or {}).get(name)
            found |= {f"{name}.{key}": value for key, value in keys_of(method).items()} if method else {}
        else:
            found |= _below(name, node, whole.get("$defs", {}))
    return found


def _below(key: str, node: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Key]:
    if "$ref" in node:
        section = known[node["$ref"].rpartition("/")[2]]
        found: dict[str, Key] = {}
        for name, inner in section["properties"].items():
            found |= _below(f"{key}.{name}", inner, known)
        return found
    kinds = node.get("anyOf", [node])
    types = tuple({**kind, **_examples(node)} for kind in kinds if kind.get("type") != "null")
    return {key: Key(types, len(types) < len(kinds), node.get("description", ""))}


def _examples(node: Mapping[str, Any]) -> dict[str, Any]:
    return {"examples": node["examples"]} if "examples" in node else {}


def dotted(tree: Any, prefix: str = "") -> list[str]:
    """The dotted names of everything in nested mappings, sections too."""
    out = []
    for name, value in tree.items() if isinstance(tree, dict) else ():
        out += [f"{prefix}{name}", *dotted(value, f"{prefix}{name}.")]
    return out


def key_error(key: str, known: Iterable[str]) -> UsageError:
    """The error for a key that does not exist: its new name where it had another, else as `no_key`."""
    known = list(known)
    for old, new in RENAMED.items():
        rest = key.removeprefix(old)
        if rest == key or rest[:1] not in ("", "."):
            continue
        inside = sorted({name[len(new) + 1 :].split(".")[0] for name in known if name.startswith(f"{new}.")})
        if new.partition("=")[0] + rest in known or (inside and not rest):
            return UsageError(f"no key '{key}'; it is now '{new}{rest}'")
        if inside:
            return UsageError(f"no key '{key}'; '{old}' is now '{new}', which has {', '.join(inside)}")
    return no_key(key, known)


def renamed_flag(flag: str, known: Iterable[str]) -> str | None:
    """The present name of a flag of earlier versions: --evaluator-weights had the old name of the key in it."""
    first, dash, rest = flag.removeprefix("--").partition("-")
    new = f"--{RENAMED.get(first, first)}{dash}{rest}"
    return new if new != flag and new in known else None
