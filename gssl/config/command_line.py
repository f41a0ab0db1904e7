"""The command line that repeats a configuration."""

import re
import shlex
from typing import Any

from gssl import schemas
from gssl.schemas.section import Section

PATHS = ("root", "pretrain", "train", "test", "labels")  # where images lie


def quoted(value: Any) -> str:
    """A value as Hydra's grammar takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(quoted(item) for item in value) + "]"
    text = str(value)
    # Hydra's own quotes, where its grammar would stumble
    return text if re.fullmatch(r"[\w./:%-]+", text) else in_quotes(text)


def in_quotes(text: str) -> str:
    """A string as Hydra's grammar takes it: backslashes count only before a quote and at the end."""
    text = re.sub(r"(\\*)'", r"\1\1\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", text) + "'"


def data_words(data: schemas.Data) -> list[str]:
    """The overrides that name a data set and where it lies."""
    given = {key: getattr(data, key) for key in PATHS}
    return [f"data={data.name}", *(f"data.{key}={quoted(value)}" for key, value in given.items() if value is not None)]


def as_command(command: str, cfg: Any, default: Any, choices: list[str], given: dict[str, str]) -> str:
    """The shortest command line that composes `cfg`: the groups chosen, what was given, and the keys that differ.

    `default`: what `choices` alone compose.
    """

    def differences(now: Any, before: Any, prefix: str) -> list[str]:
        found = []
        for name in type(now).model_fields:
            a, b, key = getattr(now, name), getattr(before, name), f"{prefix}{name}"
            if isinstance(a, Section):
                found += differences(a, b, f"{key}.")
            elif a != b and key not in ("engine.resume", "engine.progress", "experiment", *given):
                found.append(f"{key}={quoted(a)}")
        return found

    first = [f"{key}={quoted(value)}" for key, value in given.items()]
    chosen = [text for text in choices if text.partition("=")[0] not in given]
    return shlex.join(["gssl", command, *chosen, *first, *differences(cfg, default, "")])
