"""Shell completion of overrides: groups, keys and choices, from the schemas and the names of the YAML files.

Neither Hydra nor torch is imported.
"""

import os
import re
from pathlib import Path
from typing import Any

from gssl.config import arms, registry
from gssl.config.keys import SHORT, Key, keys_of
from gssl.config.paths import conf_dir, config_name
from gssl.schemas.commands import COMMANDS

LISTS: dict[str, dict[str, Any]] = {
    "probe.use": registry.PROBE,
    "arms": {**registry.SSL, **registry.GAN, **dict.fromkeys(arms.FIXED)},
}


def complete(command: str, incomplete: str) -> list[str]:
    """What the word being typed may become; `command` is 'train-gan' …, `incomplete` what the shell gives.

    Bash splits `ssl=b` into three words and replaces the last one only: then the answer is the value alone.
    """
    line, key, value = _line(incomplete)
    folders = [conf_dir(), *(Path(d) for d in re.findall(r"(?:-cd|--config-dir)[\s=]+(\S+)", line))]
    if key is not None:
        return _values(command, key, value, line, folders)
    if "=" in incomplete:
        key, value = incomplete.split("=", 1)
        return [f"{key}={v}" for v in _values(command, key, value, line, folders)]
    keys = [k for k in (*_groups(command, folders), *_keys(command, line)) if k.startswith(incomplete)]
    if len(keys) == 1:
        values = _values(command, keys[0], "", line, folders)
        # two candidates keep the shell from ending the word with a space
        return [f"{keys[0]}={v}" for v in values or ("", f"<{_keys(command, line)[keys[0]].describe()}>")]
    return [f"{k}=" for k in keys]


def _line(incomplete: str) -> tuple[str, str | None, str]:
    """(the whole line, the key that bash has cut off or None, the value so far)."""
    if "COMP_WORDS" not in os.environ:
        return os.environ.get("_TYPER_COMPLETE_ARGS", ""), None, ""
    words = os.environ["COMP_WORDS"].split("\n")
    at = int(os.environ.get("COMP_CWORD", len(words) - 1))
    line = re.sub(r"\s*=\s*", "=", " ".join(words))
    before = words[: at + 1] if incomplete or words[at : at + 1] == ["="] else [*words[:at], ""]
    if before[-1] == "=" and len(before) > 1:
        return line, before[-2], ""
    if len(before) > 2 and before[-2] == "=":
        return line, before[-3], before[-1]
    return line, None, ""


def _groups(command: str, folders: list[Path]) -> list[str]:
    names = COMMANDS[command].model_fields
    return sorted(n for n in {*names, "experiment"} if any((d / n).is_dir() for d in folders))


def _keys(command: str, line: str) -> dict[str, Key]:
    """Every key of the command; of a method that the line does not choose, every method's keys."""
    root = COMMANDS[command]
    found = keys_of(root)
    for family in registry.CHOSEN.keys() & root.model_fields.keys():
        entries = registry.CHOSEN[family]
        chosen = re.search(rf"(?:^|\s){family}=([\w-]+)", line)
        names = [chosen[1]] if chosen and chosen[1] in entries else list(entries)
        for name in names:
            found |= keys_of(root, {family: entries[name]})
    return found


def _values(command: str, key: str, value: str, line: str, folders: list[Path]) -> list[str]:
    """Values for `key` that go on from `value`; the last one of a list `a,b` or `[a,b`."""
    head = value[: max(value.rfind(","), value.rfind("["), value.rfind("(")) + 1]
    known = _keys(command, line).get(SHORT.get(key, key))
    if key == "experiment":
        found = [p.stem for d in folders for p in (d / key / config_name(command)).glob("*.yaml")]
    elif known is None:
        found = [p.stem for d in folders for p in (d / key.lstrip("+")).glob("*.yaml")]
    elif key in LISTS:
        head, found = head or "[", list(LISTS[key])
    else:
        found = known.choices
    return sorted({head + f for f in found if (head + f).startswith(value)})
