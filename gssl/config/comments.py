"""What `--cfg job` prints beside each key: the comment of its YAML file, else its meaning in the schema."""

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gssl.config import registry
from gssl.config.keys import keys_of
from gssl.config.paths import conf_dir, config_name
from gssl.config.validate import chosen as chosen_sections
from gssl.schemas.commands import COMMANDS

KEY = re.compile(r"( *)([\w.]+):(.*)")
COMMENT = re.compile(r"""(?:^|\s)\#\s(?=[^'"]*(?:'[^']*'[^'"]*|"[^"]*"[^'"]*)*$)(.*)$""")
ROOTS = ("common", "training", "probing", "classical", "transferring")  # files at the top that others begin with


def annotated(text: str, command: str, whole: DictConfig, package: str | None, size: Any = None) -> str:
    """A configuration as YAML with a comment at the end of each line whose key has one.

    whole: as Hydra composed it, which knows the files that were chosen. package: the part that `text` is of. size: what
    stands in the place of `data.size: auto`.
    """
    known = _meanings(command, whole)
    prefix = [] if package in (None, "_global_") else str(package).split(".")
    lines = []
    for line, path in _keyed(text):
        key = ".".join([*prefix, *path]) if path else ""
        line = line.replace("auto", str(size)) if key == "data.size" and size is not None else line
        comment = known.get(key)
        lines.append(f"{line} # {comment}" if comment and "#" not in line else line)
    return "\n".join(lines)


def _meanings(command: str, whole: DictConfig) -> dict[str, str]:
    """Comment per dotted key."""
    methods = {name: registry.CHOSEN[name][whole[name].name] for name in chosen_sections(COMMANDS[command])}
    found = {key: what.meaning for key, what in keys_of(COMMANDS[command], methods).items() if what.meaning}
    for name in (*ROOTS, config_name(command)):
        found |= _of_file(name, "")
    for group, chosen in _choices(whole).items():
        where, _, package = group.partition("@")
        names = chosen if isinstance(chosen, list) else [chosen]
        for name in filter(None, names):
            # `probe/linear@probe.linear`: the part after the @ is where the file's keys go
            found |= _of_file(f"{where}/{name}", package or where.replace("/", "."))
    for file in sorted((conf_dir() / "probe").glob("*.yaml")) if "probe" in whole else ():
        found |= _of_file(f"probe/{file.stem}", f"probe.{file.stem}")
    return found


def _choices(whole: DictConfig) -> Mapping[str, Any]:
    chosen: Any = OmegaConf.to_container(OmegaConf.select(whole, "hydra.runtime.choices"))
    return {group: name for group, name in chosen.items() if not group.startswith(("hydra/", "experiment"))}


def _of_file(name: str, package: str) -> dict[str, str]:
    file = conf_dir() / f"{name}.yaml"
    if not file.is_file():
        return {}
    text = file.read_text(encoding="utf-8")
    prefix = [] if text.startswith("# @package _global_") or not package else package.split(".")
    found = {}
    for line, path in _keyed(text):
        comment = COMMENT.search(line)
        if path and comment:
            found[".".join([*prefix, *path])] = comment[1].strip()
    return found


def _keyed(text: str) -> list[tuple[str, list[str] | None]]:
    """Every line with the dotted name of the key that it gives, as a list; None for lines that give none."""
    found: list[tuple[str, list[str] | None]] = []
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = KEY.fullmatch(line)
        if match is None:
            found.append((line, None))
            continue
        depth = len(match[1])
        above = [(d, name) for d, name in above if d < depth] + [(depth, match[2])]
        found.append((line, [name for _, name in above]))
    return found
