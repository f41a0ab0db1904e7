"""Documents of runs: read through one reader, under the present names of their keys. No torch here.

`gssl.engine.files.read_json` gives a document or says in one line what is wrong with it; `find_json` gives None where
it cannot be used. `gssl.result/2` and `gssl.evaluation/3` hold what `gssl.result/1` and `gssl.evaluation/2` do, under
other names.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gssl.engine.files import DEEPEST, find_json, read_bytes, read_json
from gssl.errors import Damaged, UsageError

__all__ = ["expected", "find_json", "find_yaml", "present", "read_json", "read_result", "read_yaml"]
RENAMED = {
    "gssl.result/1": {"judge": "evaluator", "kid_floor": "kid_baseline", "plain": "classical"},
    "gssl.evaluation/1": {"judge": "evaluator", "floor": "baseline"},
    "gssl.evaluation/2": {"judge": "evaluator", "floor": "baseline"},
}
MOST_YAML = 2**20  # bytes of a configuration


def present(document: dict[str, Any]) -> dict[str, Any]:
    """`document` under its own schema, its keys and those of an evaluation within it renamed where they are old."""
    names = RENAMED.get(str(document.get("schema")), {})
    found = {names.get(key, key): value for key, value in document.items()}
    if isinstance(found.get("evaluation"), dict):
        found["evaluation"] = present(found["evaluation"])
    return found


def read_result(run: Path) -> dict[str, Any] | None:
    """The result.json of `run` with the present names of its keys; None where there is no usable one."""
    found = find_json(run / "result.json")
    return present(found) if isinstance(found, dict) else None


def read_yaml(path: Path) -> dict[str, Any] | None:
    """The configuration at `path`, None where there is no such file. Raises Damaged.

    gssl writes no aliases, with which a few lines can stand for millions of values: they are refused.
    """
    try:
        data = read_bytes(path, MOST_YAML)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Damaged(path, f"cannot be read ({error.strerror})") from None
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = data.decode("utf-8")
        depth = 0
        for event in yaml.parse(text, loader) if _suspicious(text) else ():
            if isinstance(event, yaml.AliasEvent):
                raise Damaged(path, f"has an alias (*{event.anchor}), which a run's configuration has not")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise Damaged(path, f"is nested deeper than {DEEPEST} levels")
        found = yaml.load(text, loader)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise Damaged(path, f"is no YAML ({' '.join(str(error).split())[:80] or type(error).__name__})") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise Damaged(path, "is no table of keys and values")
    return found


def find_yaml(path: Path) -> dict[str, Any]:
    """`read_yaml`, with {} where there is none that can be used."""
    try:
        return read_yaml(path) or {}
    except Damaged:
        return {}


def _suspicious(text: str) -> bool:
    """Whether a text can have aliases or be nested deeply: most have neither a `*` nor many brackets."""
    deep = any(len(line) - len(line.lstrip(" ")) > DEEPEST for line in text.splitlines())
    return "*" in text or deep or text.count("[") + text.count("{") > DEEPEST or text.count("- - ") > 0


@contextlib.contextmanager
def expected(path: Path, network: bool = False) -> Iterator[None]:
    """What a document lacks or holds in another form is said of its file: an older version's, or a changed one.

    network: it describes one that is built inside; what no such network can be is said of it as well.
    """
    try:
        yield
    except (UsageError, RuntimeError) as error:
        if not network or isinstance(error, Damaged):
            raise
        raise Damaged(path, f"describes no network that fits ({' '.join(str(error).split())[:200]})") from error
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise Damaged(path, f"does not hold what is shown of it ({' '.join(what.split())[:100]})") from error
